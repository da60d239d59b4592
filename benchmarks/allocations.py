"""Runs of the workflow on a cluster of Slurm: what packs were given, and what they made of it."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from campaigns import ROOT, SAMPLE, watched
from testbed.slurm import Cluster

# What the plug-in and the workflow ask Slurm with.
COMMANDS = ("sbatch", "squeue", "scancel", "scontrol", "sacct", "sacctmgr", "sinfo")
# Counts a call, then makes it.
_COUNTED = """\
#!/bin/sh
echo {name} >>{calls}
exec {real} "$@"
"""


class Allocation(NamedTuple):
    """A run: its packs together.

    Attributes:
        units: How many there were.
        packs: How many jobs ran them.
        calls: How often each command of Slurm was called, all jobs of the run included.
        allocated: Core-seconds that Slurm gave the packs.
        used: CPU seconds of all of their processes, as Slurm accounts them.
        work: CPU seconds of the units, by their ledgers.
        wall: Seconds of the run.
        coordinator: CPU seconds of the coordinating Snakemake.
    """

    units: int
    packs: int
    calls: dict[str, int]
    allocated: float
    used: float
    work: float
    wall: float
    coordinator: float


def run(
    cluster: Cluster, folder: Path, units: int, files: Path, *words: str, engine: str, pack: int
) -> Allocation:
    """Run the units of one sample of dimuon, and merge them.

    Args:
        cluster: The cluster.
        folder: Working folder; made, must not exist.
        units: Events of one.
        files: Folder of the input.
        words: More arguments of Snakemake.
        engine: compiled or jit.
        pack: Units of a pack; 0 as the profile has it.
    """
    folder.mkdir()
    for name in ("config", "profiles"):
        (folder / name).symlink_to(ROOT / name)
    (folder / "marconi100").symlink_to("profiles/marconi100")
    chosen = {
        "analyses": ["dimuon"],
        "lake": "local",
        "inputs": str(files),
        "engine": engine,
        "units": {"dimuon": units},
        **({"pack": pack} if pack else {}),
    }
    (folder / "chosen.json").write_text(json.dumps(chosen))
    # Made beforehand: the compiler is no part of it.
    names = [f"results/dimuon/{name}" for name in ("engine", "plan.json", "replicas.json")]
    _snakemake(cluster, folder, *names)
    (folder / "calls").unlink()
    wall, cpu = _snakemake(cluster, folder, f"results/dimuon/ntuples/{SAMPLE}.root", *words)
    made = (folder / f"results/dimuon/units/{SAMPLE}").glob("*.json")
    work = [json.loads(path.read_text())["cpu_seconds"] for path in made]
    packs, allocated, used = _accounted(cluster, folder)
    calls = dict(Counter((folder / "calls").read_text().split()))
    return Allocation(len(work), packs, calls, allocated, used, sum(work), wall, cpu)


def _snakemake(cluster: Cluster, folder: Path, *targets: str) -> tuple[float, float]:
    """Wall and CPU seconds of a run on the login node, whose calls of Slurm are counted."""
    counted = folder / "counted"
    counted.mkdir(exist_ok=True)
    for name in COMMANDS:
        text = _COUNTED.format(name=name, calls=folder / "calls", real=shutil.which(name))
        (counted / name).write_text(text)
        (counted / name).chmod(0o755)
    command = [
        *(sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile")),
        *("--profile", "marconi100", "--configfile", "chosen.json", "--nocolor", *targets),
    ]
    env = cluster.environment() | {"PATH": f"{counted}:{os.environ['PATH']}"}
    return watched(cluster.on_login_node(command, cwd=folder), folder, env)


def _accounted(cluster: Cluster, folder: Path) -> tuple[int, float, float]:
    """Packs that ran in a folder, core-seconds that they were given, CPU seconds that they used."""
    fields = "--format=jobid,comment%80,cputimeraw,totalcpu,workdir%200"
    jobs = []
    for line in cluster.run("sacct", "--noheader", "--parsable2", fields).splitlines():
        number, comment, allocated, used, place = line.split("|")
        if "." not in number and comment.startswith("rule_skim_pack") and place == str(folder):
            jobs.append((float(allocated), _seconds(used)))
    return len(jobs), sum(job[0] for job in jobs), sum(job[1] for job in jobs)


def _seconds(text: str) -> float:
    """Seconds of a time as Slurm writes it: [D-][HH:]MM:SS[.mmm]."""
    days, _, clock = text.rpartition("-")
    total = 0.0
    for part in clock.split(":"):
        total = 60 * total + float(part)
    return total + 86400 * int(days or 0)
