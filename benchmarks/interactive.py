"""Measures Dask workers for a notebook: their start, their cost beside a batch run, how they scale.

    python benchmarks/interactive.py [--quick]

Units of dimuon by JIT on synthetic inputs; the pool and (as root) the
cluster of the test-bed for the start of workers that are jobs. Writes interactive.json,
interactive.md and interactive.png into benchmarks/results.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import campaigns
import click
import reports
from campaigns import ROOT, SAMPLE
from reports import CONSOLE, Benchmark
from testbed import condor, slurm
from testbed.errors import TestbedError

import nanolake
from nanolake.interactive.analysis import Analysis

EVENTS = 64_000_000  # of a unit: a minute by JIT
UNITS = 2
SMALL = 1_000_000  # events of the unit that is waited for where the start of workers is measured
# The program whose clock is read: it begins when a cluster is asked for.
_FIRST = """\
import json, sys, time
import nanolake

def main():
    engine, given = sys.argv[1], json.loads(sys.argv[2])
    analysis = nanolake.analysis("dimuon", folder=".", **given)
    analysis.prepare()
    asked = time.time()
    with analysis.cluster(engine, minimum=1, maximum=1) as cluster, cluster.get_client() as client:
        made = time.time()
        result = analysis.run(client, progress=False)
    (ledger,) = result.ledgers
    (file,) = ledger["files"]
    # Its loop began then, or earlier: after it, the unit has only closed and booked its output.
    event = ledger["started"] + ledger["wall_seconds"] - file["loop_seconds"]
    figures = {"cluster": made, "unit": ledger["started"], "event": event}
    print(json.dumps({name: when - asked for name, when in figures.items()}))

if __name__ == "__main__":
    main()
"""


def _given(files: Path, events: int) -> dict[str, Any]:
    """The configuration of all runs."""
    return {
        "analyses": ["dimuon"],
        "lake": "local",
        "inputs": str(files),
        "engine": "jit",
        "units": {"dimuon": events},
    }


def _folder(work: Path, name: str) -> Path:
    """A working folder."""
    folder = work / name
    folder.mkdir()
    (folder / "config").symlink_to(ROOT / "config")
    return folder


def _timed(analysis: Analysis, make: Callable[[], Any]) -> float:
    """Wall seconds of making all units, which are removed before."""
    shutil.rmtree(analysis.path("units"), ignore_errors=True)
    started = time.monotonic()
    make()
    seconds = time.monotonic() - started
    missing = analysis.missing(analysis.prepare())
    assert not missing, missing
    return seconds


def _batch(analysis: Analysis, cores: int) -> float:
    """Snakemake makes the units."""
    units = analysis.prepare()["samples"][SAMPLE]["units"]
    targets = [analysis._target(f"units/{SAMPLE}/{unit['name']}.root") for unit in units]
    return _timed(analysis, lambda: analysis.snakemake(*targets, cores=str(cores)))


def _work(analysis: Analysis) -> float:
    """Wall seconds of the units themselves, as their ledgers have it."""
    ledgers = analysis.path("units").glob("*/*.json")
    return sum(json.loads(path.read_text())["wall_seconds"] for path in ledgers)


def _dask(analysis: Analysis, workers: int) -> dict[str, float]:
    """Workers of this machine make them: on a cluster that is asked for now, and once more."""
    plan, found = analysis.prepare(), {}
    asked = time.monotonic()
    with (
        analysis.cluster("local", minimum=workers, maximum=workers) as cluster,
        cluster.get_client() as client,
    ):
        started = time.monotonic() - asked

        def make() -> None:
            analysis._units(client, plan, progress=False, backoff=1)

        found["cold"] = started + _timed(analysis, make)
        found["warm"] = _timed(analysis, make)
    return found | {"work": _work(analysis)}


def _root(analysis: Analysis, workers: int) -> dict[str, float]:
    """ROOT distributes the same selection and one histogram; nothing is written."""
    with (
        analysis.cluster("local", minimum=workers, maximum=workers) as cluster,
        cluster.get_client() as client,
    ):
        client.wait_for_workers(workers)

        def make() -> float:
            started = time.monotonic()
            events = analysis.dataframe(SAMPLE, client=client, npartitions=UNITS)
            selected = analysis.select(events)
            assert selected.Histo1D(("m", "", 100, 0, 200), "mass").GetEntries() > 0
            return time.monotonic() - started

        return {"cold": make(), "warm": make()}


def _first(command: list[str], env: Mapping[str, str], folder: Path) -> dict[str, float]:
    """Seconds from asking for a cluster to having it, to the first unit, to its first event."""
    done = subprocess.run(
        command, cwd=folder, env={**os.environ, **env}, capture_output=True, text=True
    )
    if done.returncode:
        raise click.ClickException(f"{' '.join(command[:3])} failed:\n{done.stdout}{done.stderr}")
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def _starts(work: Path, given: dict[str, Any]) -> dict[str, Any]:
    """Of each engine that is here."""
    script = work / "first.py"
    script.write_text(_FIRST)

    def command(engine: str) -> list[str]:
        return [sys.executable, str(script), engine, json.dumps(given)]

    found = {"local": _first(command("local"), {}, _folder(work, "local"))}
    folder = _folder(work, "condor")
    pool = condor.up(work / "pool")
    try:
        on = pool.on_submit_host(command("condor"), cwd=folder)
        found["condor"] = _first(on, pool.environment(), folder)
    finally:
        condor.down(work / "pool", delete=True)
    try:
        slurm.launch.check()
    except TestbedError as error:
        CONSOLE.log(f"no cluster: {error}")
        return found
    folder = _folder(work, "slurm")
    cluster = slurm.up(work / "cluster", show=[work])
    try:
        on = cluster.on_login_node(command("marconi100"), cwd=folder)
        found["marconi100"] = _first(on, cluster.environment(), folder)
    finally:
        slurm.down(work / "cluster", delete=True)
    return found


def _measure(quick: bool, work: Path) -> dict[str, Any]:
    """All runs."""
    events = EVENTS // (10 if quick else 1)
    files = campaigns.inputs(UNITS * events, 50_000)
    CONSOLE.log(f"{UNITS} units of {events} events by JIT")
    given = _given(files, events)
    analysis = nanolake.analysis("dimuon", folder=_folder(work, "units"), **given)
    analysis.prepare()
    runs: dict[str, Any] = {}
    runs["batch"] = {"wall": _batch(analysis, 1), "work": _work(analysis)}
    for workers in (1, 2):
        CONSOLE.log(f"Dask, workers: {workers}")
        runs[f"dask{workers}"] = _dask(analysis, workers)
        CONSOLE.log(f"ROOT's distributed RDataFrame, workers: {workers}")
        runs[f"root{workers}"] = _root(analysis, workers)
    CONSOLE.log("starts")
    small = _given(campaigns.inputs(SMALL, 50_000), SMALL)
    runs["starts"] = _starts(work, small | {"engine": "auto"})
    return runs


def _figures(runs: dict[str, Any]) -> dict[str, float]:
    """What is said in the end; overheads are per cent of the batch run's wall seconds."""
    batch = runs["batch"]["wall"]
    return {
        "unit": runs["batch"]["work"] / UNITS,
        "cold": 100 * (runs["dask1"]["cold"] / batch - 1),
        "warm": 100 * (runs["dask1"]["warm"] / batch - 1),
        "scaling": runs["dask1"]["warm"] / runs["dask2"]["warm"],
        "root_scaling": runs["root1"]["warm"] / runs["root2"]["warm"],
    }


