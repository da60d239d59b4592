"""The catalogue of an analysis: every file of every sample, and what the samples stand for.

Made once from the inputs; everything after it works on its numbers and checks the files against
them. It is a plain mapping, kept as JSON:

    {analysis, tree, samples: {sample: {kind, stream, channels, processes, luminosity | generated,
     cross_section, k_factor, files: [{path, bytes, mtime_ns, adler32, events, uuid, clusters}]}},
     luminosity: {channel: pb-1}, weights: {sample: {channel: weight}}}

The `path` of a file is a local path, a URL, or its DID if a lake holds it; where its bytes are is
in the replicas beside the catalogue: {path: [{rse, pfn, cache?}]}. What nobody has said of a file
is null; so is the uuid of one that was written without.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nanolake import outputs, sources
from nanolake.errors import InputError
from nanolake.replicas import through
from nanolake.schema import TREE


def side_file(path: str) -> dict[str, Any]:
    """What the side file `<stem>.json` of a local input says of it; nothing if there is none."""
    side = Path(path).with_suffix(".json")
    if sources.is_remote(path) or not side.exists():
        return {}
    content: dict[str, Any] = json.loads(side.read_text())
    return content


def file_entry(name: str, declared: Mapping[str, Any]) -> dict[str, Any]:
    """Describe one input and compare it with what is declared of it.

    Args:
        name: Sample, for messages.
        declared: path and, where known, bytes and adler32.

    Raises:
        InputError: It is missing, empty, or not the declared file.
    """
    path = declared["path"]
    found = sources.describe(path, name)
    for key, what in (("bytes", "size"), ("adler32", "adler32")):
        wanted = declared.get(key)
        if wanted is not None and found[key] is not None and found[key] != wanted:
            problem = f"its {what} is {found[key]}, declared is {wanted}"
            remedy = "copy it again: it is damaged, cut short or replaced"
            raise InputError(name, path, problem, remedy)
        found[key] = wanted if found[key] is None else found[key]
    return {"path": path, **found}


def stands_for(entry: Mapping[str, Any], events: int, side: Mapping[str, Any]) -> dict[str, float]:
    """Luminosity (pb-1, data) or generated events (simulation) that a sample's files stand for.

    What the side files say, else the share of the events of the whole dataset.

    Args:
        entry: The sample's entry in datasets.yaml, with `full_events`.
        events: Events in the files at hand.
        side: Sum of the side files, empty if not every file has one.
    """
    key = "luminosity" if entry["kind"] == "data" else "generated"
    if key in side:
        return {key: side[key]}
    return {key: entry[key] * events / entry["full_events"]}


def luminosities(samples: Mapping[str, Any], streams: Mapping[str, str]) -> dict[str, float]:
    """Luminosity of each channel, pb-1: the sum over the data of the stream that feeds it."""
    result = dict.fromkeys(streams, 0.0)
    for sample in samples.values():
        if sample["kind"] == "data":
            for channel, stream in streams.items():
                if stream == sample["stream"]:
                    result[channel] += sample["luminosity"]
    return result


def weights(
    samples: Mapping[str, Any], luminosity: Mapping[str, float]
) -> dict[str, dict[str, float]]:
    """Weight of each sample's events in each channel: 1 for data, L x xsec x k / N else."""
    result: dict[str, dict[str, float]] = {}
    for name, sample in samples.items():
        if sample["kind"] == "data":
            result[name] = dict.fromkeys(sample["channels"], 1.0)
            continue
        per_pb = sample["cross_section"] * sample["k_factor"]
        generated = sample["generated"]
        result[name] = {
            channel: luminosity[channel] * per_pb / generated if generated else 0.0
            for channel in sample["channels"]
        }
    return result


def _sample(
    entry: Mapping[str, Any],
    name: str,
    described: Mapping[str, Any],
    inspected: Mapping[str, Any],
) -> dict[str, Any]:
    """The catalogue entry of one sample from its files' descriptions and contents."""
    files, sides = [], []
    for declared in entry["files"]:
        side = side_file(declared["path"])
        sides.append(side)
        content = inspected[declared["path"]]
        found = _sized(name, declared["path"], described[declared["path"]], content["bytes"])
        wanted = declared.get("events", side.get("events"))
        if wanted is not None and wanted != content["events"]:
            problem = f"it holds {content['events']} events, declared are {wanted}"
            raise InputError(name, declared["path"], problem, "get the right version of the file")
        _published(name, found, entry["published"])
        seen = {key: content[key] for key in ("events", "clusters")}
        files.append({**found, **seen, "uuid": content["uuid"] or None})
    key = "luminosity" if entry["kind"] == "data" else "generated"
    known = all(key in side for side in sides)
    total = {key: sum(side[key] for side in sides)} if known and sides else {}
    return sample_entry(entry, files, total)


def _sized(name: str, path: str, found: Mapping[str, Any], size: int) -> dict[str, Any]:
    """The description of a file with its size, which of a remote one is known when it is open."""
    if found["bytes"] not in (None, size):
        problem = f"its size is {size}, declared is {found['bytes']}"
        raise InputError(name, path, problem, "get the right version of the file")
    return {**found, "bytes": size}


