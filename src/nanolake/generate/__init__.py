"""Synthetic inputs with the exact schemas of the 18 published files, deterministic from a seed.

Files are enriched in the rare candidates (four leptons, muon-tau pairs); each says in a side file
the luminosity (data) or the number of generated events (simulation) that it stands for.
"""

from __future__ import annotations

import json
import os
import uuid
import zlib
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from nanolake.schema import branches
from nanolake.sources import adler32

MAX_CLUSTER = 60_000  # events: the generators number them with 16 bits within a cluster
SMALL_CLUSTER, LARGE_CLUSTER = 25_000, 50_000
SMALL_FILE = 200_000  # events below which clusters are small, so that it can still be cut


class Sample(NamedTuple):
    """What is generated for a sample.

    Attributes:
        schema: `dimuon`, `higgs4l` or `htautau`.
        kind: `data` or `mc`.
        events: Events of the embedded default file.
        worth: What one event of the file stands for: pb-1 (data) or generated events (mc).
    """

    schema: str
    kind: str
    events: int
    worth: float


# Data of higgs4l stand for the real luminosity of 11580 pb-1 in all, divided over the two runs as
# that of TauPlusX (4412 : 7055 pb-1). Its simulated files: generated events in the file's place,
# such that the selected Higgs events weigh as in the official analysis (2.29, 1.39, 3.03 in the
# three channels) and ZZ brings 26, 12.5 and 35 events between 70 and 180 GeV.
_H4L_B, _H4L_C = 11580 * 4412 / 11467, 11580 * 7055 / 11467
# A third of the events of an htautau file holds a pair. Higgs samples: selected pairs an event of
# the official skims. Others: cross section (pb) over the pairs per pb-1 of htautau_pairs.RATES.
_PAIRS = 0.33
SAMPLES = {
    "Run2012BC_DoubleMuParked_Muons": Sample("dimuon", "data", 100_000, 11580 / 61540413),
    "SMHiggsToZZTo4L": Sample("higgs4l", "mc", 12_000, 3.656),
    "ZZTo4mu": Sample("higgs4l", "mc", 10_000, 6.535),
    "ZZTo4e": Sample("higgs4l", "mc", 10_000, 6.934),
    "ZZTo2e2mu": Sample("higgs4l", "mc", 12_000, 8.762),
    "Run2012B_DoubleMuParked": Sample("higgs4l", "data", 13_000, _H4L_B / 13_000),
    "Run2012C_DoubleMuParked": Sample("higgs4l", "data", 18_000, _H4L_C / 18_000),
    "Run2012B_DoubleElectron": Sample("higgs4l", "data", 10_000, _H4L_B / 10_000),
    "Run2012C_DoubleElectron": Sample("higgs4l", "data", 15_000, _H4L_C / 15_000),
    "GluGluToHToTauTau": Sample("htautau", "mc", 14_000, _PAIRS * 476_963 / 8085),
    "VBF_HToTauTau": Sample("htautau", "mc", 14_000, _PAIRS * 491_653 / 10_492),
    "DYJetsToLL": Sample("htautau", "mc", 45_000, _PAIRS * 3503.7 / 8.7),
    "TTbar": Sample("htautau", "mc", 14_000, _PAIRS * 225.2 / 1.3),
    "W1JetsToLNu": Sample("htautau", "mc", 16_000, _PAIRS * 6381.2 / 5.06),
    "W2JetsToLNu": Sample("htautau", "mc", 14_000, _PAIRS * 2039.8 / 3.2),
    "W3JetsToLNu": Sample("htautau", "mc", 12_000, _PAIRS * 612.5 / 1.9),
    "Run2012B_TauPlusX": Sample("htautau", "data", 28_000, _PAIRS / 28.96),
    "Run2012C_TauPlusX": Sample("htautau", "data", 43_000, _PAIRS / 28.96),
}


def sample_of(name: str) -> Sample:
    """The recipe of a sample.

    Raises:
        ValueError: If no sample has this name.
    """
    if name not in SAMPLES:
        raise ValueError(f"unknown sample '{name}': expected one of {', '.join(SAMPLES)}")
    return SAMPLES[name]


