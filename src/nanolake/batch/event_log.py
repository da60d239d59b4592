"""The log in which HTCondor tells Snakemake's plugin what becomes of its jobs: one a run.

The plugin reads it from its beginning. In that of an earlier run it would find the ends of other
jobs, with the same numbers if the pool is a new one; and where such a log is already there when
Snakemake starts, the plugin may look at it too early, and then never again.
"""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path

from nanolake.errors import NanolakeError

NAME = "snakemake-rules.log"  # the plugin's word for it
_READER = "(_wait_thread)"  # the end of the name of the thread that reads it


def put_away(folder: Path) -> None:
    """Give the log of a run that is over another name.

    Args:
        folder: `htcondor-jobdir` of the profile.
    """
    log = folder / NAME
    if log.exists():
        log.replace(log.with_name(f"{log.stem}-{log.stat().st_mtime_ns // 10**6}.log"))


def start_over_without_reader(folder: Path) -> None:
    """See that somebody reads the log of the run that has just begun.

    Where nobody does, the log of an earlier run, which was killed, has kept the plugin from
    starting, and this run would wait for its jobs for ever. That log is put away, and this process
    begins anew, with the same arguments. The caller has submitted and started nothing.

    Args:
        folder: `htcondor-jobdir` of the profile.

    Raises:
        NanolakeError: Nobody reads it, for another reason.
    """
    if any(thread.name.endswith(_READER) for thread in threading.enumerate()):
        return
    if not (folder / NAME).exists():
        raise NanolakeError("HTCondor's plugin has ended\n  remedy:  see what it said above")
    put_away(folder)
    os.execv(sys.executable, sys.orig_argv)
