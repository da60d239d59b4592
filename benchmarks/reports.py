"""What the reports of all benchmarks have: date, machine, versions, goals, files."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import machine
from rich.console import Console

CONSOLE = Console(width=120)


def begin(**more: Any) -> dict[str, Any]:
    """A report without figures."""
    report = {"date": datetime.now(UTC).strftime("%Y-%m-%d"), **more}
    return report | {"machine": machine.describe(), "versions": machine.versions()}


def host(report: dict[str, Any]) -> str:
    """The machine in a line, with its load before and after."""
    on = report["machine"]
    return (
        f"{on['processor']}, {on['cores']} cores, {on['memory_gb']} GB; load"
        f" {on['load_before']} before, {on['load_after']} after."
    )


def goals(report: dict[str, Any]) -> list[str]:
    """Lines of a table: each goal and what was reached."""
    lines = ["", "## Goals", "", "| | goal | reached | |", "|---|---|---:|---|"]
    for goal in report["goals"]:
        met = "met" if goal["met"] else "**not met**"
        lines.append(f"| {goal['what']} | {goal['goal']} | {goal['figure']} | {met} |")
    return lines


def write(results: Path, name: str, report: dict[str, Any], lines: Sequence[str]) -> None:
    """Write NAME.json and NAME.md, and print which goals are met."""
    results.mkdir(parents=True, exist_ok=True)
    content = json.dumps(report, indent=1, ensure_ascii=False)
    (results / f"{name}.json").write_text(content + "\n")
    (results / f"{name}.md").write_text("\n".join(lines) + "\n")
    for goal in report["goals"]:
        met = "met    " if goal["met"] else "NOT MET"
        CONSOLE.print(f"{met} {goal['what']} {goal['goal']}: {goal['figure']}")
