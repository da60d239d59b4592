"""The analyses. Each is one module that declares what it reads, selects, keeps, fills and draws.

A module defines:

- `columns(kind)`: the input columns it reads and their C++ types, for kind `data` or `mc`;
- `HELPERS`: C++ functions that its expressions call;
- `select(df, channel, kind, selection)`: the selection, RDataFrame in, RDataFrame out;
- `kept(kind)`: the columns of the reduced ntuple, in order (`weight` is added by the merge);
- `parts(processes, channels)`: which histograms a sample gives, as (prefix, part) pairs;
- `ntuple_columns()`: the ntuple columns its histograms read;
- `book(df, part)`: the histograms of one part, ntuple in, histograms out;
- `figures(histograms, luminosity, options)`: the plots, by name;
- `figure_names()`: their names, known before any event is read.
"""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

NAMES = ("dimuon", "higgs4l", "htautau")


def load(name: str) -> ModuleType:
    """The module of an analysis.

    Raises:
        KeyError: There is no such analysis.
    """
    if name not in NAMES:
        raise KeyError(f"unknown analysis {name!r}; there are {', '.join(NAMES)}")
    return import_module(f"nanolake.analyses.{name}")
