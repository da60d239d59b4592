"""What a job of a batch system runs: its own Snakemake, and what has to be around it.

python -m nanolake.batch.job PYTHON -m snakemake ...
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence

from nanolake import causes
from nanolake.batch import luggage


def run(command: Sequence[str]) -> int:
    """Run the command of a job to its end; a SIGTERM of the batch system ends all of it.

    Returns:
        The exit status of the job, which says the cause of a failure: see `causes`.
    """
    # In memory: that a disk is full must be told, too.
    note = os.memfd_create("cause")
    told = {causes.VARIABLE: f"/proc/{os.getpid()}/fd/{note}"}
    process = subprocess.Popen(command, env=os.environ | told, start_new_session=True)
    stopped = []

    def stop(number: int, _: object) -> None:
        # All at once: Snakemake would wait for its step, or remove outputs that by then another
        # copy of this job, on another host, has made.
        stopped.append(number)
        os.killpg(process.pid, signal.SIGKILL)

    signal.signal(signal.SIGTERM, stop)
    status = process.wait()
    if status == 0:
        return 0
    cause = "host" if stopped else _cause(os.pread(note, 100, 0).decode(), status)
    print(f"cause: {cause or 'not told'}, status {status} of Snakemake", file=sys.stderr)
    return causes.STATUS[cause] if cause else abs(status)


def _cause(told: str, status: int) -> str:
    """The cause that the step has told, or what is known if it could not."""
    if not told and causes.is_full(os.environ.get("TMPDIR", "/tmp")):
        return "disk"
    return told or causes.of_status(status) or ""


if __name__ == "__main__":
    sys.exit(run(luggage.unpack(sys.argv[1:], os.environ)))
