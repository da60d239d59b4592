"""What is known of a run: its inputs, its outputs, its software and its times, as plain values.

All of it comes from files that the run left behind: input locks, ledger, receipts, outputs.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import zlib
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from nanolake import redact
from nanolake.errors import InputError

STANDS_FOR = ("generated", "luminosity")
_FACTS = ("did", "bytes", "adler32", "events")
_BLOCK = 1 << 20


class Inputs(NamedTuple):
    """Inputs of a run.

    Args:
        datasets: By DID (by sample, if it has none): {did, lake, generated | luminosity, files:
            names of the files}.
        files: By DID (by path or URL, if it has none): {did, path, bytes, adler32, events,
            replicas: set of (RSE, address)}.
    """

    datasets: dict[str, dict[str, Any]]
    files: dict[str, dict[str, Any]]


def _file(files: dict[str, dict[str, Any]], file: Mapping[str, Any], where: str) -> str:
    """Note a file; whoever speaks of it again must say the same.

    Raises:
        InputError: They do not.
    """
    address = redact.text(file.get("replica") or file.get("path") or "")
    if address.startswith(("…/", "file:…/")):
        # Without its folder a name may stand for several files; their content tells them apart.
        address = f"{file.get('adler32') or file.get('bytes')}/{Path(address).name}"
    name = file.get("did") or address
    facts = {key: file.get(key) for key in _FACTS}
    known = files.setdefault(name, {**facts, "path": address, "replicas": set()})
    for key in _FACTS:
        if None not in (known[key], facts[key]) and known[key] != facts[key]:
            problem = f"{where}: its {key} is {facts[key]}, elsewhere in this run {known[key]}"
            remedy = "they are of different runs: delete the units of this sample and run again"
            raise InputError(name, address, problem, remedy)
    if "replica" in file:
        known["replicas"].add((file.get("rse") or "", address))
    return str(name)


def inputs(locks: Mapping[str, Mapping[str, Any]], units: Iterable[Mapping[str, Any]]) -> Inputs:
    """The datasets of the locks, with the replicas that the units used.

    A file that no lock has (a run without a lake) counts to a dataset named after its sample.

    Args:
        locks: Analysis to the content of its inputs.lock.json.
        units: The units of the ledger.

    Raises:
        InputError: Two locks, or a lock and the ledger, say different things of a file or dataset.
    """
    found = Inputs({}, {})
    for analysis, lock in sorted(locks.items()):
        for sample, entry in sorted(lock["datasets"].items()):
            where = f"input lock of {analysis}"
            names = [_file(found.files, file, where) for file in entry["files"]]
            known = {key: entry[key] for key in ("did", *STANDS_FOR) if key in entry}
            said = {"lake": lock.get("lake"), **known, "files": sorted(names)}
            name = entry.get("did") or sample
            if found.datasets.setdefault(name, said) != said:
                remedy = "resolve the inputs of all analyses again"
                raise InputError(name, sample, f"the {where} differs from another lock", remedy)
    locked = set(found.files)
    for unit in units:
        for file in unit["files"]:
            where = f"ledger of {unit['analysis']}/{unit['sample']}/{unit['unit']}"
            if (name := _file(found.files, file, where)) not in locked:
                entry = found.datasets.setdefault(unit["sample"], {"lake": None, "files": []})
                entry["files"] = sorted({*entry["files"], name})
    return found


def _digest(path: Path) -> dict[str, Any]:
    """Size and checksums of a file, read once."""
    adler, sha = 1, hashlib.sha256()
    with open(path, "rb") as stream:
        while block := stream.read(_BLOCK):
            adler = zlib.adler32(block, adler)
            sha.update(block)
    size = path.stat().st_size
    return {"bytes": size, "adler32": f"{adler:08x}", "sha256": sha.hexdigest()}


def outputs(
    paths: Iterable[str], results: str, receipts: Mapping[str, Mapping[str, Any]]
) -> dict[str, dict[str, Any]]:
    """Size, checksums and, where published, DID and RSE of each output, by path below `results`.

    Raises:
        InputError: A file is not the one that was published.
        ValueError: An output lies outside `results`.
    """
    published = {file["path"]: file for entry in receipts.values() for file in entry["files"]}
    local_paths = {Path(path).relative_to(results).as_posix(): Path(path) for path in paths}
    result: dict[str, dict[str, Any]] = {}
    for local in sorted(published | local_paths):
        known = published.get(local, {})
        found = _digest(local_paths[local]) if local in local_paths else {}
        for name in ("bytes", "adler32"):
            if known and found and known[name] != found[name]:
                problem = f"its {name} is {found[name]}, published was {known[name]}"
                raise InputError(known["did"], local, problem, "publish it again")
        facts = {key: known[key] for key in ("did", "rse", "bytes", "adler32") if key in known}
        result[local] = {**facts, **found}
    return result


def versions(
    software: Mapping[str, str], units: Iterable[Mapping[str, Any]]
) -> dict[str, list[str]]:
    """Versions by program: those given, and those that the units ran with."""
    found: dict[str, set[str]] = {name: {version} for name, version in software.items() if version}
    for unit in units:
        for name in ("nanolake", "ROOT", "python"):
            if version := unit.get("software", {}).get(name):
                found.setdefault(name, set()).add(version)
    return {name: sorted(entry) for name, entry in found.items()}


def times(units: Sequence[Mapping[str, Any]], ledger_file: str | Path) -> tuple[str, str]:
    """Start of the first unit and end of the last, ISO 8601 in UTC.

    Units without `started` give no start; the end is then the time of the ledger.
    """
    spans = [(unit["started"], unit["wall_seconds"]) for unit in units if "started" in unit]
    if len(spans) < len(units) or not spans:
        return "", _iso(Path(ledger_file).stat().st_mtime)
    return _iso(min(start for start, _ in spans)), _iso(max(sum(span) for span in spans))


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(int(seconds), UTC).isoformat()


def identity(git: Mapping[str, Any], versions: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """Which workflow it was: {version, identifier, creativeWorkStatus}.

    The version is that of the package, then `+g` and the commit, then `.dirty` if files differ
    from it; the identifier is that of Software Heritage for the commit.
    """
    version, commit = "/".join(versions.get("nanolake", ["0"])), git.get("commit")
    if not commit:
        return {"version": version}
    dirty = git.get("dirty")
    return {
        "version": f"{version}+g{commit}" + (".dirty" if dirty else ""),
        "identifier": f"swh:1:rev:{commit}",
        "creativeWorkStatus": "modified since its commit" if dirty else "as committed",
    }


def git_state(path: str | Path) -> dict[str, Any]:
    """Commit of the checkout a folder belongs to, and whether anything differs from it.

    Returns:
        {commit, dirty}; the commit is empty where there is no git, or where git does not know the
        folder's files (a copy of the workflow inside another project).
    """

    def git(*arguments: str) -> str:
        environment = os.environ | {"GIT_OPTIONAL_LOCKS": "0"}
        done = subprocess.run(
            ["git", "-C", str(path), *arguments], capture_output=True, text=True, env=environment
        )
        return done.stdout.strip() if done.returncode == 0 else ""

    if not shutil.which("git") or not git("ls-files", "--", "."):
        return {"commit": "", "dirty": False}
    return {"commit": git("rev-parse", "HEAD"), "dirty": bool(git("status", "--porcelain"))}
