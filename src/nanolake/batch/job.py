"""What a job of a batch system runs: its own Snakemake, and what has to be around it.

python -m nanolake.batch.job PYTHON -m snakemake ...
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence

from nanolake.batch import luggage


def run(command: Sequence[str]) -> int:
    """Run the command of a job to its end; a SIGTERM of the batch system is passed on to it.

    Returns:
        The exit status of the job.
    """
    process = subprocess.Popen(command)
    signal.signal(signal.SIGTERM, lambda number, _: process.send_signal(number))
    status = process.wait()
    return status if status >= 0 else 128 - status


if __name__ == "__main__":
    sys.exit(run(luggage.unpack(sys.argv[1:], os.environ)))
