"""What Snakemake says of jobs of a pool of HTCondor, made plain: causes and remedies."""

from __future__ import annotations

import logging
import re

from nanolake import causes

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
    - That a job is held is said once, and not every time somebody looks.
    - Below a job that failed stands why it was held, or what its exit status means, and the remedy.
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
            vars(record)["rule_msg"] = f"{message}{self._why(ended[1], ended[2])}"
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
