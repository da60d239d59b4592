"""The catalogue of an analysis whose inputs are in a Rucio, and the input lock of the run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nanolake import catalogue
from nanolake.errors import EmbargoError, LakeError
from nanolake.lake import content
from nanolake.lake.client import Did, connect, explained
from nanolake.replicas import Reading

_FACTS = ("bytes", "adler32", "events")


def run(
    program: str,
    catalogue_file: str,
    lock_file: str,
    replicas_file: str,
    *,
    analysis: str,
    entries: Mapping[str, Mapping[str, Any]],
    streams: Mapping[str, str],
    lake: str,
    receipts: Sequence[str],
    datasets: Mapping[str, str],
    client: Mapping[str, Any],
    rse: str | None,
    schemes: Sequence[str],
    caches: Mapping[str, str | None],
    relock: bool = False,
    embargoed: Sequence[str] = (),
) -> None:
    """Make the catalogue of an analysis from what the lake says, in a few bulk calls.

    Args:
        program: The engine of the analysis; looks into files whose events nobody has recorded.
        catalogue_file: Output: the catalogue.
        lock_file: Output and input: the input lock; one that is there is compared first.
        replicas_file: Output: {DID: [{rse, pfn, cache?}]}, best first.
        analysis: Its name.
        entries: Sample to its entry in datasets.yaml with `channels` and `full_events`.
        streams: Channel to the stream of data that feeds it.
        lake: Name of the lake's file.
        receipts: What `ingest` made, where the inputs were uploaded by it.
        datasets: Sample to the DID of its dataset, in addition to those of the receipts.
        client: `rucio_config` and `account`.
        rse: RSE expression of the replicas to read.
        schemes: Schemes of their URLs, best first.
        caches: Sample to the cache that it is read through, if there is one.
        relock: Accept content that differs from the lock.
        embargoed: Samples that the configuration says are.

    Raises:
        LakeError: A dataset or a replica is missing, or the content is not that of the lock.
        EmbargoError: A dataset is embargoed and the configuration does not say so.
        InputError: A file whose events nobody has recorded cannot be read.
    """
    rucio = connect(**client)
    for path in receipts:
        ingested = catalogue.read(path)["datasets"]
        datasets = {**datasets, **{name: entry["dataset"] for name, entry in ingested.items()}}
    found = content.files_of(rucio, list(datasets.values()))
    print(f"{sum(map(len, found.values()))} files in {len(found)} datasets", flush=True)
    old = catalogue.read(lock_file) if Path(lock_file).exists() else None
    if old:
        _compare(old, datasets, found, relock)
    replicas = content.replicas_of_samples(rucio, datasets, rse=rse, schemes=schemes, caches=caches)
    _complete(replicas, found, rse)
    known = content.metadata_of(rucio, list(datasets.values()))
    _compare_embargo(datasets, known, embargoed)
    if old and not relock:
        content.compare_meaning(old, known)
    inspect, counted, samples = catalogue.inspector(program, analysis), [], {}
    for name, entry in entries.items():
        files = found[datasets[name]]
        counted += _count(inspect, entry["kind"], name, files, replicas)
        rows = [{"path": f["did"], **{k: f[k] for k in _FACTS}} for f in files]
        samples[name] = catalogue.sample_entry(entry, rows, known[datasets[name]])
    if counted:
        _record(rucio, counted)
    catalogue.write(lock_file, catalogue.lock(lake, rucio.host, samples, datasets))
    catalogue.write(replicas_file, replicas)
    catalogue.write(catalogue_file, catalogue.assemble(analysis, samples, streams))


def _compare(
    old: Mapping[str, Any], datasets: Mapping[str, str], found: Mapping[str, Any], relock: bool
) -> None:
    """Compare with the lock the datasets that it knows too; others are new by configuration."""
    still = {k: v for k, v in old["datasets"].items() if v["did"] in datasets.values()}
    lock = {**old, "datasets": still}
    if relock:
        for line in content.differences(lock, found):
            print(f"accepted: {line}")
    else:
        content.compare(lock, found)


def _compare_embargo(
    datasets: Mapping[str, str], known: Mapping[str, Mapping[str, Any]], embargoed: Sequence[str]
) -> None:
    for name, did in datasets.items():
        if known[did].get("embargoed") and name not in embargoed:
            problem = "the lake says that it is embargoed, the configuration does not"
            remedy = f"set `embargoed: true` for {name} in datasets.yaml"
            raise EmbargoError(did, problem, remedy)


def _complete(replicas: Mapping[str, Any], found: Mapping[str, Any], rse: str | None) -> None:
    """Every file needs a replica that can be read."""
    lost = [f["did"] for files in found.values() for f in files if not replicas.get(f["did"])]
    if lost:
        where = f"on {rse}" if rse else "anywhere"
        raise LakeError(
            ", ".join(lost[:10]) + (f" and {len(lost) - 10} more" if len(lost) > 10 else ""),
            f"no replica is available {where}",
            "`nanolake lake replicas DID` shows where it is; `nanolake lake move DID RSE` copies"
            " it there; if it is nowhere, ingest it again",
        )


def _count(
    inspect: Any,
    kind: str,
    sample: str,
    files: list[dict[str, Any]],
    replicas: Mapping[str, list[dict[str, str]]],
) -> list[dict[str, Any]]:
    """Read the events of the files for which the lake does not know them; returns these files."""
    unknown = [file for file in files if file["events"] is None]

    def events(paths: list[str]) -> list[int]:
        found = {content["path"]: content["events"] for content in inspect(kind, paths)}
        return [found[path] for path in paths]

    if unknown:
        rows = [{**file, "path": file["did"]} for file in unknown]
        reading = Reading(rows, replicas, sample=sample, unit="catalogue")
        for file, number in zip(unknown, reading.run(events)[0], strict=True):
            file["events"] = number
            print(f"{file['did']}: {file['events']} events, read from the file", flush=True)
    return unknown


def _record(rucio: Any, counted: Sequence[Mapping[str, Any]]) -> None:
    """Record events in the lake; an account that may not do so reads the files every time."""
    from rucio.common import exception

    rows = [{**Did.parse(f["did"]).plain(), "meta": {"events": f["events"]}} for f in counted]
    with explained("events"):
        try:
            rucio.set_dids_metadata_bulk(rows)
        except exception.AccessDenied:
            print("the account may not record the events in the lake; they are in the input lock")
