"""Writes flat numpy columns as a TTree like those of CMS Open Data: bytes follow from the data."""

from __future__ import annotations

import struct
import uuid
from collections.abc import Iterable, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from nanolake.generate.baskets import pack, titles
from nanolake.schema import TREE, Branch

Columns = Mapping[str, np.ndarray]

DTYPES = {"O": np.bool_, "I": np.int32, "i": np.uint32, "l": np.uint64, "F": np.float32}
ZLIB_LEVEL_1 = 101  # ROOT's code for the compression of the published files


def _declare_writer() -> Any:
    """The C++ class that fills the tree; compiled once a process."""
    import ROOT

    if not hasattr(ROOT, "nanolake") or not hasattr(ROOT.nanolake, "TreeWriter"):
        ROOT.gInterpreter.Declare(files("nanolake").joinpath("cpp/tree_writer.h").read_text())
    return ROOT.nanolake.TreeWriter


def _checked(columns: Columns, layout: Sequence[Branch]) -> tuple[list[np.ndarray], int]:
    """The arrays in file order and the number of events; refuses wrong names, types or lengths."""
    names = {branch.name for branch in layout}
    if names != set(columns):
        raise ValueError(f"columns differ from the schema: {sorted(names ^ set(columns))}")
    arrays: list[np.ndarray] = [
        np.ascontiguousarray(columns[b.name], dtype=DTYPES[b.letter]) for b in layout
    ]
    entries = len(arrays[0])
    for branch, array in zip(layout, arrays, strict=True):
        length = int(columns[branch.counter].sum()) if branch.counter else entries
        if len(array) != length:
            raise ValueError(f"column {branch.name} holds {len(array)} values, expected {length}")
    return arrays, entries


def write_tree(
    path: Path, layout: Sequence[Branch], clusters: Iterable[Columns], *, cluster_events: int
) -> int:
    """Writes clusters of events to a new file, ZLIB level 1, same bytes for the same columns.

    Args:
        path: File to make; an existing one is overwritten.
        layout: Branches in file order; an array follows its counter.
        clusters: Columns by branch name: scalars of length n, arrays flat, of the counter's sum.
            One basket a branch; n is cluster_events in all but the last.
        cluster_events: What readers are told about n.

    Returns:
        Number of events written.

    Raises:
        OSError: If the file cannot be made or written to its end.
        ValueError: If a cluster does not follow the layout.
    """
    # `reproducible=fixed` leaves the date, the UUID and the file's name out of the bytes.
    writer = _declare_writer()(f"{path}?reproducible=fixed", TREE, ZLIB_LEVEL_1, cluster_events)
    if writer.file.IsZombie():
        raise OSError(f"cannot create {path}")
    for branch in layout:
        writer.Add(branch.name, branch.leaf)
    names = [(branch.name, title) for branch, title in zip(layout, titles(layout), strict=True)]
    key_length = writer.KeyLength(*names[0])
    total = 0
    for cluster in clusters:
        arrays, entries = _checked(cluster, layout)
        if not entries:
            continue
        for name, basket in zip(names, pack(arrays, layout, key_length), strict=True):
            if not writer.Append(*name, basket.content, len(basket.content), entries, *basket[1:]):
                raise OSError(f"cannot write {path}: is the disk full?")
        total += entries
    if not writer.Close(total):
        raise OSError(f"cannot write {path}: is the disk full?")
    return total


def set_identity(path: Path, identity: uuid.UUID) -> None:
    """Gives a file that was written without one an identity: ROOT's UUID of a file.

    It stands in the header and in the record of the top folder, behind its name.

    Raises:
        ValueError: If the file has one, or is not laid out as ROOT 6 lays out files.
    """
    with open(path, "r+b") as stream:
        header = stream.read(100)
        version, begin = struct.unpack(">ii", header[4:12])
        large = version >= 1_000_000  # of more than 2 GB: positions have 8 bytes
        name_length = struct.unpack(">i", header[36:40] if large else header[28:32])[0]
        stream.seek(begin + name_length)
        wide = struct.unpack(">h", stream.read(2))[0] > 1000
        places = [57 if large else 45, begin + name_length + (42 if wide else 30)]
        for place in places:
            stream.seek(place)
            if stream.read(18) != struct.pack(">h16x", 1):
                raise ValueError(f"{path} has an identity already, or is not a file of ROOT 6")
        for place in places:
            stream.seek(place + 2)
            stream.write(identity.bytes)
