"""Writes the C++ program of an analysis from its Python definitions.

Each expression becomes a lambda whose parameters are the columns it names; the types of new columns
follow from the lambdas (`decltype`), so nothing has to be run to learn them.

Lambdas are turned into function pointers (`+[]`) and nodes into RNode: expressions of one signature
then share the templates behind Define and Filter, which costs nothing that can be measured in the
event loop and makes the compiler four times faster.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from types import ModuleType

from nanolake.graph import Booked, Recorder, Step, used_columns

KINDS = ("data", "mc")


def _parameters(names: Sequence[str]) -> str:
    return ", ".join(f"const T_{name} &{name}" for name in names)


def _declared(names: Sequence[str]) -> str:
    return ", ".join(f"std::declval<const T_{name} &>()" for name in names)


def _quoted(names: Sequence[str]) -> str:
    return "{" + ", ".join(f'"{name}"' for name in names) + "}"


def _types(columns: dict[str, str]) -> list[str]:
    return [f"using T_{name} = {ctype};" for name, ctype in columns.items()]


def _step(step: Step, known: list[str], before: str, after: str) -> list[str]:
    """C++ lines of one filter or definition: node `before` in, node `after` out."""
    names = used_columns(step.expression, known)
    lines = [f"auto {after}_f = +[]({_parameters(names)}) {{ return {step.expression}; }};"]
    if step.action == "Define":
        lines.append(f"using T_{step.name} = decltype({after}_f({_declared(names)}));")
        call = f'Define("{step.name}", {after}_f, {_quoted(names)})'
    else:
        call = f'Filter({after}_f, {_quoted(names)}, "{step.name}")'
    return [*lines, f"ROOT::RDF::RNode {after} = {before}.{call};"]


def _chain(
    columns: dict[str, str], steps: Sequence[Step], start: str, prefix: str
) -> tuple[list[str], str]:
    """C++ lines of a chain of steps and the name of its last node."""
    known, lines, node = list(columns), [], start
    for number, step in enumerate(steps):
        after = f"{prefix}{number}"
        lines += _step(step, known, node, after)
        if step.action == "Define":
            known.append(step.name)
        node = after
    return lines, node


def _function(signature: str, lines: Sequence[str]) -> str:
    body = "\n".join(f"   {line}" for line in lines)
    return f"{signature}\n{{\n{body}\n}}\n"


def _table(what: str, calls: Sequence[str]) -> str:
    table = f"const std::map<std::string, nanolake::{what}Function>"
    lines = [f"static {table} table{{{', '.join(calls)}}};", "return table;"]
    return _function(f"{table} &nanolake::{what}s()", lines)


def skim_source(analysis: ModuleType, selection: str) -> str:
    """C++ functions that book the channels of a unit, for data and for simulation."""
    functions, calls = [], []
    written: dict[tuple[str, tuple[Step, ...]], str] = {}
    for kind in KINDS:
        columns = analysis.columns(kind)
        for channel in analysis.CHANNELS:
            steps = analysis.select(Recorder(columns), channel, kind, selection).steps
            name = written.setdefault((channel, steps), f"skim_{kind}_{channel}")
            calls.append(f'{{"{kind}/{channel}", {name}}}')
            if name != f"skim_{kind}_{channel}":
                continue
            lines, node = _chain(columns, steps, "root", "n")
            lines = [
                *_types(columns),
                *lines,
                f'auto written = {node}.Snapshot("{channel}", nanolake::Reproducible(path),'
                f" {_quoted(analysis.kept(kind))}, nanolake::Output(1));",
                f'return {{"{channel}", path, written, {node}.Report()}};',
            ]
            signature = (
                f"static nanolake::Channel {name}(ROOT::RDF::RNode root, const std::string &path)"
            )
            functions.append(_function(signature, lines))
    return "\n".join([*functions, _table("Skim", calls)])


def _histogram(item: Booked, local: str, node: str, number: int) -> str:
    axis = item.axis
    model = f'{{"{local}", "{axis.title}", {axis.bins}, {axis.low!r}, {axis.high!r}}}'
    call = f'{node}.Histo1D<T_{item.column}>({model}, "{item.column}")'
    return f'part.histograms.push_back({{"{local}", {number}, {call}}});'


def histogram_source(analysis: ModuleType, selection: str) -> str:
    """C++ functions that book the histograms of a part of a sample."""
    columns = analysis.ntuple_columns(selection)
    functions, calls = [], []
    for part in analysis.PARTS:
        booked: dict[str, Booked] = analysis.book(Recorder(columns), part)
        lines = [*_types(columns), "nanolake::Part part;"]
        regions: dict[tuple[Step, ...], tuple[str, int]] = {}
        for local, item in booked.items():
            if item.steps not in regions:
                body, node = _chain(columns, item.steps, "root", f"r{len(regions)}_")
                lines += [*body, f"part.regions.push_back({node});"]
                regions[item.steps] = (node, len(regions))
            lines.append(_histogram(item, local, *regions[item.steps]))
        signature = f"static nanolake::Part book_{part}(ROOT::RDF::RNode root)"
        functions.append(_function(signature, [*lines, "return part;"]))
        calls.append(f'{{"{part}", book_{part}}}')
    return "\n".join([*functions, _table("Part", calls)])


def source(analysis: ModuleType, selection: str) -> str:
    """The C++ of the graph, to be linked with program.cpp."""
    parts = [
        '#include "graph.h"',
        analysis.HELPERS,
        skim_source(analysis, selection),
        histogram_source(analysis, selection),
    ]
    return "\n".join(parts)


def fingerprint(*sources: str) -> str:
    """Sixteen hexadecimal digits that change with the graph, and with nothing else."""
    return hashlib.sha256("\0".join(sources).encode()).hexdigest()[:16]