def _lines(report: dict[str, Any]) -> list[str]:
    runs, figures = report["runs"], report["figures"]
    lines = [
        f"# Workers of a notebook, measured on {report['date']}",
        "",
        f"{reports.host(report)} {UNITS} units of dimuon by JIT; wall seconds from asking for them"
        " until all are made. *Cold* begins with the cluster, *warm* has it.",
        *(["", "Quick: a tenth of the events."] if report["quick"] else []),
        "",
        "| | cold | warm |",
        "|---|---:|---:|",
        f"| batch: Snakemake, one core | {runs['batch']['wall']:.1f} | – |",
    ]
    for key, name in (("dask", "the same units over Dask"), ("root", "ROOT's own RDataFrame")):
        for workers in (1, 2):
            run = runs[f"{key}{workers}"]
            row = f"| {name}, workers: {workers} | {run['cold']:.1f} | {run['warm']:.1f} |"
            lines.append(row)
    lines += [
        "",
        "ROOT's distributes the same selection and fills one histogram: no ntuple is written, no"
        " input checked, no ledger kept.",
        "",
        f"From one worker to two: {figures['scaling']:.2f} times as fast (ROOT's:"
        f" {figures['root_scaling']:.2f}).",
        "",
        "| workers | seconds to the cluster | to the first unit | to its first event |",
        "|---|---:|---:|---:|",
    ]
    for engine, start in runs["starts"].items():
        row = " | ".join(f"{start[what]:.1f}" for what in ("cluster", "unit", "event"))
        lines.append(f"| {engine} | {row} |")
    return lines + reports.goals(report)


def _picture(report: dict[str, Any], path: Path) -> None:
    """Wall seconds of all ways to make the same units."""
    from matplotlib.figure import Figure

    runs = report["runs"]
    names = {"batch": ("batch, 1 core", "wall")}
    for workers in (1, 2):
        names[f"dask{workers}"] = (f"Dask, workers: {workers}", "warm")
        names[f"root{workers}"] = (f"ROOT's RDataFrame, workers: {workers}", "warm")
    figure = Figure(figsize=(7, 2.6), layout="constrained")
    axes = figure.subplots()
    labels = [label for label, _ in names.values()]
    axes.barh(labels, [runs[key][kind] for key, (_, kind) in names.items()], color="#5790fc")
    axes.invert_yaxis()
    axes.set_xlabel("seconds (warm)")
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=90, metadata={"Software": None})


def _goals(report: dict[str, Any]) -> list[dict[str, Any]]:
    """Each goal with the figure reached: {what, goal, figure, met}."""
    figures = report["figures"]
    return [
        {"what": f"units of {figures['unit']:.0f} s beside a batch run, {name}", "goal": "≤ 10 %",
         "figure": f"{figures[name]:.1f} %", "met": figures[name] <= 10}
        for name in ("cold", "warm")
    ]  # fmt: skip


if __name__ == "__main__":
    # Hosts of a cluster see temporary files of the machine.
    Benchmark("interactive", _measure, _figures, _goals, _lines, _picture, apart=True).command()
