"""What a worker of Dask runs: one unit, in a process of its own.

`python -m nanolake.interactive.units` is that process. It takes the task as a line of JSON on its
standard input, and ends, with all that it has started, when the other end of that is closed: so a
unit never outlives its worker.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypedDict

from nanolake.logs import logged


class Task(TypedDict):
    """A unit and all that is needed to make it; paths are relative to `folder`.

    Attributes:
        folder: Working folder of the run.
        analysis: Name of the analysis.
        sample: Sample of the unit.
        unit: Its name.
        events: Path of its selected events.
        ledger: Path of its ledger.
        log: Path of its log.
        inputs: Paths of the engine, the plan, and of where the files are.
        credential: What storage asks for; `credential` of a lake's file.
        private: Whether what is made is for its owner alone.
        how: verify, scratch, accelerator, fingerprint: see `skim.run`.
    """

    folder: str
    analysis: str
    sample: str
    unit: str
    events: str
    ledger: str
    log: str
    inputs: list[str]
    credential: Mapping[str, Any] | None
    private: bool
    how: dict[str, Any]


def run(task: Task, wait: float = 0.0) -> int:
    """Make a unit.

    Args:
        task: What to do.
        wait: Seconds before it begins: storage that was down is not asked again at once.

    Returns:
        The exit status of its process, which says the cause of a failure: see `causes`.
    """
    time.sleep(wait)
    command = [sys.executable, "-m", "nanolake.interactive.units"]
    with subprocess.Popen(
        command, cwd=task["folder"], stdin=subprocess.PIPE, start_new_session=True
    ) as process:
        assert process.stdin
        process.stdin.write(json.dumps(task).encode() + b"\n")
        process.stdin.flush()
        return process.wait()


def _end_with_worker() -> None:
    """Wait until the worker closes its end, which it does not do while it waits for us."""
    os.read(0, 1)
    os.killpg(0, signal.SIGKILL)


def main() -> None:
    """Make the unit of the task on the standard input."""
    task: Task = json.loads(sys.stdin.buffer.readline())
    threading.Thread(target=_end_with_worker, daemon=True).start()
    if task["private"]:
        from nanolake import embargo

        os.umask(embargo.UMASK)
    Path(task["log"]).parent.mkdir(parents=True, exist_ok=True)
    with logged(task["log"]):
        from nanolake import credentials, skim

        credentials.show(task["credential"])
        places = (*task["inputs"], task["events"], task["ledger"])
        skim.run(*places, sample=task["sample"], unit=task["unit"], **task["how"])


if __name__ == "__main__":
    main()
