"""Jobs of batch systems: the cause of a failure reaches whoever decides what becomes of the job."""

from __future__ import annotations

import errno
import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from nanolake import alone, causes, engine
from nanolake.batch import condor
from nanolake.errors import (
    BooksError,
    CredentialError,
    EmbargoError,
    EngineError,
    InputError,
    NanolakeError,
)

FILE = ("sample", "root://far/file", "it is damaged", "copy it again")


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (InputError(*FILE), "input"),
        (InputError(*FILE, cause="storage"), "storage"),
        (BooksError("two events are missing"), "input"),
        (CredentialError("token", "it is too old", "renew it"), "credential"),
        (EmbargoError("token", "everybody may read it", "close it"), "credential"),
        (EngineError("it crashed"), "bug"),
        (MemoryError(), "memory"),
        (OSError(errno.ENOSPC, "No space left on device"), "disk"),
        (OSError(errno.EACCES, "Permission denied"), "bug"),
        (KeyError("a bug"), "bug"),
    ],
)
def test_cause_of_an_error(error: Exception, cause: str) -> None:
    assert causes.of(error) == cause
    assert causes.of_status(causes.STATUS[cause]) == cause


def test_cause_of_several() -> None:
    assert causes.of_several(["storage", "storage"]) == "storage"
    assert causes.of_several(["storage", causes.of_status(-9)]) == "memory"
    assert causes.of_several(["storage", causes.of_status(1), "memory"]) == "bug"
    assert causes.of_several(["bug", "credential"]) == "credential"


@pytest.mark.parametrize(("number", "cause"), [("KILL", "memory"), ("SEGV", "bug")])
def test_engine_that_is_killed(tmp_path: Path, number: str, cause: str) -> None:
    program = tmp_path / "engine"
    program.write_text(f"#!/bin/sh\nkill -{number} $$\n")
    program.chmod(0o755)
    with pytest.raises(EngineError) as caught:
        engine.run(program, "skim", {})
    assert caught.value.cause == cause


STEP = """
import sys
from nanolake.errors import InputError
from nanolake.logs import logged
with logged(sys.argv[1]):
    raise {error}
"""
# Between a step and its job: a Snakemake, which knows no other status than 1.
BETWEEN = "import subprocess, sys; sys.exit(bool(subprocess.call(sys.argv[1:])))"


def job(*command: str) -> subprocess.Popen[str]:
    words = [sys.executable, "-m", "nanolake.batch.job", *command]
    return subprocess.Popen(words, stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize(
    ("error", "status", "cause"),
    [
        ("InputError('a', 'b', 'c', 'd', cause='storage')", 75, "storage"),
        ("RuntimeError('of a library')", 70, "bug"),
    ],
)
def test_step_job_and_log_say_the_cause(
    tmp_path: Path, error: str, status: int, cause: str
) -> None:
    step, log = STEP.format(error=error), tmp_path / "log"
    process = job(sys.executable, "-c", BETWEEN, sys.executable, "-c", step, str(log))
    _, said = process.communicate(timeout=60)
    assert (process.returncode, f"cause: {cause}" in said) == (status, True)
    assert log.read_text().endswith(f"cause: {cause}\n")


def test_status_of_a_job_that_says_nothing() -> None:
    for lines, status in (("exit 0", 0), ("exit 5", 5), ("kill -9 $$", 137)):
        assert job("sh", "-c", lines).wait(timeout=60) == status


def test_job_that_is_evicted_leaves_nothing_running(tmp_path: Path) -> None:
    stubborn = f"trap '' TERM; (trap '' TERM; sleep 60) & echo $! > {tmp_path}/pid; wait"
    process = job("sh", "-c", stubborn)
    pid = tmp_path / "pid"
    while not (pid.exists() and pid.read_text().endswith("\n")):
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=10) == causes.STATUS["host"]
    state = Path(f"/proc/{pid.read_text().strip()}/stat")
    assert not state.exists() or state.read_text().split()[2] == "Z"


def test_folder_is_held_by_one_process_until_it_dies(tmp_path: Path) -> None:
    hold = (
        f"from nanolake import alone; alone.hold({str(tmp_path)!r}); print(1, flush=True); input()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", hold], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout and other.stdout.readline() == b"1\n"
        with pytest.raises(NanolakeError, match=f"another run is at work in {tmp_path}"):
            alone.hold(tmp_path)
        other.kill()
    alone.hold(tmp_path)


def record(message: str, **more: object) -> logging.LogRecord:
    made = logging.LogRecord("plugin", logging.INFO, "", 0, message, None, None)
    vars(made).update(more)
    return made


def test_what_all_jobs_share_and_what_the_watch_says_is_not_printed() -> None:
    watch = condor.Watch()
    line = "Job 3 with HTCondor Cluster ID 7 is held: memory. Will fail in 60 minutes."
    assert not watch.filter(record(line))
    assert watch.filter(record("Job 3 is something else"))
    job = record("rule skim", resources={"mem_mb": 1000, "classad_PeriodicRemove": "long"})
    assert watch.filter(job) and vars(job)["resources"] == {"mem_mb": 1000}


def test_failure_is_explained() -> None:
    said = "Job 3 with HTCondor Cluster ID 7 completed but failed with ExitCode {}."
    watch = condor.Watch()
    unknown = record("Error in rule skim", rule_msg=said.format(1))
    storage = record("Error in rule skim", rule_msg=said.format(75))
    assert watch.filter(unknown) and watch.filter(storage)
    assert vars(unknown)["rule_msg"].endswith("ExitCode 1.")
    assert "cause: storage\n    remedy: see that the storage" in vars(storage)["rule_msg"]


def test_full_disk_is_seen() -> None:
    assert causes.is_full("/proc") and not causes.is_full(os.getcwd())


def test_run_begins_anew_where_nobody_reads_its_log(tmp_path: Path) -> None:
    (tmp_path / "snakemake-rules.log").write_text("of an earlier run")
    lines = f"""
from pathlib import Path
from nanolake.batch.event_log import start_over_without_reader
folder = Path({str(tmp_path)!r})
print(len(list(folder.iterdir())), (folder / "snakemake-rules.log").exists(), flush=True)
start_over_without_reader(folder)
"""
    done = subprocess.run([sys.executable, "-c", lines], capture_output=True, text=True)
    assert done.stdout == "1 True\n1 False\n" and "HTCondor's plugin has ended" in done.stderr


@pytest.mark.parametrize(
    ("text", "cause"),
    [("x\ncause: storage\n", "storage"), ("cause: storage\nmore\n", None), ("cause: odd", None)],
)
def test_cause_of_a_log(tmp_path: Path, text: str, cause: str | None) -> None:
    (tmp_path / "log").write_text(text)
    assert causes.of_log(tmp_path / "log") == cause
    assert causes.of_log(tmp_path / "none") is None
