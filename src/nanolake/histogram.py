"""Histogram: reduced ntuples become the analysis's histograms and the rest of its cut flow."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nanolake import analyses, engine, outputs, sources
from nanolake.catalogue import read, write
from nanolake.errors import InputError
from nanolake.merge import verify_output

NTUPLE_TREE = "Events"


def sample_of(path: str, known: Sequence[str]) -> str:
    """The sample that a reduced ntuple belongs to, by the name of its file.

    `<sample>.root` is ours, `<sample>Skim.root` the official skim's.

    Raises:
        InputError: The name is not that of a sample.
    """
    stem = Path(path).stem.removesuffix("Skim")
    if stem not in known:
        raise InputError(
            stem,
            path,
            "its name is not that of a sample",
            f"name it like one of {', '.join(known)}",
        )
    return stem


def fill(
    program: str,
    analysis: str,
    ntuples: Mapping[str, Mapping[str, Any]],
    output: str,
    *,
    selection: str,
    accelerator: str = "auto",
) -> dict[str, dict[str, int]]:
    """Fill the histograms of some samples into one file.

    Samples and processes come in the order of their names, whatever that of the datasets' file:
    in another one the last bits of sums differ.

    Args:
        program: The engine of the analysis.
        analysis: Its name.
        ntuples: Sample to {path, processes, channels} and, where known, events.
        output: The histogram file to write.
        selection: The analysis's selection.
        accelerator: `auto` or `off`.

    Returns:
        Sample to its cut flow after the skim, {step: events}.
    """
    module = analyses.load(analysis)
    ntuples = dict(sorted(ntuples.items()))
    columns = module.ntuple_columns(selection)
    paths = [ntuple["path"] for ntuple in ntuples.values()]
    task = {"object": NTUPLE_TREE, "columns": columns, "paths": paths}
    inspected = engine.run(program, "inspect", task, accelerator=accelerator)["files"]
    samples = [
        {
            "name": sample,
            "object": NTUPLE_TREE,
            "files": [{"path": ntuple["path"], "events": ntuple.get("events", content["events"])}],
            "parts": sorted(module.parts(ntuple["processes"], ntuple["channels"])),
        }
        for (sample, ntuple), content in zip(ntuples.items(), inspected, strict=True)
    ]
    task = {"samples": samples, "columns": columns, "weight_type": module.WEIGHT_TYPE}
    with outputs.whole(output) as part:
        task["output"] = str(part)
        result = engine.run(program, "histogram", task, accelerator=accelerator)
    cutflow: dict[str, dict[str, int]] = result["cutflow"]
    return cutflow


def run(
    program: str,
    plan_file: str,
    ntuple_files: Sequence[str],
    books_files: Sequence[str],
    histogram_file: str,
    cutflow_file: str,
    *,
    processes: Mapping[str, Mapping[str, str]],
    selection: str,
    accelerator: str = "auto",
) -> None:
    """Histograms of an analysis, and what its histogram step adds to the cut flow (JSON).

    Raises:
        InputError: A reduced ntuple was damaged since it was merged.
    """
    plan = read(plan_file)
    ntuples = {}
    for path, books_file in zip(ntuple_files, books_files, strict=True):
        books = read(books_file)
        verify_output(path, books["output"], f"delete {path} and run again")
        sample = books["sample"]
        channels = plan["samples"][sample]["channels"]
        ntuples[sample] = {
            "path": path,
            "events": books["books"]["written"],
            "processes": processes[sample],
            "channels": channels,
        }
    cutflow = fill(
        program,
        plan["analysis"],
        ntuples,
        histogram_file,
        selection=selection,
        accelerator=accelerator,
    )
    write(cutflow_file, cutflow)


def standalone(
    analysis: str,
    files: Sequence[str | os.PathLike[str]],
    output: str,
    *,
    cutflow: str | None,
    selection: str | None,
    mode: str,
    datasets: str,
) -> None:
    """Fill histograms from files named on the command line and print their cut flow.

    Raises:
        InputError: A file is not a reduced ntuple of the analysis.
    """
    import pandas as pd

    from nanolake.config import load_yaml

    known = load_yaml(datasets)["analyses"][analysis]["datasets"]
    chosen = selection or analyses.load(analysis).SELECTIONS[0]
    ntuples = {}
    for path in (os.fspath(file) for file in files):
        sources.describe(path)
        sample = sample_of(path, list(known))
        entry = known[sample]
        channels, processes = entry["channels"], entry["processes"]
        ntuples[sample] = {"path": path, "processes": processes, "channels": channels}
    program = engine.obtain(analysis, chosen, mode=mode)
    steps = fill(str(program), analysis, ntuples, output, selection=chosen)
    rows = [(sample, step, n) for sample, flow in steps.items() for step, n in flow.items()]
    table = pd.DataFrame(rows, columns=["sample", "step", "events"])
    print(table.to_string(index=False))
    if cutflow:
        table.to_csv(cutflow, index=False)
