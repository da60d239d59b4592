"""The numbers that every contender of a case must have in common."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import uproot
from cases import HERE, Case

sys.path.insert(0, str(HERE / "jobs"))
import dimuon_uproot
import higgs4l_uproot

Numbers = dict[str, Any]
# df103 draws the Higgs mass of the signal and of the data, each with a constant weight.
_PLOTS = {"4mu": "higgs_4mu.pdf", "4e": "higgs_4el.pdf", "2e2mu": "higgs_2el2mu.pdf"}


def of_tutorial(case: Case, answer: Mapping[str, Any]) -> Numbers:
    """Counts from what `jobs/tutorial.py` prints."""
    if case.analysis == "dimuon":
        return dict(answer)
    found = {}
    for channel in case.channels:
        part = "data" if case.sample.startswith("Run") else "signal"
        weighted = np.array(answer[_PLOTS[channel]][part])
        # 11580 pb-1 * 0.0065 pb / 299973 events: the weight of the signal in df103.
        counts = weighted / (11580.0 * 0.0065 / 299973.0 if part == "signal" else 1.0)
        if not np.allclose(counts, np.rint(counts), atol=1e-3):
            raise ValueError("df103's histogram does not hold counts times its weight")
        found[channel] = np.rint(counts).astype(int).tolist()
    return found


def of_unit(case: Case, answer: Mapping[str, Any], output: Path) -> Numbers:
    """Counts from the ledger entry and the reduced events of one of our units."""
    cutflow = answer["cutflow"]
    with uproot.open(output) as file:
        if case.analysis == "dimuon":
            histogram = np.zeros(dimuon_uproot.BINS + 2, dtype=int)
            dimuon_uproot.fill(histogram, file["dimuon"]["mass"].array(library="np"))
            counts = [events for _, events in cutflow["dimuon"]]
            return {"cutflow": counts, "histogram": histogram.tolist()}
        if case.analysis == "higgs4l":
            masses = {c: file[c]["H_mass"].array(library="np") for c in case.channels}
            return {c: higgs4l_uproot.counts(mass).tolist() for c, mass in masses.items()}
        columns = file["mutau"].arrays(library="np")
    digests = {name: _digest(values) for name, values in columns.items()}
    return {"cutflow": [events for _, events in cutflow["mutau"]], **digests}


def _digest(values: np.ndarray) -> int:
    """A number that changes with any bit, or the order, of the values."""
    return int.from_bytes(hashlib.sha256(values.tobytes()).digest()[:6], "big")


def difference(reference: Numbers, found: Numbers, tolerance: float) -> str:
    """What differs by more than allowed; empty if nothing does.

    Cut flows and numbers of entries must be equal. Of a histogram, a fraction `tolerance` of the
    entries may lie in another bin.
    """
    for name in reference:
        if name not in found:
            return f"{name} is missing"
        a, b = (np.atleast_1d(np.array(numbers[name])) for numbers in (reference, found))
        if a.shape != b.shape or a.sum() != b.sum():
            return f"{name}: {b.sum()} entries in place of {a.sum()}"
        moved = abs(a.astype(float) - b.astype(float)).sum() / 2
        if moved > (0 if name == "cutflow" else tolerance * a.sum()):
            return f"{name}: {moved:.0f} of {a.sum():.0f} entries lie in another bin"
    return ""
