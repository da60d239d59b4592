"""Two-muon events like those of Run2012BC_DoubleMuParked_Muons (CMS Open Data record 12341).

Every number here was measured on the first 100,000 events of that file.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from nanolake.generate.kinematics import (
    MUON_MASS,
    Array,
    Momentum,
    azimuths,
    counts,
    decay,
    directions,
    merged,
    pick,
    quantile_table,
    rounded,
    signs,
    system,
    wrapped,
)

MULTIPLICITY = (3210, 13447, 48976, 21726, 8021, 2752, 1066, 414, 198, 80, 56, 22, 11, 5, 8, 4)
OPPOSITE_SIGN = 37183 / 48976

# Opposite-sign pairs in resonances: mass, width of the peak (detector included), pairs of 37,183.
RESONANCES = (
    (0.5479, 0.008, 55),
    (0.775, 0.06, 130),
    (0.7827, 0.011, 95),
    (1.0195, 0.014, 185),
    (3.0969, 0.038, 2980),
    (3.6861, 0.042, 160),
    (9.4603, 0.095, 330),
    (10.0233, 0.10, 150),
    (10.3552, 0.105, 120),
)
Z_PEAK = (91.0, 1.3, 6300)

# The rest: bin edges (GeV) and pairs, opposite sign (resonances taken off) and same sign.
EDGES = (
    0.2114, 0.25, 0.3, 0.4, 0.5, 0.6, 0.7, 0.85, 0.98, 1.06, 1.5, 2.0, 2.5, 2.9, 3.3, 3.6, 3.8,
    4.5, 5.5, 7, 9, 9.3, 9.6, 9.85, 10.15, 10.5, 10.6, 12, 15, 18, 21, 24, 27, 30, 33, 36, 40, 45,
    50, 60, 70, 76, 86, 96, 106, 120, 150, 200, 300, 1000,
)  # fmt: skip
OPPOSITE = (
    169, 233, 392, 276, 221, 240, 330, 340, 165, 1360, 1522, 1301, 850, 470, 235, 125,
    314, 411, 571, 680, 110, 92, 80, 83, 88, 26, 363, 766, 783, 820, 1366, 1597, 1612, 1290, 1059,
    1120, 1025, 764, 910, 535, 250, 330, 200, 170, 105, 75, 47, 16, 15,
)  # fmt: skip
SAME = (
    230, 105, 110, 86, 86, 82, 138, 94, 52, 316, 500, 642, 410, 260, 155, 65,
    193, 209, 249, 301, 39, 36, 46, 35, 54, 21, 213, 451, 473, 441, 670, 777, 719, 621, 514,
    519, 489, 327, 435, 230, 90, 109, 49, 34, 30, 35, 22, 13, 8,
)  # fmt: skip

# Transverse momentum of the pair, below and above 20 GeV: light pairs carry the trigger's 17 GeV.
PAIR_PT_LIGHT = quantile_table((0, 0.1, 0.5, 0.9, 0.99, 1), (8, 18.5, 26.5, 42, 70, 120))
PAIR_PT_MIDDLE = quantile_table((0, 0.1, 0.5, 0.9, 0.99, 1), (1, 6, 19, 38, 65, 100))
PAIR_PT_HEAVY = quantile_table((0, 0.1, 0.5, 0.9, 0.99, 1), (0.1, 3.2, 10.5, 35, 80, 150))
OTHER_PT = quantile_table(
    (0, 0.1, 0.25, 0.5, 0.75, 0.9, 0.99, 1), (3, 3.8, 6, 10.2, 16.6, 25.5, 68, 240)
)
RAPIDITY = quantile_table((0, 0.05, 0.25, 0.5, 0.75, 0.95, 1), (-2.3, -1.7, -0.8, 0, 0.8, 1.7, 2.3))


@cache
def _continuum(pairs: tuple[int, ...]) -> Array:
    """65,536 equally likely masses of a histogram (linear within its bins)."""
    cumulative = np.concatenate([[0], np.cumsum(pairs)]) / sum(pairs)
    return quantile_table(list(cumulative), EDGES, 65536)


def _opposite_masses(rng: np.random.Generator, n: int) -> Array:
    """Masses of opposite-sign pairs, GeV: resonances on the continuum."""
    peaks = [*RESONANCES, Z_PEAK]
    shares = np.array([p[2] for p in peaks] + [sum(OPPOSITE)], dtype=float)
    source = np.searchsorted(np.cumsum(shares) / shares.sum(), rng.random(n), side="right")
    mass = pick(rng, _continuum(OPPOSITE), n)
    for i, (centre, sigma, _) in enumerate(peaks):
        chosen = np.flatnonzero(source == i)
        mass[chosen] = centre + sigma * rng.standard_normal(len(chosen), dtype=np.float32)
        if centre == Z_PEAK[0]:
            # Natural width 2.495 GeV on top of the resolution.
            u = (rng.random(len(chosen), dtype=np.float32) - 0.5) * 2.9
            mass[chosen] += np.tan(u) * 1.2476
            # Photons radiated by the muons.
            lost = rng.standard_exponential(len(chosen), dtype=np.float32)
            mass[chosen] -= 4.0 * lost * (rng.random(len(chosen), dtype=np.float32) < 0.16)
    return np.maximum(mass, np.float32(0.2120))


def _pair_pt(rng: np.random.Generator, mass: Array) -> Array:
    """Transverse momentum of the pairs, GeV."""
    n = len(mass)
    heavy = np.where(mass > 20, pick(rng, PAIR_PT_HEAVY, n), pick(rng, PAIR_PT_MIDDLE, n))
    return np.where(mass < 10.6, pick(rng, PAIR_PT_LIGHT, n), heavy)


def _try_pairs(rng: np.random.Generator, mass: Array, central: bool) -> tuple[Momentum, Momentum]:
    """Muons of pairs of these masses; `central` ones pass pt > 3 GeV wherever that is possible."""
    n = len(mass)
    mass = mass.astype(np.float64)
    rapidity = pick(rng, RAPIDITY, n) * (0.0 if central else 1.0)
    parent = system(mass, _pair_pt(rng, mass).astype(np.float64), rapidity, azimuths(rng, n))
    momentum = np.sqrt(np.maximum(mass * mass / 4 - MUON_MASS**2, 0))
    direction = directions(rng, n, 0.05 if central else 0.5)
    first, second = decay(parent, mass, momentum, (MUON_MASS, MUON_MASS), direction)
    return first.polar(), second.polar()


def pairs(rng: np.random.Generator, mass: Array) -> tuple[Momentum, Momentum]:
    """Two muons of given invariant mass, each with pt > 3 GeV and |eta| < 2.6.

    Args:
        rng: Random stream.
        mass: Invariant masses, GeV.

    Returns:
        The two muons, in no order of pt.
    """
    first, second = _try_pairs(rng, mass, central=False)
    for attempt in range(4):
        low = np.minimum(first.pt, second.pt) < 3.0
        far = np.maximum(np.abs(first.eta), np.abs(second.eta)) > 2.6
        again = np.flatnonzero(low | far)
        if not len(again):
            break
        for old, new in zip(
            (first, second), _try_pairs(rng, mass[again], central=attempt == 3), strict=True
        ):
            for target, values in zip(old, new, strict=True):
                target[again] = values
    return first, second


def _with_others(
    rng: np.random.Generator,
    number: Array,
    two: Array,
    muons: tuple[Momentum, Momentum],
    charges: tuple[Array, Array],
) -> tuple[Array, ...]:
    """Event, pt, eta, phi, charge of all muons: those of the pairs and of all other events."""
    one, other = muons
    others = np.repeat(np.arange(len(number)), np.where(number == 2, 0, number))
    m = len(others)
    return merged(
        (two, two, others),
        (
            one.pt,
            other.pt,
            pick(rng, OTHER_PT, m) * (1 + 0.02 * rng.random(m, dtype=np.float32)),
        ),
        (one.eta, other.eta, 1.1 * rng.standard_normal(m, dtype=np.float32)),
        (one.phi, other.phi, azimuths(rng, m)),
        (*charges, signs(rng, m)),
    )


def chunk(
    rng: np.random.Generator, n: int, *, sample: str = "", first: int = 0, worth: float = 0.0
) -> dict[str, Array]:
    """n events.

    Args:
        rng: Random stream.
        n: Number of events, at most 65,536.
        sample: Not used, as the other two: there is one sample, and its events have no numbers.
        first: Position of the first event in the file.
        worth: What an event stands for.

    Returns:
        Columns by branch name.
    """
    cumulative = np.cumsum(MULTIPLICITY) / sum(MULTIPLICITY)
    number = np.searchsorted(cumulative, rng.random(n), side="right")
    two = np.flatnonzero(number == 2)
    opposite = rng.random(len(two)) < OPPOSITE_SIGN
    mass = pick(rng, _continuum(SAME), len(two))
    mass[opposite] = _opposite_masses(rng, int(opposite.sum()))
    one, other = pairs(rng, mass)
    charge = signs(rng, len(two))
    partner = np.where(opposite, -charge, charge)

    event, pt, eta, phi, charges = _with_others(rng, number, two, (one, other), (charge, partner))
    return {
        "nMuon": counts(event, n),
        "Muon_pt": rounded(np.maximum(pt, np.float32(3.001)), 14),
        # Light pairs are separated by some 0.02: angles keep more bits than energies need.
        "Muon_eta": rounded(eta, 15),
        "Muon_phi": rounded(wrapped(phi), 15),
        "Muon_mass": np.full(len(event), MUON_MASS, dtype=np.float32),
        "Muon_charge": charges,
    }
