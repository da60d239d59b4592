"""Measures what a job of a pool costs beyond its work, and what packing does about it.

    python benchmarks/pool.py [--quick]

Starts the real HTCondor pool of the test-bed in a folder of its own, and runs the workflow on it
with synthetic inputs. Writes pool.json, pool.md and pool.png into benchmarks/results.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import campaigns
import reports
from campaigns import Campaign, Job
from reports import CONSOLE, Benchmark
from testbed import condor

MINUTE = 46_000_000  # events that a unit by JIT needs about a minute for
PACKED = (1, 4, 16, 64)  # units are so many times as large
WHOLE = 8_000_000  # events of the runs that show packing
TINY = 1000  # events of a tiny unit
PARTS = ("waited", "before", "work", "after", "cpu")


def _summary(run: Campaign) -> dict[str, Any]:
    """Medians over the jobs of a run, and its totals."""
    jobs = run.jobs
    first, last = jobs[0].submitted, max(job.ended for job in jobs)
    return {
        "jobs": len(jobs),
        "median": {name: round(median(getattr(job, name) for job in jobs), 3) for name in PARTS},
        "beyond": round(median(job.before + job.after for job in jobs), 3),
        "cpu_beyond": round(median(job.cpu - job.cpu_work for job in jobs), 3),
        "from_submit": round(median(_beyond(job) for job in jobs), 3),
        "wall": round(last - first, 2),
        "cpu": round(sum(job.cpu for job in jobs), 2),
        "cpu_work": round(sum(job.cpu_work for job in jobs), 2),
        "submit_rate": _rate([job.submitted for job in jobs]),
        "coordinator": round(run.coordinator, 2),
        "run_wall": round(run.wall, 1),
    }


def _beyond(job: Job) -> float:
    return job.waited + job.before + job.after


def _rate(times: list[float]) -> float | None:
    """Jobs a second, from the first that came into the queue to the last."""
    seconds = times[-1] - times[0]
    return round((len(times) - 1) / seconds, 1) if seconds else None


def _measure(quick: bool, work: Path) -> dict[str, Any]:
    """All runs, on one pool."""
    cores, part = os.cpu_count() or 1, 10 if quick else 1
    minute, whole, tiny = MINUTE // part, WHOLE // part, 500 // part
    pool = condor.up(work / "pool")
    say: Callable[..., None] = CONSOLE.log
    try:
        # Only as many at once as there are cores: what they cost alone is asked.
        say("jobs that do nothing")
        alone = _summary(campaigns.alone(pool, work / "alone", 4 * cores, jobs=cores))
        say(f"units of a minute: {minute} events by JIT")
        files = campaigns.inputs(2 * cores * minute, 50_000)
        how: dict[str, Any] = {"jobs": cores, "engine": "jit"}
        long = _summary(campaigns.run(pool, work / "minute", minute, files, **how))
        packed = {}
        files, how = campaigns.inputs(whole, 25_000 // part), {"jobs": 500, "engine": "compiled"}
        for factor in PACKED:
            size = whole // PACKED[-1] * factor
            say(f"units of {size} events")
            found = campaigns.run(pool, work / f"packed{factor}", size, files, **how)
            packed[str(size)] = _summary(found)
        say(f"{tiny} tiny units")
        files = campaigns.inputs(tiny * TINY, TINY)
        many = _summary(campaigns.run(pool, work / "tiny", TINY, files, **how))
    finally:
        condor.down(work / "pool", delete=True)
    return {"alone": alone, "minute": long, "packed": packed, "tiny": many}


def _figures(runs: dict[str, Any]) -> dict[str, float]:
    """What is said in the end."""
    one = list(runs["packed"].values())[-1]
    many = runs["tiny"]
    units = many["jobs"] - one["jobs"]
    return {
        "seconds": runs["minute"]["median"]["work"],
        "beyond": runs["minute"]["beyond"],
        "from_submit": runs["minute"]["from_submit"],
        "alone": runs["alone"]["beyond"],
        "cpu_beyond": runs["minute"]["cpu_beyond"],
        "cpu_alone": runs["alone"]["cpu_beyond"],
        "ours": round(runs["minute"]["beyond"] - runs["alone"]["beyond"], 3),
        "submit_rate": many["submit_rate"],
        "coordinator_per_1000": round(1000 * (many["coordinator"] - one["coordinator"]) / units, 1),
    }


def _goals(report: dict[str, Any]) -> list[dict[str, Any]]:
    """Each goal with the figure reached: {what, goal, figure, met}."""
    figures = report["figures"]
    asked = (
        (f"a unit of {figures['seconds']:.0f} s, beyond its work (median)", "beyond", 4.0),
        ("of which ours: more than a job that does nothing", "ours", 1.5),
    )
    return [
        {"what": what, "goal": f"≤ {goal} s", "figure": f"{figures[key]:.2f} s",
         "met": figures[key] <= goal}
        for what, key, goal in asked
    ]  # fmt: skip


HEADER = ("units", "waited", "before", "work", "after", "CPU of a job", "all, wall", "all, CPU")


def _row(name: str, run: dict[str, Any]) -> str:
    parts = [f"{run['median'][part]:.2f}" for part in PARTS]
    return f"| {' | '.join([name, *parts, str(run['wall']), str(run['cpu'])])} |"


def _lines(report: dict[str, Any]) -> list[str]:
    runs, figures = report["runs"], report["figures"]
    lines = [
        f"# Jobs of a pool, measured on {report['date']}",
        "",
        f"{reports.host(report)} The pool of the test-bed, one host that says to have 8 cores;"
        " seconds.",
        "Of a job: *waited* in the queue, *before* and *after* its unit's own *work*, each the"
        " median. Only in the first two rows no more jobs run than there are cores.",
        *(["", "Quick: a tenth of the events and of the tiny units."] if report["quick"] else []),
        "",
        f"| {' | '.join(HEADER)} |",
        "|---" + "|---:" * (len(HEADER) - 1) + "|",
        _row(f"{runs['alone']['jobs']} that do nothing, without nanolake", runs["alone"]),
        _row(f"{runs['minute']['jobs']} of {figures['seconds']:.0f} s, by JIT", runs["minute"]),
    ]
    for size, run in runs["packed"].items():
        lines.append(_row(f"{run['jobs']} of {int(size):,} events", run))
    lines += [
        _row(f"{runs['tiny']['jobs']} of {TINY:,} events", runs["tiny"]),
        "",
        f"- A unit of {figures['seconds']:.0f} s costs {figures['beyond']:.2f} s beyond its work,"
        f" {figures['from_submit']:.2f} s with its time in the queue; a job that does nothing"
        f" {figures['alone']:.2f} s: that is Snakemake and HTCondor. In CPU seconds it is"
        f" {figures['cpu_beyond']:.2f} and {figures['cpu_alone']:.2f}.",
        f"- {runs['tiny']['jobs']} units come into the queue at {figures['submit_rate']} a second.",
        f"- The coordinating Snakemake takes {figures['coordinator_per_1000']} CPU s for 1,000"
        " units.",
    ]
    return lines + reports.goals(report)


def _picture(report: dict[str, Any], path: Path) -> None:
    """The same events in ever larger units: wall and CPU seconds of all jobs together."""
    from matplotlib.figure import Figure

    runs = {int(size): run for size, run in report["runs"]["packed"].items()}
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    for key, label, style in (
        ("cpu", "CPU of all jobs", "o-"),
        ("wall", "wall, first job in to last job out", "s-"),
        ("cpu_work", "CPU of the units themselves", "^--"),
    ):
        axes.plot(list(runs), [run[key] for run in runs.values()], style, label=label)
    axes.set_xscale("log")
    axes.set_yscale("log")
    names = [f"{size:,}\n{run['jobs']} units" for size, run in runs.items()]
    axes.set_xticks(list(runs), names)
    axes.minorticks_off()
    axes.set_xlabel("events of a unit")
    axes.set_ylabel("seconds")
    axes.set_title(
        f"{WHOLE / (10 if report['quick'] else 1) / 1e6:g} M events of dimuon",
        loc="left",
        fontsize=9,
    )
    axes.legend(frameon=False, fontsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=90, metadata={"Software": None})


if __name__ == "__main__":
    Benchmark("pool", _measure, _figures, _goals, _lines, _picture).command()
