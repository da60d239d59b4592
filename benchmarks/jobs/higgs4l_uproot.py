"""The selection of df103 with uproot and awkward, its quirks included: FILE CHANNEL...

Masses are double precision where df103's are, rounded to float32 where df103 rounds.
"""

import json
import sys

import awkward as ak
import numpy as np
import uproot

Z_MASS = 91.2
PAIRS = [(i, j) for i in range(4) for j in range(i + 1, 4)]
PARTS = ("pt", "eta", "phi", "mass", "charge", "dxy", "dz", "dxyErr", "dzErr")
ISO = {"Muon": "pfRelIso04_all", "Electron": "pfRelIso03_all"}
COLUMNS = [f"{lepton}_{part}" for lepton in ISO for part in (*PARTS, ISO[lepton])]
LOW, HIGH, BINS = 70.0, 180.0, 36


def flat(events, lepton, n):
    """Four-vectors (px, py, pz, E) of the first n leptons of each event: shape (4, events, n)."""
    pt, eta, phi, m = (
        events[f"{lepton}_{part}"][:, :n].to_numpy().astype(np.float64) for part in PARTS[:4]
    )
    x, y, z = pt * np.cos(phi), pt * np.sin(phi), pt * np.sinh(eta)
    return np.array([x, y, z, np.sqrt(x * x + y * y + z * z + m * m)])


def invariant(p):
    """Mass of four-vectors, components first."""
    squared = p[3] ** 2 - p[0] ** 2 - p[1] ** 2 - p[2] ** 2
    return np.sqrt(np.abs(squared)) * np.sign(squared)


def prompt(events, lepton):
    """All leptons of the flavour come from the primary vertex."""
    dxy, dz, ex, ez = (events[f"{lepton}_{part}"] for part in ("dxy", "dz", "dxyErr", "dzErr"))
    sip = np.sqrt(dxy * dxy + dz * dz) / np.sqrt(ex * ex + ez * ez)
    return ak.all((sip < 4) & (abs(dxy) < 0.5) & (abs(dz) < 1.0), axis=1)


def isolated(events, lepton):
    return ak.all(abs(events[f"{lepton}_{ISO[lepton]}"]) < 0.40, axis=1)


def central(events, lepton):
    return ak.all(abs(events[f"{lepton}_eta"]) < {"Muon": 2.4, "Electron": 2.5}[lepton], axis=1)


def apart(eta, phi, i, j):
    """The two leptons of each event are further apart than 0.02 in Delta R."""
    rows = np.arange(len(eta))
    deta = eta[rows, i] - eta[rows, j]
    dphi = np.arctan2(np.sin(phi[rows, i] - phi[rows, j]), np.cos(phi[rows, i] - phi[rows, j]))
    return ~(np.hypot(deta, dphi) < 0.02)


def pair(p, charge):
    """Indices (events, 4) of the leptons of the first Z, then of the second.

    As in df103 the best mass so far is an integer.
    """
    best = np.full(len(charge), -1)
    chosen = np.zeros(len(charge), dtype=int)
    for number, (i, j) in enumerate(PAIRS):
        mass = invariant(p[:, :, i] + p[:, :, j])
        better = (charge[:, i] != charge[:, j]) & (abs(Z_MASS - mass) < abs(Z_MASS - best))
        best = np.where(better, mass.astype(int), best)
        chosen = np.where(better, number, chosen)
    orders = np.array([(*ij, *sorted({0, 1, 2, 3} - set(ij))) for ij in PAIRS])
    return orders[chosen]


def higgs(first, second, total, compared):
    """Higgs masses of the events whose Z masses lie in their windows."""
    a, b = (invariant(v).astype(compared) for v in (first, second))
    nearer = abs(a.astype(np.float64) - Z_MASS) < abs(b.astype(np.float64) - Z_MASS)
    z1, z2 = (np.where(nearer, *v).astype(np.float32) for v in ((a, b), (b, a)))
    good = (z1 > 40) & (z1 < 120) & (z2 > 12) & (z2 < 120)
    return invariant(total).astype(np.float32)[good]


