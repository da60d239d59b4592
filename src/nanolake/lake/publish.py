"""Publish: results uploaded, registered, read back, and a receipt of it."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nanolake import sources
from nanolake.catalogue import read, write
from nanolake.evidence import git_state
from nanolake.lake import storage, upload
from nanolake.lake.client import connect, explained
from nanolake.lake.content import digest

_PLACES = ("results", "lake", "access", "scratch", "relock", "inputs", "synthetic")


def names(
    files: Sequence[str], *, results: str, scope: str, campaign: str, part: str
) -> tuple[str, list[dict[str, Any]]]:
    """DIDs for files and for the dataset that they make.

    A dataset is named after the campaign, the analysis and a hash of all its content, a file after
    its dataset: a name is never used again for anything else, and the same results have the same
    names.

    Args:
        files: Paths within `results`.
        results: Folder of the results.
        scope: Of the DIDs.
        campaign: Begins the names.
        part: Analysis, or `run` for what belongs to the run as a whole.

    Returns:
        The dataset's DID, and [{path, did}].
    """
    stamps = {str(Path(path).relative_to(results)): sources.stamp(path) for path in files}
    dataset = f"{campaign}.{part}.{digest(stamps)[:10]}"
    rows = []
    for path in files:
        inside = Path(path).relative_to(results)
        inside = inside.relative_to(part) if inside.parts[0] == part else inside
        rows.append({"path": path, "did": f"{scope}:{dataset}.{'.'.join(inside.parts)}"})
    return f"{scope}:{dataset}", rows


def describe(
    catalogue_file: str,
    lock_file: str,
    books_files: Sequence[str],
    *,
    config: Mapping[str, Any],
    repository: str,
    private: bool = False,
) -> dict[str, Any]:
    """The provenance of the results of an analysis, as metadata of its dataset.

    Everybody with an account reads metadata: those of embargoed results hold no number of theirs.

    Args:
        catalogue_file: Its catalogue.
        lock_file: Its input lock.
        books_files: The closed books of its samples.
        config: The resolved configuration; only its hash is told.
        repository: Folder of the workflow, whose commit is told.
        private: They are made from embargoed data.

    Returns:
        Plain values; no key is one of Rucio's own.
    """
    books = {entry["sample"]: entry for entry in map(read, books_files)}
    units = [unit for entry in books.values() for unit in entry["units"]]
    software = {key: units[0]["software"][key] for key in ("nanolake", "ROOT", "python")}
    made = {
        **provenance(config, repository, private=private),
        "software": software,
        "input_lock": digest(read(lock_file)["datasets"]),
    }
    if private:
        return made
    return {
        **made,
        "integrated_luminosity": read(catalogue_file)["luminosity"],
        "events_read": sum(entry["books"]["read"] for entry in books.values()),
        "events_selected": sum(entry["books"]["selected"] for entry in books.values()),
        "cutflow": {sample: entry["cutflow"] for sample, entry in books.items()},
    }


def provenance(
    config: Mapping[str, Any], repository: str, *, private: bool = False
) -> dict[str, Any]:
    """What all datasets of a run have in common: the workflow's commit, the configuration's hash.

    Where things are (folders, lake) is left out of the hash: it changes no number.
    """
    git = git_state(repository)
    return {
        "git_commit": git["commit"],
        "git_dirty": git["dirty"],
        "config_hash": digest({k: v for k, v in config.items() if k not in _PLACES}),
        **({"embargoed": True} if private else {}),
    }


def run(
    files: Sequence[str],
    receipt_file: str,
    *,
    results: str,
    part: str,
    campaign: str,
    client: Mapping[str, Any],
    target: Mapping[str, Any],
    metadata: Mapping[str, Any],
    schemes: Sequence[str] = (),
) -> None:
    """Publish files as one dataset and read every one of them back.

    Args:
        files: Paths within `results`.
        receipt_file: Output: the receipt of `upload.put`; paths are those within `results`, and
            every file has `read_back`.
        results: Folder of the results.
        part: See `names`.
        campaign: See `names`.
        client: `rucio_config` and `account`.
        target: scope, rse (expression of the rule) and lifetime (days).
        metadata: Of the dataset: its provenance.
        schemes: Of the protocols to write and read with, where the RSE has one of them.

    Raises:
        LakeError: Lake or storage refuse, or give other bytes back.
    """
    rucio = connect(**client)
    dataset, rows = names(
        files, results=results, scope=target["scope"], campaign=campaign, part=part
    )
    receipt = upload.put(
        rucio,
        rows,
        dataset=dataset,
        rse=target["rse"],
        lifetime=target["lifetime"],
        metadata=metadata,
        comment=f"nanolake: {campaign}",
        schemes=schemes,
    )
    with explained(dataset):
        rses = {name: rucio.get_rse(name) for name in {file["rse"] for file in receipt["files"]}}
    with tempfile.TemporaryDirectory(prefix="nanolake-") as folder:
        for file in receipt["files"]:
            storage.verified(rses[file["rse"]], file, Path(folder), schemes=schemes)
            file["path"] = str(Path(file["path"]).relative_to(results))
            file["read_back"] = True
    print(f"published {dataset}: {len(rows)} files", flush=True)
    write(receipt_file, receipt)
