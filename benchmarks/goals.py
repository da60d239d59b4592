"""The goals that the figures are held against."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

OFF, ON, JIT = "nanolake, compiled", "nanolake, compiled + libdeflate", "nanolake, JIT"
UPROOT = "uproot + awkward"
DF102, DF103 = "ROOT tutorial df102", "ROOT tutorial df103"

# Case, ours, the other, times as fast.
FASTER = (
    ("dimuon", ON, DF102, 2.4),
    ("higgs4l", ON, DF103, 4.5),
    ("htautau", ON, JIT, 2.8),
    ("htautau-rates", ON, JIT, 2.8),
    ("dimuon", OFF, DF102, 1.9),
    ("higgs4l", OFF, DF103, 3.7),
    ("htautau", OFF, JIT, 2.0),
    ("htautau-rates", OFF, JIT, 2.0),
    ("dimuon", ON, UPROOT, 1.2),
    ("higgs4l", ON, UPROOT, 1.4),
)
LIMIT, UNIT_SECONDS, UNIT_MB, GENERATOR = 0.40, 0.7, 1024, 0.2e6


def _goal(what: str, goal: str, figure: str, met: bool) -> dict[str, Any]:
    return {"what": what, "goal": goal, "figure": figure, "met": met}


def _rows(report: Mapping[str, Any], case: str) -> dict[str, Any]:
    return {row["name"]: row for row in report["cases"][case]["rows"] if not row["differs"]}


def judge(report: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Each goal with the figure reached: {what, goal, figure, met}."""
    found = []
    for case, ours, other, factor in FASTER:
        rows = _rows(report, case) if case in report["cases"] else {}
        if ours in rows and other in rows:
            ratio = rows[other]["cpu"] / rows[ours]["cpu"]
            what = f"{case}: {ours} against {other}"
            found.append(_goal(what, f"≥ {factor}×", f"{ratio:.2f}×", ratio >= factor))
    for case in report["cases"]:
        if row := _rows(report, case).get(ON):
            share = row["limit_fraction"]
            what = f"{case}: fraction of the decompression limit"
            found.append(_goal(what, "≥ 40 % (next 60 %)", f"{share:.0%}", share >= LIMIT))
    for name, unit in report["unit"].items():
        cpu = unit["cpu"]
        what = f"{name}: a unit of 1,000 events"
        found.append(_goal(what, f"≤ {UNIT_SECONDS} CPU s", f"{cpu:.2f} s", cpu <= UNIT_SECONDS))
    memory = [row["rss"] for case in report["cases"] for row in _ours(report, case)]
    if memory:
        most = max(memory)
        found.append(_goal("memory of a unit", "≤ 1 GB", f"{most:.0f} MB", most <= UNIT_MB))
    for name, made in report["generator"].items():
        rate = made["rate"]
        figure = f"{rate / 1e6:.2f} M/s/core (+ {made['start']:.1f} s)"
        found.append(_goal(f"{name}: generator", "≥ 0.2 M/s/core", figure, rate >= GENERATOR))
    return found


def _ours(report: Mapping[str, Any], case: str) -> list[Any]:
    return [row for name, row in _rows(report, case).items() if name.startswith("nanolake")]
