"""An analysis in a notebook: the same plan, units and results as a batch run, over Dask.

analysis.py   what a notebook holds: prepare, run, look, publish
units.py      what a worker runs: one unit, in a process of its own
tasks.py      who gives units to workers, and what happens when one fails
cluster.py    workers: on this machine, as jobs of HTCondor, as jobs of Slurm

All that is not a unit is done by Snakemake, by the rules of a batch run.
"""

from __future__ import annotations

import os
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[3]  # where the Snakefile is


def working_folder(folder: str | os.PathLike[str] | None = None) -> Path:
    """Where runs of a notebook work: as said, as NANOLAKE_FOLDER says, or in the project."""
    return Path(folder or os.environ.get("NANOLAKE_FOLDER") or PROJECT).resolve()
