"""What a run says of itself: units, jobs, events a second; and who reads it."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path

import pytest

from nanolake.batch import condor, coordinator, state, view
from nanolake.batch.condor_events import Events
from nanolake.batch.state import Status
from nanolake.batch.watch import Rate, Watch, interval
from nanolake.errors import NanolakeError

# As a schedd writes it.
LOG = """\
000 (007.000.000) 2026-11-25 12:00:00 Job submitted from host: <127.0.0.1:9618?addrs=127.0.0.1-9618>
...
000 (008.000.000) 2026-11-25 12:00:01 Job submitted from host: <127.0.0.1:9618?addrs=127.0.0.1-9618>
...
001 (007.000.000) 2026-11-25 12:00:02 Job executing on host: <127.0.0.1:9618?addrs=127.0.0.1-9618>
...
012 (008.000.000) 2026-11-25 12:00:03 Job was held.
\tvia condor_hold (by user analyst)
\tCode 1 Subcode 0
...
"""
ENDED = """\
005 (007.000.000) 2026-11-25 12:00:09 Job terminated.
\t(1) Normal termination (return value 0)
\t\tUsr 0 00:00:00, Sys 0 00:00:00  -  Run Remote Usage
\t\tUsr 0 00:00:00, Sys 0 00:00:00  -  Run Local Usage
\t\tUsr 0 00:00:00, Sys 0 00:00:00  -  Total Remote Usage
\t\tUsr 0 00:00:00, Sys 0 00:00:00  -  Total Local Usage
\t0  -  Run Bytes Sent By Job
\t0  -  Run Bytes Received By Job
\t0  -  Total Bytes Sent By Job
\t0  -  Total Bytes Received By Job
...
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def log(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    pytest.importorskip("htcondor2", reason="no bindings of HTCondor on this machine")
    monkeypatch.setenv("CONDOR_CONFIG", os.devnull)
    return folder / "events.log"


def unit(path: Path, *, events: int, seconds: float, ago: float = 0) -> str:
    started = time.time() - ago - seconds
    content = {"started": started, "wall_seconds": seconds, "read": events}
    path.write_text(json.dumps(content))
    return str(path)


def test_the_rate_counts_events_of_units_that_ended_over_the_time_they_took_together() -> None:
    rate = Rate()
    assert rate.at(0) == 0
    rate.add(1100, 1000, 100)  # both ran from 1000 to 1100
    rate.add(1100, 3000, 100)
    assert rate.at(1100) == 4000 / 100
    assert rate.at(1200) == 4000 / 200
    assert rate.at(1401) == 0  # more than five minutes ago
    rate.add(3000, 8000, 1000)  # a long unit looks further back
    assert rate.at(3000) == 8000 / 2000


def test_states_of_jobs_come_from_what_was_added_to_the_event_log(log: Path) -> None:
    events = Events(log)
    events.update()
    assert events.jobs == {}
    log.write_text(LOG)
    events.update()
    assert events.jobs == {"running": 1, "held": 1}
    assert events.held == ["job 8: via condor_hold (by user analyst)"]
    with log.open("a") as stream:
        stream.write(ENDED)
    events.update()
    assert events.jobs == {"held": 1}
    events.forget()
    assert events.jobs == {} and events.held == [] and events.news() == []


HELD = "HTCondor job 8 is held: via condor_hold (by user analyst)"
RELEASED = """\
013 (008.000.000) 2026-11-25 12:00:04 Job was released.
\tvia condor_release (by user analyst)
...
"""


def test_a_hold_is_said_once_and_also_where_it_is_over_when_somebody_looks(log: Path) -> None:
    said: list[str] = []
    watch = Watch(said.append, every=0, queue=log)
    watch.start()
    log.write_text(LOG + RELEASED)
    watch.end()
    assert said == [HELD]
    assert (status := state.load()) and status.jobs == {"running": 1, "idle": 1}


def test_a_job_that_was_removed_is_explained_by_its_last_hold(log: Path) -> None:
    log.write_text(LOG.replace("via condor_hold (by user analyst)", "cause: time"))
    removed = logging.LogRecord("plugin", logging.INFO, "", 0, "Error in rule skim", None, None)
    said = "Job 3 with HTCondor Cluster ID 8 was removed/aborted."
    vars(removed)["rule_msg"] = said
    assert condor.Watch(log).filter(removed)
    explained = vars(removed)["rule_msg"]
    assert explained.startswith(f"{said}\n    it was held: cause: time\n    remedy: make units")


def test_a_watch_counts_units_and_names_the_log_of_what_failed(folder: Path) -> None:
    said: list[str] = []
    watch = Watch(said.append, every=10, log="run.log")
    watch.start()
    watch.plan(4, 3)
    for number in range(3):
        ledger = unit(folder / f"{number}.json", events=10**6, seconds=10)
        name, log = f"skim a/b/{number}", f"logs/{number}.log"
        watch.begin(number, name, here=number < 2, log=log, ledgers=[ledger])
    watch.finish(0)
    watch.fail(1)
    watch.end(False)
    status = state.load()
    assert status and status.done == 2 and status.units == 4
    assert status.jobs == {"running": 0, "submitted": 1}
    assert status.failed == {"skim a/b/1": "logs/1.log"}
    assert status.rate == pytest.approx(1e5, rel=0.1)
    assert status.well is False and status.ended
    assert said[-1] == f"progress: {status.line()}"
    assert "units 2 of 4; jobs: 1 submitted; 1 failed (log: logs/1.log)" in said[-1]
    assert state.STATUS.stat().st_mode & 0o777 == 0o600


def test_a_job_that_is_tried_again_has_not_failed() -> None:
    watch = Watch(print, every=0)
    for _ in range(2):
        watch.begin(1, "skim a/b/0", here=True, log="x", ledgers=[])
        watch.fail(1)
    assert watch.status.failed == {"skim a/b/0": "x"}
    watch.begin(1, "skim a/b/0", here=True, log="x", ledgers=[])
    assert not watch.status.failed


def test_units_of_a_pack_that_runs_are_counted_once(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nanolake.batch.watch._SELDOM", 0)
    old = folder / "0.json"
    unit(old, events=10**6, seconds=10, ago=60)
    os.utime(old, (1, 1))  # of an earlier run
    watch = Watch(print, every=0)
    watch.plan(3, 3)
    ledgers = [str(folder / f"{number}.json") for number in range(3)]
    watch.begin(7, "skim_pack a/0000-0002", here=True, log="x", ledgers=ledgers)
    unit(folder / "1.json", events=10**6, seconds=0)
    watch._look()
    assert watch.status.done == 1
    watch.fail(7)
    watch.plan(3, 3)  # the DAG has grown elsewhere
    watch.begin(7, "skim_pack a/0000-0002", here=True, log="x", ledgers=ledgers)
    watch._look()
    assert watch.status.done == 1
    unit(folder / "2.json", events=10**6, seconds=0)
    watch.finish(7)
    watch._look()
    assert watch.status.done == 3
    assert watch.status.rate == 2e6  # that of the old one is none of this run


def test_the_interval_is_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    assert interval() == 10
    monkeypatch.setenv("NANOLAKE_PROGRESS", "often")
    with pytest.raises(NanolakeError, match="NANOLAKE_PROGRESS"):
        interval()


def test_a_line_names_three_logs_at_most() -> None:
    failed = {f"skim {n}": f"{n}.log" for n in range(5)}
    line = Status({}, 0.0, failed=failed).line()
    assert line == "no units planned yet; 5 failed (log: 0.log, 1.log, 2.log, and 2 more)"


def test_a_pid_used_again_is_not_the_process_that_was_meant() -> None:
    known = state.identity(os.getpid())
    assert state.process(known)
    assert state.process({**known, "created": known["created"] - 60}) is None
    assert state.process(None) is None


def test_nothing_runs_where_nothing_ran(capsys: pytest.CaptureFixture[str]) -> None:
    assert view.status() == view.follow() == view.NOTHING == 3
    assert "there was none" in capsys.readouterr().out
    assert list(coordinator.stop()) == ["no run is at work here"]


@pytest.mark.parametrize(
    ("well", "ended", "code", "text"),
    [(True, 2.0, 3, "ended well"), (False, 2.0, 1, "failed"), (None, None, 1, "was killed")],
)
def test_how_the_last_run_ended(
    well: bool | None, ended: float | None, code: int, text: str,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    gone = subprocess.Popen([sys.executable, "-c", ""])
    known = state.identity(gone.pid)
    gone.wait()
    state.write(state.STATUS, asdict(Status(known, 1.0, well=well, ended=ended)))
    assert view.status() == code
    assert text in capsys.readouterr().out


def test_the_cause_is_our_error_or_the_last_line(folder: Path) -> None:
    log = folder / "unit.log"
    assert view.cause(log) == ""
    log.write_text("reading\nerror: x: it is short\n  remedy:  copy it\ncause: input\n")
    assert view.cause(log) == "error: x: it is short; cause: input"
    log.write_text("Traceback\nKeyError: 'x'\n\n")
    assert view.cause(log) == "KeyError: 'x'"
