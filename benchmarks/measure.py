"""Runs a command in a fresh process and says what it cost."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple


class Cost(NamedTuple):
    """CPU seconds (user + system, with all children), peak memory in MB, last line of output."""

    cpu: float
    rss: float
    answer: str


def run(command: Sequence[str], *, stdin: str = "", env: Mapping[str, str] | None = None) -> Cost:
    """Run a command to its end.

    Raises:
        RuntimeError: It failed; the end of its messages is in the error.
    """
    with tempfile.TemporaryDirectory() as scratch:
        given, out, err = (Path(scratch, name) for name in ("in", "out", "err"))
        given.write_text(stdin)
        with given.open() as i, out.open("w") as o, err.open("w") as e:
            # In a folder of its own: the tutorials write their plots where they stand.
            process = subprocess.Popen(
                command, stdin=i, stdout=o, stderr=e, cwd=scratch, env={**os.environ, **(env or {})}
            )
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise RuntimeError(f"{' '.join(command)}: {err.read_text()[-2000:]}")
        lines = out.read_text().strip().splitlines()
    # ru_maxrss is that of the largest process of the family, in kB.
    cpu = usage.ru_utime + usage.ru_stime
    return Cost(cpu, usage.ru_maxrss / 1024, lines[-1] if lines else "")
