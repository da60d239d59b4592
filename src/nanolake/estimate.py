"""What a job will take, estimated from the ledgers of earlier units of its analysis."""

from __future__ import annotations

import heapq
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from nanolake.catalogue import read

# Before there is any ledger: a twentieth of the rate and twice the memory that benchmarks/ measure.
FIRST_RATE, FIRST_MB = 50_000.0, 1000
_LATEST = 20  # ledgers that are looked at


class Costs(NamedTuple):
    """What units of an analysis took.

    Attributes:
        rate: Events per second of one unit, start-up and waiting for storage included.
        memory_mb: Largest memory of one, in MB.
    """

    rate: float
    memory_mb: int


def costs(units: str | Path) -> Costs:
    """What the latest units below a folder took; a careful guess if there are none.

    Args:
        units: Folder of the units of an analysis: SAMPLE/UNIT.json.
    """
    found = [(os.stat(path).st_mtime, str(path)) for path in Path(units).glob("*/*.json")]
    ledgers = [read(path) for _, path in heapq.nlargest(_LATEST, found)]
    seconds = sum(ledger["wall_seconds"] for ledger in ledgers)
    events = sum(ledger["read"] for ledger in ledgers)
    if not events:
        return Costs(FIRST_RATE, FIRST_MB)
    return Costs(events / seconds, math.ceil(max(led["peak_rss_bytes"] for led in ledgers) / 1e6))


def minutes(events: Sequence[int], known: Costs, *, cores: int = 1, attempt: int = 1) -> int:
    """Wall-clock minutes to ask for: three times what units took before, twice as much each time.

    Args:
        events: Events of each unit of the job.
        known: What units took.
        cores: Units side by side.
        attempt: The first is 1.
    """
    # Nobody has a part of a unit: the last one may begin when all others end.
    longest = max(events, default=0) + sum(events) / cores
    return math.ceil((2 + 3 * longest / known.rate / 60) * 2 ** (attempt - 1))


def memory_mb(known: Costs, *, cores: int = 1, attempt: int = 1) -> int:
    """Memory to ask for in MB: half as much again as one unit took, twice as much each time."""
    return math.ceil(max(700, 1.5 * known.memory_mb) * cores * 2 ** (attempt - 1))
