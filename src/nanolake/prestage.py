"""Prestage: inputs copied to a file system that all nodes see, by the side that has the network.

For compute nodes without a way to the storage. Copies are named by their content, so runs share
them, and a run that was interrupted goes on with those that are whole. They stay until somebody
removes the folder.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from hashlib import sha256
from pathlib import Path
from typing import Any

from nanolake import sources, staging
from nanolake.catalogue import read, write
from nanolake.errors import InputError

_AT_ONCE = 4  # copies


def place(folder: str | Path, file: Mapping[str, Any]) -> Path:
    """The path of the copy of a file: by its checksum and size, else by its name."""
    name = sha256(file["path"].encode()).hexdigest()[:16]
    if file["adler32"] and file["bytes"]:
        name = f"{file['adler32']}-{file['bytes']}"
    return Path(folder).absolute() / f"{name}.root"


def bring(
    file: Mapping[str, Any], replicas: Sequence[Mapping[str, Any]], folder: str | Path
) -> dict[str, Any]:
    """Have a checked copy of a file, from the first of its replicas that is good.

    Args:
        file: path (its DID), bytes, adler32.
        replicas: [{rse, pfn, cache?}], best first.
        folder: Folder of the copies.

    Returns:
        The copy as a replica: {rse, pfn (its path), origin (URL of its replica), mtime_ns}.

    Raises:
        InputError: No replica is good; the message says what is wrong with each.
    """
    copy = place(folder, file)
    origin = copy.with_suffix(".origin")
    # Another run may bring the same file.
    with staging.locked(copy.with_suffix(".lock"), fcntl.LOCK_EX):
        if not (origin.exists() and _is_whole(copy, file)):
            origin.write_text(_fetch(file, replicas, copy))
    known = origin.read_text()
    rse = next((one["rse"] for one in replicas if one["pfn"] == known), None)
    return {"rse": rse, "pfn": str(copy), "origin": known, "mtime_ns": copy.stat().st_mtime_ns}


def _fetch(file: Mapping[str, Any], replicas: Sequence[Mapping[str, Any]], copy: Path) -> str:
    """Copy the first replica that is good; give its URL."""
    problems = []
    for replica in replicas:
        try:
            staging.fetch(file, replica["pfn"], copy)
        except InputError as error:
            problems.append(f"{replica['pfn']}: {error.problem}")
            print(f"replica failed, another is tried: {error}", flush=True)
        else:
            copy.chmod(0o600)
            return str(replica["pfn"])
    tried = "; ".join(problems) or "(none)"
    remedy = "see that one of them is up and good, then run again"
    raise InputError(file["path"], tried, "none of its replicas can be copied", remedy)


def _is_whole(copy: Path, file: Mapping[str, Any]) -> bool:
    """Whether a copy of an earlier run is there and is what the catalogue says."""
    if not copy.exists():
        return False
    found = sources.stamp(copy)
    return all(file[key] in (None, found[key]) for key in ("bytes", "adler32"))


def run(catalogue_file: str, replicas_file: str, output_file: str, *, folder: str) -> None:
    """Copy the inputs of an analysis.

    Args:
        catalogue_file: Its catalogue, which names them.
        replicas_file: Where they are.
        output_file: Output: where they are now, in the same form.
        folder: Folder of the copies.

    Raises:
        InputError: See `bring`; what was copied stays.
    """
    samples, known = read(catalogue_file)["samples"], read(replicas_file)
    files = {file["path"]: file for sample in samples.values() for file in sample["files"]}
    os.makedirs(folder, mode=0o700, exist_ok=True)
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        jobs = {pool.submit(bring, file, known.get(path, []), folder): path
                for path, file in files.items()}  # fmt: skip
        try:
            for number, job in enumerate(as_completed(jobs), 1):
                job.result()
                print(f"{number} of {len(jobs)} files are in {folder}", flush=True)
        except Exception:
            pool.shutdown(cancel_futures=True)
            raise
    write(output_file, {path: [job.result()] for job, path in jobs.items()})
