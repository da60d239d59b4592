"""A pack: units of an analysis that one job of a batch system runs, several side by side.

A unit of a pack is a process with a log of its own; its files are those that it would have as a job
by itself. Units that are there already are not run again, so a pack that failed, or was packed
otherwise before, costs what is missing.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any, NamedTuple

from nanolake import causes, skim, sources
from nanolake.catalogue import read, write
from nanolake.errors import EngineError
from nanolake.logs import logged

# Parent and children are this same small program: nothing is loaded anew.
_FORK = multiprocessing.get_context("fork")


class Place(NamedTuple):
    """Where a unit of a pack has its files.

    Attributes:
        sample: Its sample.
        unit: Its name.
        events: Path of its selected events.
        ledger: Path of its ledger.
        log: Path of its log.
    """

    sample: str
    unit: str
    events: str
    ledger: str
    log: str


def members(plan: Mapping[str, Any]) -> list[tuple[str, str]]:
    """All units of a plan, (sample, unit), in the order in which they are packed."""
    return [
        (sample, unit["name"])
        for sample, entry in plan["samples"].items()
        for unit in entry["units"]
    ]


def names(number: int, size: int) -> list[str]:
    """Names of packs of at most `size` out of `number` units: `FIRST-LAST`, numbers of units."""
    width = max(4, len(str(number)))
    edges = range(0, number, size)
    return [f"{i:0{width}d}-{min(i + size, number) - 1:0{width}d}" for i in edges]


def chosen(plan: Mapping[str, Any], name: str) -> list[tuple[str, str]]:
    """The units of a pack, by its name: (sample, unit)."""
    first, last = map(int, name.split("-"))
    return members(plan)[first : last + 1]


def places(units: Sequence[tuple[str, str]], folder: str, logs: str) -> list[Place]:
    """Where units have their files: below `folder`/SAMPLE, and their logs below `logs`/SAMPLE."""
    return [
        Place(
            sample,
            unit,
            f"{folder}/{sample}/{unit}.root",
            f"{folder}/{sample}/{unit}.json",
            f"{logs}/{sample}/{unit}.log",
        )
        for sample, unit in units
    ]


def input_key(plan: Mapping[str, Any], place: Place) -> str:
    """The hash of what a unit reads."""
    return str(plan["samples"][place.sample]["units"][int(place.unit)]["key"])


def is_made(place: Place, key: str, fingerprint: str) -> bool:
    """Whether a unit is there already, from the same input and by the same graph, and undamaged."""
    if not (os.path.exists(place.ledger) and os.path.exists(place.events)):
        return False
    ledger = read(place.ledger)
    same = (ledger["key"], ledger["software"]["graph"]) == (key, fingerprint)
    return same and sources.stamp(place.events) == ledger["output"]


def run(
    program: str,
    plan_file: str,
    replicas_file: str,
    receipt_file: str,
    *,
    name: str,
    folder: str,
    logs: str,
    cores: int = 1,
    fingerprint: str = "",
    **how: Any,
) -> None:
    """Run the units of a pack.

    Args:
        program: The engine of the analysis.
        plan_file: The plan that holds the units.
        replicas_file: Where their files are, see `skim.run`.
        receipt_file: Output: {units: [{sample, unit, key, output}]}, once all of them are made.
        name: Name of the pack.
        folder: Folder of the units of the analysis; they are in a folder of their sample there.
        logs: Folder of their logs.
        cores: How many units run side by side.
        fingerprint: Hash of the graph.
        how: verify, scratch, accelerator: see `skim.run`.

    Raises:
        EngineError: Units failed; the message names their logs. The others are made all the same.
    """
    plan = read(plan_file)
    units = places(chosen(plan, name), folder, logs)
    keys = {place: input_key(plan, place) for place in units}
    missing = [place for place in units if not is_made(place, keys[place], fingerprint)]
    print(f"{len(units)} units, {len(units) - len(missing)} of them made before", flush=True)
    make = partial(skim.run, program, plan_file, replicas_file, fingerprint=fingerprint, **how)
    failed: dict[str, str | None] = {}
    for number, (place, status) in enumerate(_side_by_side(missing, cores, make), 1):
        print(f"{number} of {len(missing)}: {_said(place, status)}", flush=True)
        if status:
            failed[f"{place.sample}/{place.unit} (log: {place.log})"] = causes.of_status(status)
    if failed:
        raise EngineError(
            f"{len(failed)} of {len(units)} units failed: {', '.join(failed)}",
            cause=causes.of_several(failed.values()),
        )
    made = [
        {"sample": p.sample, "unit": p.unit, "key": keys[p], "output": read(p.ledger)["output"]}
        for p in units
    ]
    write(receipt_file, {"units": made})


def _said(place: Place, status: int | None) -> str:
    """How a unit ended; of one that failed, its log, as that of the job is what is shown."""
    name = f"{place.sample}/{place.unit}"
    if status:
        log = Path(place.log).read_text(errors="replace").rstrip()
        return f"{name} failed with status {status}\n{log}"
    ledger = read(place.ledger)
    return f"{name}: {ledger['read']} events in {ledger['wall_seconds']} s"


def _side_by_side(
    units: Sequence[Place], cores: int, make: Callable[..., Any]
) -> Iterator[tuple[Place, int | None]]:
    """Run units, at most `cores` at a time; give each with its exit status when it has ended."""
    waiting = list(reversed(units))
    running: dict[Any, tuple[Place, Any]] = {}
    while waiting or running:
        while waiting and len(running) < cores:
            place = waiting.pop()
            process = _FORK.Process(target=_one, args=(place, make), daemon=True)
            process.start()
            running[process.sentinel] = place, process
        for ended in wait(running):
            place, process = running.pop(ended)
            process.join()
            yield place, process.exitcode


def _one(place: Place, make: Callable[..., Any]) -> None:
    Path(place.log).parent.mkdir(parents=True, exist_ok=True)
    with logged(place.log):
        make(place.events, place.ledger, sample=place.sample, unit=place.unit)
