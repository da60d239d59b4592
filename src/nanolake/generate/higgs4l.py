"""Four-lepton events like those of the H -> ZZ -> 4l files (CMS Open Data records 12361-12368).

Simulated files hold many more events that pass the selection than the real ones; data files hold
as many candidates per luminosity as the real data (about 80 between 70 and 180 GeV in 11.58 fb-1),
among background events with up to three leptons, or with more that are not isolated.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from nanolake.generate import event as common
from nanolake.generate.higgs4l_objects import ELECTRON, MUON, Leptons, collection, joined
from nanolake.generate.kinematics import (
    Z_MASS,
    Z_WIDTH,
    Array,
    Cartesian,
    Momentum,
    azimuths,
    breit_wigner,
    decay,
    directions,
    merged,
    pick,
    quantile_table,
    signs,
    system,
)

LUMINOSITY = 11580.0  # pb-1, of the real data

# Flavours generated in each simulated sample. The Higgs sample's make the selected events of the
# three channels stand as 9115 : 5528 : 12065, as in the real file.
FLAVOURS = {
    "SMHiggsToZZTo4L": {"4mu": 0.235, "4e": 0.296, "2e2mu": 0.399},
    "ZZTo4mu": {"4mu": 1.0},
    "ZZTo4e": {"4e": 1.0},
    "ZZTo2e2mu": {"2e2mu": 1.0},
}
# Candidates expected in data at 11.58 fb-1: selected Higgs events of the official analysis; ZZ
# such that Higgs and ZZ give about 80 events between 70 and 180 GeV.
EXPECTED = {
    "DoubleMuParked": {
        ("higgs", "4mu"): 2.33,
        ("higgs", "2e2mu"): 3.08,
        ("zz", "4mu"): 112.6,
        ("zz", "2e2mu"): 156.4,
    },
    # Some 2e2mu events fire the electron trigger too; only the portal's variant looks for them.
    "DoubleElectron": {
        ("higgs", "4e"): 1.41,
        ("higgs", "2e2mu"): 0.45,
        ("zz", "4e"): 58.7,
        ("zz", "2e2mu"): 23.0,
    },
}
ZZ_SHARES = (0.22, 0.20, 0.58)  # Z -> 4l, Z gamma*, two Z on their mass shells

PT_SYSTEM = quantile_table((0, 0.25, 0.5, 0.75, 0.95, 1), (0.5, 7, 14, 30, 80, 200))
HIGGS_Z2 = quantile_table((0, 0.1, 0.25, 0.5, 0.75, 0.9, 1), (9, 14.5, 20, 27, 32.5, 38, 60))
GAMMA_Z2 = quantile_table((0, 0.3, 0.6, 0.85, 1), (8, 17, 30, 50, 80))
PEAK_Z1 = quantile_table((0, 0.2, 0.6, 1), (40, 48, 62, 78))
LEPTON_PT = quantile_table(
    (0, 0.1, 0.3, 0.5, 0.75, 0.9, 0.99, 1), (3.05, 4.5, 8, 12.5, 22, 38, 70, 150)
)
MISSING_WIDTH = 14.0  # GeV a component


class Quad(NamedTuple):
    """Four leptons an event: two pairs of opposite charge, and their generated masses (GeV)."""

    leptons: tuple[Momentum, Momentum, Momentum, Momentum]
    z1: Array
    z2: Array


def _masses(rng: np.random.Generator, n: int, process: str) -> tuple[Array, Array, Array]:
    """Masses of the four-lepton system and of the two pairs, GeV."""
    z1 = breit_wigner(rng, n, Z_MASS, Z_WIDTH, 40)
    if process == "higgs":
        z1 = np.where(rng.random(n) < 0.25, 50 + 38 * rng.random(n, dtype=np.float32), z1)
        z1 = np.minimum(z1, 112)
        z2 = np.minimum(pick(rng, HIGGS_Z2, n), 124 - z1)
        return np.full(n, 125.0, dtype=np.float32), z1, np.maximum(z2, 1)
    kind = np.searchsorted(np.cumsum(ZZ_SHARES), rng.random(n), side="right")
    peak, gamma = kind == 0, kind == 1
    z2 = breit_wigner(rng, n, Z_MASS, Z_WIDTH, 40)
    z2 = np.where(gamma, pick(rng, GAMMA_Z2, n), z2)
    z1 = np.where(peak, pick(rng, PEAK_Z1, n), z1)
    four = breit_wigner(rng, n, Z_MASS, Z_WIDTH, 15)
    z2 = np.where(peak, 5 + (np.maximum(four - 7 - z1, 1)) * rng.random(n, dtype=np.float32), z2)
    excess = rng.standard_exponential(n, dtype=np.float32) * np.where(gamma, 35, 60)
    return np.where(peak, np.maximum(four, z1 + z2 + 0.5), z1 + z2 + 1 + excess), z1, z2


def quads(rng: np.random.Generator, n: int, process: str) -> Quad:
    """Four leptons before detector effects, `higgs` or `zz`; the first pair is the heavier's."""
    mass, z1, z2 = _masses(rng, n, process)
    rapidity = 1.0 * rng.standard_normal(n, dtype=np.float32)
    parent = system(mass, pick(rng, PT_SYSTEM, n), rapidity, azimuths(rng, n))
    momentum = np.sqrt((mass**2 - (z1 + z2) ** 2) * (mass**2 - (z1 - z2) ** 2)) / (2 * mass)
    bosons = decay(parent, mass, momentum, (z1, z2), directions(rng, n))
    found: list[Cartesian] = []
    for boson, m in zip(bosons, (z1, z2), strict=True):
        found += decay(boson, m, m / 2, (0.0, 0.0), directions(rng, n))
    swap = rng.random(n) < 0.5  # collections are not ordered by pair either
    polar = [lepton.polar() for lepton in found]
    ordered = [
        Momentum(*(np.where(swap, b, a) for a, b in zip(polar[i], polar[(i + 2) % 4], strict=True)))
        for i in range(4)
    ]
    return Quad((ordered[0], ordered[1], ordered[2], ordered[3]), z1, z2)


