"""What is in the lake: files of datasets, their replicas, and the input lock of a run."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from nanolake import replicas
from nanolake.errors import LakeError
from nanolake.lake.client import Did, explained


def adler(value: str | None) -> str | None:
    """An Adler-32 checksum as we write it: 8 hexadecimal digits; some writers drop zeros."""
    return value.lower().zfill(8) if value else None


def files_of(client: Any, datasets: Sequence[str]) -> dict[str, list[dict[str, Any]]]:
    """The files of datasets, in one call; see `files_if_any`.

    Raises:
        LakeError: A dataset does not exist or is empty.
    """
    result = files_if_any(client, datasets)
    for dataset, files in result.items():
        if not files:
            remedy = "check the lake's file (dataset, datasets), or put it there: snakemake ingest"
            raise LakeError(dataset, "the lake has no such dataset, or it is empty", remedy)
    return result


def files_if_any(client: Any, datasets: Sequence[str]) -> dict[str, list[dict[str, Any]]]:
    """The files of datasets, in one call.

    Returns:
        Dataset DID to [{did, bytes, adler32, events}], sorted by name: the order in which they
        are read must not be that of a database. No files for a dataset that does not exist.
    """
    result: dict[str, list[dict[str, Any]]] = {dataset: [] for dataset in datasets}
    with explained("catalogue"):
        rows = client.bulk_list_files([Did.parse(dataset).plain() for dataset in result])
        for row in rows:
            file = {
                "did": f"{row['scope']}:{row['name']}",
                "bytes": row["bytes"],
                "adler32": adler(row["adler32"]),
                "events": row["events"],
            }
            result[f"{row['parent_scope']}:{row['parent_name']}"].append(file)
    for files in result.values():
        files.sort(key=lambda file: str(file["did"]))
    return result


def metadata_of(client: Any, dids: Sequence[str]) -> dict[str, dict[str, Any]]:
    """The JSON metadata of DIDs, in one call; a DID without any has an empty entry."""
    result: dict[str, dict[str, Any]] = {did: {} for did in dids}
    with explained("catalogue"):
        rows = client.get_metadata_bulk([Did.parse(did).plain() for did in result], plugin="JSON")
        for row in rows:
            did = f"{row.pop('scope')}:{row.pop('name')}"
            result[did] = row
    return result


def replicas_of(
    client: Any,
    datasets: Iterable[str],
    *,
    rse: str | None,
    schemes: Sequence[str],
    cache: str | None = None,
) -> dict[str, list[dict[str, Any]]]:
    """The available replicas of all files of datasets, in one call.

    Args:
        client: Rucio's.
        datasets: DIDs of datasets or files.
        rse: RSE expression, None for any.
        schemes: Schemes of their URLs, best first.
        cache: The XCache that they are read through first, see `replicas.through`.

    Returns:
        File DID to [{rse, pfn}], best first: by scheme, then in Rucio's order, then by name; those
        through the cache, which have its URL as `cache`, before all others.
    """
    result: dict[str, list[dict[str, Any]]] = {}
    with explained(f"replicas ({rse or 'any RSE'})"):
        # Where there is one RSE nothing is to be sorted, and the server, which sorts by distance
        # with several looks into its configuration for each file, is four times as fast.
        alone = rse is not None and len(list(client.list_rses(rse))) == 1
        rows = client.list_replicas(
            [Did.parse(dataset).plain() for dataset in datasets],
            schemes=list(schemes),
            rse_expression=rse,
            sort="random" if alone else None,
        )
        for row in rows:
            found = [
                (schemes.index(pfn.partition(":")[0]), place["priority"], place["rse"], pfn)
                for pfn, place in row["pfns"].items()
            ]
            known = [{"rse": name, "pfn": pfn} for _, _, name, pfn in sorted(found)]
            result[f"{row['scope']}:{row['name']}"] = replicas.through(cache, known)
    return result


def replicas_of_samples(
    client: Any,
    datasets: Mapping[str, str],
    *,
    rse: str | None,
    schemes: Sequence[str],
    caches: Mapping[str, str | None],
) -> dict[str, list[dict[str, Any]]]:
    """The replicas of the datasets of samples, in one call for each cache; see `replicas_of`.

    Args:
        client: Rucio's.
        datasets: Sample to DID.
        rse: RSE expression, None for any.
        schemes: Schemes of their URLs, best first.
        caches: Sample to the cache that it is read through; none for those that are not there.
    """
    result: dict[str, list[dict[str, Any]]] = {}
    groups: dict[str | None, list[str]] = {}
    for sample, did in datasets.items():
        groups.setdefault(caches.get(sample), []).append(did)
    for cache, dids in groups.items():
        result |= replicas_of(client, dids, rse=rse, schemes=schemes, cache=cache)
    return result


def digest(content: Any) -> str:
    """A short hash of plain data, independent of the order of its keys."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def differences(
    lock: Mapping[str, Any], found: Mapping[str, Sequence[Mapping[str, Any]]]
) -> list[str]:
    """How the lake differs from an input lock, one line for each file.

    Args:
        lock: `inputs.lock.json`.
        found: Dataset DID to its files as `files_of` gives them. What the lake does not know of a
            file (its events) is not compared.
    """
    lines = []
    for dataset in lock["datasets"].values():
        locked = {file["did"]: file for file in dataset["files"]}
        there = {file["did"]: file for file in found.get(dataset["did"], [])}
        lines += [f"{did}: no longer in {dataset['did']}" for did in locked if did not in there]
        lines += [f"{did}: new in {dataset['did']}" for did in there if did not in locked]
        for did in locked.keys() & there.keys():
            for key in ("bytes", "adler32", "events"):
                now, then = there[did][key], locked[did][key]
                if now is not None and now != then:
                    lines.append(f"{did}: {key} {then} in the lock, {now} in the lake")
    return sorted(lines)


def compare_meaning(lock: Mapping[str, Any], found: Mapping[str, Mapping[str, Any]]) -> None:
    """What datasets stand for must be what it was: all weights rest on it.

    Args:
        lock: `inputs.lock.json`.
        found: Dataset DID to its JSON metadata; what it does not say is not compared.

    Raises:
        LakeError: It differs.
    """
    for dataset in lock["datasets"].values():
        for key, now in found.get(dataset["did"] or "", {}).items():
            if key in ("luminosity", "generated") and dataset.get(key, now) != now:
                raise LakeError(
                    dataset["did"],
                    f"its {key} is {now}, in the input lock {dataset[key]}",
                    "correct its metadata, or accept them: snakemake --config relock=true",
                )


def compare(lock: Mapping[str, Any], found: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
    """The lake must hold what the lock says.

    Raises:
        LakeError: It does not; the first differences are named.
    """
    if lines := differences(lock, found):
        shown = "".join(f"\n    {line}" for line in lines[:10])
        more = f"\n    and {len(lines) - 10} more" if len(lines) > 10 else ""
        raise LakeError(
            f"lake {lock['lake']}",
            f"its content differs from the input lock of the earlier run:{shown}{more}",
            "restore the datasets, or accept the new content: snakemake --config relock=true",
        )
