"""The dimuon spectrum with uproot and awkward, in the float32 arithmetic of ROOT: FILE."""

import json
import sys

import numpy as np
import uproot

COLUMNS = ["nMuon", "Muon_pt", "Muon_eta", "Muon_phi", "Muon_mass", "Muon_charge"]
BINS, LOW, HIGH = 30000, 0.25, 300.0


def mass(pt, eta, phi, m):
    """Invariant mass of the two muons of each event; arrays of shape (events, 2), float32."""
    x, y, z = pt * np.cos(phi), pt * np.sin(phi), pt * np.sinh(eta)
    e = np.sqrt(x * x + y * y + z * z + m * m)
    x, y, z, e = (v[:, 0] + v[:, 1] for v in (x, y, z, e))
    return np.sqrt(e * e - x * x - y * y - z * z)


def fill(histogram, values):
    """Add to counts as TH1 bins: first underflow, last overflow."""
    at = np.floor(BINS * (values.astype(np.float64) - LOW) / (HIGH - LOW)) + 1
    at = np.where(np.isnan(at), BINS + 1, at)
    histogram += np.bincount(np.clip(at, 0, BINS + 1).astype(int), minlength=BINS + 2)


def main():
    two, opposite, histogram = 0, 0, np.zeros(BINS + 2, dtype=int)
    for events in uproot.iterate(f"{sys.argv[1]}:Events", COLUMNS, step_size=500_000):
        events = events[events.nMuon == 2]
        two += len(events)
        charge = events.Muon_charge.to_numpy()
        chosen = events[charge[:, 0] != charge[:, 1]]
        opposite += len(chosen)
        parts = (chosen[f"Muon_{name}"].to_numpy() for name in ("pt", "eta", "phi", "mass"))
        fill(histogram, mass(*parts))
    print(json.dumps({"cutflow": [two, opposite], "histogram": histogram.tolist()}))


if __name__ == "__main__":
    main()
