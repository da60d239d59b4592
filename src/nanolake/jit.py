"""The engine without a compiler: the same tasks, the graph run by ROOT's just-in-time compiler.

Run as `python -m nanolake.jit ANALYSIS SELECTION ACTION`; see `nanolake.engine` for the tasks.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from types import ModuleType
from typing import Any, NamedTuple

from nanolake import analyses, root

Task = Mapping[str, Any]


def _columns(columns: Mapping[str, str]) -> Any:
    ROOT = root.load()
    wanted = ROOT.nanolake.Columns()
    for name, ctype in columns.items():
        wanted.push_back(ROOT.std.pair["std::string", "std::string"](name, ctype))
    return wanted


def _check(file: Mapping[str, Any], tree: str, columns: Mapping[str, str]) -> dict[str, Any]:
    """Compare a file with what the task says of it; what it is, and the seconds that took."""
    ROOT = root.load()
    start, expected = time.monotonic(), ROOT.nanolake.Expected()
    expected.events, expected.bytes = file["events"], file.get("bytes", -1)
    expected.uuid, expected.adler32 = file.get("uuid", ""), file.get("adler32", "")
    found = ROOT.nanolake.Opening(file["path"]).Get(expected.bytes)
    ROOT.nanolake.CheckFile(found, file["path"], tree, _columns(columns), expected)
    identity = {"bytes": int(found.GetSize()), "uuid": str(ROOT.nanolake.Identity(found))}
    return {**identity, "open_seconds": time.monotonic() - start}


def _chain(samples: list[dict[str, Any]], address: Callable[[str], Any] = str) -> Any:
    """The chain of the files of a task, each opened at an address made of its path."""
    ROOT = root.load()
    spec = ROOT.RDF.Experimental.RDatasetSpec()
    for sample in samples:
        paths = [str(address(file["path"])) for file in sample["files"]]
        spec.AddSample(ROOT.RDF.Experimental.RSample(sample["name"], sample["object"], paths))
    return spec


def _open(samples: list[dict[str, Any]], columns: Mapping[str, str]) -> Any:
    """Check all files of a task and describe their chain."""
    for sample in samples:
        for file in sample["files"]:
            _check(file, sample["object"], columns)
    return _chain(samples)


def _cutflow(report: Any) -> list[list[Any]]:
    return [[str(cut.GetName()), int(cut.GetPass())] for cut in report if cut.GetName()]


def inspect(analysis: ModuleType, selection: str, task: Task, trap: Any) -> dict[str, Any]:
    """Events, cluster boundaries, size and identity of files."""
    ROOT = root.load()
    wanted, files = _columns(task["columns"]), []
    for path in task["paths"]:
        file = ROOT.nanolake.Opening(path).Get()
        events = ROOT.nanolake.CheckContent(file, path, task["object"], wanted)
        clusters = [int(start) for start in ROOT.nanolake.Clusters(file, task["object"])]
        found = {"path": path, "events": int(events), "clusters": clusters}
        files.append(
            found | {"bytes": int(file.GetSize()), "uuid": str(ROOT.nanolake.Identity(file))}
        )
    return {"files": files}


def _read(marks: Sequence[Any], path: str) -> dict[str, Any]:
    """What the loop has read of a file, from the marks of where each file began."""
    for begin, end in pairwise(marks):
        if str(begin.file) == path:
            read, requests = int(end.bytes - begin.bytes), int(end.requests - begin.requests)
            seconds = end.seconds - begin.seconds
            return {"bytes_read": read, "requests": requests, "loop_seconds": seconds}
    return {"bytes_read": 0, "requests": 0, "loop_seconds": 0.0}


def skim(analysis: ModuleType, selection: str, task: Task, trap: Any) -> dict[str, Any]:
    """The loop of one unit."""
    ROOT = root.load()
    ROOT.gInterpreter.Declare('#include "jit.h"')
    ROOT.gInterpreter.Declare(analysis.HELPERS)
    output, kind, files = task["output"], task["kind"], task["samples"][0]["files"]
    figures = [_check(file, task["samples"][0]["object"], task["columns"]) for file in files]
    spec = _chain(task["samples"], ROOT.nanolake.ApartByName)
    spec.WithGlobalRange(tuple(task["range"]))
    trap.Guard("reading", files[0]["path"])
    watch = ROOT.nanolake.Watch()
    df = watch.On(ROOT.RDF.AsRNode(ROOT.RDataFrame(spec)))
    count = df.Count()
    written, reports = {}, {}
    for channel in task["channels"]:
        node = analysis.select(df, channel, kind, selection)
        path = ROOT.nanolake.Reproducible(f"{output}.{channel}")
        options = ROOT.nanolake.Output(1)
        written[channel] = node.Snapshot(channel, path, list(analysis.kept(kind)), options)
        reports[channel] = node.Report()
    read, marks = int(count.GetValue()), watch.Marks()
    figures = [
        known | _read(marks, file["path"]) for known, file in zip(figures, files, strict=True)
    ]
    result = {
        "read": read,
        "bytes_read": sum(file["bytes_read"] for file in figures),
        "files": figures,
        "accelerator": "off",
        "cutflow": {channel: _cutflow(report) for channel, report in reports.items()},
    }
    _gather(output, task["channels"])
    return result


def _gather(output: str, channels: Sequence[str]) -> None:
    """Put the channels' trees into one file."""
    ROOT = root.load()
    trees = ROOT.std.vector["std::pair<std::string, std::string>"]()
    for channel in channels:
        trees.emplace_back(f"{output}.{channel}", channel)
    ROOT.nanolake.Gather(trees, output)
    for channel in channels:
        os.remove(f"{output}.{channel}")


