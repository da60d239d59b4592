"""How a site is started: its secrets and ports, its files, its supervisor, and who is not ready."""

from __future__ import annotations

import json
import os
import random
import secrets
import shlex
import socket
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import psutil

from testbed import processes
from testbed.configuration import free_port, program, write_supervisor
from testbed.definition import private_folder, write_private
from testbed.errors import TestbedError
from testbed.lake import server_python
from testbed.xrootd import authority, configuration, credentials, install, issuer
from testbed.xrootd.configuration import SERVERS, WANS

ALIVE = ("RUNNING", "STARTING")  # the supervisor's words
PROGRAMS = (*SERVERS, "wan", "issuer", "monitoring")
_PORTS = (*SERVERS, *WANS, "issuer", "monitoring")
_HERE = Path(__file__).resolve().parent


class Known(NamedTuple):
    """A site as ``etc/site.json`` keeps it: its name, its supervisor's password, its ports."""

    name: str
    secret: str
    ports: dict[str, int]

    def __repr__(self) -> str:
        """Leave the password out: this is printed where a test fails."""
        return f"Known({self.name}, {self.ports})"


def load(folder: Path) -> Known | None:
    """Read what is known of the site in a folder, if there is one."""
    path = folder / "etc/site.json"
    try:
        return Known(**json.loads(path.read_text())) if path.exists() else None
    except (ValueError, TypeError) as error:
        raise TestbedError(f"{path} cannot be read: {error}", f"delete {folder}") from error


def create(folder: Path) -> Known:
    """Invent a site's name and secret; its folder must be empty."""
    if any(path.name != ".lock" for path in folder.iterdir()):
        raise TestbedError(f"{folder} is not empty and not a site", "choose another folder")
    return Known(secrets.token_hex(6), secrets.token_hex(20), {})


def start(folder: Path, known: Known, seconds: float) -> tuple[Known, int]:
    """Start everything of a site in which nothing may run any more.

    Returns:
        What is known of it now, and the pid of its supervisor.
    """
    python = server_python()
    processes.sweep(folder, known, patience=5)
    known = known._replace(ports=_ports(known.ports))
    private_folder(folder)
    private_folder(folder / "etc")
    write_private(folder / "etc/site.json", json.dumps(known._asdict(), indent=2) + "\n")
    sockets = processes.make_socket_folder(folder, known)
    _make_folders(folder)
    authority.create(folder / "authority")
    issuer.create(folder / "issuer", known.ports["issuer"])
    credentials.create(folder, known.ports["issuer"])
    configuration.write(folder, sockets, known.ports)
    write_supervisor(folder, known.secret, sockets, _programs(folder, known.ports), umask="077")
    pid = processes.supervise(folder, python, environment(folder, known))
    wait(folder, known, seconds)
    return known, pid


def environment(folder: Path, known: Known) -> dict[str, str]:
    """Make the environment of the site's processes: nothing of the user's gets in."""
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": str(folder / "run"),
        "LANG": "C.UTF-8",
        "TZ": "UTC",
        "PYTHONDONTWRITEBYTECODE": "1",
        "OPENSSL_CONF": os.devnull,  # the host's is of another version
        processes.MARK: processes.mark(folder, known),
    }


def helper(name: str, *arguments: object) -> list[str]:
    """Give the command of a program of ours, which runs as a file."""
    return [sys.executable, "-P", str(_HERE / f"{name}.py"), *map(str, arguments)]


def mend(folder: Path, known: Known, states: dict[str, dict[str, Any]], seconds: float) -> None:
    """Start what of a running site is dead, let go on what hangs."""
    for name, one in states.items():
        if one["statename"] not in ALIVE:
            processes.rpc(folder, known).supervisor.startProcess(name, False)
        elif psutil.Process(one["pid"]).status() == psutil.STATUS_STOPPED:
            psutil.Process(one["pid"]).resume()
    wait(folder, known, seconds)
    credentials.renew(folder, known.ports["issuer"])


def wait(folder: Path, known: Known, seconds: float, programs: Iterable[str] = PROGRAMS) -> None:
    """Wait until programs answer.

    Raises:
        TestbedError: One has died, or does not answer in time.
    """
    deadline = time.monotonic() + seconds
    missing = list(programs)
    while missing := [name for name in missing if not _answers(name, known)]:
        states = processes.states(folder, known)
        dead = [name for name in missing if states.get(name, {}).get("statename") not in ALIVE]
        if dead or time.monotonic() > deadline:
            log = folder / "log" / f"{(dead or missing)[0]}.log"
            tail = log.read_text().splitlines()[-15:] if log.exists() else []
            problem = f"the site's {log.stem} {'does not start' if dead else 'does not answer'}"
            raise TestbedError("\n    ".join([problem, *tail]), f"read {log}")
        time.sleep(0.05)


def missing(folder: Path, known: Known) -> list[str]:
    """Name the programs that do not run or do not answer."""
    states = processes.states(folder, known)
    alive = [name for name in PROGRAMS if states.get(name, {}).get("statename") in ALIVE]
    return [name for name in PROGRAMS if name not in alive or not _answers(name, known)]


def _answers(name: str, known: Known) -> bool:
    address = ("127.0.0.1", known.ports[name])
    if name != "monitoring":
        with socket.socket() as probe:
            return probe.connect_ex(address) == 0
    with socket.socket(type=socket.SOCK_DGRAM) as probe:  # it only listens
        try:
            probe.bind(address)
        except OSError:
            return True
    return False


def _ports(known: dict[str, int]) -> dict[str, int]:
    """Keep the ports that are free, and choose others below those of outgoing connections."""
    ports: dict[str, int] = {}
    for name in _PORTS:
        port = free_port(known.get(name, 0) or random.randrange(20000, 32000))
        while port in ports.values():
            port = free_port(random.randrange(20000, 32000))
        ports[name] = port
    return ports


def _make_folders(folder: Path) -> None:
    for name in ("log", "monitoring", "credentials", "storage", "caches"):
        private_folder(folder / name)
    for name, server in SERVERS.items():
        private_folder(folder / "run" / name)
        parts = [f"caches/{name}/{part}" for part in ("names", "data", "meta")]
        for part in parts if server.origin else [f"storage/{name}/lake"]:
            private_folder(folder / part)


def _programs(folder: Path, ports: dict[str, int]) -> list[str]:
    """Give the supervisor's lines for every program; what was killed stays dead."""
    wans = [ports[port] for name, to in WANS.items() for port in (name, to)]
    key = folder / "authority/host"
    helpers = {
        "issuer": [ports["issuer"], folder / "issuer", f"{key}.pem", f"{key}.key"],
        "monitoring": [ports["monitoring"], folder / "monitoring/pfc.jsonl"],
        "wan": ["--delay", configuration.WAN_DELAY, *wans],
    }
    files = {"issuer": "portal"}
    lines = [
        program(name, shlex.join(helper(files.get(name, name), *given)), restart=False)
        for name, given in helpers.items()
    ]
    xrootd = [*install.unprivileged(), str(install.program("xrootd")), "-I", "v4"]
    for name in SERVERS:
        command = shlex.join([*xrootd, "-c", str(folder / f"etc/{name}.cfg"), "-n", name])
        variables = configuration.environment(folder, name)
        lines.append(program(name, command, restart=False, folder="run", environment=variables))
    return lines
