"""Sampling and four-vector tools of the generator, on whole chunks of events.

Momenta are pt, eta, phi in GeV and radian, arrays of float32 or float64.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

Array = np.ndarray
MUON_MASS = 0.1056583745  # GeV, PDG 2022
Z_MASS, Z_WIDTH = 91.1876, 2.4952  # GeV, PDG 2022
SENTINEL = -999.0


class Momentum(NamedTuple):
    """Transverse momentum (GeV), pseudorapidity, azimuth."""

    pt: Array
    eta: Array
    phi: Array

    def take(self, index: Array) -> Momentum:
        """The selected entries (mask or positions)."""
        return Momentum(self.pt[index], self.eta[index], self.phi[index])


class Cartesian(NamedTuple):
    """Momentum components and energy, GeV."""

    x: Array
    y: Array
    z: Array
    e: Array

    def polar(self) -> Momentum:
        """The same as pt, eta, phi."""
        pt = np.maximum(np.hypot(self.x, self.y), 1e-6)
        return Momentum(pt, np.arcsinh(self.z / pt), np.arctan2(self.y, self.x))


def system(mass: Array, pt: Array, rapidity: Array, phi: Array) -> Cartesian:
    """A particle of given mass, transverse momentum, rapidity and azimuth."""
    mt = np.sqrt(mass * mass + pt * pt)
    return Cartesian(
        pt * np.cos(phi), pt * np.sin(phi), mt * np.sinh(rapidity), mt * np.cosh(rapidity)
    )


def directions(rng: np.random.Generator, n: int, largest: float = 1.0) -> tuple[Array, Array]:
    """Isotropic cosines in [-largest, largest] and azimuths."""
    cosine = (2 * rng.random(n, dtype=np.float32) - 1) * np.float32(largest)
    return cosine, azimuths(rng, n)


def azimuths(rng: np.random.Generator, n: int) -> Array:
    """Uniform angles in (-pi, pi)."""
    return (rng.random(n, dtype=np.float32) - np.float32(0.5)) * np.float32(2 * np.pi)


def decay(
    parent: Cartesian,
    mass: Array,
    momentum: Array,
    masses: tuple[Array | float, Array | float],
    direction: tuple[Array, Array],
) -> tuple[Cartesian, Cartesian]:
    """Two-body decay: the daughters in the frame where the parent has these components.

    Args:
        parent: Components of the parent.
        mass: Its mass.
        momentum: Momentum of the daughters in its rest frame.
        masses: Masses of the daughters.
        direction: Cosine and azimuth of the first one's direction in the rest frame.
    """
    cosine, azimuth = direction
    sine = np.sqrt(np.maximum(1 - cosine * cosine, 0)) * momentum
    x, y, z = sine * np.cos(azimuth), sine * np.sin(azimuth), cosine * momentum
    along = (parent.x * x + parent.y * y + parent.z * z) / (parent.e + mass)
    found = []
    for sign, daughter in zip((1, -1), masses, strict=True):
        energy = np.sqrt(momentum * momentum + daughter * daughter)
        boost = (energy + sign * along) / mass
        boosted = (parent.e * energy + sign * (along * (parent.e + mass))) / mass
        found.append(
            Cartesian(
                sign * x + boost * parent.x,
                sign * y + boost * parent.y,
                sign * z + boost * parent.z,
                boosted,
            )
        )
    return found[0], found[1]


def breit_wigner(
    rng: np.random.Generator, n: int, mass: float, width: float, reach: float
) -> Array:
    """Masses of a resonance, cut at `reach` on both sides (GeV)."""
    edge = np.arctan(2 * reach / width)
    u = (2 * rng.random(n, dtype=np.float32) - 1) * np.float32(edge)
    return np.float32(mass) + np.float32(width / 2) * np.tan(u)


def quantile_table(quantiles: Sequence[float], values: Sequence[float], size: int = 1024) -> Array:
    """Equally likely values of a distribution known by some quantiles; sample it by `pick`."""
    centres = (np.arange(size) + 0.5) / size
    return np.interp(centres, quantiles, values).astype(np.float32)


def pick(rng: np.random.Generator, table: Array, n: int) -> Array:
    """n values of a table whose length is a power of two: faster than any formula."""
    bits = rng.integers(0, len(table), n, dtype=np.uint16 if len(table) <= 65536 else np.uint32)
    return table[bits]


def signs(rng: np.random.Generator, n: int) -> Array:
    """Charges: +1 or -1."""
    return (rng.integers(0, 2, n, dtype=np.int8) * 2 - 1).astype(np.int32)


def wrapped(phi: Array) -> Array:
    """Angles brought back to (-pi, pi)."""
    turn = np.float32(2 * np.pi)
    return phi - turn * np.round(phi / turn)


def rounded(values: Array, bits: int) -> Array:
    """float32 with `bits` bits of mantissa (23 are there), rounded to nearest.

    CMS NanoAOD does the same: files compress better. It also hides the last-bit differences of
    mathematical libraries in nearly all values.
    """
    word = np.ascontiguousarray(values, dtype=np.float32).view(np.uint32)
    drop = 23 - bits
    return ((word + np.uint32(1 << (drop - 1))) & np.uint32(0xFFFFFFFF << drop & 0xFFFFFFFF)).view(
        np.float32
    )


def merged(owners: Sequence[Array], *columns: Sequence[Array]) -> tuple[Array, ...]:
    """Objects of several sources in the order of their events; order within an event is kept.

    Args:
        owners: For each source, the event (below 65536) of each of its objects.
        columns: For each column, one array a source.

    Returns:
        Event of each object, then the columns.
    """
    event = np.concatenate(owners)
    # numpy sorts 16-bit keys by radix: 5 ns an object.
    order = np.argsort(event.astype(np.uint16), kind="stable")
    return (event[order], *(np.concatenate(parts)[order] for parts in columns))


def counts(event: Array, n: int) -> Array:
    """Number of objects in each of n events."""
    return np.bincount(event, minlength=n).astype(np.uint32)