def same_flavour(events, lepton):
    """Higgs masses of 4mu or 4e."""
    events = events[ak.num(events[f"{lepton}_pt"]) >= 4]
    events = events[isolated(events, lepton)]
    hard = ak.all(events[f"{lepton}_pt"] > {"Muon": 5, "Electron": 7}[lepton], axis=1)
    events = events[hard & central(events, lepton)]
    events = events[prompt(events, lepton)]
    charge = events[f"{lepton}_charge"]
    plus, minus = ak.sum(charge == 1, axis=1), ak.sum(charge == -1, axis=1)
    events = events[(ak.num(charge) == 4) & (plus == 2) & (minus == 2)]
    p = flat(events, lepton, 4)
    order = pair(p, events[f"{lepton}_charge"].to_numpy())
    eta, phi = (events[f"{lepton}_{part}"].to_numpy() for part in ("eta", "phi"))
    good = apart(eta, phi, order[:, 0], order[:, 1]) & apart(eta, phi, order[:, 2], order[:, 3])
    p = np.take_along_axis(p, order[None], axis=2)[:, good]
    first, second = p[:, :, 0] + p[:, :, 1], p[:, :, 2] + p[:, :, 3]
    return higgs(first, second, first + second, np.float32)


def leading(pt):
    return (ak.sum(pt > 20, axis=1) >= 1) & (ak.sum(pt > 10, axis=1) >= 2)


def two_flavours(events):
    """Higgs masses of 2e2mu."""
    both = (ak.num(events.Electron_pt) >= 2) & (ak.num(events.Muon_pt) >= 2)
    events = events[both]
    events = events[central(events, "Electron") & central(events, "Muon")]
    events = events[leading(events.Muon_pt) | leading(events.Electron_pt)]
    good = np.ones(len(events), dtype=bool)
    for lepton in ISO:
        eta, phi = (events[f"{lepton}_{part}"][:, :2].to_numpy() for part in ("eta", "phi"))
        good &= apart(eta, phi, 0, 1)
    events = events[good]
    events = events[isolated(events, "Electron") & isolated(events, "Muon")]
    events = events[prompt(events, "Electron")]
    events = events[prompt(events, "Muon")]
    charges = (ak.sum(events[f"{lepton}_charge"], axis=1) == 0 for lepton in ISO)
    events = events[np.logical_and(*charges)]
    muons, electrons = (flat(events, lepton, 2).sum(axis=2) for lepton in ("Muon", "Electron"))
    return higgs(muons, electrons, muons + electrons, np.float64)


CHANNELS = {
    "4mu": lambda events: same_flavour(events, "Muon"),
    "4e": lambda events: same_flavour(events, "Electron"),
    "2e2mu": two_flavours,
}


def needed(channels):
    """Columns of the leptons that the channels look at."""
    leptons = {"4mu": "Muon", "4e": "Electron"}
    used = {leptons.get(channel, "") for channel in channels}
    return [c for c in COLUMNS if "2e2mu" in channels or c.split("_")[0] in used]


def counts(masses):
    """Counts as a TH1's: underflow first, overflow last."""
    at = np.floor(BINS * (masses.astype(np.float64) - LOW) / (HIGH - LOW)) + 1
    return np.bincount(np.clip(at, 0, BINS + 1).astype(int), minlength=BINS + 2)


def main():
    path, *channels = sys.argv[1:]
    found = {channel: np.zeros(BINS + 2, dtype=int) for channel in channels}
    columns = needed(channels)
    for events in uproot.iterate(f"{path}:Events", columns, step_size=250_000):
        for channel in channels:
            found[channel] += counts(CHANNELS[channel](events))
    print(json.dumps({channel: found[channel].tolist() for channel in channels}))


if __name__ == "__main__":
    main()
