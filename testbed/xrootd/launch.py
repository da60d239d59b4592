"""How a site is started: its secrets and ports, its files, its supervisor, and who is not ready."""

from __future__ import annotations

import os
import random
import secrets
import shlex
import socket
import sys
import tempfile
import time
from collections.abc import Iterable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, NamedTuple

import psutil

from testbed import processes, service
from testbed.configuration import free_port, program, write_supervisor
from testbed.definition import private_folder
from testbed.lake import server_python
from testbed.xrootd import authority, configuration, credentials, install, issuer
from testbed.xrootd.configuration import SERVERS, WANS

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
    return service.load(folder, "site", Known)


def create(folder: Path) -> Known:
    """Invent a site's name and secret; its folder must be empty."""
    service.check_empty(folder, "site")
    return Known(secrets.token_hex(6), secrets.token_hex(20), {})


def start(folder: Path, known: Known, seconds: float) -> tuple[Known, int]:
    """Start everything of a site in which nothing may run any more.

    Returns:
        What is known of it now, and the pid of its supervisor.
    """
    python = server_python()
    processes.sweep(folder, known, patience=5)
    with _choosing_ports():
        known = known._replace(ports=_ports(known.ports))
        service.save(folder, "site", known)
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


def _choosing_ports() -> AbstractContextManager[None]:
    """Let one site of a user find ports at a time: others find free what is not bound yet."""
    return processes.alone(Path(tempfile.gettempdir()) / f"nanolake-ports-{os.geteuid()}")


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
        if one["statename"] not in service.ALIVE:
            processes.rpc(folder, known).startProcess(name, False)
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
        alive = service.pids(folder, known)
        dead = [name for name in missing if name not in alive]
        if dead or time.monotonic() > deadline:
            culprit = (dead or missing)[0]
            what = "does not start" if dead else "does not answer"
            raise service.failure(folder, culprit, f"the site's {culprit} {what}")
        time.sleep(0.05)


def missing(folder: Path, known: Known) -> list[str]:
    """Name the programs that do not run or do not answer."""
    alive = service.pids(folder, known)
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
