"""Figures in the style of CMS, from histograms: nothing here knows an analysis or a folder.

Every drawing function takes histograms and returns a Matplotlib figure that pyplot does not know
of, so nothing has to be closed and no window system is asked for; `save` writes it. Matplotlib,
mplhep, hist and uproot are imported where they are used: together they take a second, which the
command line need not pay.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nanolake import outputs

if TYPE_CHECKING:
    import hist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

# Colours and names of the processes, those of the H->tautau plots of CMS Open Data (record 12350).
COLORS: Mapping[str, str] = {
    "QCD": "#facaff",
    "TT": "#9b98cc",
    "W": "#de5a6a",
    "ZLL": "#64c0e8",
    "ZTT": "#f8ce68",
    "ggH": "#bf2229",
    "qqH": "#00a88f",
}
LABELS: Mapping[str, str] = {
    "QCD": "QCD multijet",
    "TT": r"$t\bar{t}$",
    "W": "W+jets",
    "ZLL": "Z→ℓℓ",
    "ZTT": "Z→ττ",
    "ggH": "gg→H",
    "qqH": "qq→H",
}
OTHER_COLOR = "#9c9ca1"
UNCERTAINTY = "Stat. unc."
SIGNAL_RED = "#bf2229"
ZZ_BLUE = "#92c5eb"
ZZ_EDGE = "#3f7fb5"

# What stands beside "CMS" on a plot.
EXTRA_TEXT = ContextVar("EXTRA_TEXT", default="Open Data")

FIGURE_SIZE = (10.0, 10.0)  # inches; the font sizes of mplhep's CMS style are made for it
DPI = 90  # 900 pixels wide
RATIO_RANGE = (0.4, 1.6)


def read_histograms(path: str | Path, names: Iterable[str] | None = None) -> dict[str, hist.Hist]:
    """Read the one-dimensional histograms of a ROOT file, with their variances.

    Args:
        path: ROOT file with TH1 objects at its top level.
        names: The histograms wanted, all of them if None.

    Returns:
        Name to histogram with weighted storage; a TH1 without Sumw2 has its contents as variances.

    Raises:
        KeyError: A wanted histogram is not in the file.
    """
    import hist
    import uproot

    found = {}
    with uproot.open(path) as file:
        wanted = file.keys(cycle=False, recursive=False, filter_classname="TH1*")
        for name in wanted if names is None else names:
            stored = file[name]
            values, variances = stored.values(flow=True), stored.variances(flow=True)
            found[name] = hist.Hist(stored.to_hist().axes[0], storage=hist.storage.Weight())
            view: Any = found[name].view(flow=True)
            view.value, view.variance = values, values if variances is None else variances
    return found


def save(figure: Figure, *paths: str | Path) -> None:
    """Write a figure to files whose suffixes say the format (.png, .pdf).

    The same figure gives the same bytes, as no date is written. A file gets its name when complete.

    Args:
        figure: What to write.
        paths: Files to write; their folders are made.
    """
    with _style():
        for path in map(Path, paths):
            kind = path.suffix.lstrip(".").lower()
            undated = {"CreationDate": None} if kind == "pdf" else None
            with outputs.whole(path) as part:
                figure.savefig(part, format=kind, dpi=DPI, metadata=undated)


def spectrum(
    histogram: hist.Hist,
    *,
    luminosity: float,
    xlabel: str,
    resonances: Mapping[str, float],
    ylabel: str = "Events / GeV",
    energy: float = 8,
) -> Figure:
    """Draw a mass spectrum on two logarithmic axes, its resonances named above their peaks.

    The many equal bins of the input are merged into bins of about equal width on the logarithmic
    axis and divided by their width; the more events, the more bins, up to the mass resolution.

    Args:
        histogram: Events by mass in GeV.
        luminosity: Integrated luminosity in pb-1.
        xlabel: Title of the mass axis, with its unit.
        resonances: Label to mass in GeV.
        ylabel: Title of the other axis.
        energy: Centre-of-mass energy in TeV.

    Returns:
        The figure.
    """
    with _style():
        figure, axes = _canvas(luminosity, energy)
        axes.set(xscale="log", yscale="log", xlabel=xlabel, ylabel=ylabel)
        _plain_log_labels(axes)
        all_edges = np.asarray(histogram.axes[0].edges)
        edges, density = _merged(all_edges, _values(histogram))
        if density.size:
            axes.stairs(density, edges, fill=True, color=ZZ_BLUE, alpha=0.45, linewidth=0)
            axes.stairs(density, edges, baseline=None, color="#1f3b6f", linewidth=1.5)
        floor, top = (density.min() / 3, density.max() * 6) if density.size else (0.1, 10)
        axes.set(xlim=all_edges[[0, -1]], ylim=(floor, top))
        _name_peaks(axes, resonances, edges, density)
    return figure


def mass_peak(
    data: hist.Hist,
    *,
    background: hist.Hist,
    signal: hist.Hist,
    luminosity: float,
    xlabel: str,
    background_label: str = "ZZ",
    signal_label: str = r"$m_H$ = 125 GeV",
    energy: float = 8,
) -> Figure:
    """Draw data over a filled background with the signal as a line stacked on it.

    Args:
        data: Observed events, drawn as points with Poisson errors where there are any.
        background: Expected background.
        signal: Expected signal.
        luminosity: Integrated luminosity in pb-1.
        xlabel: Title of the axis, with its unit in brackets.
        background_label: Name of the background in the legend.
        signal_label: Name of the signal in the legend.
        energy: Centre-of-mass energy in TeV.

    Returns:
        The figure.
    """
    with _style():
        figure, axes = _canvas(luminosity, energy)
        edges = data.axes[0].edges
        expected = _values(background)
        total = expected + _values(signal)
        axes.stairs(total, edges, color=SIGNAL_RED, linewidth=2.5, label=signal_label)
        # Filled and outlined over the signal's line, which shows where there is signal.
        axes.stairs(expected, edges, fill=True, color=ZZ_BLUE, label=background_label)
        axes.stairs(expected, edges, color=ZZ_EDGE, linewidth=2.5)
        highest = max(total.max(), _points(axes, data).max())
        axes.set(xlim=edges[[0, -1]], ylim=(0, 1.25 * highest or 1.0))
        axes.set(xlabel=xlabel, ylabel=_events_per_bin(data, xlabel))
        _round_ticks(axes)
        _legend(axes, ["Data", background_label, signal_label])
    return figure


def stack(
    data: hist.Hist,
    *,
    backgrounds: Mapping[str, hist.Hist],
    signals: Mapping[str, hist.Hist],
    luminosity: float,
    xlabel: str,
    scales: Mapping[str, float] | None = None,
    labels: Mapping[str, str] = LABELS,
    colors: Mapping[str, str] = COLORS,
    energy: float = 8,
) -> Figure:
    """Draw data over stacked backgrounds with signals as lines, and data / background below.

    Args:
        data: Observed events.
        backgrounds: Process to histogram, from the bottom of the stack to its top.
        signals: Process to histogram, each drawn from zero.
        luminosity: Integrated luminosity in pb-1.
        xlabel: Title of the axis, with its unit in brackets.
        scales: Factors by which signals are enlarged in the drawing; the legend says so.
        labels: Process to its name in the legend; the process itself where it has none.
        colors: Process to its colour; grey where it has none.
        energy: Centre-of-mass energy in TeV.

    Returns:
        The figure, with the stack in its first axes and the ratio in its second.
    """
    with _style():
        figure, axes, below = _canvas_with_ratio(luminosity, energy)
        edges = data.axes[0].edges
        height, error = _filled(axes, edges, backgrounds, labels, colors)
        _band(axes, edges, height, error, label=UNCERTAINTY)
        highest = max(height.max(), _points(axes, data).max())
        lines = []
        for process, histogram in signals.items():
            scale = (scales or {}).get(process, 1.0)
            lines.append(labels.get(process, process) + (f" (×{scale:g})" if scale != 1 else ""))
            color, line = colors.get(process, OTHER_COLOR), scale * _values(histogram)
            axes.stairs(line, edges, color=color, linewidth=2.5, label=lines[-1])
            highest = max(highest, line.max())
        layers = [labels.get(process, process) for process in backgrounds][::-1]
        axes.set(ylim=(0, 1.5 * highest or 1.0), ylabel=_events_per_bin(data, xlabel))
        _round_ticks(axes)
        _legend(axes, ["Data", *layers, UNCERTAINTY, *lines], columns=3)
        _ratio(below, data, height, error)
        below.set(xlim=edges[[0, -1]], xlabel=xlabel)
        figure.align_ylabels()
    return figure


def qcd_estimate(
    data_ss: hist.Hist, simulated_ss: Sequence[hist.Hist], *, factor: float = 0.80
) -> hist.Hist:
    """Estimate the QCD multijet background from the events of same-sign charge.

    What simulation does not explain of the same-sign data is taken for QCD. Negative bins are set
    to zero, then the factor from same to opposite sign is applied (plot.py of record 12350, CMS
    Open Data, which subtracts every simulated background and not the Higgs).

    Args:
        data_ss: Same-sign data.
        simulated_ss: Same-sign simulation of every other background, normalised to the data.
        factor: Ratio of opposite-sign to same-sign QCD events.

    Returns:
        The estimate. Its variances are those of the difference times the square of the factor, in
        clipped bins too: one that fluctuated below zero is not known better than its neighbours.
    """
    estimate = data_ss.copy()
    view: Any = estimate.view(flow=True)
    for histogram in simulated_ss:
        view.value -= histogram.values(flow=True)
        view.variance += histogram.variances(flow=True)
    view.value = factor * np.maximum(view.value, 0)
    view.variance *= factor**2
    return estimate


def garwood(counts: Array) -> tuple[Array, Array]:
    """Central 68.27 % intervals of Poisson means (Garwood 1936), for numbers of events seen.

    With the chi-square quantiles of Wilson and Hilferty (1931): right within 1 %, and within 0.1 %
    from ten events on. No eye sees that, and SciPy is not needed.

    Args:
        counts: Numbers of events, not negative.

    Returns:
        The lower and the upper ends, of the shape of `counts`.
    """
    above = counts + 1
    at_least_one = np.maximum(counts, 1)
    lower = counts * (1 - 1 / (9 * at_least_one) - 1 / (3 * np.sqrt(at_least_one))) ** 3
    upper = above * (1 - 1 / (9 * above) + 1 / (3 * np.sqrt(above))) ** 3
    return lower, upper


def luminosity_text(luminosity: float) -> str:
    """Write a luminosity given in pb-1 with three digits, in fb-1 from 1 fb-1 on."""
    number, unit = (luminosity / 1000, "fb") if luminosity >= 999.5 else (luminosity, "pb")
    return f"{number:.3g} {unit}$^{{-1}}$"


def _values(histogram: hist.Hist) -> Array:
    """Contents of the bins, without under- and overflow."""
    return np.asarray(histogram.values(), dtype=np.float64)


def _variances(histogram: hist.Hist) -> Array:
    """Variances of the bins; those of plain counts where the histogram keeps none."""
    variances = histogram.variances()
    return _values(histogram) if variances is None else np.asarray(variances, dtype=np.float64)


def _style() -> AbstractContextManager[None]:
    """CMS style while a figure is made or written (fonts are looked up when it is drawn)."""
    import matplotlib
    import mplhep

    return matplotlib.rc_context(
        {**mplhep.style.CMS, "font.family": "TeX Gyre Heros", "axes.unicode_minus": True}
    )


def _canvas(luminosity: float, energy: float, bottom: float = 0.11) -> tuple[Figure, Axes]:
    """A figure with one pair of axes, which says whose data these are, how many, at which energy.

    Margins are fixed rather than fitted, which would draw it once more.
    """
    import mplhep
    from matplotlib.figure import Figure

    figure = Figure(figsize=FIGURE_SIZE)
    axes = figure.add_axes((0.16, bottom, 0.8, 0.93 - bottom))
    right = f"{luminosity_text(luminosity)} ({energy:g} TeV)"
    # Adjusting to an axis' power of ten would open a figure of pyplot (mplhep 1.3).
    label = EXTRA_TEXT.get()
    mplhep.cms.label(label, data=True, rlabel=right, loc=0, scilocator_adjust=False, ax=axes)
    return figure, axes


def _canvas_with_ratio(luminosity: float, energy: float) -> tuple[Figure, Axes, Axes]:
    """A figure with a pair of axes, and narrow ones below that share the x axis."""
    figure, axes = _canvas(luminosity, energy, bottom=0.315)
    below = figure.add_axes((0.16, 0.11, 0.8, 0.19), sharex=axes)
    axes.tick_params(labelbottom=False)
    return figure, axes, below


def _events_per_bin(histogram: hist.Hist, xlabel: str) -> str:
    """Title of a y axis: with the bin width where the x axis ends with a unit in brackets."""
    unit = re.search(r"\((\w+)\)$", xlabel)
    width = histogram.axes[0].widths[0]
    return f"Events / {width:.3g} {unit[1]}" if unit else "Events"


def _round_ticks(axes: Axes) -> None:
    """Put the ticks of the y axis at round numbers (not at 2.5, 7.5: events are whole)."""
    from matplotlib.ticker import MaxNLocator

    axes.yaxis.set_major_locator(MaxNLocator(nbins=7, steps=[1, 2, 5, 10]))


def _legend(axes: Axes, order: Sequence[str], columns: int = 1) -> None:
    """Name what is drawn, in the given order, leaving out what is not."""
    handles, labels = axes.get_legend_handles_labels()
    drawn = dict(zip(labels, handles, strict=True))
    shown = [label for label in order if label in drawn]
    axes.legend([drawn[label] for label in shown], shown, loc="upper right", ncols=columns)


def _points(axes: Axes, data: hist.Hist) -> Array:
    """Draw data as points with Poisson errors, none in empty bins; return the upper ends."""
    values = _values(data)
    lower, upper = garwood(values)
    seen = values > 0
    errors = np.array([values - lower, upper - values])
    axes.errorbar(
        data.axes[0].centers[seen],
        values[seen],
        yerr=errors[:, seen],
        fmt="ko",
        markersize=7,
        label="Data",
    )
    return np.where(seen, upper, 0)


def _filled(
    axes: Axes,
    edges: Array,
    histograms: Mapping[str, hist.Hist],
    labels: Mapping[str, str],
    colors: Mapping[str, str],
) -> tuple[Array, Array]:
    """Draw filled histograms on top of each other; return their sum and its statistical error."""
    height = variance = np.zeros(len(edges) - 1)
    for process, histogram in histograms.items():
        base, height = height, height + _values(histogram)
        variance = variance + _variances(histogram)
        name, color = labels.get(process, process), colors.get(process, OTHER_COLOR)
        axes.stairs(height, edges, baseline=base, fill=True, color=color, label=name)
    return height, np.sqrt(variance)


def _band(axes: Axes, edges: Array, middle: Array, half: Array, label: str = "") -> None:
    """Draw a hatched band of statistical uncertainty."""
    axes.stairs(
        middle + half,
        edges,
        baseline=middle - half,
        fill=True,
        facecolor="none",
        edgecolor="0.35",
        hatch="////",
        linewidth=0,
        label=label,
    )


def _ratio(axes: Axes, data: hist.Hist, expected: Array, uncertainty: Array) -> None:
    """Draw data / expected with the relative uncertainty of what is expected around one.

    Bins without expectation stay empty; an arrow at the border is a point beyond it.
    """
    edges, centers, values = data.axes[0].edges, data.axes[0].centers, _values(data)
    usable = expected > 0
    divisor = np.where(usable, expected, 1)
    _band(axes, edges, np.ones_like(expected), np.where(usable, uncertainty / divisor, 0))
    axes.axhline(1, color="black", linewidth=1, linestyle="--")
    seen = usable & (values > 0)
    ratio = values / divisor
    errors = np.array([values - garwood(values)[0], garwood(values)[1] - values]) / divisor
    axes.errorbar(centers[seen], ratio[seen], yerr=errors[:, seen], fmt="ko", markersize=7)
    low, high = RATIO_RANGE
    for marker, place, outside in (
        ("^", high - 0.07, ratio > high),
        ("v", low + 0.07, ratio < low),
    ):
        shown = seen & outside
        axes.plot(centers[shown], np.full(shown.sum(), place), marker, color="black", markersize=8)
    axes.set(ylim=RATIO_RANGE)
    axes.set_ylabel("Data / Bkg.", loc="center")


def _merged(edges: Array, counts: Array, least: float = 4) -> tuple[Array, Array]:
    """Merge bins to about equal logarithmic width, none with fewer than `least` events.

    Args:
        edges: Edges of the bins, ascending and positive.
        counts: Events in them.
        least: Events of a merged bin, so that a sparse tail has no holes on a logarithmic axis.

    Returns:
        Edges and events per unit of x; empty arrays if there are fewer than `least` events.
    """
    total = counts.sum()
    if total < least:
        return edges[:1], counts[:0]
    # From 2.5 % of the mass (40,000 events) to 1.2 % (24 million), about the resolution.
    wanted = int(np.clip(100 * np.log10(total) - 170, 100, 600))
    grid = np.geomspace(edges[0], edges[-1], wanted + 1)
    places = np.unique(np.searchsorted(edges, grid * (1 - 1e-9)).clip(0, len(counts)))
    below = np.concatenate([[0.0], np.cumsum(counts)])
    kept = [0]
    for place in places[1:]:
        if below[place] - below[kept[-1]] >= least:
            kept.append(int(place))
    kept[-1] = int(places[-1])  # the last bin takes what remains
    return edges[kept], np.diff(below[kept]) / np.diff(edges[kept])


def _name_peaks(axes: Axes, resonances: Mapping[str, float], edges: Array, density: Array) -> None:
    """Write labels above the highest bins near their masses, clear of flanks and of each other."""
    last_x, last_y = -np.inf, 0.0
    for label, mass in sorted(resonances.items(), key=lambda item: item[1]):
        near, left, right = (
            density[(edges[1:] > low * mass) & (edges[:-1] < high * mass)].max(initial=0)
            for low, high in ((0.95, 1.05), (0.8, 0.95), (1.05, 1.25))
        )
        if near == 0:
            continue
        x, y = np.log10(mass), np.log10(1.35 * near)
        if x - last_x < 0.13 and abs(y - last_y) < 0.25:
            y = last_y + 0.25
        side = "left" if left > near else "right" if right > near else "center"
        axes.text(mass, 10**y, label, ha=side, va="bottom", fontsize=20)
        last_x, last_y = x, y


def _plain_log_labels(axes: Axes) -> None:
    """Write 1, 10, 100 in place of powers of ten along the x axis."""
    from matplotlib.ticker import FuncFormatter, NullFormatter

    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
