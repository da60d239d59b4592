"""Scripts that are clients of a lake, each in a process of its own, as Rucio's client demands."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

from testbed.lake import Lake

_OWN = Path(__file__).parents[2] / ".venv-lake/bin/python"
LAKE_PYTHON = Path(os.environ.get("TESTBED_LAKE_PYTHON", _OWN))

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
