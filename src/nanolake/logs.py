"""Logs of jobs: everything a job prints, ROOT's C++ messages too, goes into its log file."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

from nanolake import causes, redact
from nanolake.errors import NanolakeError


@contextmanager
def logged(path: str) -> Iterator[None]:
    """Send both output streams of this process to a file while the block runs.

    An error of ours is written as its message alone, any other with its traceback; then follows
    its cause, which is the exit status of the process, too: see `causes`.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    # The descriptors, not the Python objects: C++ and child processes know only those.
    log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)
    try:
        yield
    except NanolakeError as error:
        _end(f"error: {error}", causes.of(error))
    except Exception as error:
        # A library's error may quote what it was given.
        _end(redact.secrets(traceback.format_exc()), causes.of(error))


def _end(message: str, cause: str) -> NoReturn:
    print(message, f"cause: {cause}", sep="\n", file=sys.stderr, flush=True)
    causes.tell(cause)
    os._exit(causes.STATUS[cause])
