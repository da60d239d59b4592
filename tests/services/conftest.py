"""Real services for the tests: each lake is brought up once a session and taken down after it."""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from testbed import lake as launcher
from testbed import postgres
from testbed.errors import TestbedError
from testbed.lake import Lake

LAKE_PYTHON = Path(__file__).parents[2] / ".venv-lake/bin/python"

# How a script of a test hands its result back: the last line that it prints.
_PROLOGUE = """
import json, logging, sys, time
from rucio.client import Client
from rucio.client.uploadclient import UploadClient
from rucio.common import exception
logging.disable(logging.CRITICAL)
client = Client()
def give(value): print("\\n" + json.dumps(value, default=str))
def until(condition, seconds=20):
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end: raise TimeoutError(f"not within {seconds} s")
        time.sleep(0.05)
"""


@pytest.fixture(scope="session", autouse=True)
def _environment_is_there() -> None:
    if not LAKE_PYTHON.exists():
        pytest.skip("the lake's environment is missing: run envs/setup lake")


@pytest.fixture(scope="session")
def services_folder() -> Iterator[Path]:
    """A folder for lakes that any user may enter, as PostgreSQL's own user must."""
    folder = Path(tempfile.mkdtemp(prefix="nanolake-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def lake(services_folder: Path) -> Iterator[Lake]:
    """A lake on SQLite."""
    yield launcher.up(services_folder / "sqlite")
    launcher.down(services_folder / "sqlite", delete=True)


@pytest.fixture(scope="session")
def postgresql_lake(services_folder: Path) -> Iterator[Lake]:
    """A lake on PostgreSQL, where that is installed."""
    try:
        postgres._binaries(services_folder)
    except TestbedError as error:
        pytest.skip(str(error))
    yield launcher.up(services_folder / "postgresql", database="postgresql")
    launcher.down(services_folder / "postgresql", delete=True)


def start_client(lake: Lake, account: str, script: str, *arguments: str) -> subprocess.Popen[str]:
    """Start a script as a client of a lake; see _PROLOGUE for what it finds there."""
    return subprocess.Popen(
        [LAKE_PYTHON, "-c", _PROLOGUE + script, *arguments],
        env={"RUCIO_CONFIG": str(lake.config(account)), "PATH": "/usr/bin:/bin", "TZ": "UTC"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def result_of(process: subprocess.Popen[str]) -> Any:
    """Wait for a client's script and give what it gave."""
    out, err = process.communicate(timeout=90)
    assert process.returncode == 0, err[-3000:]
    return json.loads(out.strip().splitlines()[-1])


@pytest.fixture(scope="session")
def as_client() -> Callable[..., Any]:
    """Run a script as an account of a lake: ``as_client(lake, "analyst", script, *arguments)``."""
    return lambda *arguments: result_of(start_client(*arguments))
