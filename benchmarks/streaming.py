"""Measures units that read over a network beside the same units on local files.

    python benchmarks/streaming.py [--quick]

Starts the real XRootD servers of the test-bed in a folder of its own: an origin, an XCache, and a
proxy that emulates a wide-area network of 20 ms round trip. Writes streaming.json, streaming.md and
streaming.png into benchmarks/results, and prints the table.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import cases
import click
import machine
import reports
import uproot
from cases import Case
from reports import CONSOLE
from rich.table import Table
from testbed import xrootd
from testbed.xrootd import Site

from nanolake import engine, plan, sources

ROUND_TRIP = 20  # ms
EVENTS = {"dimuon": 20_000_000, "higgs4l": 6_000_000, "htautau": 5_000_000}
HEADER = ("", "M events/s", "of local", "CPU s", "wall s", "MB read", "of needed", "requests")


class Way(NamedTuple):
    """A way to read an input.

    Attributes:
        name: Name in the table.
        access: stream or stage.
        far: Whether a wide-area network lies between this machine and the origin.
        cache: `cold` or `warm`: through an XCache on this side of that network.
        goal: Least event rate, as a fraction of that on a local file.
    """

    name: str
    access: str = "stream"
    far: bool = False
    cache: str = ""
    goal: float = 0.0


WAYS = (
    Way("local file"),
    Way("staged, 0 ms", "stage"),
    Way("staged, 20 ms", "stage", far=True),
    Way("streamed, 0 ms"),
    Way("streamed, 20 ms", far=True, goal=0.85),
    Way("cold XCache, origin at 20 ms", far=True, cache="cold"),
    Way("warm XCache, origin at 20 ms", far=True, cache="warm", goal=0.95),
)


class Bench:
    """A case on the servers of a site.

    Args:
        site: The site.
        network: host:port at which the wide-area network in front of the origin begins.
        case: What is measured.
        path: Its file.
        work: Folder for what the units write.
    """

    def __init__(self, site: Site, network: str, case: Case, path: Path, work: Path) -> None:
        self.site, self.network, self.case, self.path, self.work = site, network, case, path, work
        self.inside = f"/lake/cms/{case.name}.root"
        origin = site.storage("open") / self.inside.lstrip("/")
        origin.parent.mkdir(parents=True, exist_ok=True)
        origin.unlink(missing_ok=True)
        os.link(path, origin)
        self.program = str(engine.obtain(case.analysis, case.selection, mode="compiled"))
        self.stamp = {**sources.stamp(path), "mtime_ns": path.stat().st_mtime_ns}

    def url(self, way: Way) -> str:
        """The input's path or URL."""
        if way.name.startswith("local"):
            return str(self.path)
        if way.cache:
            return self.site.url("ocache", path=self.inside)
        return (
            f"root://{self.network}/{self.inside}"
            if way.far
            else self.site.url("open", path=self.inside)
        )

    def run(self, way: Way, events: int) -> dict[str, Any]:
        """One unit of all events, in a fresh process: its ledger."""
        if way.cache == "cold":
            self._empty_cache()
        file = {"path": self.inside, "events": events, "clusters": [], **self.stamp}
        sample, kind = self.case.sample, cases.kind_of(self.case)
        catalogue = {
            "analysis": self.case.analysis,
            "tree": "Events",
            "samples": {
                sample: {"kind": kind, "channels": list(self.case.channels), "files": [file]}
            },
            "weights": {sample: dict.fromkeys(self.case.channels, 1.0)},
        }
        made = plan.build(catalogue, events_per_unit=events, access={sample: way.access})
        replicas = {self.inside: [{"rse": None, "pfn": self.url(way)}]}
        names = [self.work / f"{name}.json" for name in ("plan", "replicas")]
        for name, content in zip(names, (made, replicas), strict=True):
            name.write_text(json.dumps(content))
        output = self.work / "events.root"
        command = [sys.executable, str(cases.HERE / "jobs/unit.py"), self.program, *map(str, names)]
        subprocess.run(
            [*command, str(output), sample, "0000"], check=True, stdout=subprocess.DEVNULL
        )
        ledger: dict[str, Any] = json.loads(Path(f"{output}.json").read_text())
        return ledger

    def _empty_cache(self) -> None:
        self.site.stop("ocache")
        for part in ("names", "data", "meta"):
            folder = self.site.cache_storage("ocache") / part
            shutil.rmtree(folder)
            folder.mkdir(mode=0o700)
        self.site.start("ocache", extra=f"pss.origin {self.network}\n")


