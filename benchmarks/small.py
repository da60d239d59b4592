"""Two figures beside the rates: a unit on a tiny file, and the generator of synthetic inputs."""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import cases
import measure

from nanolake import engine, plan, sources

TINY, MANY = 1000, 500_000  # events


def _case(analysis: str) -> cases.Case:
    return next(case for case in cases.CASES if case.analysis == analysis)


def _plan(case: cases.Case, path: Path) -> dict[str, Any]:
    """The plan of one file that is one unit."""
    file = {"path": str(path), "events": TINY, **sources.stamp(path), "clusters": [0, TINY]}
    channels = list(case.channels)
    sample = {"kind": cases.kind_of(case), "channels": channels, "files": [file]}
    catalogue = {
        "analysis": case.analysis,
        "tree": "Events",
        "samples": {case.sample: sample},
        "weights": {case.sample: dict.fromkeys(channels, 1.0)},
    }
    return plan.build(catalogue, events_per_unit=TINY)


def unit(analysis: str, repeats: int) -> dict[str, float]:
    """CPU seconds and peak memory (MB) of `nanolake.skim.run` on 1,000 events.

    In a fresh Python process, whose start is part of it, as in a job of the workflow.
    """
    case = _case(analysis)
    path = cases.inputs(case, TINY)
    program = engine.obtain(analysis, case.selection, mode="compiled")
    with tempfile.TemporaryDirectory(dir=cases.BUILD) as scratch:
        plan_file = Path(scratch, "plan.json")
        plan_file.write_text(json.dumps(_plan(case, path)))
        replicas = Path(scratch, "replicas.json")
        replicas.write_text(json.dumps({str(path): [{"rse": None, "pfn": str(path)}]}))
        job = [sys.executable, str(cases.HERE / "jobs" / "unit.py")]
        command = [
            *job,
            str(program),
            str(plan_file),
            str(replicas),
            str(Path(scratch, "events.root")),
            case.sample,
            "0000",
        ]
        best = min(measure.run(command) for _ in range(max(3, repeats)))
    return {"cpu": best.cpu, "rss": best.rss}


def generator(analysis: str, quick: bool) -> dict[str, float]:
    """Events a second and core of the generator, and the seconds that its start costs."""
    case, events = _case(analysis), MANY // 5 if quick else MANY
    with tempfile.TemporaryDirectory(dir=cases.BUILD) as scratch:
        path = Path(scratch, f"{case.sample}.root")
        job = [sys.executable, str(cases.HERE / "jobs" / "make_file.py"), case.sample, str(path)]
        start, cpu = (
            min(measure.run([*job, str(n)]).cpu for _ in range(1 if quick else 3))
            for n in (TINY, events)
        )
    return {"events": events, "cpu": cpu, "start": start, "rate": (events - TINY) / (cpu - start)}
