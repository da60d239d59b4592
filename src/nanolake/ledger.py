"""The ledger of a run, and its cut flows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from nanolake import caches
from nanolake.catalogue import read, write

_SUMMED = ("read", "bytes_read", "wall_seconds", "cpu_seconds")


def totals(units: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Sums over units, and the highest memory of one."""
    result: dict[str, Any] = {"units": len(units)}
    for key in _SUMMED:
        result[key] = round(sum(unit[key] for unit in units), 3)
    result["peak_rss_bytes"] = max((unit["peak_rss_bytes"] for unit in units), default=0)
    return result


def run(books_files: Sequence[str], ledger_file: str, *, monitoring: str | None = None) -> None:
    """Put the books of all samples into one ledger: {totals, samples, units, caches}.

    Args:
        books_files: The closed books of all samples.
        ledger_file: Output.
        monitoring: What the cache of the lake has said, see `caches.activity`.
    """
    books = [read(path) for path in books_files]
    units = [unit for sample in books for unit in sample["units"]]
    samples = [{k: v for k, v in sample.items() if k != "units"} for sample in books]
    told = caches.activity(monitoring, units) if monitoring else []
    content = {"totals": totals(units), "samples": samples, "units": units, "caches": told}
    write(ledger_file, content)


def cutflow_rows(
    books: Mapping[str, Any], histogram_steps: Mapping[str, int]
) -> list[tuple[str, str, int]]:
    """Cut flow of one sample: (sample, step, events), first `all`.

    Steps of a sample with several channels are named `channel: step`. The steps of the histogram
    stage follow those of the skim.
    """
    sample = books["sample"]
    several = len(books["cutflow"]) > 1
    rows = [(sample, "all", books["books"]["read"])]
    for channel, steps in books["cutflow"].items():
        prefix = f"{channel}: " if several else ""
        rows += [(sample, f"{prefix}{step}", events) for step, events in steps]
    return rows + [(sample, step, events) for step, events in histogram_steps.items()]


def write_cutflow(books_files: Sequence[str], histogram_file: str, output: str) -> None:
    """Write the cut flow of an analysis as CSV: sample,step,events."""
    import pandas as pd

    added = read(histogram_file)
    rows: list[tuple[str, str, int]] = []
    for path in books_files:
        books = read(path)
        rows += cutflow_rows(books, added.get(books["sample"], {}))
    pd.DataFrame(rows, columns=["sample", "step", "events"]).to_csv(output, index=False)