def _flavour_of(channel: Array, pair: Array) -> Array:
    """Flavour of a pair: channel 0 is 4mu, 1 is 4e, 2 is 2e2mu (electrons in the `pair` ones)."""
    return np.where(channel == 2, pair, channel)


def _smeared(rng: np.random.Generator, pt: Array, flavour: Array) -> Array:
    """Detector resolution: 1.4 % for muons, 2.5 % for electrons; some lose energy."""
    n = len(pt)
    electron = flavour == ELECTRON
    noise = rng.standard_normal(n, dtype=np.float32) * np.where(electron, 0.025, 0.014)
    # Radiated photons and bremsstrahlung: the tail below the peak.
    lost = (rng.random(n) < np.where(electron, 0.2, 0.06)) * rng.standard_exponential(n)
    return pt * np.maximum(1 + noise - 0.08 * lost, 0.1).astype(np.float32)


def _reconstruct(rng: np.random.Generator, event: Array, quad: Quad, channel: Array) -> Leptons:
    """The leptons of four-lepton events with detector resolution, none lost yet."""
    n = len(event)
    second = rng.integers(0, 2, n)  # which pair is the electron pair of a 2e2mu event
    parts = []
    for i, lepton in enumerate(quad.leptons):
        flavour = _flavour_of(channel, second ^ (i // 2))
        charge = np.full(n, 1 if i % 2 == 0 else -1, dtype=np.int32)
        pt = _smeared(rng, lepton.pt, flavour)
        parts.append((event, pt, lepton.eta, lepton.phi, charge, flavour, np.ones(n, dtype=bool)))
    return Leptons(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))


def _kept(rng: np.random.Generator, leptons: Leptons) -> Array:
    """Whether the detector finds them: acceptance, efficiency, threshold of the collection."""
    electron = leptons.flavour == ELECTRON
    inside = np.abs(leptons.eta) < np.where(electron, 2.5, 2.4)
    above = leptons.pt > np.where(electron, 5.0, 3.0)
    efficiency = np.where(electron, 0.92 - 1.5 / leptons.pt, 0.98)
    return inside & above & (rng.random(len(leptons.pt)) < efficiency)


def _candidates(rng: np.random.Generator, channel: str, process: str, n: int) -> Leptons:
    """n four-lepton events inside the selection's kinematic cuts; events numbered from 0."""
    code = ("4mu", "4e", "2e2mu").index(channel)
    tries = 40 * n + 100
    quad = quads(rng, tries, process)
    leptons = _reconstruct(rng, np.arange(tries), quad, np.full(tries, code))
    electron = leptons.flavour == ELECTRON
    good = (leptons.pt > np.where(electron, 7.5, 5.5)) & (
        np.abs(leptons.eta) < np.where(electron, 2.45, 2.35)
    )
    hard = leptons.pt.reshape(4, tries)
    passed = good.reshape(4, tries).all(axis=0) & (np.sort(hard, axis=0)[1:3] > 12).all(axis=0)
    passed &= (quad.z1 > 42) & (quad.z1 < 115) & (quad.z2 > 13) & (quad.z2 < 115)
    chosen = np.flatnonzero(passed)[:n]
    if len(chosen) < n:
        raise RuntimeError(f"only {len(chosen)} of {n} candidates found")
    renumber = np.full(tries, -1)
    renumber[chosen] = np.arange(n)
    taken = leptons.take(renumber[leptons.event] >= 0)
    return taken._replace(event=renumber[taken.event])


def _background(rng: np.random.Generator, events: Array, sample: str) -> Leptons:
    """Leptons of events that no selection wants: at most three, or with more not isolated."""
    n = len(events)
    main = ELECTRON if "Electron" in sample else MUON
    number = np.searchsorted((0.06, 0.30, 0.84, 0.985), rng.random(n), side="right")
    other = ((rng.random(n) < 0.15) & (number != 2)).astype(int)
    event = np.repeat(events, number + other)
    start = np.cumsum(number + other) - (number + other)
    slot = np.arange(len(event)) - np.repeat(start, number + other)
    m = len(event)
    flavour = np.where(slot < np.repeat(number, number + other), main, 1 - main)
    pt = pick(rng, LEPTON_PT, m) * (1 + 0.03 * rng.random(m, dtype=np.float32))
    pt = np.where(flavour == ELECTRON, pt + 2.1, pt)
    eta = 1.15 * rng.standard_normal(m, dtype=np.float32)
    # The first lepton is never isolated: whatever the number, the event fails.
    prompt = (slot > 0) & (rng.random(m) < 0.7)
    return Leptons(event, pt, eta, azimuths(rng, m), signs(rng, m), flavour, prompt)


def _simulated(rng: np.random.Generator, n: int, sample: str) -> Leptons:
    """Leptons of n simulated events: what the detector finds of four, or of decays to taus."""
    shares = FLAVOURS[sample]
    channel = np.searchsorted(np.cumsum(list(shares.values())), rng.random(n), side="right")
    codes = np.array([("4mu", "4e", "2e2mu").index(name) for name in shares])
    four = np.flatnonzero(channel < len(codes))
    quad = quads(rng, len(four), "higgs" if "Higgs" in sample else "zz")
    leptons = _reconstruct(rng, four, quad, codes[channel[four]])
    found = leptons.take(_kept(rng, leptons))
    rest = _background(rng, np.flatnonzero(channel == len(codes)), sample)
    extra = np.flatnonzero(rng.random(n) < 0.04)
    return joined(found, rest, _background(rng, extra, sample))


def _collided(rng: np.random.Generator, n: int, sample: str, first: int, worth: float) -> Leptons:
    """Leptons of n data events from position `first`: candidates at their rate, background."""
    expected = EXPECTED[sample.split("_")[1]]
    rate = sum(expected.values()) / LUMINOSITY * worth  # candidates an event
    number = np.arange(int(rate * first + 0.5), int(rate * (first + n) + 0.5))
    position = np.clip(((number + 0.5) / rate).astype(int) - first, 0, n - 1)
    # Multiples of the golden ratio spread the rare kinds evenly: no run lacks its Higgs events.
    spread = (number * 0.6180339887498949 + 0.25) % 1
    shares = np.cumsum(list(expected.values())) / sum(expected.values())
    kind = np.searchsorted(shares, spread, side="right")
    parts = []
    for i, (process, channel) in enumerate(expected):
        events = position[kind == i]
        leptons = _candidates(rng, channel, process, len(events))
        parts.append(leptons._replace(event=events[leptons.event]))
    rest = np.setdiff1d(np.arange(n), position)
    return joined(*parts, _background(rng, rest, sample))


def chunk(
    rng: np.random.Generator, n: int, *, sample: str, first: int = 0, worth: float = 0.0
) -> dict[str, Array]:
    """n events of a sample.

    Args:
        rng: Random stream.
        n: Number of events, at most 65,536.
        sample: Name of the sample.
        first: Position of the first event in the file.
        worth: Luminosity that an event of a data file stands for, pb-1.

    Returns:
        Columns by branch name.
    """
    kind = "data" if sample.startswith("Run") else "mc"
    if kind == "mc":
        leptons = _simulated(rng, n, sample)
    else:
        leptons = _collided(rng, n, sample, first, worth)
    event, *columns = merged([leptons.event], *([column] for column in leptons[1:]))
    ordered = Leptons(event, *columns)
    muons, electrons = (ordered.take(ordered.flavour == f) for f in (MUON, ELECTRON))
    return {
        **common.numbers(sample, first, n),
        **common.vertex(rng, kind, n),
        **collection(rng, "Muon", muons, n, kind == "data"),
        **collection(rng, "Electron", electrons, n, kind == "data"),
        **common.missing(*common.random_missing(rng, n, MISSING_WIDTH)),
    }
