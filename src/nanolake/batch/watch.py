"""Counts units, jobs and events while a run works; says so in a line, and in the status file."""

from __future__ import annotations

import json
import os
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

from nanolake.batch import state
from nanolake.batch.condor_events import Events
from nanolake.batch.state import Status
from nanolake.errors import NanolakeError

MARK = "progress: "  # begins every line
_LOOK = 2.0  # seconds between two looks, each of which writes the status
_AGAIN = 60.0  # seconds after which a line that says nothing new is said again
_SELDOM = 10.0  # seconds between two looks into packs that run
_WINDOW = 300.0  # seconds


def interval() -> float:
    """Seconds between two lines: NANOLAKE_PROGRESS, or 10; with 0 none is said.

    Raises:
        NanolakeError: It is no number.
    """
    given = os.environ.get("NANOLAKE_PROGRESS", "10")
    try:
        return float(given)
    except ValueError:
        problem = f"NANOLAKE_PROGRESS is {given!r}, not a number of seconds"
        raise NanolakeError(f"{problem}\n  remedy:  export NANOLAKE_PROGRESS=10") from None


class Rate:
    """Events per second of the whole pool: events of units that ended lately, over that time.

    Only what is done counts: what a running unit has read nobody knows before it ends. Lately is
    the last five minutes, or twice the longest unit if that is more, as units may end together;
    or the time since the first of them began if that is less.
    """

    def __init__(self) -> None:
        self._ended: list[tuple[float, int]] = []
        self._began: float | None = None
        self._longest = 0.0

    def add(self, ended: float, events: int, seconds: float) -> None:
        """Book a unit: when it ended, in seconds since the epoch; its events; how long it took."""
        self._ended.append((ended, events))
        self._began = min(self._began or ended, ended - seconds)
        self._longest = max(self._longest, seconds)

    def at(self, now: float) -> float:
        """Events per second."""
        if self._began is None:
            return 0.0
        window = max(_WINDOW, 2 * self._longest)
        self._ended = [one for one in self._ended if one[0] >= now - window]
        return sum(events for _, events in self._ended) / max(min(window, now - self._began), 1.0)


class _Job(NamedTuple):
    """A job that was handed over: its name, whether it runs here, its log, ledgers of its units."""

    name: str
    here: bool
    log: str
    ledgers: Sequence[str]


