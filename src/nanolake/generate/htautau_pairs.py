"""Muon-tau pairs of each process, as they pass the selection of the H -> tautau analysis.

Shapes follow the official skims of the real files (CMS Open Data records 12350-12359).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from nanolake.generate.kinematics import (
    Z_MASS,
    Z_WIDTH,
    Array,
    Momentum,
    azimuths,
    breit_wigner,
    decay,
    directions,
    pick,
    quantile_table,
    signs,
    system,
    wrapped,
)

W_MASS, W_WIDTH = 80.38, 2.09  # GeV
MUON_PT, TAU_PT = 17.0, 20.0  # GeV, cuts of the analysis
MUON_ETA, TAU_ETA = 2.1, 2.3

# Fraction of a tau's momentum that is visible: muon, hadrons.
MUON_FRACTION = quantile_table(
    (0, 0.25, 0.5, 0.75, 0.95, 1), (0.01, 0.152, 0.318, 0.523, 0.785, 0.98)
)
TAU_FRACTION = quantile_table((0, 0.1, 0.5, 0.9, 1), (0.2, 0.34, 0.58, 0.87, 0.99))
FAKE_TAU_PT = quantile_table(
    (0, 0.05, 0.25, 0.5, 0.75, 0.95, 1), (20.1, 20.5, 22.2, 25.4, 31, 48, 150)
)
SOFT_MUON_PT = quantile_table((0, 0.25, 0.5, 0.75, 0.95, 1), (17.05, 19.3, 22.8, 30, 55, 140))
Z_PT = quantile_table((0, 0.25, 0.5, 0.75, 0.95, 1), (0.5, 6, 13, 27, 75, 200))
HIGGS_PT = quantile_table((0, 0.25, 0.5, 0.75, 0.95, 1), (1, 12, 24, 48, 115, 250))
VBF_PT = quantile_table((0, 0.25, 0.5, 0.75, 0.95, 1), (3, 45, 75, 115, 200, 350))
W_PT = {
    "W1": quantile_table((0, 0.25, 0.5, 0.75, 0.95, 1), (2, 20, 30, 42, 75, 180)),
    "W2": quantile_table((0, 0.25, 0.5, 0.75, 0.95, 1), (2, 24, 40, 62, 120, 250)),
    "W3": quantile_table((0, 0.25, 0.5, 0.75, 0.95, 1), (2, 30, 52, 85, 160, 300)),
}

# Pairs per pb-1 in data before the cuts on mt and isolation.
RATES = {"ztt": 6.3, "zll": 2.4, "tt": 1.3, "W1": 5.06, "W2": 3.2, "W3": 1.9, "qcd": 8.8}


class Pairs(NamedTuple):
    """One muon and one tau an event, and what else the process brings.

    `missing` are the components of the neutrinos' momentum; `other` is a second muon (pt 0: none);
    `prompt` tells isolated muons, `true` real taus; `pdg` are the identities of the matched
    generated particles; `jets` is the mean number of further hard jets, `flavour` 5 for b jets,
    1 for two forward ones.
    """

    muon: Momentum
    muon_charge: Array
    tau: Momentum
    tau_charge: Array
    missing: tuple[Array, Array]
    other: Momentum
    prompt: Array
    true: Array
    muon_pdg: Array
    tau_pdg: Array
    jets: Array
    flavour: Array

    def take(self, index: Array) -> Pairs:
        """The selected entries."""
        return Pairs(*(_take(part, index) for part in self))


def _take(part: Any, index: Array) -> Any:
    if isinstance(part, Momentum):
        return part.take(index)
    return tuple(c[index] for c in part) if isinstance(part, tuple) else part[index]


def _concatenated(pieces: Sequence[Any]) -> Any:
    if isinstance(pieces[0], Momentum):
        return Momentum(*(np.concatenate(p) for p in zip(*pieces, strict=True)))
    if isinstance(pieces[0], tuple):
        return tuple(np.concatenate(p) for p in zip(*pieces, strict=True))
    return np.concatenate(pieces)


def joined(parts: Sequence[Pairs]) -> Pairs:
    """Several sources as one."""
    return Pairs(*(_concatenated(pieces) for pieces in zip(*parts, strict=True)))


def _pairs(
    n: int,
    muon: Momentum,
    tau: Momentum,
    charges: tuple[Array, Array],
    missing: tuple[Array, Array],
    *,
    jets: float,
    pdg: tuple[int, int] = (13, 13),
    prompt: bool = True,
    true: Array | bool = False,
    other: Momentum | None = None,
    flavour: int = 0,
) -> Pairs:
    """Fills in what is the same for all events of a process."""
    none = np.zeros(n, dtype=np.float32)
    return Pairs(
        muon,
        charges[0],
        tau,
        charges[1],
        missing,
        other or Momentum(none, none, none),
        np.full(n, prompt),
        np.broadcast_to(np.asarray(true), (n,)),
        np.full(n, pdg[0], dtype=np.int32),
        np.full(n, pdg[1], dtype=np.int32),
        np.full(n, jets, dtype=np.float32),
        np.full(n, flavour, dtype=np.int32),
    )


def _charges(rng: np.random.Generator, n: int, opposite: float) -> tuple[Array, Array]:
    """Charges of muon and tau; this fraction has opposite ones."""
    muon = signs(rng, n)
    return muon, np.where(rng.random(n, dtype=np.float32) < opposite, -muon, muon)


def _fake_tau(rng: np.random.Generator, n: int, phi: Array, spread: float) -> Momentum:
    """A jet taken for a tau, back to back with the direction phi within `spread`."""
    eta = np.clip(1.25 * rng.standard_normal(n, dtype=np.float32), -2.29, 2.29)
    away = phi + np.float32(np.pi) + spread * rng.standard_normal(n, dtype=np.float32)
    return Momentum(pick(rng, FAKE_TAU_PT, n), eta, wrapped(away))


def _tautau(
    rng: np.random.Generator,
    n: int,
    mass: Array,
    pt: Array,
    width: float,
    jets: float,
    flavour: int,
) -> Pairs:
    """Decays to two taus, one to a muon, the other to hadrons, wherever they go."""
    rapidity = width * rng.standard_normal(n, dtype=np.float32)
    parent = system(mass, pt, rapidity, azimuths(rng, n))
    first, second = decay(parent, mass, mass / 2, (0.0, 0.0), directions(rng, n))
    x1, x2 = pick(rng, MUON_FRACTION, n), pick(rng, TAU_FRACTION, n)
    missing = (
        (1 - x1) * first.x + (1 - x2) * second.x,
        (1 - x1) * first.y + (1 - x2) * second.y,
    )
    one, two = first.polar(), second.polar()
    smear = 1 + 0.04 * rng.standard_normal(n, dtype=np.float32)
    muon = Momentum(x1 * one.pt, one.eta, one.phi)
    tau = Momentum(x2 * two.pt * smear, two.eta, two.phi)
    charges = _charges(rng, n, 0.985)
    return _pairs(
        n, muon, tau, charges, missing, jets=jets, pdg=(15, 15), true=True, flavour=flavour
    )


def ztt(rng: np.random.Generator, n: int) -> Pairs:
    """Z -> tautau."""
    mass = breit_wigner(rng, n, Z_MASS, Z_WIDTH, 25)
    return _tautau(rng, n, mass, pick(rng, Z_PT, n), 1.2, 0.25, 0)


def ggh(rng: np.random.Generator, n: int) -> Pairs:
    """H -> tautau from gluon fusion."""
    mass = np.full(n, 125.0, dtype=np.float32)
    return _tautau(rng, n, mass, pick(rng, HIGGS_PT, n), 1.0, 0.6, 0)


def vbf(rng: np.random.Generator, n: int) -> Pairs:
    """H -> tautau from vector-boson fusion: two forward jets."""
    mass = np.full(n, 125.0, dtype=np.float32)
    return _tautau(rng, n, mass, pick(rng, VBF_PT, n), 0.9, 0.2, 1)


def zll(rng: np.random.Generator, n: int) -> Pairs:
    """Z -> mumu: a jet, or the second muon, is taken for the tau."""
    mass = breit_wigner(rng, n, Z_MASS, Z_WIDTH, 25)
    parent = system(
        mass, pick(rng, Z_PT, n), 1.2 * rng.standard_normal(n, dtype=np.float32), azimuths(rng, n)
    )
    first, second = (
        p.polar() for p in decay(parent, mass, mass / 2, (0.0, 0.0), directions(rng, n))
    )
    jet = rng.random(n, dtype=np.float32) < 0.9
    fake = _fake_tau(rng, n, parent.polar().phi, 1.0)
    tau = Momentum(*(np.where(jet, a, b) for a, b in zip(fake, second, strict=True)))
    muon_charge, fake_charge = _charges(rng, n, 0.55)
    charges = (muon_charge, np.where(jet, fake_charge, -muon_charge))
    seen = jet & (second.pt > 5) & (np.abs(second.eta) < 2.4) & (second.pt < first.pt)
    other = Momentum(np.where(seen, second.pt, np.float32(0)), second.eta, second.phi)
    none = np.zeros(n, dtype=np.float32)
    return _pairs(n, first, tau, charges, (none, none), jets=0.45, other=other)


def w_jets(rng: np.random.Generator, n: int, name: str) -> Pairs:
    """W -> mu nu (some by a tau) with one, two or three jets, of which one is taken for the tau."""
    mass = breit_wigner(rng, n, W_MASS, W_WIDTH, 30)
    rapidity = 1.3 * rng.standard_normal(n, dtype=np.float32)
    parent = system(mass, pick(rng, W_PT[name], n), rapidity, azimuths(rng, n))
    first, second = decay(parent, mass, mass / 2, (0.0, 0.0), directions(rng, n))
    by_tau = rng.random(n, dtype=np.float32) < 0.3
    x = np.where(by_tau, pick(rng, MUON_FRACTION, n), np.float32(1))
    missing = (second.x + (1 - x) * first.x, second.y + (1 - x) * first.y)
    lepton = first.polar()
    muon = Momentum(x * lepton.pt, lepton.eta, lepton.phi)
    tau = _fake_tau(rng, n, parent.polar().phi, 0.6)
    jets = {"W1": 0.35, "W2": 0.8, "W3": 1.5}[name]
    found = _pairs(n, muon, tau, _charges(rng, n, 0.74), missing, jets=jets)
    # Generated muons of W -> tau nu are mostly nearer than the tau.
    pdg = np.where(by_tau & (rng.random(n, dtype=np.float32) < 0.4), 15, 13).astype(np.int32)
    return found._replace(muon_pdg=pdg, tau_pdg=pdg)


def tt(rng: np.random.Generator, n: int) -> Pairs:
    """Top pairs: hard muon, large missing momentum, several jets of which two are b jets."""
    muon_pt = 17.05 + 32 * rng.standard_exponential(n, dtype=np.float32)
    eta = np.clip(0.95 * rng.standard_normal(n, dtype=np.float32), -2.09, 2.09)
    muon = Momentum(muon_pt, eta, azimuths(rng, n))
    tau = _fake_tau(rng, n, muon.phi, 1.6)
    real = rng.random(n, dtype=np.float32) < 0.5
    hard = 20.1 + 22 * rng.standard_exponential(n, dtype=np.float32)
    tau = tau._replace(pt=np.where(real, hard, tau.pt))
    muon_charge, tau_charge = _charges(rng, n, 0.6)
    charges = (muon_charge, np.where(real, -muon_charge, tau_charge))
    missing = (
        48 * rng.standard_normal(n, dtype=np.float32),
        48 * rng.standard_normal(n, dtype=np.float32),
    )
    found = _pairs(n, muon, tau, charges, missing, jets=1.0, true=real, flavour=5)
    return found._replace(tau_pdg=np.where(real, 15, 13).astype(np.int32))


def qcd(rng: np.random.Generator, n: int) -> Pairs:
    """Multijet events: muon in a jet, jet taken for a tau; opposite to same sign as 0.8 to 1."""
    eta = np.clip(1.3 * rng.standard_normal(n, dtype=np.float32), -2.09, 2.09)
    muon = Momentum(pick(rng, SOFT_MUON_PT, n), eta, azimuths(rng, n))
    tau = _fake_tau(rng, n, muon.phi, 0.8)
    lost = 0.3 * rng.standard_exponential(n, dtype=np.float32) * muon.pt
    missing = (lost * np.cos(muon.phi), lost * np.sin(muon.phi))
    return _pairs(n, muon, tau, _charges(rng, n, 0.8 / 1.8), missing, jets=0.25, prompt=False)


PROCESSES: dict[str, Callable[[np.random.Generator, int], Pairs]] = {
    "ztt": ztt,
    "ggh": ggh,
    "vbf": vbf,
    "zll": zll,
    "W1": lambda rng, n: w_jets(rng, n, "W1"),
    "W2": lambda rng, n: w_jets(rng, n, "W2"),
    "W3": lambda rng, n: w_jets(rng, n, "W3"),
    "tt": tt,
    "qcd": qcd,
}
# Share of raw events inside the cuts: how many are tried at a time.
ACCEPTED = {"ztt": 0.10, "ggh": 0.18, "vbf": 0.22, "zll": 0.4, "W1": 0.55, "W2": 0.55, "W3": 0.55}


def _inside(found: Pairs) -> Array:
    """Whether a pair passes the cuts of the analysis on momenta and distance."""
    good = (found.muon.pt > MUON_PT) & (np.abs(found.muon.eta) < MUON_ETA)
    good &= (found.tau.pt > TAU_PT) & (np.abs(found.tau.eta) < TAU_ETA)
    distance = np.hypot(wrapped(found.muon.phi - found.tau.phi), found.muon.eta - found.tau.eta)
    return good & (distance > 0.52)


def accepted(rng: np.random.Generator, process: str, n: int) -> Pairs:
    """n pairs of a process that pass the cuts on momenta and distance.

    Args:
        rng: Random stream.
        process: A key of PROCESSES.
        n: Number of pairs.

    Returns:
        The pairs, one an event.
    """
    parts: list[Pairs] = []
    missing = n
    while missing > 0 or not parts:
        tries = int(1.05 * missing / ACCEPTED.get(process, 0.9)) + 60
        found = PROCESSES[process](rng, tries)
        parts.append(found.take(np.flatnonzero(_inside(found))[:missing]))
        missing -= len(parts[-1].prompt)
    return joined(parts)
