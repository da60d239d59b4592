"""The coordinator's side of a pool of HTCondor: what an earlier one left, what is said of jobs.

Jobs know their folder (`Iwd`), and by `NanolakeRun` that they belong to a run of the workflow.
"""

from __future__ import annotations

import json
import logging
import os
import re
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

from nanolake import causes
from nanolake.errors import NanolakeError

_SECONDS = 600.0
_READER = "(_wait_thread)"  # the end of the name of the plug-in's thread
REMEDIES = {
    "memory": "its requests were raised as often as the profile says: ask for more, for instance"
    " --set-resources skim:htcondor_request_mem_mb=8000",
    "disk": "ask for more scratch space (htcondor_request_disk_mb), or read the inputs from their"
    " storage (--config access=stream)",
    "time": "make units smaller, or give them longer: --set-resources skim:classad_NanolakeSeconds",
    "storage": "see that the storage is up, then run again: what is done stays done",
    "credential": "renew the credential, then run again: what is done stays done",
    "input": "see the log of the job: it names the file and the remedy",
    "bug": "see the log of the job",
    "host": "run again",
}


def remove_leftovers(folder: str | os.PathLike[str] = ".", *, seconds: float = _SECONDS) -> int:
    """Remove the jobs of a run that is dead from the queue, and wait until none of them runs.

    The caller holds the folder (`alone.hold`), so that nobody waits for these jobs any more. They
    cannot be adopted: Snakemake knows only jobs that it has submitted itself, and would run a
    second copy of them.

    Args:
        folder: Where the run was started.
        seconds: How long it may take.

    Returns:
        How many jobs there were.

    Raises:
        NanolakeError: Some are still there.
    """
    import htcondor2  # type: ignore[import-untyped]  # installed with the plug-in only

    mine = f"NanolakeRun =!= undefined && Iwd == {json.dumps(str(Path(folder).absolute()))}"
    try:
        schedd = htcondor2.Schedd()
        left = _queue(schedd, mine)
    except htcondor2.HTCondorException as error:
        remedy = "see that CONDOR_CONFIG names the pool, and that condor_q answers"
        raise NanolakeError(
            f"the queue of the pool cannot be asked: {error}\n  remedy:  {remedy}"
        ) from error
    if not left:
        return 0
    schedd.act(htcondor2.JobAction.Remove, mine, reason="the run that waited for it is dead")
    deadline = time.monotonic() + seconds
    while still := _queue(schedd, mine):
        if time.monotonic() > deadline:
            names = " ".join(still)
            raise NanolakeError(
                f"jobs of an earlier run do not end: {names}\n"
                f"  remedy:  see that their hosts are dead, then condor_rm -forcex {names}"
            )
        time.sleep(0.5)
    return len(left)


def _queue(schedd: Any, constraint: str) -> list[str]:
    found = schedd.query(constraint=constraint, projection=["ClusterId", "ProcId"])
    return [f"{job['ClusterId']}.{job['ProcId']}" for job in found]


def start_over_without_reader(folder: Path) -> None:
    """See that somebody reads the log in which HTCondor says what becomes of the jobs of this run.

    Where the log of an earlier run is there already, the plug-in may look at it before it is ready
    to, and then never again: the run would wait for its jobs for ever. That log gets another name,
    and this process begins anew, with the same arguments. The caller holds the working folder, and
    has submitted nothing.

    Args:
        folder: `htcondor-jobdir` of the profile.

    Raises:
        NanolakeError: Nobody reads it, for another reason.
    """
    if any(thread.name.endswith(_READER) for thread in threading.enumerate()):
        return
    log = folder / "snakemake-rules.log"  # the plug-in's word for it
    if not log.exists():
        raise NanolakeError("the plug-in for HTCondor has ended\n  remedy:  see what it said above")
    log.replace(log.with_name(f"{log.stem}-{log.stat().st_mtime_ns // 10**6}.log"))
    os.execv(sys.executable, sys.orig_argv)


class Watch(logging.Filter):
    """Reads what Snakemake and its plug-in say of jobs, before it is printed.

    - What the profile gives to all jobs (`classad_`) is not printed with each of them.
    - That a job is held is said once, and not every time somebody looks.
    - Below a job that failed stands why it was held, or what its exit status means, and the remedy.
    - A job whose credential is not good enough stops the run, as Ctrl-C does: with the same
      credential all others would fail, too, one by one.
    """

    _HELD = re.compile(r"(Job \S+ with HTCondor Cluster ID (\d+) is held: .*?)\.? Will fail in")
    _ENDED = re.compile(r"HTCondor Cluster ID (\d+) (?:\D+ ExitCode (\d+)|was removed)")
    _CAUSE = re.compile(r"cause: (\w+)")

    def __init__(self) -> None:
        super().__init__()
        self._held: dict[str, str] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """See :class:`logging.Filter`."""
        if resources := getattr(record, "resources", None):
            shown = {k: v for k, v in resources.items() if not k.startswith("classad_")}
            vars(record)["resources"] = shown
        if held := self._HELD.match(record.getMessage()):
            # A reason may quote all arguments of a job.
            line = held[1] if len(held[1]) < 400 else f"{held[1][:200]} ... {held[1][-200:]}"
            record.msg, record.args = line, ()
            known, self._held[held[2]] = self._held.get(held[2]), line
            return known != line
        message = getattr(record, "rule_msg", None) or ""
        if ended := self._ENDED.search(message):
            why = self._why(ended[1], ended[2])
            vars(record)["rule_msg"] = f"{message}{why}"
            if "cause: credential" in why:
                os.kill(os.getpid(), signal.SIGINT)
        return True

    def _why(self, cluster: str, status: str | None) -> str:
        """Lines about a job that failed with an exit status, or was removed as it was held."""
        if status is None:
            reason = self._held.get(cluster, "")
            lines = [reason] if reason else []
            cause = found[1] if (found := self._CAUSE.search(reason)) else None
        else:
            cause = causes.of_status(int(status))
            lines = [f"cause: {cause}"] if cause else []
        lines += [f"remedy: {REMEDIES[cause]}"] if cause else []
        return "".join(f"\n    {line}" for line in lines)
