"""Collections of H -> tautau events: muons, taus, jets, generated particles."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from nanolake.generate.htautau_pairs import Pairs
from nanolake.generate.kinematics import (
    MUON_MASS,
    SENTINEL,
    Array,
    azimuths,
    counts,
    merged,
    pick,
    quantile_table,
    rounded,
    signs,
    wrapped,
)

TAU_MASS, PION_MASS = 1.77682, 0.13957  # GeV

# Shapes measured on the official skims.
PROMPT_ISOLATION = quantile_table(
    (0, 0.28, 0.5, 0.75, 0.93, 1), (0, 0, 0.024, 0.055, 0.12, 0.4), 128
)
LOOSE_ISOLATION = quantile_table(
    (0, 0.15, 0.36, 0.6, 0.85, 1), (0, 0.03, 0.1, 0.23, 0.55, 2.4), 128
)
TRUE_ISOLATION = quantile_table((0, 0.28, 0.5, 0.75, 0.95, 1), (0, 0, 0.028, 0.065, 0.16, 0.5), 64)
FAKE_ISOLATION = quantile_table((0, 0.15, 0.5, 0.75, 0.95, 1), (0, 0, 0.09, 0.18, 0.4, 1.4), 64)
LOOSE_MUON_PT = quantile_table((0, 0.3, 0.6, 0.85, 1), (3.1, 9, 19, 35, 120), 256)
LOOSE_TAU_PT = quantile_table((0, 0.3, 0.6, 0.85, 1), (15.1, 18, 23, 36, 150), 256)
HARD_JET_PT = quantile_table(
    (0, 0.05, 0.25, 0.5, 0.75, 0.95, 1), (30.1, 30.8, 34.2, 40, 52, 95, 300)
)
FORWARD_JET_PT = quantile_table(
    (0, 0.05, 0.25, 0.5, 0.75, 0.95, 1), (30.1, 34, 46, 65, 98, 175, 400)
)
SOFT_JET_PT = quantile_table((0, 0.5, 0.8, 1), (15.05, 18.5, 23, 30), 128)
# Combined secondary vertex: -10 and -1 where there are no tracks or no vertex.
LIGHT_BTAG = quantile_table(
    (0, 0.08, 0.0801, 0.2, 0.2001, 0.4, 0.7, 0.93, 1),
    (-10, -10, -1, -1, 0.05, 0.14, 0.24, 0.55, 0.95),
    256,
)
BOTTOM_BTAG = quantile_table((0, 0.1, 0.35, 0.6, 1), (-1, 0.25, 0.75, 0.95, 1.0), 256)
ONE_PRONG_MASS = quantile_table((0, 0.1, 0.5, 0.9, 1), (0.32, 0.55, 0.77, 1.1, 1.4), 256)
THREE_PRONG_MASS = quantile_table((0, 0.1, 0.5, 0.9, 1), (0.8, 0.9, 1.1, 1.35, 1.5), 256)
DECAY_MODES = np.array([0] * 34 + [1] * 70 + [2] * 2 + [10] * 22, dtype=np.int32)  # of true taus
FAKE_MODES = np.array([0] * 17 + [1] * 69 + [2] * 2 + [10] * 40, dtype=np.int32)


class Muons(NamedTuple):
    """Reconstructed muons: event, momentum, charge, isolated, passing all cuts, generated as."""

    event: Array
    pt: Array
    eta: Array
    phi: Array
    charge: Array
    prompt: Array
    good: Array
    pdg: Array

    @classmethod
    def loose(cls, rng: np.random.Generator, event: Array, pdg: int) -> Muons:
        """Muons of events that are not selected."""
        n = len(event)
        eta = np.clip(1.1 * rng.standard_normal(n, dtype=np.float32), -2.4, 2.4)
        prompt = rng.random(n, dtype=np.float32) < 0.5
        good = rng.random(n, dtype=np.float32) < 0.7
        kinds = np.full(n, pdg, dtype=np.int32)
        pt = pick(rng, LOOSE_MUON_PT, n)
        return cls(event, pt, eta, azimuths(rng, n), signs(rng, n), prompt, good, kinds)


class Taus(NamedTuple):
    """Reconstructed taus: event, momentum, charge, real, passing all cuts, generated as."""

    event: Array
    pt: Array
    eta: Array
    phi: Array
    charge: Array
    true: Array
    good: Array
    pdg: Array

    @classmethod
    def loose(cls, rng: np.random.Generator, event: Array, pdg: int) -> Taus:
        """Tau candidates that are jets: never tight, a few without charge."""
        n = len(event)
        eta = np.clip(1.25 * rng.standard_normal(n, dtype=np.float32), -2.5, 2.5)
        charge = signs(rng, n) * (rng.random(n, dtype=np.float32) < 0.9)
        no = np.zeros(n, dtype=bool)
        kinds = np.full(n, pdg, dtype=np.int32)
        pt = pick(rng, LOOSE_TAU_PT, n)
        return cls(event, pt, eta, azimuths(rng, n), charge.astype(np.int32), no, no, kinds)


def muons(rng: np.random.Generator, found: Muons, n: int) -> dict[str, Array]:
    """The Muon block; genPartIdx comes from `generated`."""
    m = len(found.pt)
    # No global track for some of those that fail the tight identification.
    untracked = ~found.good & (rng.random(m, dtype=np.float32) < 0.3)
    no_isolation = ~found.good & (rng.random(m, dtype=np.float32) < 0.1)
    isolation = np.where(
        found.prompt, pick(rng, PROMPT_ISOLATION, m), pick(rng, LOOSE_ISOLATION, m)
    )
    isolation = np.where(no_isolation, np.float32(SENTINEL), rounded(isolation, 7))
    columns = {
        "pt": rounded(found.pt, 9),
        "eta": rounded(found.eta, 8),
        "phi": rounded(wrapped(found.phi), 8),
        "mass": np.full(m, MUON_MASS, dtype=np.float32),
        "charge": found.charge,
        "pfRelIso03_all": isolation,
        "pfRelIso04_all": np.where(isolation > 0, isolation * np.float32(1.25), isolation),
        "tightId": found.good,
        "softId": ~untracked,
        "jetIdx": np.full(m, -1, dtype=np.int32),
    }
    for name, width in (("dxy", 0.0022), ("dz", 0.004)):
        value = rounded(width * rng.standard_normal(m, dtype=np.float32), 4)
        error = np.where(found.pt < 12, np.float32(2 * width), np.float32(width))
        columns[name] = np.where(untracked, np.float32(SENTINEL), value)
        columns[f"{name}Err"] = np.where(untracked, np.float32(SENTINEL), rounded(error, 4))
    return {"nMuon": counts(found.event, n), **{f"Muon_{k}": v for k, v in columns.items()}}


def taus(rng: np.random.Generator, found: Taus, n: int, tau_jet: Array) -> dict[str, Array]:
    """The Tau block; `tau_jet` is the position of the pair's tau among the event's jets, or -1."""
    m = len(found.pt)
    luck = rng.random(m, dtype=np.float32)
    mode = np.where(found.true, pick(rng, DECAY_MODES, m), pick(rng, FAKE_MODES, m))
    decayed = found.good | (luck < 0.8)
    mode = np.where(decayed, mode, np.int32(-1))
    hadrons = np.where(mode == 10, pick(rng, THREE_PRONG_MASS, m), pick(rng, ONE_PRONG_MASS, m))
    isolation = np.where(found.true, pick(rng, TRUE_ISOLATION, m), pick(rng, FAKE_ISOLATION, m))
    isolation = rounded(np.where(found.good, isolation, isolation + 0.25), 7)
    columns = {
        "pt": rounded(found.pt, 9),
        "eta": rounded(found.eta, 8),
        "phi": rounded(wrapped(found.phi), 8),
        "mass": rounded(np.where(mode == 0, np.float32(PION_MASS), hadrons), 6),
        "charge": found.charge,
        "decayMode": mode,
        "relIso_all": isolation,
        "jetIdx": np.where(found.good, tau_jet[found.event], -1).astype(np.int32),
        "idDecayMode": decayed,
        "idIsoRaw": rounded(isolation * 16, 7),
    }
    working_points = {
        "idIsoVLoose": 0.6, "idIsoLoose": 0.4, "idIsoMedium": 0.2, "idIsoTight": 0.0,
        "idAntiEleLoose": 0.9, "idAntiEleMedium": 0.8, "idAntiEleTight": 0.7,
        "idAntiMuLoose": 0.95, "idAntiMuMedium": 0.9, "idAntiMuTight": 0.85,
    }  # fmt: skip
    for name, share in working_points.items():
        columns[name] = found.good | (luck < share)
    return {"nTau": counts(found.event, n), **{f"Tau_{k}": v for k, v in columns.items()}}


def _hard_jets(rng: np.random.Generator, owner: Array, pairs: Pairs) -> tuple[Array, ...]:
    """Further jets above 30 GeV of the pair events: event, pt, eta, phi, b quark."""
    # Two jets of a top pair or of vector-boson fusion; now and then one escapes.
    fixed = np.where(pairs.flavour > 0, 2 - (rng.random(len(owner)) < 0.35), 0)
    number = fixed + rng.poisson(pairs.jets)
    which = np.repeat(np.arange(len(owner)), number)
    start = np.repeat(np.cumsum(number) - number, number)
    slot = np.arange(len(which)) - start
    m = len(which)
    flavour = pairs.flavour[which]
    special = (slot < 2) & (flavour > 0)
    forward = special & (flavour == 1)
    eta = 1.7 * rng.standard_normal(m, dtype=np.float32)
    side = np.where((slot == 0) ^ (which % 2 == 0), 1, -1)
    tagging = side * (2.1 + 1.0 * rng.standard_normal(m, dtype=np.float32))
    eta = np.where(forward, tagging, np.where(special, 0.6 * eta, eta))
    pt = np.where(special, pick(rng, FORWARD_JET_PT, m), pick(rng, HARD_JET_PT, m))
    return owner[which], pt, np.clip(eta, -4.7, 4.7), azimuths(rng, m), special & (flavour == 5)


def jets(
    rng: np.random.Generator, n: int, owner: Array, pairs: Pairs
) -> tuple[dict[str, Array], Array]:
    """The Jet block: the tau's own jet, hard ones of the process, soft ones of the pile-up.

    Returns:
        The columns, and for each event the position of the tau's jet among its jets, or -1.
    """
    # The tau's jet comes after the hard ones in half of the events: collections are not sorted.
    place = rng.random(len(owner), dtype=np.float32)
    ahead, behind = np.flatnonzero(place < 0.42), np.flatnonzero(place > 0.57)
    front, back = pairs.tau.take(ahead), pairs.tau.take(behind)
    event, pt, eta, phi, bottom = _hard_jets(rng, owner, pairs)
    soft = np.repeat(np.arange(n), rng.integers(0, 2, n))
    s = len(soft)
    event, pt, eta, phi, bottom = merged(
        (owner[ahead], event, soft, owner[behind]),
        (_response(rng, front.pt), pt, pick(rng, SOFT_JET_PT, s), _response(rng, back.pt)),
        (front.eta, eta, 1.8 * rng.standard_normal(s, dtype=np.float32), back.eta),
        (front.phi, phi, azimuths(rng, s), back.phi),
        (np.zeros(len(ahead), bool), bottom, np.zeros(s, bool), np.zeros(len(behind), bool)),
    )
    number = counts(event, n)
    position = np.full(n, -1, dtype=np.int32)
    position[owner[ahead]] = 0
    position[owner[behind]] = number[owner[behind]].astype(np.int32) - 1
    return {"nJet": number, **_jet_columns(rng, pt, eta, phi, bottom)}, position


def _response(rng: np.random.Generator, pt: Array) -> Array:
    """Momentum of the jet that was taken for a tau of this momentum, GeV."""
    return pt * (0.92 + 0.15 * rng.standard_exponential(len(pt), dtype=np.float32))


def _jet_columns(
    rng: np.random.Generator, pt: Array, eta: Array, phi: Array, bottom: Array
) -> dict[str, Array]:
    """The arrays of the Jet block."""
    m = len(pt)
    tag = np.where(bottom, pick(rng, BOTTOM_BTAG, m), pick(rng, LIGHT_BTAG, m))
    pt = rounded(np.maximum(pt, np.float32(15.02)), 9)
    return {
        "Jet_pt": pt,
        "Jet_eta": rounded(np.clip(eta, -5, 5), 7),
        "Jet_phi": rounded(wrapped(phi), 7),
        "Jet_mass": rounded(pt * (0.11 + 0.1 * rng.random(m, dtype=np.float32)), 5),
        "Jet_puId": rng.random(m, dtype=np.float32) < 0.97,
        "Jet_btag": rounded(np.where(np.abs(eta) < 2.5, tag, np.float32(-10)), 7),
    }


def generated(rng: np.random.Generator, muon: Muons, tau: Taus, n: int) -> dict[str, Array]:
    """The GenPart block and the links to it: one entry for each muon, then for each tau.

    The tool that wrote the real files links a lepton to the nearest generated one at any distance;
    events without generated leptons (3 % of those without taus here) have links of -1.
    """
    event, pt, eta, phi, charge, pdg, of_muon = merged(
        (muon.event, tau.event),
        (muon.pt, tau.pt * np.float32(1.5)),
        (muon.eta, tau.eta),
        (muon.phi, tau.phi),
        (muon.charge, tau.charge),
        (muon.pdg, tau.pdg),
        (np.ones(len(muon.pt), bool), np.zeros(len(tau.pt), bool)),
    )
    number = counts(event, n)
    slot = np.arange(len(event)) - np.repeat(np.cumsum(number) - number, number)
    with_taus = np.bincount(event[pdg == 15], minlength=n) > 0
    keep = ((rng.random(n, dtype=np.float32) > 0.03) | with_taus)[event]
    link = np.where(keep, slot, -1).astype(np.int32)
    event, pt, eta, phi, charge, pdg = (c[keep] for c in (event, pt, eta, phi, charge, pdg))
    m = len(event)
    columns = {
        "nGenPart": counts(event, n),
        "GenPart_pt": rounded(pt * (0.98 + 0.04 * rng.random(m, dtype=np.float32)), 5),
        "GenPart_eta": rounded(eta, 5),
        "GenPart_phi": rounded(wrapped(phi), 5),
        "GenPart_mass": np.where(pdg == 15, np.float32(TAU_MASS), np.float32(MUON_MASS)),
        "GenPart_pdgId": np.where(charge > 0, -pdg, pdg).astype(np.int32),
        "GenPart_status": np.where(pdg == 15, 2, 1).astype(np.int32),
    }
    return {**columns, "Muon_genPartIdx": link[of_muon], "Tau_genPartIdx": link[~of_muon]}