def sample_entry(
    entry: Mapping[str, Any], files: Sequence[Mapping[str, Any]], total: Mapping[str, Any]
) -> dict[str, Any]:
    """The catalogue entry of a sample.

    Args:
        entry: Its entry in datasets.yaml, with `full_events`.
        files: [{path, bytes, adler32, events, ...}]; path is a path, a URL, or a DID.
        total: `luminosity` or `generated` of the files together, where that is known.
    """
    events = sum(file["events"] for file in files)
    kept = ("kind", "stream", "channels", "processes", "cross_section", "k_factor")
    result = {key: entry[key] for key in kept if key in entry}
    return {**result, **stands_for(entry, events, total), "events": events, "files": files}


def build(
    analysis: str,
    entries: Mapping[str, Mapping[str, Any]],
    streams: Mapping[str, str],
    inspect: Any,
) -> dict[str, Any]:
    """The catalogue of an analysis.

    Args:
        analysis: Its name.
        entries: Sample to its entry in datasets.yaml, with `files` (what is read in this run),
            `full_events` and `published` (events and files of the whole dataset at that place).
        streams: Channel to the stream of data that feeds it.
        inspect: Function (kind, paths) -> [{path, events, clusters, bytes, uuid}].

    Raises:
        InputError: An input is missing, damaged, or not what is declared.
    """
    contents: dict[str, Any] = {}
    found: dict[str, Any] = {}
    for kind in ("data", "mc"):
        described = _describe(entries, kind)
        found |= described
        files = inspect(kind, list(described)) if described else []
        contents |= {file["path"]: file for file in files}
    samples = {name: _sample(entry, name, found, contents) for name, entry in entries.items()}
    return assemble(analysis, samples, streams)


def assemble(
    analysis: str, samples: Mapping[str, Any], streams: Mapping[str, str]
) -> dict[str, Any]:
    """A catalogue from the entries of its samples (see `sample_entry`)."""
    luminosity = luminosities(samples, streams)
    return {
        "analysis": analysis,
        "tree": TREE,
        "luminosity": luminosity,
        "weights": weights(samples, luminosity),
        "samples": samples,
    }


def _published(name: str, found: Mapping[str, Any], published: Sequence[Mapping[str, Any]]) -> None:
    """A file with the size of a published one must be that file."""
    for file in published:
        same = found["bytes"] is not None and found["bytes"] == file.get("bytes")
        if same and found["adler32"] != file["adler32"]:
            problem = f"its adler32 is {found['adler32']}, published is {file['adler32']}"
            raise InputError(name, found["path"], problem, "copy it again: it is damaged")


def _describe(entries: Mapping[str, Mapping[str, Any]], kind: str) -> dict[str, Any]:
    """Path to description of all files of a kind, each checksummed once.

    A missing or damaged file is named before ROOT sees it.
    """
    return {
        file["path"]: file_entry(name, dict(file) | side_file(file["path"]))
        for name, entry in entries.items()
        if entry["kind"] == kind
        for file in entry["files"]
    }


def read(path: str | Path) -> dict[str, Any]:
    """Read a catalogue, a plan or a ledger."""
    content: dict[str, Any] = json.loads(Path(path).read_text())
    return content


def write(path: str | Path, content: Mapping[str, Any] | Sequence[Any]) -> None:
    """Write a catalogue, a plan or a ledger as JSON, in one step."""
    with outputs.whole(path) as part:
        part.write_text(json.dumps(content, indent=1) + "\n")


def inspector(program: str, analysis: str) -> Any:
    """The function that looks into files; see `build`."""
    from nanolake import analyses, engine

    module = analyses.load(analysis)

    def inspect(kind: str, paths: Sequence[str]) -> list[dict[str, Any]]:
        task = {"object": TREE, "columns": module.columns(kind), "paths": paths}
        files: list[dict[str, Any]] = engine.run(program, "inspect", task)["files"]
        return files

    return inspect


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
    caches: Mapping[str, str | None],
) -> None:
    """Make the catalogue of an analysis from paths and URLs; see `build`.

    Args:
        program: The engine of the analysis.
        catalogue_file: Output: the catalogue.
        lock_file: Output: what was read, for the provenance; nothing is compared with it.
        replicas_file: Output: where the files are: themselves.
        analysis: Its name.
        entries: See `build`.
        streams: See `build`.
        lake: Name of the lake's file, for the lock.
        caches: Sample to the cache that it is read through, if there is one.
    """
    catalogue = build(analysis, entries, streams, inspector(program, analysis))
    write(lock_file, lock(lake, None, catalogue["samples"], {}))
    places = {
        file["path"]: through(caches.get(name), [{"rse": None, "pfn": file["path"]}])
        for name, sample in catalogue["samples"].items()
        for file in sample["files"]
    }
    write(replicas_file, places)
    write(catalogue_file, catalogue)


def lock(
    lake: str, host: str | None, samples: Mapping[str, Any], datasets: Mapping[str, str]
) -> dict[str, Any]:
    """The input lock: exactly which content a run has read.

    Returns:
        {lake, host, datasets: {sample: {did, luminosity | generated, files: [{did, bytes, adler32,
        events}]}}}; a file that is not in a Rucio has a path and no DID.
    """
    result = {}
    for name, sample in samples.items():
        what = "luminosity" if sample["kind"] == "data" else "generated"
        files = [
            ({"did": file["path"]} if datasets else {"did": None, "path": file["path"]})
            | {key: file[key] for key in ("bytes", "adler32", "events")}
            for file in sample["files"]
        ]
        result[name] = {"did": datasets.get(name), what: sample[what], "files": files}
    return {"lake": lake, "host": host, "datasets": result}