def default_events(sample: str, scale: float = 1.0) -> int:
    """Events of a sample's file: its default (about 400,000 in all 18) times a scale.

    Raises:
        ValueError: If no sample has this name, or the scale is negative.
    """
    if scale < 0:
        raise ValueError(f"scale must not be negative, got {scale}")
    return round(sample_of(sample).events * scale)


def stands_for(sample: str, events: int) -> dict[str, float]:
    """What a generated file with this many events stands for.

    Returns:
        `{"luminosity": pb-1}` for data, `{"generated": events}` for simulation.

    Raises:
        ValueError: If no sample has this name.
    """
    recipe = sample_of(sample)
    key = "luminosity" if recipe.kind == "data" else "generated"
    return {key: float(f"{events * recipe.worth:.9g}")}


def _clusters(
    sample: str, events: int, seed: int, cluster_events: int
) -> Iterator[dict[str, np.ndarray]]:
    """Columns, a cluster at a time; each has its own random stream."""
    recipe = sample_of(sample)
    make = import_module(f"nanolake.generate.{recipe.schema}").chunk
    name = zlib.crc32(sample.encode())
    for i, first in enumerate(range(0, events, cluster_events)):
        rng = np.random.Generator(np.random.SFC64(np.random.SeedSequence([seed, name, i])))
        n = min(cluster_events, events - first)
        yield make(rng, n, sample=sample, first=first, worth=recipe.worth)


def generate_file(
    sample: str, path: Path | str, *, events: int, seed: int, cluster_events: int | None = None
) -> dict[str, Any]:
    """Writes a sample's synthetic file and its side file `<path without .root>.json`.

    Same arguments, same bytes, in a process that has not read ROOT files before: ROOT writes what
    it learnt from them into the class descriptions. Both files appear only when complete.

    Args:
        sample: Name of one of the 18 samples.
        path: File to make; its folder is made too.
        events: Number of events, 0 included.
        seed: Seed of all random streams, not negative.
        cluster_events: Events a cluster, at most 60,000. Default: 25,000 in small files.

    Returns:
        The content of the side file: sample, schema, kind, events, bytes, adler32, seed, and
        `luminosity` (pb-1, data) or `generated` (events, mc): what the file stands for.

    Raises:
        ValueError: If the sample is unknown or a number is out of range.
        OSError: If the file cannot be written.
    """
    from nanolake.generate.writer import set_identity, write_tree

    recipe = sample_of(sample)
    size = cluster_events or (SMALL_CLUSTER if events <= SMALL_FILE else LARGE_CLUSTER)
    if events < 0 or seed < 0 or not 0 < size <= MAX_CLUSTER:
        raise ValueError(f"cannot make {events} events of seed {seed} in clusters of {size}")
    path = Path(path)
    if path.is_dir():
        raise IsADirectoryError(f"cannot write {path}: it is a folder")
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.stem}.part{os.getpid()}.root")
    try:
        layout = branches(recipe.schema, recipe.kind)
        write_tree(partial, layout, _clusters(sample, events, seed, size), cluster_events=size)
        # Of the content, as far as that follows from the arguments: same arguments, same bytes.
        content = f"{sample} {events} {seed} {size} {adler32(partial)}"
        set_identity(partial, uuid.uuid5(uuid.NAMESPACE_OID, content))
        return _publish(partial, path, _summary(sample, partial, events, seed))
    finally:
        partial.unlink(missing_ok=True)


def _summary(sample: str, path: Path, events: int, seed: int) -> dict[str, Any]:
    """Content of the side file of a finished file."""
    recipe = sample_of(sample)
    return {
        "sample": sample,
        "schema": recipe.schema,
        "kind": recipe.kind,
        "events": events,
        "bytes": path.stat().st_size,
        "adler32": adler32(path),
        "seed": seed,
        **stands_for(sample, events),
    }


def _publish(partial: Path, path: Path, summary: dict[str, Any]) -> dict[str, Any]:
    """Moves a finished file into place, its side file first.

    A run killed in between leaves a side file whose checksum does not fit, which readers notice;
    a file without one would pass for a real file, and be given its normalisation.
    """
    draft = partial.with_suffix(".json")
    draft.write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
    os.replace(draft, path.with_suffix(".json"))
    os.replace(partial, path)
    return summary
