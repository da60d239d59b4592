"""Records an analysis that is written for RDataFrame, so that it can be compiled.

An analysis is a function that takes an RDataFrame node and returns one. Given a real node it runs
at once (notebooks, machines without a compiler); given a `Recorder` it leaves a list of steps,
from which `nanolake.codegen` writes a C++ program. Both read the same lines of Python.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple


class Axis(NamedTuple):
    """Name, title and uniform binning of a one-dimensional histogram, as ROOT's TH1DModel."""

    name: str
    title: str
    bins: int
    low: float
    high: float


def axis(name: str, label: str, bins: int, low: float, high: float) -> Axis:
    """An axis whose label is written for matplotlib (`$p_T$`) and put into ROOT's spelling."""
    title = label.replace("$", "").replace("\\", "#")
    return Axis(name, f"{name};{title};Events", bins, low, high)


@dataclass(frozen=True)
class Step:
    """One line of the graph: a filter (name for the cut flow) or a definition (a new column)."""

    action: str
    name: str
    expression: str


@dataclass(frozen=True)
class Booked:
    """A histogram asked for at the end of a chain of steps."""

    axis: Axis
    column: str
    steps: tuple[Step, ...]


# A word that is not a member (a.b, a->b) and not behind a scope (std::b).
_IDENTIFIER = re.compile(r"(?<![\w.:>])([A-Za-z_]\w*)\b(?!\s*::)")


@dataclass(frozen=True)
class Recorder:
    """Stands in for an RDataFrame node and remembers what was asked of it.

    Attributes:
        columns: Columns of the input, name to C++ type.
        steps: Filters and definitions so far, in order.
    """

    columns: Mapping[str, str]
    steps: tuple[Step, ...] = field(default=())

    def Filter(self, expression: str, name: str = "") -> Recorder:
        """Keep the events for which a C++ expression of the columns is true."""
        return Recorder(self.columns, (*self.steps, Step("Filter", name, expression)))

    def Define(self, name: str, expression: str) -> Recorder:
        """Add a column given by a C++ expression of the columns."""
        return Recorder(self.columns, (*self.steps, Step("Define", name, expression)))

    def Histo1D(self, axis: Axis, column: str) -> Booked:
        """Ask for a histogram of a column over the events kept so far."""
        return Booked(axis, column, self.steps)

    def known(self) -> list[str]:
        """Names of all columns that a next step may use."""
        return [*self.columns, *(step.name for step in self.steps if step.action == "Define")]


def used_columns(expression: str, known: list[str]) -> list[str]:
    """Columns that an expression names, in the order of their first use."""
    names: dict[str, Any] = dict.fromkeys(_IDENTIFIER.findall(expression))
    return [name for name in names if name in known]