def merge(analysis: ModuleType, selection: str, task: Task, trap: Any) -> dict[str, Any]:
    """All units of one sample in one tree `Events`."""
    ROOT = root.load()
    df = ROOT.RDataFrame(_open(task["samples"], {}))
    trap.Guard("merging into", task["output"])
    weight = " : ".join(
        f'rdfsampleinfo_.GetSampleName() == "{name}" ? {value!r}'
        for name, value in task["weights"].items()
    )
    df = df.DefinePerSample("weight_as_double", f"{weight} : 0.0")
    node = df.Define("weight", f"{task['weight_type']}(weight_as_double)")
    count = node.Count()
    columns, path = [*task["kept"], "weight"], ROOT.nanolake.Reproducible(task["output"])
    node.Snapshot("Events", path, columns, ROOT.nanolake.Output(5)).GetValue()
    return {"events": int(count.GetValue())}


class _Filled(NamedTuple):
    """A histogram to be, with the range of the weights in its region."""

    histogram: Any
    lowest: Any
    highest: Any


class _Region:
    """A node that watches the weights and the cut flow behind the histograms booked on it."""

    def __init__(self, node: Any, reports: list[Any]) -> None:
        self.node, self.reports = node, reports
        self.weights: tuple[Any, ...] = ()

    def Filter(self, *arguments: Any) -> _Region:
        return _Region(self.node.Filter(*arguments), self.reports)

    def Define(self, *arguments: Any) -> _Region:
        return _Region(self.node.Define(*arguments), self.reports)

    def Histo1D(self, axis: Any, column: str) -> _Filled:
        if not self.weights:
            self.weights = (self.node.Min("weight"), self.node.Max("weight"))
            self.reports.append(self.node.Report())
        return _Filled(self.node.Histo1D(tuple(axis), column), *self.weights)


def _write_part(booked: Mapping[str, _Filled], prefix: str, out: Any, path: str) -> None:
    ROOT = root.load()
    for name, filled in booked.items():
        lowest, highest = filled.lowest.GetValue(), filled.highest.GetValue()
        some = lowest <= highest  # of no event: highest < lowest
        if some and lowest != highest:
            what = f"the weight is not constant in {prefix}"
            raise ROOT.nanolake.FileProblem("weight", path, what)
        histogram = filled.histogram.GetValue()
        ROOT.nanolake.WriteScaled(histogram, f"{prefix}_{name}", lowest if some else 1.0, out)


def histogram(analysis: ModuleType, selection: str, task: Task, trap: Any) -> dict[str, Any]:
    """The histograms of all samples in one file."""
    ROOT = root.load()
    ROOT.TH1.AddDirectory(False)
    out = ROOT.nanolake.Create(task["output"])
    cutflows: dict[str, dict[str, int]] = {}
    for sample in task["samples"]:
        path, cutflow = sample["files"][0]["path"], cutflows.setdefault(sample["name"], {})
        df = ROOT.RDataFrame(_open([sample], task["columns"]))
        trap.Guard("filling histograms from", path)
        reports: list[Any] = []
        parts = [
            (prefix, analysis.book(_Region(df, reports), part)) for prefix, part in sample["parts"]
        ]
        for prefix, booked in parts:
            _write_part(booked, prefix, out, path)
        for report in reports:
            cutflow |= dict(_cutflow(report))
    out.Close()
    return {"cutflow": cutflows}


ACTIONS = {"inspect": inspect, "skim": skim, "merge": merge, "histogram": histogram}


def _guarded(analysis: ModuleType, selection: str, action: str, task: Task) -> dict[str, Any]:
    """Run an action; problems with files come back as results, as from the compiled engine."""
    ROOT = root.load()
    trap = ROOT.nanolake.ErrorTrap()
    try:
        result = ACTIONS[action](analysis, selection, task, trap)
        trap.Check(action, task.get("output", ""))
    except ROOT.nanolake.FileProblem as error:
        return {"problem": {"kind": str(error.kind), "file": str(error.file), "what": _what(error)}}
    return result


def _what(error: Any) -> str:
    return str(error.what())


def main() -> int:
    """Take a task from standard input, print its result."""
    name, selection, action = sys.argv[1:]
    result = _guarded(analyses.load(name), selection, action, json.load(sys.stdin))
    print(json.dumps(result), flush=True)
    return 1 if "problem" in result else 0


if __name__ == "__main__":
    sys.exit(main())
