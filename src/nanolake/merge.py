"""Merge: the units of a sample become one reduced ntuple, and the sample's books are closed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nanolake import analyses, engine, outputs, sources
from nanolake.catalogue import read, write
from nanolake.errors import BooksError, InputError


def verify_output(path: str, stamp: Mapping[str, Any], remedy: str) -> None:
    """An intermediate file must have the bytes that were written into it.

    Raises:
        InputError: A byte of it has changed since.
    """
    found = sources.stamp(path)
    if found != stamp:
        problem = f"its content has changed since it was written (adler32 {found['adler32']},"
        raise InputError(Path(path).stem, path, f"{problem} was {stamp['adler32']})", remedy)


def total_cutflow(ledgers: Sequence[Mapping[str, Any]]) -> dict[str, list[list[Any]]]:
    """Cut flow of a sample: the units' summed, by channel, as [[step, events], ...]."""
    total: dict[str, dict[str, int]] = {}
    for ledger in ledgers:
        for channel, steps in ledger["cutflow"].items():
            sums = total.setdefault(channel, {})
            for step, events in steps:
                sums[step] = sums.get(step, 0) + events
    return {channel: [list(item) for item in steps.items()] for channel, steps in total.items()}


def close_books(
    sample: str, entry: Mapping[str, Any], ledgers: Sequence[Mapping[str, Any]], written: int
) -> dict[str, int]:
    """Catalogue events = events read = events booked, or the run fails.

    Args:
        sample: Name of the sample.
        entry: Its entry in the plan.
        ledgers: The ledger entries of its units, in order.
        written: Events in the reduced ntuple.

    Returns:
        The numbers that were compared.

    Raises:
        BooksError: They differ; the message names the units or files.
    """
    catalogue = sum(file["events"] for file in entry["files"])
    units = {unit["name"]: unit for unit in entry["units"]}
    stale = [led["unit"] for led in ledgers if units[led["unit"]]["key"] != led["key"]]
    if stale or len(ledgers) != len(units):
        raise BooksError(
            f"{sample}: units {', '.join(stale) or '(missing)'} are not those of the plan\n"
            "  remedy:  run again; if it stays, delete the units of this sample"
        )
    read_events = sum(ledger["read"] for ledger in ledgers)
    selected = sum(steps[-1][1] for steps in total_cutflow(ledgers).values())
    if not (catalogue == read_events and selected == written):
        files = ", ".join(file["path"] for file in entry["files"])
        raise BooksError(
            f"{sample}: catalogue {catalogue}, read {read_events}; selected {selected},"
            f" written {written} events ({files})\n"
            "  remedy:  delete the units of this sample and run again"
        )
    return {
        "catalogue": catalogue,
        "read": read_events,
        "selected": selected,
        "rejected": _rejected(ledgers),
        "written": written,
    }


def _rejected(ledgers: Sequence[Mapping[str, Any]]) -> int:
    """Event-channel pairs that failed a cut; with the selected ones they are all that were read."""
    return sum(
        ledger["read"] - (steps[-1][1] if steps else 0)
        for ledger in ledgers
        for steps in ledger["cutflow"].values()
    )


def run(
    program: str,
    plan_file: str,
    units_folder: str,
    ntuple_file: str,
    books_file: str,
    *,
    sample: str,
    accelerator: str = "auto",
) -> dict[str, Any]:
    """Merge the units of a sample in the order of the plan.

    Args:
        program: The engine of the analysis.
        plan_file: The plan.
        units_folder: Folder of the units of the analysis: SAMPLE/UNIT.root and SAMPLE/UNIT.json.
        ntuple_file: Output: one tree `Events`.
        books_file: Output: the closed books of the sample, with the ledgers of its units.
        sample: Name of the sample.
        accelerator: `auto` or `off`.

    Raises:
        InputError: A unit's file was damaged.
        BooksError: The books do not close.
        EngineError: The loop failed.
    """
    plan = read(plan_file)
    entry, module = plan["samples"][sample], analyses.load(plan["analysis"])
    paths = [Path(units_folder, sample, unit["name"]) for unit in entry["units"]]
    events_files = [str(path.with_suffix(".root")) for path in paths]
    ledgers = [read(path.with_suffix(".json")) for path in paths]
    for path, ledger in zip(events_files, ledgers, strict=True):
        verify_output(path, ledger["output"], f"delete {path} and run again")
    task = {
        "samples": [
            {"name": channel, "object": channel, "files": _selected(events_files, ledgers, channel)}
            for channel in entry["channels"]
        ],
        "kept": module.kept(entry["kind"]),
        "weights": entry["weights"],
        "weight_type": module.WEIGHT_TYPE,
    }
    with outputs.whole(ntuple_file) as part:
        result = engine.run(program, "merge", task | {"output": str(part)}, accelerator=accelerator)
        books = {
            "analysis": plan["analysis"],
            "sample": sample,
            "books": close_books(sample, entry, ledgers, result["events"]),
            "weights": entry["weights"],
            "cutflow": total_cutflow(ledgers),
            "output": sources.stamp(part),
            "units": ledgers,
        }
    write(books_file, books)
    outputs.clear(Path(units_folder, sample))
    return books


def _selected(
    events_files: Sequence[str], ledgers: Sequence[Mapping[str, Any]], channel: str
) -> list[dict[str, Any]]:
    return [
        {"path": path, "events": ledger["cutflow"][channel][-1][1]}
        for path, ledger in zip(events_files, ledgers, strict=True)
    ]
