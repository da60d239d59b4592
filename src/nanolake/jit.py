"""The engine without a compiler: the same tasks, the graph run by ROOT's just-in-time compiler.

Run as `python -m nanolake.jit ANALYSIS SELECTION ACTION`; see `nanolake.engine` for the tasks.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
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


def _open(samples: list[dict[str, Any]], columns: Mapping[str, str]) -> Any:
    """Check all files of a task and describe their chain."""
    ROOT = root.load()
    wanted, spec = _columns(columns), ROOT.RDF.Experimental.RDatasetSpec()
    for sample in samples:
        for file in sample["files"]:
            ROOT.nanolake.CheckEvents(file["path"], sample["object"], wanted, file["events"])
        paths = [file["path"] for file in sample["files"]]
        spec.AddSample(ROOT.RDF.Experimental.RSample(sample["name"], sample["object"], paths))
    return spec


def _cutflow(report: Any) -> list[list[Any]]:
    return [[str(cut.GetName()), int(cut.GetPass())] for cut in report if cut.GetName()]


def inspect(analysis: ModuleType, selection: str, task: Task, trap: Any) -> dict[str, Any]:
    """Events and cluster boundaries of files."""
    ROOT = root.load()
    wanted, files = _columns(task["columns"]), []
    for path in task["paths"]:
        events = ROOT.nanolake.CheckInput(path, task["object"], wanted)
        clusters = [int(start) for start in ROOT.nanolake.Clusters(path, task["object"])]
        files.append({"path": path, "events": int(events), "clusters": clusters})
    return {"files": files}


def skim(analysis: ModuleType, selection: str, task: Task, trap: Any) -> dict[str, Any]:
    """The loop of one unit."""
    ROOT = root.load()
    ROOT.gInterpreter.Declare(analysis.HELPERS)
    output, kind = task["output"], task["kind"]
    spec = _open(task["samples"], task["columns"])
    spec.WithGlobalRange(tuple(task["range"]))
    trap.Guard("reading", task["samples"][0]["files"][0]["path"])
    before = ROOT.TFile.GetFileBytesRead()
    df = ROOT.RDataFrame(spec)
    count = df.Count()
    written, reports = {}, {}
    for channel in task["channels"]:
        node = analysis.select(df, channel, kind, selection)
        path = ROOT.nanolake.Reproducible(f"{output}.{channel}")
        options = ROOT.nanolake.Output(1)
        written[channel] = node.Snapshot(channel, path, list(analysis.kept(kind)), options)
        reports[channel] = node.Report()
    result = {
        "read": int(count.GetValue()),
        "bytes_read": int(ROOT.TFile.GetFileBytesRead() - before),
        "accelerator": "off",
        "cutflow": {channel: _cutflow(report) for channel, report in reports.items()},
    }
    trees = ROOT.std.vector["std::pair<std::string, std::string>"]()
    for channel in task["channels"]:
        trees.emplace_back(f"{output}.{channel}", channel)
    ROOT.nanolake.Gather(trees, output)
    for channel in task["channels"]:
        os.remove(f"{output}.{channel}")
    return result


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
