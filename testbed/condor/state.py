"""What is known of a pool, and how one that runs is asked and told."""

from __future__ import annotations

import os
import secrets
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import psutil

from testbed import processes, service
from testbed.condor import configuration
from testbed.condor.configuration import SUBMIT, Host, place, variables
from testbed.errors import TestbedError


class Known(NamedTuple):
    """A pool as ``etc/pool.json`` keeps it.

    Args:
        name: Its name.
        secret: Its supervisor's password.
        hosts: How many execute hosts it has beside the submit host; 0: one host does everything.
        port: Where its hosts listen.
        site: Folder of the site of XRootD that it trusts; none if empty.
        ports: Ports of this site, which its hosts reach,
        expose: and more ports of the machine that they reach.
        show: Folders that hosts which only execute see, too.
    """

    name: str
    secret: str
    hosts: int
    port: int
    site: str
    ports: list[int]
    expose: list[int]
    show: list[str]

    def __repr__(self) -> str:
        """Leave the password out: this is printed where a test fails."""
        return f"Known({self.name}, {self.hosts} hosts, port {self.port})"

    @property
    def members(self) -> list[Host]:
        """Its hosts, the one that manages it first."""
        return configuration.hosts(self.hosts)


def load(folder: Path) -> Known | None:
    """Read what is known of the pool in a folder, if there is one."""
    return service.load(folder, "pool", Known)


def create(folder: Path) -> Known:
    """Invent a pool's name and secret; its folder must be empty."""
    service.check_empty(folder, "pool")
    return Known(secrets.token_hex(6), secrets.token_hex(20), 0, 0, "", [], [], [])


def daemons(folder: Path, known: Known, name: str, host: str = "") -> list[psutil.Process]:
    """Find the processes that are a daemon, of one host or of all: master, schedd, starter, ..."""
    found = []
    config = str(place(folder, host) / "condor_config") if host else ""
    for process in processes.of_service(folder, known):
        try:
            command, where = process.cmdline(), process.environ().get("CONDOR_CONFIG", "")
        except psutil.Error:
            continue
        is_it = any(part.endswith(f"/tree/usr/sbin/condor_{name}") for part in command[:7])
        if is_it and config in ("", where):
            found.append(process)
    return found


def run(
    folder: Path, known: Known, command: Sequence[str | Path], **options: Any
) -> subprocess.CompletedProcess[str]:
    """Run a command on the submit host as the user of the pool: see :func:`subprocess.run`."""
    options = {"text": True, "capture_output": True, "check": False, **options}
    env = os.environ | variables(folder) | options.pop("env", {})
    words = [*prefix(folder, known, options.get("cwd")), *map(str, command)]
    return subprocess.run(words, env=env, **options)


def checked(folder: Path, known: Known, command: Sequence[str | Path], **env: str) -> str:
    """Run a command of HTCondor on the submit host, and give what it prints.

    Raises:
        TestbedError: It fails.
    """
    done = run(folder, known, command, env=env, stdin=subprocess.DEVNULL)
    if done.returncode != 0:
        said = (done.stdout + done.stderr).strip()
        raise TestbedError(f"{command[0]}: {said}", f"read {place(folder, SUBMIT)}/log")
    return done.stdout


def prefix(folder: Path, known: Known, cwd: Path | None = None) -> list[str]:
    """Give what stands before a command that runs on the submit host, in a folder or in ours."""
    if not known.hosts:
        return []
    found = service.pids(folder, known)
    if SUBMIT not in found:
        raise TestbedError(f"the submit host of {folder} does not run", "testbed up condor")
    return service.on_host(found[SUBMIT], cwd)
