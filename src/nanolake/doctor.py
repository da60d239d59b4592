"""What a machine needs to run nanolake: what is there, what is missing, how to mend it."""

from __future__ import annotations

import ctypes
import os
import shutil
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import NamedTuple

from nanolake import engine
from nanolake.errors import NanolakeError
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
    packages = ("snakemake", "rucio-clients", "hist", "mplhep", "uproot", "pandas", "rich")
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


def show(findings: Sequence[Finding]) -> int:
    """Print the findings; the exit status is 1 if anything needed is missing."""
    from rich.console import Console
    from rich.table import Table

    table = Table("", "found", "remedy", box=None)
    colours = {"ok": "green", "optional": "yellow", "missing": "red"}
    for finding in findings:
        mark = f"[{colours[finding.state]}]{finding.state:>8}[/] {finding.what}"
        table.add_row(mark, finding.found, "" if finding.state == "ok" else finding.remedy)
    Console().print(table)
    return int(any(finding.state == "missing" for finding in findings))
