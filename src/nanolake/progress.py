"""Runs Snakemake with one progress line instead of a page a job, and says where things are."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator, Sequence

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

_DONE = re.compile(r"(\d+) of (\d+) steps")
_RULE = re.compile(r"(?:local)?(?:rule|checkpoint) (\w+):")
# From the first line of an error on, everything is shown.
_ERROR = re.compile(r"Error|Exception|MissingInput|error:|cannot|Traceback|Lock", re.IGNORECASE)
_PRODUCTS = (
    ("plots", "results/<analysis>/plots/"),
    ("reduced ntuples", "results/<analysis>/ntuples/"),
    ("cut flows", "results/<analysis>/cutflow.csv"),
    ("report", "results/report.html"),
)


def _follow(lines: Iterator[str], console: Console) -> list[str]:
    """Turn Snakemake's output into a progress line; return what was printed, for the summary."""
    seen: list[str] = []
    columns = (
        TextColumn("{task.description:<24}"),
        BarColumn(),
        TextColumn("{task.completed:.0f} of {task.total:.0f} jobs"),
    )
    with Progress(*columns, TimeElapsedColumn(), console=console) as progress:
        task = progress.add_task("looking at the inputs", total=1)
        failing = False
        for line in lines:
            seen.append(line)
            failing = failing or bool(_ERROR.search(line))
            if match := _DONE.search(line):
                progress.update(task, completed=int(match[1]), total=int(match[2]))
            elif match := _RULE.match(line):
                progress.update(task, description=match[1])
            elif failing:
                progress.console.print(line.rstrip(), markup=False, highlight=False)
    return seen


def run_workflow(cores: str, arguments: Sequence[str]) -> int:
    """Run Snakemake in the current folder.

    Args:
        cores: Number of cores, or `all`.
        arguments: Further arguments of Snakemake.

    Returns:
        Snakemake's exit status.
    """
    console = Console(stderr=True)
    command = [sys.executable, "-m", "snakemake", "--cores", cores, "--nocolor", *arguments]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    )
    assert process.stdout
    seen = _follow(iter(process.stdout), console)
    status = process.wait()
    if status:
        console.print(
            f"failed with status {status}; run again to continue where it stopped", style="red"
        )
        return status
    if any("Nothing to be done" in line for line in seen):
        console.print("nothing to do: all results are up to date", style="green")
    for name, place in _PRODUCTS:
        console.print(f"{name + ':':<17} {place}", highlight=False)
    return 0
