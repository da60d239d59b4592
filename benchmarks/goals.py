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


def _goal(what: str, goal: str, figure: str, met: bool, loop: str = "") -> dict[str, Any]:
    """`loop` is the figure with the start-ups taken off."""
    return {"what": what, "goal": goal, "figure": figure, "loop": loop, "met": met}


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
            goal, figure = f"≥ {factor}×", f"{ratio:.2f}×"
            found.append(_goal(what, goal, figure, ratio >= factor, _loop(rows[ours], rows[other])))
    for case in report["cases"]:
        if row := _rows(report, case).get(ON):
            share = row["limit_fraction"]
            what = f"{case}: fraction of the decompression limit"
            rate, limit = row["loop_rate"], report["cases"][case]["limit"]["rate"]
            loop = f"{rate / limit:.0%}" if rate else ""
            goal = "≥ 40 % (next 60 %)"
            found.append(_goal(what, goal, f"{share:.0%}", share >= LIMIT, loop))
    for name, unit in report["unit"].items():
        cpu = unit["cpu"]
        what = f"{name}: a unit of 1,000 events"
        found.append(_goal(what, f"≤ {UNIT_SECONDS} CPU s", f"{cpu:.2f} s", cpu <= UNIT_SECONDS))
    for what, names in (("compiled", (OFF, ON)), ("by JIT", (JIT,))):
        rows = [row for case in report["cases"] for row in _rows(report, case).values()]
        most = max((row["rss"] for row in rows if row["name"] in names), default=0)
        goal = f"memory of a unit, {what}"
        found.append(_goal(goal, "≤ 1 GB", f"{most:.0f} MB", most <= UNIT_MB))
    for name, made in report["generator"].items():
        rate = made["rate"]
        figure = f"{rate / 1e6:.2f} M/s/core (+ {made['start']:.1f} s)"
        found.append(_goal(f"{name}: generator", "≥ 0.2 M/s/core", figure, rate >= GENERATOR))
    return found


def _loop(ours: Mapping[str, Any], other: Mapping[str, Any]) -> str:
    """How many times as fast without the start-ups."""
    rates = ours["loop_rate"], other["loop_rate"]
    return f"{rates[0] / rates[1]:.2f}×" if all(rates) else ""
