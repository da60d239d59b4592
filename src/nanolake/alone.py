"""One run at a time in a folder."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from nanolake.errors import NanolakeError


def hold(folder: str | os.PathLike[str] = ".") -> int:
    """Let no other run work in this folder as long as this process lives.

    Snakemake's own lock outlives a run that was killed and must then be taken away by hand; this
    one ends with the process that holds it.

    Returns:
        A descriptor; who closes it holds the folder no longer.

    Raises:
        NanolakeError: Another run holds the folder.
    """
    lock = Path(folder, ".snakemake/nanolake.lock")
    lock.parent.mkdir(exist_ok=True)
    descriptor = os.open(lock, os.O_WRONLY | os.O_CREAT, 0o600)  # closed when the process ends
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        remedy = "wait for it to end, or work in another folder"
        message = f"another run is at work in {lock.parent.parent.absolute()}\n  remedy:  {remedy}"
        raise NanolakeError(message) from error
    return descriptor
