"""Collections of H -> ZZ -> 4l events: muons and electrons with isolation and impact parameters."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from nanolake.generate.kinematics import (
    MUON_MASS,
    SENTINEL,
    Array,
    counts,
    pick,
    quantile_table,
    rounded,
    wrapped,
)

MUON, ELECTRON = 0, 1  # flavours
ELECTRON_MASS = 0.000511  # GeV
ISOLATION = quantile_table((0, 0.35, 0.6, 0.85, 0.97, 1), (0, 0, 0.04, 0.12, 0.30, 0.9))
LOOSE_ISOLATION = quantile_table((0, 0.1, 0.4, 0.7, 0.9, 1), (0, 0.1, 0.45, 1.1, 2.5, 6))


class Leptons(NamedTuple):
    """Reconstructed leptons of either flavour: event, momentum, charge, flavour, promptness."""

    event: Array
    pt: Array
    eta: Array
    phi: Array
    charge: Array
    flavour: Array
    prompt: Array

    def take(self, index: Array) -> Leptons:
        """The selected entries."""
        return Leptons(*(column[index] for column in self))


def joined(*parts: Leptons) -> Leptons:
    """Several sources as one, in no order."""
    return Leptons(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))


def _impact(rng: np.random.Generator, prompt: Array) -> dict[str, Array]:
    """Impact parameters and their errors, cm; -999 where there is no global track."""
    n = len(prompt)
    columns = {}
    missing = rng.random(n) < np.where(prompt, 0.002, 0.06)
    for name, error in (("dxy", 0.0025), ("dz", 0.0045)):
        sigma = rounded(error * (0.7 + 0.8 * rng.random(n, dtype=np.float32)), 3)
        spread = np.where(prompt, 1.0, 6.0) * sigma
        value = rounded(spread * rng.standard_normal(n, dtype=np.float32), 6)
        columns[name] = np.where(missing, np.float32(SENTINEL), value)
        columns[f"{name}Err"] = np.where(missing, np.float32(SENTINEL), sigma)
    return columns


def _isolation(rng: np.random.Generator, prompt: Array, sure: bool) -> Array:
    """Relative isolation: mostly below 0.4 for prompt leptons, -999 where it is not defined."""
    n = len(prompt)
    value = np.where(prompt, pick(rng, ISOLATION, n), 0.45 + pick(rng, LOOSE_ISOLATION, n))
    if sure:
        value = np.where(prompt, np.minimum(value, 0.3), value)
    undefined = rng.random(n) < np.where(prompt, 0.0 if sure else 0.004, 0.05)
    return np.where(undefined, np.float32(SENTINEL), rounded(value, 7))


def collection(
    rng: np.random.Generator, name: str, leptons: Leptons, n: int, sure: bool
) -> dict[str, Array]:
    """Columns of one collection."""
    m = len(leptons.pt)
    mass = MUON_MASS if name == "Muon" else ELECTRON_MASS
    isolation = _isolation(rng, leptons.prompt, sure)
    columns = {
        "pt": rounded(leptons.pt, 11),
        "eta": rounded(leptons.eta, 11),
        "phi": rounded(wrapped(leptons.phi), 11),
        "mass": np.full(m, mass, dtype=np.float32),
        "charge": leptons.charge,
        "pfRelIso03_all": isolation,
        **_impact(rng, leptons.prompt),
    }
    if name == "Muon":
        wider = np.where(isolation > 0, rounded(isolation * 1.1875, 7), isolation)
        columns["pfRelIso04_all"] = np.where(sure & leptons.prompt, np.minimum(wider, 0.375), wider)
    found = {f"{name}_{key}": values for key, values in columns.items()}
    return {f"n{name}": counts(leptons.event, n), **found}
