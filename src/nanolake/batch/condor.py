"""What Snakemake says of jobs of a pool of HTCondor, made plain: causes and remedies."""

from __future__ import annotations

import logging
import re
from pathlib import Path

from nanolake import causes
from nanolake.batch import condor_events

REMEDIES = {
    "memory": "its requests were raised as often as the profile says: ask for more, for instance"
    " --set-resources skim:htcondor_request_mem_mb=8000",
    "disk": "ask for more scratch space (htcondor_request_disk_mb), or read the inputs from their"
    " storage (--config access=stream)",
    "time": "make units smaller, or give them longer: pool.minutes of the configuration",
    "storage": "see that the storage is up, then run again: what is done stays done",
    "credential": "renew the credential, then run again: what is done stays done",
    "input": "see the log of the job: it names the file and the remedy",
    "bug": "see the log of the job",
    "host": "run again",
}


class Watch(logging.Filter):
    """Reads what Snakemake and its plug-in say of jobs, before it is printed.

    - What the profile gives to all jobs (`classad_`) is not printed with each of them.
    - That a job is held is not printed every time the plug-in looks: the watch of the run says it
      once, also where it is released before anybody looks.
    - Below a job that failed stands why it was held, or what its exit status means, and the remedy.

    Args:
        log: The event log of the pool.
    """

    _HELD = re.compile(r"Job \S+ with HTCondor Cluster ID \d+ is held: ")
    _ENDED = re.compile(r"HTCondor Cluster ID (\d+) (?:\D+ ExitCode (\d+)|was removed)")
    _CAUSE = re.compile(r"cause: (\w+)")
    _FULL = re.compile(r"\(errno 28\)|Transfer input files.*/dir_\d+/")  # as the profile has it

    def __init__(self, log: Path = condor_events.LOG) -> None:
        super().__init__()
        self._log = log

    def filter(self, record: logging.LogRecord) -> bool:
        """See :class:`logging.Filter`."""
        if resources := getattr(record, "resources", None):
            shown = {k: v for k, v in resources.items() if not k.startswith("classad_")}
            vars(record)["resources"] = shown
        if self._HELD.match(record.getMessage()):
            return False
        message = getattr(record, "rule_msg", None) or ""
        if ended := self._ENDED.search(message):
            vars(record)["rule_msg"] = f"{message}{self._why(int(ended[1]), ended[2])}"
        return True

    def _why(self, cluster: int, status: str | None) -> str:
        """Lines about a job that failed with an exit status, or was removed as it was held."""
        if status is None:
            reason = condor_events.reasons(self._log).get(cluster, "")
            lines = [f"it was held: {reason}"] if reason else []
            cause = found[1] if (found := self._CAUSE.search(reason)) else None
            cause = "disk" if self._FULL.search(reason) else cause
        else:
            cause = causes.of_status(int(status))
            lines = [f"cause: {cause}"] if cause else []
        lines += [f"remedy: {REMEDIES[cause]}"] if cause else []
        return "".join(f"\n    {line}" for line in lines)
