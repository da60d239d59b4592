"""Muon-tau events like those of the H -> tautau files (CMS Open Data records 12350-12359).

A third of the events holds a pair that the analysis selects, a third fires the trigger without
one, the others do not fire it. Data are a mixture of all backgrounds in their real proportions.
"""

from __future__ import annotations

import numpy as np

from nanolake.generate import event as common
from nanolake.generate.htautau_objects import Muons, Taus, generated, jets, muons, taus
from nanolake.generate.htautau_pairs import RATES, Pairs, accepted, joined
from nanolake.generate.kinematics import Array, merged, pick, quantile_table, rounded, signs

PAIR, TRIGGERED = 0.33, 0.63  # fractions of events: with a pair; cumulative, trigger fired
MISSING_WIDTH = 12.5  # GeV a component: resolution with the pile-up of 2012

# What pairs a sample holds; the relative rates are those of data.
CONTENT = {
    "GluGluToHToTauTau": ("ggh",),
    "VBF_HToTauTau": ("vbf",),
    "DYJetsToLL": ("ztt", "zll"),
    "TTbar": ("tt",),
    "W1JetsToLNu": ("W1",),
    "W2JetsToLNu": ("W2",),
    "W3JetsToLNu": ("W3",),
    "Run2012B_TauPlusX": tuple(RATES),
    "Run2012C_TauPlusX": tuple(RATES),
}
SUM_ET = quantile_table((0, 0.25, 0.5, 0.75, 0.95, 1), (150, 420, 560, 740, 1050, 2000), 64)
VARIANCE = quantile_table((0, 0.25, 0.5, 0.75, 1), (60, 110, 150, 200, 500), 16)


def _draw_pairs(rng: np.random.Generator, sample: str, n: int) -> Pairs:
    """n pairs of the sample's processes, mixed."""
    content = CONTENT[sample]
    shares = np.array([RATES.get(process, 1.0) for process in content])
    numbers = rng.multinomial(n, shares / shares.sum())
    parts = [accepted(rng, process, int(m)) for process, m in zip(content, numbers, strict=True)]
    if len(parts) == 1:
        return parts[0]
    return joined(parts).take(rng.permutation(n))


def _loose(
    rng: np.random.Generator, fired: Array, failed: Array, sample: str
) -> tuple[Muons, Taus]:
    """Muons and taus of events without a pair: no tau passes the tight identification."""
    number = 1 + (rng.random(len(fired), dtype=np.float32) < 0.06)
    few = (rng.random(len(failed), dtype=np.float32) < 0.35).astype(np.int64)
    owner = np.concatenate([np.repeat(fired, number), np.repeat(failed, few)])
    pdg = 15 if CONTENT[sample][0] in ("ztt", "ggh", "vbf") else 13
    found = Muons.loose(rng, owner, pdg)
    number = 1 + (rng.random(len(fired), dtype=np.float32) < 0.15)
    few = (rng.random(len(failed), dtype=np.float32) < 0.3).astype(np.int64)
    owner = np.concatenate([np.repeat(fired, number), np.repeat(failed, few)])
    return found, Taus.loose(rng, owner, pdg)


def _leptons(
    rng: np.random.Generator, pairs: Pairs, state: Array, sample: str
) -> tuple[Muons, Taus]:
    """All muons and taus of the events; `state` is 0 pair, 1 trigger only, 2 neither."""
    owner = np.flatnonzero(state == 0)
    loose_muons, loose_taus = _loose(
        rng, np.flatnonzero(state == 1), np.flatnonzero(state == 2), sample
    )
    second = np.flatnonzero(pairs.other.pt > 0)
    other = pairs.other.take(second)
    m = len(second)
    beside = Muons(
        owner[second], *other, -pairs.muon_charge[second], np.ones(m, bool), np.ones(m, bool),
        pairs.muon_pdg[second],
    )  # fmt: skip
    main = Muons(
        owner, *pairs.muon, pairs.muon_charge, pairs.prompt, np.ones(len(owner), bool),
        pairs.muon_pdg,
    )  # fmt: skip
    good = Taus(
        owner, *pairs.tau, pairs.tau_charge, pairs.true, np.ones(len(owner), bool), pairs.tau_pdg
    )
    extra = Taus.loose(rng, owner[rng.random(len(owner), dtype=np.float32) < 0.2], 13)
    all_muons = (beside, main, loose_muons) if m % 2 else (main, beside, loose_muons)
    return (
        Muons(*merged(*zip(*all_muons, strict=True))),
        Taus(*merged(*zip(*(extra, good, loose_taus), strict=True))),
    )


def _missing(rng: np.random.Generator, pairs: Pairs, state: Array) -> dict[str, Array]:
    """The seven columns of missing transverse momentum."""
    n = len(state)
    x, y = common.random_missing(rng, n, MISSING_WIDTH)
    owner = np.flatnonzero(state == 0)
    x[owner] += pairs.missing[0]
    y[owner] += pairs.missing[1]
    columns = common.missing(x, y)
    variance = pick(rng, VARIANCE, n)
    return {
        **columns,
        "MET_sumet": rounded(pick(rng, SUM_ET, n), 6),
        "MET_significance": rounded(columns["MET_pt"] ** 2 / variance, 4),
        "MET_CovXX": rounded(variance, 4),
        "MET_CovXY": rounded(variance * 0.0625, 1) * signs(rng, n),
        "MET_CovYY": rounded(variance * 0.9, 4),
    }


def _trigger(rng: np.random.Generator, state: Array) -> dict[str, Array]:
    """Trigger bits; the third is that of the analysis."""
    fired = state < 2
    single = fired & (rng.random(len(state), dtype=np.float32) < 0.6)
    return {
        "HLT_IsoMu24_eta2p1": single,
        "HLT_IsoMu24": single,
        "HLT_IsoMu17_eta2p1_LooseIsoPFTau20": fired,
    }


def chunk(
    rng: np.random.Generator, n: int, *, sample: str, first: int = 0, worth: float = 0.0
) -> dict[str, Array]:
    """n events of a sample.

    Args:
        rng: Random stream.
        n: Number of events, at most 65,536.
        sample: Name of the sample.
        first: Position of the first event in the file.
        worth: Not used: the rates are relative.

    Returns:
        Columns by branch name; without GenPart for data.
    """
    kind = "data" if sample.startswith("Run") else "mc"
    state = np.searchsorted((PAIR, TRIGGERED), rng.random(n), side="right").astype(np.int8)
    owner = np.flatnonzero(state == 0)
    pairs = _draw_pairs(rng, sample, len(owner))
    all_muons, all_taus = _leptons(rng, pairs, state, sample)
    jet_columns, tau_jet = jets(rng, n, owner, pairs)
    columns = {
        **common.numbers(sample, first, n),
        **_trigger(rng, state),
        **common.vertex(rng, kind, n),
        **muons(rng, all_muons, n),
        **taus(rng, all_taus, n, tau_jet),
        **_missing(rng, pairs, state),
        **jet_columns,
    }
    if kind == "mc":
        return {**columns, **generated(rng, all_muons, all_taus, n)}
    unlinked = np.int32(-1)
    return {
        **columns,
        "Muon_genPartIdx": np.full(len(all_muons.pt), unlinked),
        "Tau_genPartIdx": np.full(len(all_taus.pt), unlinked),
    }
