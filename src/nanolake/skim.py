"""Skim: one unit of work, from events in the lake to selected events and a ledger entry."""

from __future__ import annotations

import platform
import resource
import time
from collections.abc import Mapping, Sequence
from typing import Any

from nanolake import __version__, analyses, engine, outputs, sources
from nanolake.catalogue import read, write
from nanolake.errors import BooksError
from nanolake.replicas import Reading


def find_unit(plan: Mapping[str, Any], sample: str, unit: str) -> dict[str, Any]:
    """A unit of a plan, with its files, each with the number of units that read it (`users`).

    Raises:
        KeyError: The plan has no such unit.
    """
    entry = plan["samples"][sample]
    for candidate in entry["units"]:
        if candidate["name"] == unit:
            first, last = candidate["first"], candidate["last"]
            files = [
                {**file, "users": sum(u["first"] <= i < u["last"] for u in entry["units"])}
                for i, file in enumerate(entry["files"][first:last], first)
            ]
            return {**candidate, "files": files}
    raise KeyError(f"the plan has no unit {sample}/{unit}")


def _file(path: str, file: Mapping[str, Any], verify: str) -> dict[str, Any]:
    """What the engine is told of a file, to compare it with what it opens."""
    # The checksum of a local file has been compared before it gets here.
    whole = verify == "full" and sources.is_remote(path)
    known = ("events", "bytes", "uuid", *(["adler32"] if whole else []))
    return {"path": path} | {key: file[key] for key in known if file.get(key) is not None}


def _task(
    plan: Mapping[str, Any],
    sample: str,
    unit: Mapping[str, Any],
    files: Sequence[Mapping[str, Any]],
    part: str,
) -> dict[str, Any]:
    entry = plan["samples"][sample]
    return {
        "samples": [{"name": sample, "object": plan["tree"], "files": list(files)}],
        "columns": analyses.load(plan["analysis"]).columns(entry["kind"]),
        "range": unit["range"],
        "kind": entry["kind"],
        "channels": entry["channels"],
        "output": part,
    }


def _usage(started: float, events: int) -> dict[str, Any]:
    """What the unit took of the machine since `started` (seconds since the epoch), and which."""
    wall = time.time() - started
    own, children = (
        resource.getrusage(w) for w in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
    cpu = own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime
    return {
        "started": round(started, 3),
        "wall_seconds": round(wall, 3),
        "cpu_seconds": round(cpu, 3),
        "events_per_second": round(events / wall, 1),
        "cpu_efficiency": round(cpu / wall, 3),
        "peak_rss_bytes": children.ru_maxrss * 1024,
        "host": platform.node(),
    }


def check_read(sample: str, unit: Mapping[str, Any], read_events: int) -> None:
    """The events read must be those planned.

    Raises:
        BooksError: They are not.
    """
    planned = unit["range"][1] - unit["range"][0]
    if read_events != planned:
        raise BooksError(
            f"{sample}/{unit['name']}: {planned} events planned, {read_events} read"
            f" from {', '.join(file['path'] for file in unit['files'])}\n"
            "  remedy:  check the files, delete the catalogue and run again"
        )


def run(
    program: str,
    plan_file: str,
    replicas_file: str,
    events_file: str,
    ledger_file: str,
    *,
    sample: str,
    unit: str,
    verify: str = "checksum",
    scratch: str | None = None,
    accelerator: str = "auto",
    fingerprint: str = "",
) -> dict[str, Any]:
    """Run one unit; its outputs appear under their names only when they are complete.

    Args:
        program: The engine of the analysis.
        plan_file: The plan that holds the unit.
        replicas_file: Where its files are: {path: [{rse, pfn, cache?}]}, best first.
        events_file: Output: selected events, one tree a channel.
        ledger_file: Output: the unit's ledger entry.
        sample: Sample of the unit.
        unit: Name of the unit.
        verify: How inputs are compared with the catalogue: `size`, `checksum` or `full`.
        scratch: Folder for staged inputs; None for TMPDIR.
        accelerator: `auto` or `off`.
        fingerprint: Hash of the graph, for the ledger.

    Raises:
        InputError: An input cannot be trusted.
        BooksError: Not all planned events were read.
        EngineError: The event loop failed.
    """
    started, plan = time.time(), read(plan_file)
    chosen = find_unit(plan, sample, unit)
    access = plan["samples"][sample]["access"]
    how = {"access": access, "verify": verify, "scratch": scratch}
    reading = Reading(chosen["files"], read(replicas_file), sample=sample, unit=unit, **how)

    with outputs.whole(events_file) as part:

        def skim(paths: list[str]) -> dict[str, Any]:
            files = [_file(p, f, verify) for p, f in zip(paths, chosen["files"], strict=True)]
            task = _task(plan, sample, chosen, files, str(part))
            return engine.run(program, "skim", task, accelerator=accelerator)

        result, used = reading.run(skim)
        check_read(sample, chosen, result["read"])
        ledger = {
            "analysis": plan["analysis"],
            "sample": sample,
            "unit": unit,
            "key": chosen["key"],
            **result,
            "files": [seen | file for seen, file in zip(result["files"], used, strict=True)],
            "range": chosen["range"],
            "output": sources.stamp(part),
            **_usage(started, result["read"]),
            "software": software(program, fingerprint),
        }
    write(ledger_file, ledger)
    return ledger


def software(program: str, fingerprint: str) -> dict[str, str]:
    """Versions behind a result."""
    from nanolake.root import installation

    with open(program, "rb") as stream:
        kind = "jit" if stream.read(2) == b"#!" else "compiled"
    return {
        "nanolake": __version__,
        "ROOT": installation().version,
        "python": platform.python_version(),
        "machine": platform.machine(),
        "engine": kind,
        "graph": fingerprint,
    }
