"""What a machine needs to run nanolake: what is there, what is missing, how to mend it."""

from __future__ import annotations

import ctypes
import os
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Any, NamedTuple

from nanolake import config, config_lake, engine, preflight
from nanolake.errors import InputError, LakeError, NanolakeError
from nanolake.root import installation


class Finding(NamedTuple):
    """One thing that was looked for.

    Attributes:
        what: Its name.
        state: `ok`, `missing`, or `optional` (missing, but nothing fails without it).
        found: What was found.
        remedy: Command that mends it.
    """

    what: str
    state: str
    found: str
    remedy: str = ""


def _python() -> Finding:
    good = sys.version_info >= (3, 11)
    return Finding("Python", "ok" if good else "missing", sys.version.split()[0], "install 3.11+")


def _package(name: str) -> Finding:
    try:
        return Finding(name, "ok", version(name))
    except PackageNotFoundError:
        return Finding(name, "missing", "not installed", "make setup")


def _root() -> Finding:
    try:
        return Finding("ROOT", "ok", installation().version)
    except NanolakeError:
        return Finding("ROOT", "missing", "not installed", "make setup")


def _server() -> Finding:
    """The environment of the embedded lake's server."""
    from testbed.errors import TestbedError
    from testbed.lake import server_python

    try:
        return Finding("embedded lake", "ok", str(server_python()))
    except TestbedError:
        found = "not installed: only other lakes can be used"
        return Finding("embedded lake", "optional", found, "envs/setup lake")


def _compiler() -> Finding:
    if found := engine.compiler():
        return Finding("C++ compiler", "ok", found)
    return Finding("C++ compiler", "optional", "none: units run by JIT", "apt-get install g++")


def _accelerator() -> Finding:
    try:
        ctypes.CDLL("libdeflate.so.0")
    except OSError:
        found = "none: zlib decompresses"
        return Finding("libdeflate", "optional", found, "apt-get install libdeflate0")
    return Finding("libdeflate", "ok", "libdeflate.so.0")


def _folder(what: str, path: str) -> Finding:
    existing = path
    while not os.path.exists(existing):
        existing = os.path.dirname(existing) or "."
    free = shutil.disk_usage(existing).free / 1e9
    if not os.access(existing, os.W_OK):
        return Finding(what, "missing", f"{path} cannot be written", f"chmod u+w {existing}")
    enough = free > 2
    remedy = "free 2 GB, or choose another folder"
    return Finding(what, "ok" if enough else "missing", f"{path}, {free:.0f} GB free", remedy)


def examine() -> list[Finding]:
    """Look at this machine."""
    packages = (
        "snakemake",
        "rucio-clients",
        "xrootd",
        "hist",
        "mplhep",
        "uproot",
        "pandas",
        "rich",
    )
    return [
        _python(),
        _root(),
        *(_package(name) for name in packages),
        _server(),
        _compiler(),
        _accelerator(),
        _folder("working folder", "."),
        _folder("engine cache", str(engine.cache_folder())),
    ]


def examine_lake(name: str) -> list[Finding]:
    """Look at what a lake asks for, and whether its storage opens a file of each dataset.

    Args:
        name: Of a file of config/lakes, or a path.

    Raises:
        ConfigError: There is no such lake, or the configuration is wrong.
    """
    resolved = _resolved(name)
    lake = resolved["lake"]
    findings = [Finding(f"lake {lake['name']}", "ok", _asked(lake["credential"]))]
    if not config_lake.closed(resolved):
        return findings
    try:
        datasets = _datasets(resolved)
    except LakeError as error:
        return [*findings, Finding(error.what, "missing", error.problem, error.remedy)]
    if not datasets:
        findings.append(Finding("datasets", "optional", "none is known yet", "nanolake run"))
    return [*findings, *examine_storage(lake, datasets)]


def examine_pool(
    profile: str, *, lake: str | None = None, arguments: Sequence[str] = (), seconds: float = 120
) -> list[Finding]:
    """Have a job of a pool look around: see `batch.canary`.

    Args:
        profile: Of Snakemake.
        lake: Name or path; the lake of config.yaml by default.
        arguments: Further ones of Snakemake.
        seconds: How long the job may wait and run.

    Raises:
        ConfigError: There is no such lake, or the configuration is wrong.
    """
    from nanolake.batch import canary

    try:
        datasets = _datasets(_resolved(lake))
    except LakeError as error:
        return [Finding(error.what, "missing", error.problem, error.remedy)]
    return canary.send(profile, datasets, lake=lake, arguments=arguments, seconds=seconds)


