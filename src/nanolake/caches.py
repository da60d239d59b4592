"""Caches: what an XCache says of the files that were read through it (its g-stream `pfc`)."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

_COUNTED = {"hit": "b_hit", "miss": "b_miss", "bypass": "b_bypass"}


class _Wanted(NamedTuple):
    """A file read through a cache, and when its first and its last unit began."""

    file: Mapping[str, Any]
    first: float
    last: float


def activity(
    path: str, units: Iterable[Mapping[str, Any]], *, patience: float = 12
) -> list[dict[str, Any]]:
    """What was a hit in the cache, for every input that units have read through it.

    A cache tells of a file once nobody has it open any more, and sends that every few seconds.

    Args:
        path: JSON lines of the g-stream, one for each file that was closed.
        units: Ledger entries of units.
        patience: Seconds to wait for what has not been told yet.

    Returns:
        [{cache, did, told, hit, miss, bypass}], in bytes since the first unit began; `told` is
        false if the cache has said nothing of the last unit that read the file.
    """
    wanted = _through_caches(units)
    deadline = time.monotonic() + patience
    while True:
        found = _summed(path, wanted)
        if all(entry["told"] for entry in found) or time.monotonic() > deadline:
            return found
        time.sleep(0.5)


def _through_caches(units: Iterable[Mapping[str, Any]]) -> dict[str, _Wanted]:
    """Path within the cache to what was read there."""
    wanted: dict[str, _Wanted] = {}
    for unit in units:
        for file in unit["files"]:
            if file.get("cache"):
                name = _name(urlsplit(file["replica"]).path)
                known = wanted.get(name, _Wanted(file, unit["started"], unit["started"]))
                first, last = min(known.first, unit["started"]), max(known.last, unit["started"])
                wanted[name] = _Wanted(file, first, last)
    return wanted


def _name(path: str) -> str:
    """A path as caches write it: with one slash in front."""
    return "/" + path.lstrip("/")


def _records(path: str) -> Iterator[dict[str, Any]]:
    if not Path(path).exists():
        return
    with open(path) as stream:
        for line in stream:
            if not line.endswith("\n"):
                return  # it is on its way
            if (record := json.loads(line)).get("event") == "file_close":
                yield record


def _summed(path: str, wanted: Mapping[str, _Wanted]) -> list[dict[str, Any]]:
    result = {
        name: {"cache": file["cache"], "did": file["did"], "told": False}
        | dict.fromkeys(_COUNTED, 0)
        for name, (file, _, _) in wanted.items()
    }
    for record in _records(path) if wanted else ():
        name = _name(record["lfn"])
        # Its times are whole seconds.
        if name in wanted and record["detach_t"] >= int(wanted[name].first):
            result[name]["told"] |= record["detach_t"] >= int(wanted[name].last)
            for ours, theirs in _COUNTED.items():
                result[name][ours] += record[theirs]
    return list(result.values())
