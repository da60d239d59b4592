"""Real services for the tests: each lake is brought up once a session and taken down after it."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from lake_clients import LAKE_PYTHON, result_of, start_client
from testbed import lake as launcher
from testbed import postgres
from testbed import xrootd as sites
from testbed.errors import TestbedError
from testbed.lake import Lake
from testbed.xrootd import Site, install


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
def installed() -> None:
    """Skip where XRootD's servers are not there, or cannot run."""
    try:
        install.folder()
        install.unprivileged()
    except TestbedError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def site(services_folder: Path, installed: None) -> Iterator[Site]:
    """A site of XRootD servers; a test that stops one starts it again."""
    try:
        yield sites.up(services_folder / "site")
    finally:
        sites.down(services_folder / "site", delete=True)


@pytest.fixture(scope="session")
def lake(services_folder: Path) -> Iterator[Lake]:
    """A lake on SQLite."""
    try:
        yield launcher.up(services_folder / "sqlite")
    finally:
        launcher.down(services_folder / "sqlite", delete=True)


@pytest.fixture(scope="session")
def postgresql_lake(services_folder: Path) -> Iterator[Lake]:
    """A lake on PostgreSQL, where that is installed."""
    try:
        postgres._binaries(services_folder)
    except TestbedError as error:
        pytest.skip(str(error))
    try:
        yield launcher.up(services_folder / "postgresql", database="postgresql")
    finally:
        launcher.down(services_folder / "postgresql", delete=True)


@pytest.fixture(scope="session")
def as_client() -> Callable[..., Any]:
    """Run a script as an account of a lake: ``as_client(lake, "analyst", script, *arguments)``."""
    return lambda *arguments: result_of(start_client(*arguments))
