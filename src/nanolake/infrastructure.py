"""How storage, caches and machines did in a run: tables and pictures for its report."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Unit = Mapping[str, Any]

MEGABYTE = 1e6
# Distinguishable with any colour vision (Okabe and Ito).
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9")


def source(file: Mapping[str, Any]) -> str:
    """Where an input was read from, in a few words: cache or storage, and how."""
    place = file["rse"] or ("storage without a name" if "://" in file["replica"] else "local files")
    way = f" through {file['cache']}" if file.get("cache") else ""
    before = ", prestaged" if file.get("origin") else ""
    return f"{place}{way}{before}" + (", staged" if file["access"] == "stage" else "")


def storage(units: Iterable[Unit]) -> list[dict[str, Any]]:
    """How each source did.

    Returns:
        [{source, opened, bytes, bytes_read, requests, failed}]: inputs opened, bytes that they
        have and that were read of them, requests, and replicas that failed.
    """
    rows: dict[str, dict[str, Any]] = {}
    counted = ("opened", "bytes", "bytes_read", "requests", "failed")

    def row(name: str) -> dict[str, Any]:
        return rows.setdefault(name, {"source": name, **dict.fromkeys(counted, 0)})

    for file in (file for unit in units for file in unit["files"]):
        used = row(source(file))
        used["opened"] += 1
        for key in ("bytes", "bytes_read", "requests"):
            used[key] += file.get(key) or 0
        for failed in file["failed"]:
            row(source({**failed, "access": file["access"]}))["failed"] += 1
    return [rows[name] for name in sorted(rows)]


def caches(told: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """What each cache served: [{cache, files, hit, miss, bypass, silent}], in bytes.

    Args:
        told: `caches` of the ledger.
    """
    rows: dict[str, dict[str, Any]] = {}
    for entry in told:
        empty = {"cache": entry["cache"], **dict.fromkeys(("files", "silent"), 0)}
        row = rows.setdefault(entry["cache"], empty | {"hit": 0, "miss": 0, "bypass": 0})
        row["files"] += 1
        row["silent"] += not entry["told"]
        for key in ("hit", "miss", "bypass"):
            row[key] += entry[key]
    return list(rows.values())


def efficiency(unit: Unit) -> float:
    """CPU seconds over wall seconds of a unit."""
    return float(unit["cpu_seconds"] / unit["wall_seconds"]) if unit["wall_seconds"] else 0.0


def rate(unit: Unit) -> float:
    """Events per second of wall time of a unit."""
    return float(unit["read"] / unit["wall_seconds"]) if unit["wall_seconds"] else 0.0


def pictures(units: Sequence[Unit]) -> list[dict[str, str]]:
    """When units ran, from which source, how fast, how much: [{name, data}], data a data URL."""
    if not units:
        return []
    return [
        {"name": "units over time, by source", "data": _data_url(_timeline(units))},
        {"name": "event rate and CPU efficiency of each unit", "data": _data_url(_rates(units))},
        {"name": "bytes of the inputs, and read of them", "data": _data_url(_volumes(units))},
    ]


def _canvas(xlabel: str, ylabel: str) -> tuple[Figure, Axes]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.add_subplot(xlabel=xlabel, ylabel=ylabel)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _sources(units: Iterable[Unit]) -> dict[str, str]:
    """Source of a unit's first file to its colour."""
    names = sorted({source(unit["files"][0]) for unit in units})
    return {name: COLOURS[i % len(COLOURS)] for i, name in enumerate(names)}


def _timeline(units: Sequence[Unit]) -> Figure:
    """One bar a unit, from start to end, by start."""
    from matplotlib.ticker import MaxNLocator

    figure, axes = _canvas("seconds since the first unit began", "units, in order of their start")
    begin = min(unit["started"] for unit in units)
    ordered = sorted(units, key=lambda unit: float(unit["started"]))
    for name, colour in _sources(units).items():
        mine = [(i, unit) for i, unit in enumerate(ordered) if source(unit["files"][0]) == name]
        axes.barh(
            [i for i, _ in mine],
            [unit["wall_seconds"] for _, unit in mine],
            left=[unit["started"] - begin for _, unit in mine],
            height=1.0 if len(units) > 50 else 0.8,
            color=colour,
            label=name,
        )
    axes.invert_yaxis()
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(frameon=False, fontsize="small")
    return figure


def _rates(units: Sequence[Unit]) -> Figure:
    """Each unit by its events per second and its CPU efficiency, a colour an analysis."""
    figure, axes = _canvas("CPU seconds / wall seconds", "events / s")
    for colour, name in zip(COLOURS, sorted({unit["analysis"] for unit in units}), strict=False):
        mine = [unit for unit in units if unit["analysis"] == name]
        axes.scatter(
            list(map(efficiency, mine)), list(map(rate, mine)), s=18, color=colour, label=name
        )
    axes.set_yscale("log")
    axes.set_xlim(0, max(1.05, *map(efficiency, units)))
    axes.legend(frameon=False, fontsize="small")
    return figure


def _volumes(units: Sequence[Unit]) -> Figure:
    """Two bars a source: what its files have, what was read of them."""
    figure, axes = _canvas("MB", "")
    rows = storage(units)
    places = range(len(rows))
    for key, label, shift, colour in (
        ("bytes", "in the files", -0.2, "#BBBBBB"),
        ("bytes_read", "read", 0.2, COLOURS[0]),
    ):
        heights = [row[key] / MEGABYTE for row in rows]
        axes.barh([i + shift for i in places], heights, height=0.38, color=colour, label=label)
    axes.set_yticks(list(places), [row["source"] for row in rows], fontsize="small")
    axes.invert_yaxis()
    axes.legend(frameon=False, fontsize="small")
    return figure


def _data_url(figure: Figure) -> str:
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=110)
    return f"data:image/png;base64,{base64.b64encode(content.getvalue()).decode()}"
