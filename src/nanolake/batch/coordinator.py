"""submit, status and stop: a run that outlives its terminal.

python -m nanolake.batch.coordinator ARGUMENTS    runs Snakemake and remembers how it ended
"""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import psutil

from nanolake.batch import condor_events, slurm_queue, state
from nanolake.batch.state import COORDINATOR, FOLDER, Status
from nanolake.errors import NanolakeError

LOG = Path("logs/coordinator.log")


class Run(NamedTuple):
    """The last run of this folder.

    Attributes:
        process: Its Snakemake or who waits for it; None if neither lives.
        submitted: Content of coordinator.json, if the run was submitted.
        status: How far it is; None if it has not begun to work.
    """

    process: psutil.Process | None
    submitted: dict[str, Any] | None
    status: Status | None

    @property
    def log(self) -> Path | None:
        """Where it says what it does."""
        said = self.submitted["log"] if self.submitted else self.status and self.status.log
        return Path(said) if said else None

    @property
    def code(self) -> int | None:
        """Its exit status, if it was submitted and has ended."""
        return self.submitted["status"] if self.submitted else None

    @property
    def well(self) -> bool:
        """Whether it is over and nothing was wrong."""
        if self.code is not None:
            return self.code == 0
        return bool(self.status and self.status.well)

    def outcome(self) -> str:
        """Say how it ended."""
        code, said = self.code, self.status and self.status.ended
        if (code is None and not said) or (code or 0) > 128:
            how = f"by signal {code - 128}" if code else "or its machine went down"
            return f"was killed {how}: `nanolake stop` removes the jobs that it left"
        if self.well:
            return "ended well"
        status = f" with status {code}" if code else ""
        return f"failed{status}: start it again and it goes on"


def last_run() -> Run | None:
    """Find the run of this folder that works, or the last one that did."""
    submitted, status = state.read(COORDINATOR), state.load()
    if submitted and status and status.process != submitted["snakemake"]:
        # Of two runs the later one; a submitted one has no status before its jobs are planned.
        if status.began > submitted["began"]:
            submitted = None
        else:
            status = None
    if not submitted and not status:
        return None
    found = [status.process] if status and not status.ended else []
    found += [submitted["snakemake"], submitted["process"]] if submitted else []
    return Run(next(filter(None, map(state.process, found)), None), submitted, status)


@contextmanager
def _alone() -> Iterator[None]:
    """Let one submission at a time look and start."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    with (FOLDER / "submit.lock").open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def submit(arguments: Sequence[str]) -> int:
    """Start Snakemake in a session of its own, which no terminal ends.

    Args:
        arguments: Of Snakemake.

    Returns:
        The process that waits for it.

    Raises:
        NanolakeError: Another run is at work in this folder, or it does not start.
    """
    with _alone():
        if (run := last_run()) and run.process:
            problem = f"another run is at work in {Path.cwd()}, process {run.process.pid}"
            raise NanolakeError(f"{problem}\n  remedy:  nanolake status --follow, nanolake stop")
        LOG.parent.mkdir(exist_ok=True)
        LOG.unlink(missing_ok=True)
        log = os.open(LOG, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        command = [sys.executable, "-m", "nanolake.batch.coordinator", *arguments]
        started = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )
        os.close(log)
        while (state.read(COORDINATOR) or {}).get("process", {}).get("pid") != started.pid:
            if started.poll() is not None:
                raise NanolakeError(f"it does not start\n  remedy:  read {LOG}")
            time.sleep(0.05)
    return started.pid


def coordinate(arguments: Sequence[str]) -> int:
    """Run Snakemake to its end, and remember how it ended.

    Returns:
        Its exit status; 128 and its number if a signal ended it.
    """
    # A shell lets what it runs in the background ignore it, and so would Snakemake.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    snakemake = subprocess.Popen([sys.executable, "-m", "snakemake", *arguments])
    for number in (signal.SIGINT, signal.SIGTERM):  # SIGTERM alone would let all jobs go on
        signal.signal(number, lambda *_: snakemake.send_signal(signal.SIGINT))
    known = {
        "process": state.identity(os.getpid()),
        "snakemake": state.identity(snakemake.pid),
        "arguments": list(arguments),
        "log": str(LOG),
        "began": time.time(),
    }
    state.write(COORDINATOR, known | {"status": None, "ended": None})
    status = snakemake.wait()
    status = status if status >= 0 else 128 - status
    state.write(COORDINATOR, known | {"status": status, "ended": time.time()})
    return status


def stop(*, seconds: float = 120) -> Iterator[str]:
    """End the run of this folder as Ctrl-C does, and leave none of its jobs in the queue.

    Args:
        seconds: How long it may take to end.

    Yields:
        What was done.

    Raises:
        NanolakeError: It does not end, or its jobs do not leave the queue.
    """
    run = last_run()
    if run and run.process:
        yield f"ending the run of process {run.process.pid}"
        _interrupt(run, seconds)
        yield "it has ended"
    else:
        yield "no run is at work here"
    if run and run.status and run.status.engine == "slurm":
        if removed := slurm_queue.remove(Path()):
            yield f"cancelled {removed} of its jobs"
        yield "the queue holds none of its jobs"
        return
    used = run.status.queue if run and run.status else ""
    log = Path(used) if used else condor_events.LOG
    # Who has no pool is not asked for one.
    if used or condor_events.unfinished(log):
        removed = condor_events.remove(log)
        if removed:
            yield f"removed {removed} of its jobs from the queue"
        yield "the queue holds none of its jobs"


def _interrupt(run: Run, seconds: float) -> None:
    """Send SIGINT to Snakemake and all that runs for it, and wait for its end."""
    known = [run.submitted["snakemake"], run.submitted["process"]] if run.submitted else []
    known += [run.status.process] if run.status else []
    if snakemake := state.process(known[0]):
        # As a terminal does; jobs in local processes would go on otherwise.
        for one in [snakemake, *snakemake.children(recursive=True)]:
            with suppress(psutil.NoSuchProcess):
                one.send_signal(signal.SIGINT)
    deadline = time.monotonic() + seconds
    while alive := [one for one in known if state.process(one)]:
        if time.monotonic() > deadline:
            pids = " ".join(str(one["pid"]) for one in alive)
            remedy = f"kill -9 {pids}, then nanolake stop again"
            problem = f"process {pids} has not ended in {seconds:.0f} s"
            raise NanolakeError(f"{problem}\n  remedy:  {remedy}")
        time.sleep(0.2)


if __name__ == "__main__":
    sys.exit(coordinate(sys.argv[1:]))
