"""Logs of jobs: everything a job prints, ROOT's C++ messages too, goes into its log file."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

from nanolake import redact
from nanolake.errors import NanolakeError


@contextmanager
def logged(path: str) -> Iterator[None]:
    """Send both output streams of this process to a file while the block runs.

    An error of ours is written as its message alone, any other with its traceback; both end the
    process with status 1.
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
        print(f"error: {error}", file=sys.stderr, flush=True)
        os._exit(1)
    except Exception:
        # A library's error may quote what it was given.
        print(redact.secrets(traceback.format_exc()), file=sys.stderr, flush=True)
        os._exit(1)
