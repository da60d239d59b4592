"""One command that measures nanolake beside the tools that physicists know, on the same files.

    python benchmarks/run.py [--quick]

Writes benchmarks/results/<date>.json, table.md and throughput.png, and prints the table.
"""

from __future__ import annotations

import functools
import json
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import cases
import click
import contenders
import goals
import machine
import measure
import show
import small
from cases import Case
from contenders import Contender
from physics import difference
from rich.console import Console

CONSOLE = Console(width=120)
TINY = 1000  # events


def _measured(case: Case, chosen: list[Contender], repeats: int) -> list[dict[str, Any]]:
    """Cost of each contender: the smallest of the repeats, taken in turns; numbers compared."""
    costs: dict[str, list[measure.Cost]] = {}
    for repeat in range(repeats):
        for contender in chosen:
            CONSOLE.log(f"{case.name}: {contender.name}, {repeat + 1} of {repeats}")
            cost = measure.run(contender.command, stdin=contender.stdin, env=contender.env)
            costs.setdefault(contender.name, []).append(cost)
    reference: dict[str, Any] | None = None
    rows = []
    for contender in chosen:
        best = min(costs[contender.name])
        row = {"name": contender.name, "cpu": best.cpu, "rss": best.rss, "differs": ""}
        if contender.numbers:
            found = contender.numbers(best.answer)
            reference = reference or found
            row["differs"] = difference(reference, found, contender.tolerance)
        rows.append(row)
    return rows


@functools.cache
def _start_up(analysis: str, work: Path) -> dict[str, float]:
    """CPU seconds of each contender on a tiny file."""
    case = next(case for case in cases.CASES if case.analysis == analysis)
    path = cases.inputs(case, TINY)
    found = {}
    for contender in contenders.all_of(case, path, work):
        runs = [
            measure.run(contender.command, stdin=contender.stdin, env=contender.env)
            for _ in range(2)
        ]
        found[contender.name] = min(runs).cpu
    return found


def _case(case: Case, events: int, repeats: int, work: Path, quick: bool) -> dict[str, Any]:
    """All figures of one case."""
    CONSOLE.log(f"{case.name}: {events:,} events, {case.sample} ({case.note})")
    path = cases.inputs(case, events)
    cases.into_page_cache(path)
    rows = _measured(case, contenders.all_of(case, path, work), repeats)
    start_up = {} if quick else _start_up(case.analysis, work)
    runs = [json.loads(measure.run(contenders.limit(case, path)).answer) for _ in range(repeats)]
    limit = min(run["cpu"] for run in runs)
    for row in rows:
        row["start_up"] = start_up.get(row["name"])
        row["rate"] = events / row["cpu"]
        row["limit_fraction"] = limit / row["cpu"]
        row["ratio"] = rows[0]["cpu"] / row["cpu"]
        loop = row["cpu"] - (row["start_up"] or 0)
        row["loop_rate"] = events / loop if row["start_up"] and loop > 0 else None
    return {
        "sample": case.sample,
        "note": case.note,
        "events": events,
        "file_bytes": path.stat().st_size,
        "limit": {"cpu": limit, "rate": events / limit, "packed_bytes": runs[0]["packed"]},
        "rows": rows,
    }


@click.command()
@click.option("--quick", is_flag=True, help="A tenth of the events, one run each, three cases.")
@click.option("--events-dimuon", default=10_000_000, show_default=True)
@click.option("--events-higgs4l", default=3_000_000, show_default=True)
@click.option("--events-htautau", default=2_000_000, show_default=True)
@click.option("--repeats", default=3, show_default=True, help="The best of so many runs counts.")
@click.option("--only", multiple=True, help="Measure these cases alone.")
@click.option(
    "--results", type=click.Path(path_type=Path), default=cases.HERE / "results", help="Folder."
)
def main(
    quick: bool,
    events_dimuon: int,
    events_higgs4l: int,
    events_htautau: int,
    repeats: int,
    only: tuple[str, ...],
    results: Path,
) -> None:
    """Measure everything and write the table and the picture."""
    events = {"dimuon": events_dimuon, "higgs4l": events_higgs4l, "htautau": events_htautau}
    if quick:
        repeats, events = 1, {name: number // 10 for name, number in events.items()}
    cases.BUILD.mkdir(parents=True, exist_ok=True)
    chosen = [case for case in cases.CASES if not only or case.name in only]
    if quick and not only:
        chosen = [case for case in chosen if case.name == case.analysis]
    report: dict[str, Any] = {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "quick": quick,
        "repeats": repeats,
        "machine": machine.describe(),
        "versions": machine.versions(),
        "cases": {},
    }
    with tempfile.TemporaryDirectory(dir=cases.BUILD) as scratch:
        for case in chosen:
            number = events[case.analysis]
            report["cases"][case.name] = _case(case, number, repeats, Path(scratch), quick)
    CONSOLE.log("units on tiny files, and the generator")
    report["unit"] = {name: small.unit(name, repeats) for name in events}
    report["generator"] = {name: small.generator(name, quick) for name in events}
    report["machine"]["load_after"] = machine.load()
    report["goals"] = goals.judge(report)
    show.write(report, results)
    show.display(report, CONSOLE)


if __name__ == "__main__":
    main()
