"""The figures as JSON, as a table in Markdown and on the screen, and as a picture."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

HEADER = ("", "M events/s/core", "CPU s", "start", "without start", "peak MB", "ratio", "of limit")
COLOURS = {"nanolake": "#c8102e", "ROOT": "#1f5fa8", "uproot": "#7a9a01", "coffea": "#b8860b"}


def _cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    if row["differs"]:
        return (f"{row['name']}: other physics ({row['differs']})", *[""] * 7)
    return (
        row["name"],
        f"{row['rate'] / 1e6:.2f}",
        f"{row['cpu']:.2f}",
        f"{row['start_up']:.2f}" if row["start_up"] else "",
        f"{row['loop_rate'] / 1e6:.2f}" if row["loop_rate"] else "",
        f"{row['rss']:.0f}",
        f"{row['ratio']:.2f}",
        f"{row['limit_fraction']:.0%}",
    )


def _limit_cells(case: Mapping[str, Any]) -> tuple[str, ...]:
    limit = case["limit"]
    name = "limit: libdeflate alone on these columns"
    return (name, f"{limit['rate'] / 1e6:.2f}", f"{limit['cpu']:.2f}", *[""] * 4, "100%")


def _heading(name: str, case: Mapping[str, Any]) -> str:
    size = case["file_bytes"] / case["events"]
    return f"{name}: {case['events'] / 1e6:g} M events of {case['sample']}, {size:.0f} bytes each"


def _markdown(report: Mapping[str, Any]) -> str:
    machine, versions = report["machine"], report["versions"]
    lines = [
        f"# Measured on {report['date']}",
        "",
        f"{machine['processor']}, {machine['cores']} cores, {machine['memory_gb']} GB;"
        f" load {machine['load_before']} before, {machine['load_after']} after; "
        + ", ".join(f"{name} {number}" for name, number in versions.items())
        + ".",
        "",
        "One thread, files in the page cache, each run in a fresh process; user + system CPU"
        f" seconds, the smallest of {report['repeats']}. `ratio` is the rate over that of the first"
        " row, `of limit` over that of the last; `start` is the cost of a file of 1,000 events, and"
        " `without start` the rate with it taken off.",
    ]
    for name, case in report["cases"].items():
        lines += ["", f"## {_heading(name, case)}", "", f"{case['note'].capitalize()}.", ""]
        lines += [f"| {' | '.join(HEADER)} |", "|---" + "|---:" * 7 + "|"]
        for cells in [*map(_cells, case["rows"]), _limit_cells(case)]:
            lines.append(f"| {' | '.join(cells)} |")
    lines += [
        "",
        "## Goals",
        "",
        "| | goal | reached | without start | |",
        "|---|---|---:|---:|---|",
    ]
    for goal in report["goals"]:
        met = "met" if goal["met"] else "**not met**"
        cells = (goal["what"], goal["goal"], goal["figure"], goal["loop"], met)
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _picture(report: Mapping[str, Any], path: Path) -> None:
    """Bars of events/s/core, one panel a case, the decompression limit as a line."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    cases = report["cases"]
    heights = [len([r for r in case["rows"] if not r["differs"]]) for case in cases.values()]
    figure, panels = plt.subplots(
        len(cases),
        1,
        figsize=(8, 1 + 0.33 * sum(heights) + 0.75 * len(cases)),
        height_ratios=heights,
        squeeze=False,
        layout="constrained",
    )
    for axes, (name, case) in zip(panels[:, 0], cases.items(), strict=True):
        rows = [row for row in reversed(case["rows"]) if not row["differs"]]
        rates = [row["rate"] / 1e6 for row in rows]
        names = [row["name"] for row in rows]
        bars = axes.barh(names, rates, color=[_colour(row["name"]) for row in rows], height=0.72)
        axes.bar_label(bars, [f"{rate:.2f}" for rate in rates], padding=3, fontsize=8)
        limit = case["limit"]["rate"] / 1e6
        axes.axvline(limit, color="black", linestyle="--", linewidth=1)
        axes.set_xlim(0, 1.12 * max([limit, *rates]))
        axes.annotate(
            f"libdeflate alone: {limit:.2f}",
            (limit, 1),
            xycoords=("data", "axes fraction"),
            xytext=(-4, -4),
            textcoords="offset points",
            ha="right",
            va="top",
            fontsize=8,
        )
        axes.set_title(_heading(name, case), fontsize=9, loc="left")
        axes.tick_params(labelsize=8)
        axes.spines[["top", "right"]].set_visible(False)
    panels[-1, 0].set_xlabel("million events per second and core (higher is better)", fontsize=9)
    figure.savefig(path, dpi=90, metadata={"Software": None})
    plt.close(figure)


def _colour(name: str) -> str:
    return next((c for start, c in COLOURS.items() if name.startswith(start)), "#888888")


def write(report: Mapping[str, Any], folder: Path) -> None:
    """Write <date>.json, table.md and throughput.png into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(report, indent=1, ensure_ascii=False)
    (folder / f"{report['date']}.json").write_text(text + "\n")
    (folder / "table.md").write_text(_markdown(report))
    if report["cases"]:
        _picture(report, folder / "throughput.png")


def display(report: Mapping[str, Any], console: Console) -> None:
    """Print the tables."""
    for name, case in report["cases"].items():
        table = Table(title=_heading(name, case), title_justify="left")
        for number, title in enumerate(HEADER):
            table.add_column(title, justify="right" if number else "left")
        for cells in [*map(_cells, case["rows"]), _limit_cells(case)]:
            table.add_row(*cells)
        console.print(table)
    table = Table(
        "goal", "wanted", "reached", "without start", "", title="Goals", title_justify="left"
    )
    for goal in report["goals"]:
        met = "[green]met" if goal["met"] else "[red]not met"
        table.add_row(goal["what"], goal["goal"], goal["figure"], goal["loop"], met)
    console.print(table)
