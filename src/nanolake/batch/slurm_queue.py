"""What Slurm holds of the jobs of this folder, and their removal.

Slurm's plugin gives each job a comment that begins with `rule_`, and the folder as its own.
"""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

from nanolake.errors import CredentialError, NanolakeError


def _call(*command: str) -> str:
    """What a command of Slurm prints.

    Raises:
        NanolakeError: It fails, or there is no Slurm.
    """
    try:
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        said = getattr(error, "stderr", "") or str(error)
        remedy = "see that the controller answers: scontrol ping"
        raise NanolakeError(f"{command[0]}: {said.strip()}\n  remedy:  {remedy}") from error


def require_secrecy() -> None:
    """No secret may be in the environment, which `sbatch` copies into Slurm's records.

    Raises:
        CredentialError: One is.
    """
    if os.environ.get("BEARER_TOKEN"):
        problem = "Slurm would keep its value in the records of every job"
        remedy = "put it into a file, name that in BEARER_TOKEN_FILE, and unset BEARER_TOKEN"
        raise CredentialError("token in BEARER_TOKEN", problem, remedy)


def queue(folder: Path) -> list[str]:
    """Ask the queue for the jobs of a folder: their numbers.

    Raises:
        NanolakeError: It does not answer.
    """
    lines = _call("squeue", "--me", "--noheader", "--format=%i|%Z|%k").splitlines()
    rows = [line.split("|", 2) for line in lines]
    here = str(folder.resolve())
    return [job for job, place, comment in rows if place == here and comment.startswith("rule_")]


def remove(folder: Path, *, seconds: float = 120) -> int:
    """Cancel the jobs of a folder, and wait until they are gone.

    For a run that has ended: Snakemake would run a second copy of them.

    Args:
        folder: Where the run was started.
        seconds: How long it may take.

    Returns:
        How many there were.

    Raises:
        NanolakeError: The queue does not answer, or still holds them.
    """
    jobs = queue(folder)
    if not jobs:
        return 0
    _call("scancel", *jobs)
    deadline = time.monotonic() + seconds
    while left := queue(folder):
        if time.monotonic() > deadline:
            problem = f"jobs {' '.join(left)} do not leave the queue"
            raise NanolakeError(f"{problem}\n  remedy:  see that their nodes are up: sinfo")
        time.sleep(1)
    return len(jobs)