def _needed(case: Case, path: Path) -> int:
    """Bytes of the columns that a case reads, compressed as they are in its file."""
    with uproot.open(path) as file:
        tree = file["Events"]
        return int(sum(tree[name].compressed_bytes for name in cases.columns(case)))


def _measured(bench: Bench, events: int, repeats: int) -> dict[str, Any]:
    """All figures of a case: of each way the fastest of the repeats, which are taken in turns."""
    best: dict[str, dict[str, Any]] = {}
    outputs = set()
    for repeat in range(repeats):
        for way in WAYS:
            CONSOLE.log(f"{bench.case.name}: {way.name}, {repeat + 1} of {repeats}")
            ledger = bench.run(way, events)
            outputs.add(ledger["output"]["adler32"])
            known = best.setdefault(way.name, ledger)
            if ledger["wall_seconds"] < known["wall_seconds"]:
                best[way.name] = ledger
    if len(outputs) != 1:
        raise RuntimeError(f"{bench.case.name}: not all ways gave the same bytes")
    needed, local = _needed(bench.case, bench.path), best[WAYS[0].name]["wall_seconds"]
    rows = []
    for way in WAYS:
        ledger = best[way.name]
        (file,) = ledger["files"]
        moved = file["bytes"] if way.access == "stage" else file["bytes_read"]
        rows.append(
            {
                "name": way.name,
                "rate": events / ledger["wall_seconds"],
                "of_local": local / ledger["wall_seconds"],
                "cpu": ledger["cpu_seconds"],
                "wall": ledger["wall_seconds"],
                "bytes": moved,
                "of_needed": moved / needed,
                "requests": None if way.access == "stage" else file["requests"],
                "goal": way.goal,
            }
        )
    return {
        "events": events,
        "file_bytes": bench.path.stat().st_size,
        "needed": needed,
        "rows": rows,
    }


def _goals(report: dict[str, Any]) -> list[dict[str, Any]]:
    """Each goal with the figure reached: {what, goal, figure, met}."""
    found = []
    for name, case in report["cases"].items():
        for row in case["rows"]:
            if row["goal"]:
                found.append(
                    {"what": f"{name}: {row['name']}, event rate of that of a local file",
                     "goal": f"≥ {row['goal']}", "figure": f"{row['of_local']:.2f}",
                     "met": row["of_local"] >= row["goal"]}
                )  # fmt: skip
            if row["name"].startswith("streamed"):
                found.append(
                    {"what": f"{name}: {row['name']}, bytes read of the needed columns",
                     "goal": "≤ 1.1", "figure": f"{row['of_needed']:.2f}",
                     "met": row["of_needed"] <= 1.1}
                )  # fmt: skip
    return found


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    requests = "" if row["requests"] is None else str(row["requests"])
    return (
        row["name"],
        f"{row['rate'] / 1e6:.2f}",
        f"{row['of_local']:.2f}",
        f"{row['cpu']:.2f}",
        f"{row['wall']:.2f}",
        f"{row['bytes'] / 1e6:.0f}",
        f"{row['of_needed']:.2f}",
        requests,
    )


def _title(name: str, case: dict[str, Any]) -> str:
    size, needed = case["file_bytes"] / 1e6, case["needed"] / 1e6
    return f"{name}: {case['events'] / 1e6:g} M events, {size:.0f} MB, {needed:.0f} MB needed"


