"""Columns that higgs4l and htautau events share: event numbers, vertex, missing momentum."""

from __future__ import annotations

import numpy as np

from nanolake.generate.kinematics import Array, pick, quantile_table, rounded, wrapped

# First and last run of CMS data taking in 2012 (golden JSON of 22 January 2013).
RUNS = {"Run2012B": (193834, 196531), "Run2012C": (198022, 203742)}
VERTICES = quantile_table((0, 0.05, 0.25, 0.5, 0.75, 0.95, 1), (1, 7.5, 12, 15.5, 19.5, 25.5, 42))
BEAM_SPOT = {"data": (0.0725, 0.0624), "mc": (0.2440, 0.3929)}  # x and y, cm


def numbers(sample: str, first: int, n: int) -> dict[str, Array]:
    """Run, luminosity block and event number of n events from position `first` of the file."""
    entry = first + np.arange(n)
    low, high = RUNS.get(sample.split("_")[0], (1, 1))
    return {
        "run": (low + entry // 1000 % (high - low + 1)).astype(np.int32),
        "luminosityBlock": (1 + entry // 100 % 1500).astype(np.uint32),
        "event": (1 + 3 * entry).astype(np.uint64),
    }


def vertex(rng: np.random.Generator, kind: str, n: int) -> dict[str, Array]:
    """Number of primary vertices (pile-up of 2012) and position of the first one, cm."""
    x, y = BEAM_SPOT[kind]
    return {
        "PV_npvs": pick(rng, VERTICES, n).astype(np.int32),
        "PV_x": rounded(x + 0.002 * rng.standard_normal(n, dtype=np.float32), 8),
        "PV_y": rounded(y + 0.002 * rng.standard_normal(n, dtype=np.float32), 8),
        "PV_z": rounded(5.0 * rng.standard_normal(n, dtype=np.float32), 5),
    }


def missing(x: Array, y: Array) -> dict[str, Array]:
    """Missing transverse momentum from its components, GeV."""
    return {
        "MET_pt": rounded(np.hypot(x, y), 9),
        "MET_phi": rounded(wrapped(np.arctan2(y, x)), 8),
    }


def random_missing(rng: np.random.Generator, n: int, width: float) -> tuple[Array, Array]:
    """Components of missing momentum that is resolution only: `width` GeV each."""
    x = width * rng.standard_normal(n, dtype=np.float32)
    y = width * rng.standard_normal(n, dtype=np.float32)
    return x, y
