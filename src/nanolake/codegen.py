"""Writes the C++ program of an analysis from its Python definitions.

A skim becomes a plain event loop: a filter is an `if`, a definition a variable, an input column is
fetched before its first use (cpp/event_loop.h). Histograms, which fill from small ntuples, stay
RDataFrame: each expression becomes a lambda whose parameters are the columns it names. In both,
types of new columns follow from `decltype`, so nothing has to be run to learn them.

Lambdas are turned into function pointers (`+[]`) and nodes into RNode: expressions of one signature
then share the templates behind Define and Filter, and the compiler is four times faster.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from types import ModuleType
from typing import Any

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


def _table(ctype: str, name: str, calls: Sequence[str]) -> str:
    table = f"const std::map<std::string, nanolake::{ctype}>"
    lines = [f"static {table} table{{{', '.join(calls)}}};", "return table;"]
    return _function(f"{table} &nanolake::{name}()", lines)


def _columns_needed(expressions: Sequence[str], known: list[str], have: set[str]) -> list[str]:
    """Lines that fetch the input columns that an expression names for the first time."""
    lines = []
    for expression in expressions:
        for name in used_columns(expression, known):
            if name not in have:
                have.add(name)
                lines.append(f"const auto &{name} = in_.{name}.At(entry_);")
    return lines


def _event_lines(
    columns: dict[str, str], steps: Sequence[Step], kept: Sequence[str], filters: bool
) -> list[str]:
    """The selection as plain C++, from the first filter to the kept columns.

    Args:
        columns: Input columns.
        steps: Filters and definitions.
        kept: Columns of the ntuple.
        filters: Without them only the types of the kept columns follow.
    """
    known, have, lines, number = list(columns), set[str](), [], 0
    for step in steps:
        if step.action == "Filter" and not filters:
            continue
        lines += _columns_needed([step.expression], known, have)
        if step.action == "Define":
            lines.append(f"const auto {step.name} = {step.expression};")
        else:
            lines += [f"if (!({step.expression}))", "   return;"]
            if step.name:
                lines.append(f"++channel_.steps[{number}].second;")
                number += 1
    defined = {step.name for step in steps if step.action == "Define"}
    return lines + _columns_needed([name for name in kept if name not in defined], known, have)


def _channel_source(
    kind: str, channel: str, columns: dict[str, str], steps: Sequence[Step], kept: Sequence[str]
) -> str:
    """The types of a channel's rows, and the function that runs it on one event."""
    name = f"{kind}_{channel}"
    types = ", ".join(f"std::decay_t<decltype({column})>" for column in kept)
    probe = [
        *_event_lines(columns, steps, kept, filters=False),
        f"return nanolake::Types<{types}>{{}};",
    ]
    event = [
        *_event_lines(columns, steps, kept, filters=True),
        f"channel_.rows.Add({', '.join(kept)});",
    ]
    return "\n".join(
        [
            f"// Never called: its type says what the rows of {channel} hold.",
            _function(f"static auto Types_{name}(Input_{kind} &in_, Long64_t entry_)", probe),
            f"using Channel_{name} = nanolake::Channel<decltype(Types_{name}("
            f"std::declval<Input_{kind} &>(), 0))>;\n",
            _function(
                f"static inline void Event_{name}(Input_{kind} &in_, Long64_t entry_,"
                f" Channel_{name} &channel_)",
                event,
            ),
        ]
    )


def _input_source(kind: str, columns: dict[str, str]) -> str:
    members = [f"nanolake::Column<{ctype}> {name};" for name, ctype in columns.items()]
    binds = " ".join(f'{name}.Bind(tree, "{name}");' for name in columns)
    lines = "\n".join(f"   {line}" for line in [*members, f"void Bind(TTree &tree) {{ {binds} }}"])
    return f"struct Input_{kind} {{\n{lines}\n}};\n"


def _loop_source(kind: str, channels: dict[str, tuple[Sequence[Step], Sequence[str]]]) -> str:
    """The class that runs the chosen channels on every event of a range."""
    members, makes, runs, closes = [], [], [], []
    for channel, (steps, kept) in channels.items():
        flow = ", ".join(f'{{"{s.name}", 0}}' for s in steps if s.action == "Filter" and s.name)
        member, ctype = f"c_{channel}", f"Channel_{kind}_{channel}"
        members.append(f"std::unique_ptr<{ctype}> {member};")
        makes.append(
            f'if (name == "{channel}")\n         {member}.reset(new {ctype}{{{{{flow}}},'
            f' {{"{channel}", output, {_quoted(kept)}}}}});'
        )
        runs.append(f"if ({member})\n            Event_{kind}_{channel}(in, entry, *{member});")
        closes.append(
            f"if ({member}) {{\n         {member}->rows.Close();\n"
            f'         flows["{channel}"] = {member}->steps;\n      }}'
        )
    join = "\n      ".join
    return f"""struct Loop_{kind} final : nanolake::Loop {{
   Input_{kind} in;
   {join(members)}
   Loop_{kind}(const std::vector<std::string> &channels, TFile &output)
   {{
      for (const auto &name : channels) {{
         {join(makes)}
      }}
   }}
   void Run(TTree &tree, Long64_t first, Long64_t last) override
   {{
      in.Bind(tree);
      for (Long64_t entry = first; entry < last; ++entry) {{
         {join(runs)}
      }}
   }}
   std::map<std::string, nanolake::CutFlow> Close() override
   {{
      std::map<std::string, nanolake::CutFlow> flows;
      {join(closes)}
      return flows;
   }}
   static std::unique_ptr<nanolake::Loop> Make(const std::vector<std::string> &names, TFile &file)
   {{
      return std::make_unique<Loop_{kind}>(names, file);
   }}
}};
"""


def skim_source(analysis: ModuleType, selection: str) -> str:
    """The event loops of a skim, for data and for simulation (one where both are alike)."""
    parts: list[str] = []
    written: dict[Any, str] = {}
    calls = []
    for kind in KINDS:
        columns, kept = analysis.columns(kind), analysis.kept(kind)
        channels = {
            channel: (analysis.select(Recorder(columns), channel, kind, selection).steps, kept)
            for channel in analysis.CHANNELS
        }
        name = written.setdefault(repr((columns, channels)), kind)
        calls.append(f'{{"{kind}", Loop_{name}::Make}}')
        if name != kind:
            continue
        parts.append(_input_source(kind, columns))
        for channel, (steps, _) in channels.items():
            parts.append(_channel_source(kind, channel, columns, steps, kept))
        parts.append(_loop_source(kind, channels))
    parts.append(_table("MakeLoop", "Loops", calls))
    return "\n".join(parts)


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
    return "\n".join([*functions, _table("PartFunction", "Parts", calls)])


def source(analysis: ModuleType, selection: str) -> str:
    """The C++ of the graph, to be linked with program.cpp."""
    parts = [
        '#include "graph.h"',
        f'const char *const nanolake::kAnalysis = "{analysis.__name__.rsplit(".", 1)[-1]}";',
        f'const char *const nanolake::kSelection = "{selection}";',
        analysis.HELPERS,
        skim_source(analysis, selection),
        histogram_source(analysis, selection),
    ]
    return "\n".join(parts)


def fingerprint(*sources: str) -> str:
    """Sixteen hexadecimal digits that change with the graph, and with nothing else."""
    return hashlib.sha256("\0".join(sources).encode()).hexdigest()[:16]