def _lines(report: dict[str, Any]) -> list[str]:
    lines = [
        f"# Reading over a network, measured on {report['date']}",
        "",
        f"{reports.host(report)} One unit, one thread, wall"
        f" seconds of the unit with its start, the fastest of {report['repeats']} runs taken in"
        " turns. Servers, cache and network are on the same machine and take their share of it.",
    ]
    for name, case in report["cases"].items():
        lines += ["", f"## {_title(name, case)}", "", f"| {' | '.join(HEADER)} |"]
        lines += ["|---" + "|---:" * 7 + "|"]
        lines += [f"| {' | '.join(_cells(row))} |" for row in case["rows"]]
    return lines + reports.goals(report)


def _picture(report: dict[str, Any], path: Path) -> None:
    """Event rate of each way, one panel a case."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 1 + 2.2 * len(report["cases"])), layout="constrained")
    panels = figure.subplots(len(report["cases"]), 1, squeeze=False)[:, 0]
    for axes, (name, case) in zip(panels, report["cases"].items(), strict=True):
        rows = case["rows"][::-1]
        rates = [row["rate"] / 1e6 for row in rows]
        colours = ["#999999" if row["name"] == WAYS[0].name else "#0072B2" for row in rows]
        bars = axes.barh([row["name"] for row in rows], rates, color=colours, height=0.72)
        texts = [
            f"{rate:.2f} ({row['of_local']:.2f})" for rate, row in zip(rates, rows, strict=True)
        ]
        axes.bar_label(bars, texts, padding=3, fontsize=8)
        axes.set_xlim(0, 1.2 * max(rates))
        axes.set_title(_title(name, case), fontsize=9, loc="left")
        axes.tick_params(labelsize=8)
        axes.spines[["top", "right"]].set_visible(False)
    panels[-1].set_xlabel("million events per second of a unit (fraction of local)", fontsize=9)
    figure.savefig(path, dpi=90, metadata={"Software": None})


@contextmanager
def _site() -> Iterator[tuple[Site, str]]:
    """The servers, and the far end of the network; their files are on the disk of build/bench."""
    cases.BUILD.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cases.BUILD) as folder:
        site = xrootd.up(Path(folder) / "site")
        try:
            with site.wan("open", delay=ROUND_TRIP / 2) as network:
                yield site, network
        finally:
            xrootd.down(Path(folder) / "site")


@click.command()
@click.option("--quick", is_flag=True, help="A tenth of the events, one run each.")
@click.option("--repeats", default=3, show_default=True, help="The best of so many runs counts.")
@click.option("--only", multiple=True, help="Measure these cases alone.")
@click.option(
    "--results", type=click.Path(path_type=Path), default=cases.HERE / "results", help="Folder."
)
def main(quick: bool, repeats: int, only: tuple[str, ...], results: Path) -> None:
    """Measure units that stream, stage and read through a cache."""
    repeats = 1 if quick else repeats
    report = reports.begin(repeats=repeats)
    report["cases"] = {}
    with _site() as (site, network), tempfile.TemporaryDirectory() as work:
        for case in cases.CASES:
            if case.name not in EVENTS or (only and case.name not in only):
                continue
            events = EVENTS[case.name] // (10 if quick else 1)
            path = cases.inputs(case, events)
            cases.into_page_cache(path)
            bench = Bench(site, network, case, path, Path(work))
            report["cases"][case.name] = _measured(bench, events, repeats)
    report["machine"]["load_after"] = machine.load()
    report["goals"] = _goals(report)
    for name, found in report["cases"].items():
        table = Table(*HEADER, title=_title(name, found), title_justify="left")
        for row in found["rows"]:
            table.add_row(*_cells(row))
        CONSOLE.print(table)
    reports.write(results, "streaming", report, _lines(report))
    _picture(report, results / "streaming.png")


if __name__ == "__main__":
    main()
