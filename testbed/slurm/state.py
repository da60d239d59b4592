"""What is known of a cluster, and how one that runs is asked and told."""

from __future__ import annotations

import os
import secrets
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from testbed import processes, service
from testbed.errors import TestbedError

LOGIN = "login"
_NETWORK = "10.78.0"
_CGROUPS = Path("/sys/fs/cgroup/memory")


class Host(NamedTuple):
    """A host of the cluster: its name, its address."""

    name: str
    address: str


class Known(NamedTuple):
    """A cluster as ``etc/cluster.json`` keeps it.

    Args:
        name: Its name.
        secret: Password of its supervisor and of its database.
        rack: Of its nodes: the machine's cgroups are named after these, and others run here, too.
        nodes: How many there are.
        site: Folder of the site of XRootD that its login node reaches; none if empty.
        ports: Ports of this site, on the login node's loopback.
        offered: Ports of the machine that the login node offers to compute nodes.
        expose: More of these.
        show: Folders with temporary files of the machine that compute nodes see, too.
    """

    name: str
    secret: str
    rack: int
    nodes: int
    site: str
    ports: list[int]
    offered: list[int]
    expose: list[int]
    show: list[str]

    def __repr__(self) -> str:
        """Leave the password out: this is printed where a test fails."""
        return f"Known({self.name}, {self.nodes} nodes, rack {self.rack})"

    @property
    def login(self) -> Host:
        """The login node."""
        return Host(LOGIN, f"{_NETWORK}.1")

    @property
    def computes(self) -> list[Host]:
        """The compute nodes, named as Marconi100 names them."""
        return [
            Host(f"r{self.rack}n{i:02}", f"{_NETWORK}.{10 + i}") for i in range(1, self.nodes + 1)
        ]


def load(folder: Path) -> Known | None:
    """Read what is known of the cluster in a folder, if there is one."""
    return service.load(folder, "cluster", Known)


def create(folder: Path) -> Known:
    """Invent a cluster's name and secret; its folder must be empty."""
    service.check_empty(folder, "cluster")
    taken = {path.name.partition("n")[0] for path in _CGROUPS.glob("slurm_r*")}
    racks = [rack for rack in range(200, 1000) if f"slurm_r{rack}" not in taken]
    rack = secrets.choice(racks)
    return Known(secrets.token_hex(6), secrets.token_hex(20), rack, 2, "", [], [], [], [])


def prefix(folder: Path, known: Known, cwd: Path | None = None) -> list[str]:
    """Give what stands before a command that runs on the login node, in a folder or in ours."""
    process = processes.supervisor(folder, known)
    if process is None:
        raise TestbedError(f"the login node of {folder} does not run", "testbed up slurm")
    return service.on_host(process.pid, cwd)


def scratch(folder: Path) -> Path:
    """Give the folder that is $CINECA_SCRATCH on every host."""
    return folder / "scratch"


def variables(folder: Path) -> dict[str, str]:
    """Give what a user has in the environment."""
    return {"CINECA_SCRATCH": str(scratch(folder))}


def run(
    folder: Path, known: Known, command: Sequence[str | Path], **options: Any
) -> subprocess.CompletedProcess[str]:
    """Run a command on the login node: see :func:`subprocess.run`."""
    options = {"text": True, "capture_output": True, "check": False, **options}
    env = os.environ | variables(folder) | options.pop("env", {})
    words = [*prefix(folder, known, options.pop("cwd", None)), *map(str, command)]
    return subprocess.run(words, env=env, **options)


def checked(folder: Path, known: Known, *command: str | Path) -> str:
    """Run a command of Slurm on the login node, and give what it prints.

    Raises:
        TestbedError: It fails.
    """
    done = run(folder, known, command, stdin=subprocess.DEVNULL)
    if done.returncode != 0:
        said = (done.stdout + done.stderr).strip()
        raise TestbedError(f"{command[0]}: {said}", f"read {folder}/log")
    return done.stdout


def nodes(folder: Path, known: Known) -> dict[str, str]:
    """Ask slurmctld for the state of every node: idle, mixed, down, ...; nothing if it is silent.

    A node that does not answer has a * behind its state.
    """
    ask = ["sinfo", "--noheader", "--Node", "--format=%n %T"]
    try:
        lines = run(folder, known, ask, timeout=10).stdout.splitlines()
    except subprocess.TimeoutExpired:
        return {}
    return dict(line.split() for line in lines)