class Watch:
    """Watches a run, in a thread of its own.

    Args:
        say: Prints a line.
        every: Seconds between two lines; 0: none.
        log: Where Snakemake keeps what it says.
        queue: The event log of HTCondor, if jobs go there.
        engine: What runs its jobs; see `Status`.
        states: Says the states of the jobs that are not here, given how many there are.
    """

    def __init__(
        self,
        say: Callable[[str], None],
        *,
        every: float,
        log: str = "",
        queue: Path | None = None,
        engine: str = "local",
        states: Callable[[int], Mapping[str, int]] = lambda number: {"submitted": number},
    ) -> None:
        me = state.identity(os.getpid())
        self.status = Status(me, time.time(), log, str(queue or ""), engine)
        self._say, self._every = say, every
        self._lock, self._over = threading.Lock(), threading.Event()
        self._active: dict[int, _Job] = {}
        self._ledgers: deque[str] = deque()
        self._early: set[str] = set()  # of units that are done in packs that are not
        self._rate = Rate()
        self._events = Events(queue) if queue else None
        self._states = states
        self._looked = time.monotonic()
        self._said, self._when, self._alarms = "", time.monotonic(), 0
        self._thread = threading.Thread(target=self._work, daemon=True)

    def start(self) -> None:
        """Begin to look; jobs of earlier runs in the event log are none of this one."""
        if self._events:
            self._events.forget()
        self._look()
        self._thread.start()

    def plan(self, units: int, missing: int) -> None:
        """Take note of all units, and of those whose jobs are still to end."""
        with self._lock:
            self.status.units = units
            self.status.done = units - missing + len(self._early)

    def begin(
        self, number: int, name: str, *, here: bool, log: str, ledgers: Sequence[str]
    ) -> None:
        """Take note of a job that starts here or is handed to the batch system.

        Args:
            number: Of the job.
            name: Its name.
            here: Whether it runs beside Snakemake.
            log: Its log.
            ledgers: Ledgers of the units that it makes.
        """
        with self._lock:
            self.status.failed.pop(name, None)  # it is tried again
            self._active[number] = _Job(name, here, log, ledgers)

    def finish(self, number: int) -> None:
        """Take note of a job that is done."""
        with self._lock:
            if job := self._active.pop(number, None):
                self._book([path for path in job.ledgers if path not in self._early])
                self._early.difference_update(job.ledgers)

    def _book(self, ledgers: Sequence[str]) -> None:
        self._ledgers.extend(ledgers)
        self.status.done += len(ledgers)

    def fail(self, number: int) -> None:
        """Take note of a job that failed."""
        with self._lock:
            if job := self._active.pop(number, None):
                self.status.failed[job.name] = job.log

    def end(self, well: bool | None = None) -> None:
        """Say the last line, and whether Snakemake is content. Later calls change nothing."""
        works = self._thread.is_alive()
        self._over.set()
        if works:  # one that broke has said so, and is no reason for a run to fail
            self._thread.join()
            self.status.well, self.status.ended = well, time.time()
            self._look()
            self._tell(last=True)

    def _work(self) -> None:
        while not self._over.wait(_LOOK):
            self._look()
            self._tell()

    def _look(self) -> None:
        self._look_into_packs()
        self._read_ledgers()
        if self._events:
            self._events.update()
        with self._lock:
            here = sum(job.here for job in self._active.values())
            away = len(self._active) - here
        # Without the lock: whoever is asked may be slow.
        jobs = Counter(self._events.jobs if self._events else self._states(away))
        jobs.update(running=here)
        with self._lock:
            self.status.jobs = dict(jobs)
            self.status.held = self._events.held if self._events else []
            self.status.rate = round(self._rate.at(time.time()), 1)
            content = asdict(self.status)
        state.write(state.STATUS, content)

    def _look_into_packs(self) -> None:
        """Book units of packs that still run; seldom, as it asks the file system."""
        if time.monotonic() - self._looked < _SELDOM:
            return
        self._looked = time.monotonic()
        with self._lock:
            packs = {n: job.ledgers for n, job in self._active.items() if len(job.ledgers) > 1}
        for number, ledgers in packs.items():
            made = [path for path in ledgers if path not in self._early and self._is_new(path)]
            with self._lock:
                if number in self._active:
                    self._book(made)
                    self._early.update(made)

    def _is_new(self, path: str) -> bool:
        return os.path.exists(path) and os.path.getmtime(path) > self.status.began

    def _read_ledgers(self) -> None:
        while self._ledgers:
            path = Path(self._ledgers.popleft())
            try:
                ledger = json.loads(path.read_text())
            except FileNotFoundError:
                continue  # somebody was quick to delete it
            ended = ledger["started"] + ledger["wall_seconds"]
            if ended > self.status.began:  # a pack does not make anew what is there already
                self._rate.add(ended, ledger["read"], ledger["wall_seconds"])

    def _tell(self, *, last: bool = False) -> None:
        """Say what was held; and the line where it is time to, or something failed or is held."""
        for line in self._events.news() if self._events else []:
            self._say(line)
        if not self._every:
            return
        with self._lock:
            line, now = self.status.line(), time.monotonic()
            alarms = len(self.status.failed) + len(self.status.held)
        due = now - self._when >= (self._every if line != self._said else _AGAIN)
        if due or alarms > self._alarms or (last and line != self._said):
            self._say(MARK + line)
            self._said, self._when = line, now
        self._alarms = alarms
