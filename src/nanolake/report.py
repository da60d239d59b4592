"""The report of a run: one HTML file with plots, cut flows, books and how the machines did."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nanolake import __version__, infrastructure, outputs
from nanolake.catalogue import read


def _picture(path: str) -> dict[str, str]:
    data = base64.b64encode(Path(path).read_bytes()).decode()
    return {"name": Path(path).stem, "data": f"data:image/png;base64,{data}"}


def _cutflow(path: str) -> dict[str, list[tuple[str, int, str]]]:
    """Sample to [(step, events, share of all)]."""
    import pandas as pd

    result: dict[str, list[tuple[str, int, str]]] = {}
    for sample, rows in pd.read_csv(path).groupby("sample", sort=False):
        every = rows["events"].iloc[0]
        result[str(sample)] = [
            (str(step), int(events), f"{100 * events / every:.3g} %" if every else "")
            for step, events in zip(rows["step"], rows["events"], strict=True)
        ]
    return result


def _of(paths: Sequence[str], analysis: str) -> list[str]:
    return [path for path in paths if f"/{analysis}/" in path]


def content(
    ledger: Mapping[str, Any],
    catalogues: Sequence[str],
    cutflows: Sequence[str],
    plots: Sequence[str],
    titles: Mapping[str, str],
    receipts: Sequence[str] = (),
) -> dict[str, Any]:
    """Everything the page shows, as plain data for its template."""
    shown = []
    for path in catalogues:
        catalogue = read(path)
        name = catalogue["analysis"]
        units = [unit for unit in ledger["units"] if unit["analysis"] == name]
        shown.append(
            {
                "name": name,
                "title": titles[name],
                "luminosity": catalogue["luminosity"],
                "samples": catalogue["samples"],
                "weights": catalogue["weights"],
                "books": [s for s in ledger["samples"] if s["analysis"] == name],
                "cutflow": _cutflow(_of(cutflows, name)[0]),
                "plots": [_picture(plot) for plot in _of(plots, name)],
                "units": units,
                "cpu_seconds": sum(unit["cpu_seconds"] for unit in units),
                "events": sum(unit["read"] for unit in units),
            }
        )
    software = {tuple(sorted(unit["software"].items())) for unit in ledger["units"]}
    return {
        "version": __version__,
        "totals": ledger["totals"],
        "analyses": shown,
        "published": [read(path) for path in receipts],
        "storage": infrastructure.storage(ledger["units"]),
        "caches": infrastructure.caches(ledger["caches"]),
        "pictures": infrastructure.pictures(ledger["units"]),
        "efficiency": infrastructure.efficiency,
        "rate": infrastructure.rate,
        "source": infrastructure.source,
        "software": [dict(items) for items in sorted(software)],
    }


def run(
    template: str,
    ledger_file: str,
    catalogues: Sequence[str],
    cutflows: Sequence[str],
    plots: Sequence[str],
    output: str,
    *,
    titles: Mapping[str, str],
    receipts: Sequence[str] = (),
) -> None:
    """Write the report of a run as one self-contained HTML file."""
    from jinja2 import Environment, StrictUndefined

    page = Environment(autoescape=True, undefined=StrictUndefined).from_string(
        Path(template).read_text()
    )
    text = page.render(content(read(ledger_file), catalogues, cutflows, plots, titles, receipts))
    with outputs.whole(output) as part:
        part.write_text(text)
