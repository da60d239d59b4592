"""Causes of failures: what kind each is, which decides whether it helps to run a job again.

They are the same for every batch system. A step that fails ends its log with `cause: ...`, has an
exit status that says it, and tells whoever started the job, in the file named by NANOLAKE_CAUSE, as
Snakemake between the two knows no other status than 1; `batch.job` makes it the job's again:

| cause | exit status | what it is | run again? |
|---|---|---|---|
| memory | 137 | more than there was, or a process killed by signal 9 | with more |
| disk | 73 | the scratch space is full | a while later, with more |
| storage | 75 | no replica of an input can be reached | a while later |
| time | 124 | longer than a job may take: the batch system stops it | once, with more |
| host | 143 | evicted, or its host was lost | as often as the batch system does it |
| credential | 77 | missing, expired, refused; the same for all other jobs | no, and the run stops |
| input | 65 | a file cannot be trusted | no |
| bug | 70 | anything else that a step says | no |

Any other exit status is that of Snakemake itself, and nobody has said a cause.
"""

from __future__ import annotations

import errno
import os
import shutil
import signal
from collections.abc import Iterable
from pathlib import Path

from nanolake.errors import NanolakeError

STATUS = {
    "memory": 137,
    "disk": 73,
    "storage": 75,
    "time": 124,
    "host": 143,
    "credential": 77,
    "input": 65,
    "bug": 70,
}
VARIABLE = "NANOLAKE_CAUSE"
_FULL = (errno.ENOSPC, errno.EDQUOT)


def of(error: BaseException) -> str:
    """The cause of a failure: a key of STATUS."""
    if isinstance(error, NanolakeError):
        return error.cause
    if isinstance(error, MemoryError):
        return "memory"
    if isinstance(error, OSError) and error.errno in _FULL:
        return "disk"
    return "bug"


def of_status(status: int) -> str | None:
    """The cause that an exit status stands for, if it does for one; -9 is signal 9."""
    if status == -signal.SIGKILL:
        return "memory"
    return next((cause for cause, number in STATUS.items() if number == status), None)


def of_several(found: Iterable[str | None]) -> str:
    """The cause of a failure that has several: the one against which least can be done."""
    order = ("credential", "bug", "input", "host", "time", "memory", "disk", "storage")
    return min((cause or "bug" for cause in found), key=order.index, default="bug")


def of_log(path: str | os.PathLike[str]) -> str | None:
    """The cause that a log ends with: that of the last time that its job failed."""
    try:
        last = Path(path).read_text(errors="replace").rstrip().rpartition("\n")[2]
    except OSError:
        return None
    word = last.removeprefix("cause: ")
    return word if word != last and word in STATUS else None


def is_final(cause: str | None) -> bool:
    """Whether a job that failed by it would fail again."""
    return cause in ("credential", "input", "bug")


def tell(cause: str) -> None:
    """Tell the batch system's side of a job, if there is one."""
    if path := os.environ.get(VARIABLE):
        Path(path).write_text(cause)


def is_full(folder: str | os.PathLike[str]) -> bool:
    """Whether nothing more can be written there: less than 1 MB is free."""
    return shutil.disk_usage(folder).free < 1_000_000
