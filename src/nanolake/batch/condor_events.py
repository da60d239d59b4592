"""What HTCondor says of the jobs of this folder, and their removal.

The event log that all jobs of the folder share says how each is: reading what was added to it asks
nobody. It also marks the jobs: `UserLog` in their ads is its path.
"""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path
from typing import Any

from nanolake.errors import NanolakeError

LOG = Path("logs/condor/snakemake-rules.log")

# What an event makes of a job; those not named here change nothing, and an empty one ends it.
_BECOMES = {
    "SUBMIT": "idle",
    "EXECUTE": "running",
    "JOB_EVICTED": "idle",
    "SHADOW_EXCEPTION": "idle",
    "JOB_RECONNECT_FAILED": "idle",
    "JOB_RELEASED": "idle",
    "JOB_UNSUSPENDED": "running",
    "JOB_SUSPENDED": "suspended",
    "JOB_HELD": "held",
    "JOB_TERMINATED": "",
    "JOB_ABORTED": "",
}


class Events:
    """The states of jobs, as their event log has them.

    Args:
        path: The log; it may not be there yet.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._log: Any = None
        self._states: dict[int, str] = {}
        self._news: list[str] = []
        self.reasons: dict[int, str] = {}  # why a job was held the last time

    def update(self) -> None:
        """Read what was added to the log."""
        if self._log is None:
            if not self.path.exists():
                return
            import htcondor2

            self._log = htcondor2.JobEventLog(str(self.path))
        for event in self._log.events(stop_after=0):
            self._take(event.type.name, event.cluster, str(event.get("HoldReason", "")))

    def _take(self, kind: str, cluster: int, reason: str) -> None:
        if kind not in _BECOMES:
            return
        if state := _BECOMES[kind]:
            self._states[cluster] = state
        else:
            self._states.pop(cluster, None)
        if state == "held":
            # It may quote all arguments of a job.
            short = reason if len(reason) < 400 else f"{reason[:200]} ... {reason[-200:]}"
            self.reasons[cluster] = short
            self._news.append(f"HTCondor job {cluster} is held: {short}")

    def forget(self) -> None:
        """Begin anew: what is in the log is of earlier runs."""
        self.update()
        for known in (self._states, self._news, self.reasons):
            known.clear()

    def news(self) -> list[str]:
        """Give a line for every hold since the last call, also of jobs that were released again."""
        found, self._news = self._news, []
        return found

    @property
    def jobs(self) -> dict[str, int]:
        """How many jobs are running, idle, held, ...: those in the queue."""
        return dict(Counter(self._states.values()))

    @property
    def held(self) -> list[str]:
        """Why jobs are held: job, reason."""
        held = sorted(cluster for cluster, state in self._states.items() if state == "held")
        return [f"job {cluster}: {self.reasons[cluster]}" for cluster in held]


def unfinished(log: Path) -> bool:
    """Say whether jobs are in the queue as far as their event log knows."""
    events = Events(log)
    events.update()
    return bool(events.jobs)


def reasons(log: Path) -> dict[int, str]:
    """Why jobs were held the last time: cluster id to reason, of those in an event log."""
    events = Events(log)
    events.update()
    return events.reasons


def _constraint(log: Path) -> str:
    return f'UserLog == "{log.resolve()}"'


def queue(log: Path) -> list[int]:
    """Ask the queue for the jobs of an event log: their cluster ids.

    Raises:
        NanolakeError: The queue does not answer.
    """
    import htcondor2

    try:
        ads = htcondor2.Schedd().query(constraint=_constraint(log), projection=["ClusterId"])
    except Exception as error:  # the bindings raise what they like
        remedy = "see that CONDOR_CONFIG names the pool and that its schedd runs: condor_q"
        raise NanolakeError(f"the queue does not answer: {error}\n  remedy:  {remedy}") from error
    return sorted(ad["ClusterId"] for ad in ads)


def remove(log: Path, *, seconds: float = 60) -> int:
    """Remove the jobs of an event log from the queue, and wait until they are gone.

    For a run that has ended: its jobs cannot be adopted, as Snakemake knows only those that it has
    submitted itself, and would run a second copy of them.

    Args:
        log: The event log.
        seconds: How long it may take.

    Returns:
        How many there were.

    Raises:
        NanolakeError: The queue does not answer, or still holds them.
    """
    import htcondor2

    jobs = queue(log)
    if not jobs:
        return 0
    why = "the run that waited for it has ended"
    htcondor2.Schedd().act(htcondor2.JobAction.Remove, _constraint(log), reason=why)
    deadline = time.monotonic() + seconds
    while left := queue(log):
        if time.monotonic() > deadline:
            names = " ".join(map(str, left))
            remedy = f"see that their hosts are dead, then condor_rm -forcex {names}"
            raise NanolakeError(f"jobs {names} do not leave the queue\n  remedy:  {remedy}")
        time.sleep(0.5)
    return len(jobs)
