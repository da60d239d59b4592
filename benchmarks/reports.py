"""What the reports of all benchmarks have: date, machine, versions, goals, files."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import cases
import click
import machine
from rich.console import Console

CONSOLE = Console(width=120)


class Benchmark(NamedTuple):
    """Runs of the workflow that are measured, and what is made of them.

    Attributes:
        name: Of its files in the folder of results.
        measure: Gives the runs, measured in a folder: all of it, or quickly a tenth.
        figures: Gives what is said in the end, by the runs.
        goals: Gives each goal with the figure reached, by the report.
        lines: Gives the text of the report.
        picture: Draws the report into a file.
        apart: Whether the folder is among the machine's temporary files, not below the project.
    """

    name: str
    measure: Callable[[bool, Path], dict[str, Any]]
    figures: Callable[[dict[str, Any]], dict[str, Any]]
    goals: Callable[[dict[str, Any]], list[dict[str, Any]]]
    lines: Callable[[dict[str, Any]], list[str]]
    picture: Callable[[dict[str, Any], Path], None]
    apart: bool = False

    def command(self) -> None:
        """Do it as the command line says."""

        @click.command(help=f"Measure; write {self.name}.json, .md and .png.")
        @click.option("--quick", is_flag=True, help="A tenth of the events and of the tiny units.")
        @click.option(
            "--results",
            type=click.Path(path_type=Path),
            default=cases.HERE / "results",
            help="Folder.",
        )
        def main(quick: bool, results: Path) -> None:
            report = begin(quick=quick)
            cases.BUILD.mkdir(parents=True, exist_ok=True)
            where = None if self.apart else cases.BUILD
            with tempfile.TemporaryDirectory(dir=where) as work:
                report["runs"] = self.measure(quick, Path(work))
            report["machine"]["load_after"] = machine.load()
            report["figures"] = self.figures(report["runs"])
            report["goals"] = self.goals(report)
            lines = self.lines(report)
            write(results, self.name, report, lines)
            self.picture(report, results / f"{self.name}.png")
            CONSOLE.print("\n".join(lines), markup=False, highlight=False)

        main()


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
