"""Runs Snakemake with one progress line instead of a page a job, and says where things are."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from nanolake.batch.watch import MARK

_DONE = re.compile(r"(\d+) of (\d+) steps")
_RULE = re.compile(r"(?:local)?(?:rule|checkpoint) (\w+):")
# From the first line of an error on, everything is shown.
_ERROR = re.compile(r"Error|Exception|MissingInput|error:|cannot|Traceback")
_PRODUCTS = (
    ("plots", "results/<analysis>/plots/"),
    ("reduced ntuples", "results/<analysis>/ntuples/"),
    ("cut flows", "results/<analysis>/cutflow.csv"),
    ("report", "results/report.html"),
    ("provenance", "results/provenance/"),
)


def _follow(lines: Iterator[str], console: Console) -> list[str]:
    """Turn Snakemake's output into a progress line; return what was printed, for the summary."""
    seen: list[str] = []
    columns = (
        TextColumn("{task.description:<24}"),
        BarColumn(),
        TextColumn("{task.completed:.0f} of {task.total:.0f} jobs"),
        TimeElapsedColumn(),
        TextColumn("{task.fields[units]}"),
    )
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("looking at the inputs", total=1, units="")
        failing = False
        for line in lines:
            seen.append(line)
            failing = failing or bool(_ERROR.search(line))
            if match := _DONE.search(line):
                progress.update(task, completed=int(match[1]), total=int(match[2]))
            elif line.startswith(MARK):
                progress.update(task, units=line.removeprefix(MARK).rstrip())
            elif match := _RULE.match(line):
                progress.update(task, description=match[1])
            elif failing:
                progress.console.print(line.rstrip(), markup=False, highlight=False)
    return seen


def _still_there(arguments: Sequence[str], console: Console) -> None:
    """The lake must still hold the inputs of results that are up to date: one call.

    Snakemake itself does nothing, not even its onstart, where there is nothing to do.

    Raises:
        LakeError: It does not.
    """
    given = [part.partition("=")[2] for part in arguments if part.startswith("results=")]
    resolved = Path(given[-1] if given else "results", "config.yaml")
    if {"-n", "--dry-run", "--dryrun"} & set(arguments) or not resolved.exists():
        return
    from nanolake import config, config_lake
    from nanolake.lake import session
    from nanolake.lake.client import connect

    settings = config.resolve(config.load_yaml(resolved))
    if not config_lake.has_rucio(settings):
        return
    lake, client = settings["lake"], config_lake.client_settings(settings["lake"])
    locks = sorted(map(str, resolved.parent.glob("*/inputs.lock.json")))
    with console.status("comparing the lake with the input locks"), session.running(lake):
        files = session.check(connect(**client), locks, missing=False)
    console.print(f"the lake {lake['name']} still holds the {files} inputs of the locks")


def run_workflow(cores: str, arguments: Sequence[str]) -> int:
    """Run Snakemake in the current folder.

    Args:
        cores: Number of cores, or `all`.
        arguments: Further arguments of Snakemake.

    Returns:
        Snakemake's exit status.
    """
    console = Console(stderr=True)
    # The workflow has a lock of its own (`alone`).
    options = ["--cores", cores, "--nocolor", "--nolock", *arguments]
    process = subprocess.Popen(
        [sys.executable, "-m", "snakemake", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
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
        _still_there(arguments, console)
        console.print("nothing to do: all results are up to date", style="green")
    for name, place in _PRODUCTS:
        console.print(f"{name + ':':<17} {place}", highlight=False)
    return 0
