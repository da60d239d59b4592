"""The files in which a run leaves word of itself, and the processes that they name.

.snakemake/nanolake/status.json        of every run: how far it is; see `Status`
.snakemake/nanolake/coordinator.json   of one that was submitted: who runs it, how it ended
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

FOLDER = Path(".snakemake/nanolake")
STATUS = FOLDER / "status.json"
COORDINATOR = FOLDER / "coordinator.json"

_SAME = 2.0  # seconds by which the start of one process may seem to differ: clocks are set
_NAMED = 3  # logs of failed jobs in a line
_STATES = ("running", "idle", "submitted", "suspended", "held")


@dataclass
class Status:
    """How far a run is.

    Attributes:
        process: Its Snakemake; see `identity`.
        began: When, in seconds since the epoch.
        log: Where Snakemake keeps what it said.
        queue: The event log of the batch system, where there is one.
        engine: What runs its jobs: local, htcondor, slurm, as Snakemake has it; or dask.
        done: Units whose events and ledger are there.
        units: All units; 0 as long as no plan is made.
        jobs: How many jobs are running, idle, held, ...
        held: Why jobs are held.
        failed: Name to log of every job that failed, the last time that it ran.
        rate: Events per second; see `watch.Rate`.
        ended: When it ended; None while it works.
        well: Whether Snakemake was content at the end; None if it did not come to say so.
    """

    process: Mapping[str, float]
    began: float
    log: str = ""
    queue: str = ""
    engine: str = ""
    done: int = 0
    units: int = 0
    jobs: dict[str, int] = field(default_factory=dict)
    held: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    rate: float = 0.0
    ended: float | None = None
    well: bool | None = None

    def line(self) -> str:
        """Say it in one line."""
        units = f"units {self.done} of {self.units}" if self.units else "no units planned yet"
        jobs = [f"{self.jobs[what]} {what}" for what in _STATES if self.jobs.get(what)]
        parts = [units, f"jobs: {', '.join(jobs)}" if jobs else ""]
        if self.failed:
            logs = [log for log in self.failed.values() if log]
            more = f", and {len(logs) - _NAMED} more" if len(logs) > _NAMED else ""
            where = f" (log: {', '.join(logs[:_NAMED])}{more})" if logs else ""
            parts.append(f"{len(self.failed)} failed{where}")
        parts += [f"{_short(self.rate)} events/s" if self.rate else ""]
        return "; ".join(filter(None, parts))


def _short(number: float) -> str:
    """Write a number with three digits."""
    for unit, name in ((1e6, " M"), (1e3, " k")):
        if number >= unit:
            return f"{number / unit:.3g}{name}"
    return f"{number:.3g}"


def write(path: Path, content: Mapping[str, Any]) -> None:
    """Write one of the files in one step, for its owner alone: names may be embargoed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, part = tempfile.mkstemp(dir=path.parent, prefix=path.name)
    with os.fdopen(descriptor, "w") as stream:
        json.dump(content, stream, indent=1)
    os.replace(part, path)


def read(path: Path) -> dict[str, Any] | None:
    """Read one of the files, if it is there."""
    try:
        content: dict[str, Any] = json.loads(path.read_text())
    except FileNotFoundError:
        return None
    return content


def load() -> Status | None:
    """Read the status of the last run of this folder, if there was one."""
    content = read(STATUS)
    return Status(**content) if content else None


def identity(pid: int) -> dict[str, float]:
    """Give pid and start of a process: pids are used again."""
    return {"pid": pid, "created": psutil.Process(pid).create_time()}


def process(known: Mapping[str, float] | None) -> psutil.Process | None:
    """Find a process by its identity, if it lives."""
    if not known:
        return None
    try:
        found = psutil.Process(int(known["pid"]))
        same = abs(found.create_time() - known["created"]) < _SAME
        return found if same and found.status() != psutil.STATUS_ZOMBIE else None
    except psutil.NoSuchProcess:
        return None
