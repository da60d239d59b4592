"""Measures how gentle packs are with a scheduler, and how well they use what it gives them.

    python benchmarks/cluster.py [--quick]

Starts the real Slurm cluster of the test-bed (as root) in a folder of its own, and runs the
workflow on it with synthetic inputs. Writes cluster.json, cluster.md and cluster.png into
benchmarks/results.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import allocations
import campaigns
import reports
from allocations import Allocation
from reports import CONSOLE, Benchmark
from testbed import slurm

TINY, MANY = 1000, 1000  # events of a tiny unit, how many of them
LARGE, PACK = 10_000_000, 4  # events of a unit of which a pack of so many, by JIT, takes a minute


def _summary(run: Allocation) -> dict[str, Any]:
    """The figures of a run, and those of a unit."""
    rounded = {
        key: round(value, 1) if isinstance(value, float) else value
        for key, value in run._asdict().items()
    }
    return rounded | {
        "efficiency": round(run.used / run.allocated, 3),
        "beyond": round((run.used - run.work) / run.units, 3),
    }


def _measure(quick: bool, work: Path) -> dict[str, Any]:
    """Both runs, on one cluster."""
    cores, part = os.cpu_count() or 1, 10 if quick else 1
    cluster = slurm.up(work / "cluster")
    try:
        CONSOLE.log(f"{MANY // part} tiny units")
        files = campaigns.inputs(MANY // part * TINY, TINY)
        few = ("--set-threads", f"skim_pack={cores}")
        many = allocations.run(cluster, work / "many", TINY, files, *few, engine="compiled", pack=0)
        size = LARGE // part
        CONSOLE.log(f"packs of {PACK} units of {size} events")
        files = campaigns.inputs(2 * PACK * size, 50_000)
        # One pack at a time: it has all cores of the machine, and no more.
        alone = (*few, "--jobs", "1")
        large = allocations.run(
            cluster, work / "large", size, files, *alone, engine="jit", pack=PACK
        )
    finally:
        slurm.down(work / "cluster", delete=True)
    return {"many": _summary(many), "large": _summary(large)}


def _figures(runs: dict[str, Any]) -> dict[str, Any]:
    """What is said in the end."""
    many, large = runs["many"], runs["large"]
    per_1000 = 1000 / many["units"]
    return {
        "jobs": many["packs"],
        "efficiency": 100 * large["efficiency"],
        "beyond": many["beyond"],
        "calls_per_1000": round(sum(many["calls"].values()) * per_1000, 1),
        "coordinator_per_1000": round(many["coordinator"] * per_1000, 1),
    }


def _goals(report: dict[str, Any]) -> list[dict[str, Any]]:
    """Each goal with the figure reached: {what, goal, figure, met}."""
    runs, figures = report["runs"], report["figures"]
    return [
        {"what": f"{runs['many']['units']} units", "goal": "≤ 50 jobs",
         "figure": f"{figures['jobs']} jobs", "met": figures["jobs"] <= 50},
        {"what": "CPU seconds used, of those given to large packs", "goal": "≥ 85 %",
         "figure": f"{figures['efficiency']:.0f} %", "met": figures["efficiency"] >= 85},
    ]  # fmt: skip


HEADER = ("", "packs", "given, core s", "used, CPU s", "of these by units", "used", "a run, wall")


def _row(name: str, run: dict[str, Any]) -> str:
    cells = (run["packs"], run["allocated"], run["used"], run["work"])
    return f"| {name} | {' | '.join(map(str, cells))} | {run['efficiency']:.0%} | {run['wall']} |"


def _lines(report: dict[str, Any]) -> list[str]:
    runs, figures = report["runs"], report["figures"]
    many, large = runs["many"], runs["large"]
    size = LARGE // (10 if report["quick"] else 1)
    calls = ", ".join(f"{number} {name}" for name, number in sorted(many["calls"].items()))
    return [
        f"# Packs on a cluster, measured on {report['date']}",
        "",
        f"{reports.host(report)} The cluster of the test-bed, two nodes that say to have 8 cores"
        " each. In the second row one pack runs at a time, on as many cores as the machine has.",
        *(["", "Quick: a tenth of the tiny units and of the events."] if report["quick"] else []),
        "",
        f"| {' | '.join(HEADER)} |",
        "|---" + "|---:" * (len(HEADER) - 1) + "|",
        _row(f"{many['units']} units of {TINY:,} events", many),
        _row(f"{large['units']} units of {size:,} events, {PACK} a pack", large),
        "",
        f"- {many['units']} units need {many['packs']} jobs and one for the merge. All of the run"
        f" calls Slurm {sum(many['calls'].values())} times: {calls};"
        f" {figures['calls_per_1000']:.0f} for 1,000 units.",
        f"- A tiny unit costs {figures['beyond']:.2f} CPU s beyond its own work: its share of its"
        " pack's two Snakemakes.",
        f"- The coordinating Snakemake takes {figures['coordinator_per_1000']} CPU s for 1,000"
        " units, its start included.",
        *reports.goals(report),
    ]


def _picture(report: dict[str, Any], path: Path) -> None:
    """Where the core-seconds went that were given to packs."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 2.4), layout="constrained")
    axes = figure.subplots()
    runs = report["runs"]
    kinds = {"many": "tiny", "large": "large"}
    names = [f"{run['units']} {kinds[key]} units" for key, run in runs.items()]
    left = [0.0] * len(runs)
    for key, label, colour in (
        ("work", "units", "C0"),
        ("rest", "Snakemake", "C1"),
        ("idle", "idle, or others at work", "0.85"),
    ):
        parts = []
        for run in runs.values():
            spent = {
                "work": run["work"],
                "rest": max(0.0, run["used"] - run["work"]),
                "idle": max(0.0, run["allocated"] - run["used"]),
            }
            parts.append(100 * spent[key] / run["allocated"])
        axes.barh(names, parts, left=left, label=label, color=colour)
        left = [one + other for one, other in zip(left, parts, strict=True)]
    axes.set_xlabel("% of the core-seconds given to packs")
    axes.legend(frameon=False, fontsize=8, ncols=3, loc="lower center", bbox_to_anchor=(0.5, 1))
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=90, metadata={"Software": None})


if __name__ == "__main__":
    Benchmark("cluster", _measure, _figures, _goals, _lines, _picture).command()