def examine_storage(
    lake: Mapping[str, Any], datasets: Sequence[preflight.Dataset]
) -> list[Finding]:
    """Look at the credential that a lake asks for, and whether storage opens datasets to it.

    Args:
        lake: Contents of the lake's file.
        datasets: What to open.
    """
    findings: list[Finding] = []
    try:
        findings += _credential(lake)
        preflight.check_lake(lake, datasets)
    except LakeError as error:
        return [*findings, Finding(error.what, "missing", error.problem, error.remedy)]
    return [*findings, *_opens(datasets, lake["credential"])]


def _resolved(lake: str | None) -> dict[str, Any]:
    """The configuration of this folder, with another lake if one is named."""
    given = config.load_yaml("config/config.yaml") if os.path.exists("config/config.yaml") else {}
    return config.resolve({**given, **({"lake": lake} if lake else {})})


def _datasets(resolved: Mapping[str, Any]) -> list[preflight.Dataset]:
    """A file of each dataset, as far as the lake knows it already."""
    from nanolake.lake import first_files  # these need a second to load
    from nanolake.lake.session import running

    with running(resolved["lake"]):
        return first_files.datasets(resolved)


def _asked(need: Mapping[str, Any] | None) -> str:
    """What a lake asks for, in words."""
    if not need:
        return "asks for no credential"
    asked = [f"{key} {need[key]}" for key in ("audience", "issuer", "vo") if need[key]]
    words = {"token": "a token", "x509": "an x509 proxy", "any": "a token or an x509 proxy"}
    kept = f"good for {need['minutes']:g} min at least"
    return f"asks for {', '.join([words[need['kind']], *asked, kept])}"


def _credential(lake: Mapping[str, Any]) -> list[Finding]:
    """The credential at hand; what storage may still refuse is seen when it is opened."""
    from nanolake.credential_checks import covers  # these need a tenth of a second to load
    from nanolake.credential_claims import left

    found = preflight.check_lake(lake)
    if not found:
        return []
    name = "token" if found.kind == "token" else "proxy"
    until = datetime.fromtimestamp(found.expires).astimezone().isoformat(" ", "minutes")
    facts = {
        name: f"in {found.place}, of {found.subject} by {found.issuer}",
        "lifetime": f"{left(found)}, until {until}",
        "audience": " ".join(found.audience),
        "scopes": "\n".join(found.scopes),
        "groups" if name == "token" else "VOMS attributes": "\n".join(found.attributes),
    }
    findings = [Finding(what, "ok", said) for what, said in facts.items() if said]
    writes = lake["publish"] and found.kind == "token"
    if writes and not covers(found, "storage.create", ""):
        said = "the token may not write: results are not published on storage that asks for tokens"
        remedy = "get a token with storage.create and storage.modify"
        findings.append(Finding("publish", "optional", said, remedy))
    return findings


def _opens(
    datasets: Sequence[preflight.Dataset], need: Mapping[str, Any] | None
) -> Iterator[Finding]:
    """One line for each attempt to open a dataset, and what is wrong with it."""
    attempts = preflight.probe(datasets, need)
    for dataset in datasets:
        state, remedy = "ok", ""
        try:
            preflight.judge([dataset], attempts)
        except (InputError, LakeError) as error:
            state, remedy = "missing", error.remedy
        for one in attempts:
            if one.dataset == dataset.name:
                shown = "nobody" if one.credential == "none" else one.credential
                found = f"{one.state} to {shown} in {one.seconds:.1f} s: {one.replica} {one.said}"
                yield Finding(dataset.name, state, found.rstrip(), remedy)


def show(findings: Sequence[Finding]) -> int:
    """Print the findings; the exit status is 1 if anything needed is missing."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Column, Table

    # What is to be typed or copied is never cut.
    columns = [Column(name, overflow="fold") for name in ("", "found", "remedy")]
    table = Table(*columns, box=None)
    colours = {"ok": "green", "optional": "yellow", "missing": "red"}
    for finding in findings:
        mark = f"[{colours[finding.state]}]{finding.state:>8}[/] {finding.what}"
        remedy = "" if finding.state == "ok" else finding.remedy
        table.add_row(mark, escape(finding.found), escape(remedy))
    Console().print(table)
    return int(any(finding.state == "missing" for finding in findings))
