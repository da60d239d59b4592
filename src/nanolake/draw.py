"""Draw: all plots of an analysis, as PNG and PDF."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nanolake import analyses
from nanolake.catalogue import read


def run(
    analysis: str,
    histogram_file: str,
    catalogue_file: str,
    outputs: Sequence[str],
    *,
    options: Mapping[str, Any],
    label: str = "Open Data",
) -> None:
    """Draw the plots of an analysis.

    Args:
        analysis: Its name.
        histogram_file: Its histograms.
        catalogue_file: Its catalogue, for the luminosities.
        outputs: `<name>.png` and `<name>.pdf` for every plot.
        options: The analysis's own section of the configuration.
        label: What stands beside CMS on the plots.

    Raises:
        KeyError: A histogram is missing.
    """
    from nanolake import plotting

    plotting.EXTRA_TEXT.set(label)
    histograms = plotting.read_histograms(histogram_file)
    luminosity = read(catalogue_file)["luminosity"]
    for name, figure in analyses.load(analysis).figures(histograms, luminosity, options):
        plotting.save(figure, *(path for path in outputs if Path(path).stem == name))
