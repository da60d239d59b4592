"""Runs of the workflow on a pool of HTCondor, and what each of their jobs took."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import cases
import htcondor2
import psutil
from testbed.condor import Pool

from nanolake import generate

SAMPLE = "Run2012BC_DoubleMuParked_Muons"
ROOT = cases.HERE.parent

# A job that only says when its step began and how long it took: what Snakemake costs by itself.
_ALONE = """\
rule all:
    input: expand("results/{unit}.json", unit=range(%d))
rule skim:
    output: "results/{unit}.json"
    resources: htcondor_request_mem_mb=500
    script: "alone.py"
"""
_STEP = """\
import json, time
started = time.time()
with open(snakemake.output[0], "w") as stream:
    json.dump({"started": started, "wall_seconds": time.time() - started, "cpu_seconds": 0}, stream)
"""
# The profile's wrapper in one that says what it took: HTCondor itself counts whole seconds.
_TIMED = """\
#!/bin/sh
%s "$@"
status=$?
times
exit $status
"""


class Job(NamedTuple):
    """What a job took, in seconds.

    Attributes:
        submitted: When it came into the queue, since the epoch.
        waited: Until it started.
        before: From its start to that of its unit.
        work: Of the unit, as its ledger has it.
        after: From the end of the unit to that of the job.
        cpu: CPU seconds of all of it.
        cpu_work: Those of its unit.
    """

    submitted: float
    waited: float
    before: float
    work: float
    after: float
    cpu: float
    cpu_work: float

    @property
    def ended(self) -> float:
        """When it ended, since the epoch."""
        return self.submitted + self.waited + self.before + self.work + self.after


class Campaign(NamedTuple):
    """A run: its jobs, wall seconds, CPU seconds of the coordinating Snakemake."""

    jobs: list[Job]
    wall: float
    coordinator: float


def inputs(events: int, cluster: int) -> Path:
    """A folder with the synthetic file of the sample, made now if it is not there."""
    folder = cases.BUILD / "inputs" / f"pool-{events}-{cluster}"
    path = folder / f"{SAMPLE}.root"
    if not path.with_suffix(".json").exists():
        generate.generate_file(SAMPLE, path, events=events, seed=cases.SEED, cluster_events=cluster)
    cases.into_page_cache(path)
    return folder


def run(pool: Pool, folder: Path, units: int, files: Path, *, jobs: int, engine: str) -> Campaign:
    """Run the units of one sample of dimuon.

    Args:
        pool: The pool.
        folder: Working folder; made, must not exist.
        units: Events of one.
        files: Folder of the input.
        jobs: How many are in the queue at the most.
        engine: compiled or jit.
    """
    _prepare(folder)
    chosen = {
        "analyses": ["dimuon"],
        "lake": "local",
        "inputs": str(files),
        "engine": engine,
        "units": {"dimuon": units},
    }
    (folder / "chosen.json").write_text(json.dumps(chosen))
    words = ["--snakefile", str(ROOT / "Snakefile"), "--configfile", "chosen.json"]
    target = f"results/dimuon/ntuples/{SAMPLE}.root"
    # Made beforehand: the compiler is no part of it.
    _snakemake(pool, folder, "results/dimuon/plan.json", *words, jobs=jobs)
    return _campaign(pool, folder, f"results/dimuon/units/{SAMPLE}", target, *words, jobs=jobs)


def alone(pool: Pool, folder: Path, units: int, *, jobs: int) -> Campaign:
    """Run as many jobs that do nothing, of a workflow that is nothing else."""
    _prepare(folder)
    (folder / "Snakefile").write_text(_ALONE % units)
    (folder / "alone.py").write_text(_STEP)
    return _campaign(pool, folder, "results", "all", jobs=jobs)


def _prepare(folder: Path) -> None:
    """Make a working folder with the profile, whose jobs say what CPU time they took."""
    profile = folder / "profiles/condor"
    profile.mkdir(parents=True)
    for name in ("config", "profiles/default", "profiles/condor/config.yaml"):
        (folder / name).symlink_to(ROOT / name)
    (profile / "job").write_text(_TIMED % (ROOT / "profiles/condor/job"))
    (profile / "job").chmod(0o755)
    (folder / "condor").symlink_to("profiles/condor")


def _snakemake(pool: Pool, folder: Path, *words: str, jobs: int) -> tuple[float, float]:
    command = [sys.executable, "-m", "snakemake", "--profile", "condor", "--nocolor"]
    env = pool.environment()
    return watched([*command, "--jobs", str(jobs), *words], folder, env)


def watched(command: Sequence[str], folder: Path, env: Mapping[str, str]) -> tuple[float, float]:
    """Wall seconds of a run of Snakemake, and its CPU seconds without those of its children."""
    began, cpu = time.monotonic(), 0.0
    with (folder / "said").open("w") as said:
        process = subprocess.Popen(
            command, cwd=folder, env=os.environ | env, stdout=said, stderr=said
        )
        while process.poll() is None:
            times = psutil.Process(process.pid).cpu_times()
            cpu = max(cpu, times.user + times.system)  # of one that is over it is 0
            time.sleep(0.2)
    if process.returncode:
        raise RuntimeError((folder / "said").read_text()[-3000:])
    return time.monotonic() - began, cpu


def _campaign(pool: Pool, folder: Path, units: str, *words: str, jobs: int) -> Campaign:
    wall, cpu = _snakemake(pool, folder, *words, jobs=jobs)
    times, found = _times(folder / "logs/condor"), []
    for cluster, unit in _units(pool, folder).items():
        ledger = json.loads((folder / units / f"{unit}.json").read_text())
        submitted, started, ended = (times[cluster][key] for key in _EVENTS)
        began, work = ledger["started"], ledger["wall_seconds"]
        parts = (started - submitted, began - started, work, ended - began - work)
        found.append(Job(submitted, *parts, _cpu(folder, cluster), ledger["cpu_seconds"]))
    return Campaign(sorted(found), wall, cpu)


_EVENTS = ("SUBMIT", "EXECUTE", "JOB_TERMINATED")


def _times(logs: Path) -> dict[int, dict[str, float]]:
    """When what happened to each job; the pool writes parts of seconds, each run a log."""
    found: dict[int, dict[str, float]] = {}
    for log in logs.glob("snakemake-rules*.log"):
        for event in htcondor2.JobEventLog(str(log)).events(stop_after=0):
            when = datetime.fromisoformat(event["EventTime"]).timestamp()
            found.setdefault(event.cluster, {})[event.type.name] = when
    return found


def _units(pool: Pool, folder: Path) -> dict[int, str]:
    """The units that the jobs of a folder were."""
    mine = f'Iwd == "{folder}" && regexp("^skim-", JobBatchName)'
    lines = pool.run("condor_history", "-constraint", mine, "-af", "ClusterId", "Args")
    found = {}
    for line in lines.splitlines():
        cluster, words = line.split(maxsplit=1)
        unit = re.search(r"--target-jobs skim:\S*unit=(\d+)", words)
        if not unit:
            raise RuntimeError(f"no unit in the arguments of job {cluster}: {words}")
        found[int(cluster)] = unit[1]
    return found


def _cpu(folder: Path, cluster: int) -> float:
    """CPU seconds of a job and all that it started, as its wrapper says in the end."""
    (said,) = folder.glob(f"logs/condor/skim/*_{cluster}.out")
    parts = re.findall(r"(\d+)m([\d.]+)s", said.read_text().splitlines()[-1])
    return sum(60 * int(minutes) + float(seconds) for minutes, seconds in parts)
