"""The plan: the files of each sample, cut and packed into units of about equal cost.

The files of a sample form a chain in the order of the catalogue, and a unit is a range of it. Its
edges lie on cluster boundaries, as a cluster cut in two is decompressed twice; the end of a file is
one too, so many small files share a unit and a large file is cut into many.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from hashlib import sha256
from itertools import pairwise
from typing import Any


def cuts(boundaries: Sequence[int], events_per_unit: int) -> list[int]:
    """Edges of the units: about equal shares, moved to the nearest boundary.

    Args:
        boundaries: Ascending entries at which the chain may be cut, first 0, last its end.
        events_per_unit: Size that a unit is meant to have.

    Returns:
        Ascending edges, first 0 and last the end; at least one unit, also of no events.
    """
    total = boundaries[-1]
    number = max(1, -(-total // events_per_unit))
    edges = [0]
    for i in range(1, number):
        wish = total * i // number
        right = bisect_left(boundaries, wish)
        left = max(right - 1, 0)
        nearer_left = wish - boundaries[left] < boundaries[right] - wish
        edge = boundaries[left] if nearer_left else boundaries[right]
        if edges[-1] < edge < total:
            edges.append(edge)
    return [*edges, total]


def boundaries(files: Sequence[Mapping[str, Any]], events_per_unit: int) -> list[int]:
    """Entries at which the chain of files may be cut: clusters, or anywhere where unknown."""
    result, start = [0], 0
    for file in files:
        events = file["events"]
        clusters = file.get("clusters") or list(range(0, events, max(1, events_per_unit // 100)))
        result += [start + c for c in clusters if 0 < c < events]
        start += events
        if events:
            result.append(start)
    return result


def _units(sample: Mapping[str, Any], events_per_unit: int) -> list[dict[str, Any]]:
    """Units of one sample: numbers of their files in the chain and their range within these."""
    files, units = sample["files"], []
    starts = [0]
    for file in files:
        starts.append(starts[-1] + file["events"])
    for begin, end in pairwise(cuts(boundaries(files, events_per_unit), events_per_unit)):
        # The first file that ends behind `begin`, to the first that ends at or behind `end`.
        first = bisect_left(starts, begin + 1) - 1 if end > begin else 0
        last = max(bisect_left(starts, end), first + 1)
        units.append(
            {"first": first, "last": last, "range": [begin - starts[first], end - starts[first]]}
        )
    return units


def build(
    catalogue: Mapping[str, Any],
    *,
    events_per_unit: int,
    access: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """The plan of an analysis.

    Args:
        catalogue: That of the analysis.
        events_per_unit: Size that a unit is meant to have.
        access: Sample to `stage` or `stream`, the default; no part of a unit's key, as the numbers
            do not depend on it.

    Returns:
        {analysis, tree, samples: {sample: {kind, channels, weights, access, files,
        units: [{name, first, last, range, key}]}}}: files without their clusters, units as
        ranges of them. `key` changes when anything that the unit reads does, and only then.
    """
    samples = {}
    for name, sample in catalogue["samples"].items():
        files = [{k: v for k, v in file.items() if k != "clusters"} for file in sample["files"]]
        units = _units(sample, events_per_unit)
        width = max(4, len(str(len(units))))
        for number, unit in enumerate(units):
            unit["name"] = f"{number:0{width}d}"
            unit["key"] = _key(sample, files[unit["first"] : unit["last"]], unit["range"])
        samples[name] = {
            "kind": sample["kind"],
            "channels": sample["channels"],
            "weights": catalogue["weights"][name],
            "access": (access or {}).get(name, "stream"),
            "files": files,
            "units": units,
        }
    return {"analysis": catalogue["analysis"], "tree": catalogue["tree"], "samples": samples}


def _key(sample: Mapping[str, Any], files: Sequence[Mapping[str, Any]], range_: Any) -> str:
    """A hash of the content that a unit reads: checksums where known, else paths."""
    contents = [(file["adler32"] or file["path"], file["bytes"], file["events"]) for file in files]
    text = repr((sample["kind"], sample["channels"], contents, range_))
    return sha256(text.encode()).hexdigest()[:16]


def run(
    catalogue_file: str, plan_file: str, *, events_per_unit: int, access: Mapping[str, str]
) -> None:
    """Make the plan of an analysis; see `build`."""
    from nanolake.catalogue import read, write

    write(plan_file, build(read(catalogue_file), events_per_unit=events_per_unit, access=access))
