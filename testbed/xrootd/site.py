"""A site in a folder: its servers brought up, found again, stopped one by one, taken down.

site = up(Path("resources/xrootd"))
site.url("fast", path="/lake/cms/...")
site.environment("analyst")              # what a subprocess needs to be that user
"""

from __future__ import annotations

import json
import os
import secrets
import shlex
import shutil
import signal
import socket
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import psutil

from testbed import lake, processes
from testbed.configuration import free_port, program, write_supervisor
from testbed.definition import private_folder, write_private
from testbed.errors import TestbedError
from testbed.lake import server_python
from testbed.xrootd import authority, configuration, credentials, install, issuer, proxies
from testbed.xrootd.configuration import SERVERS, WANS

_HERE = Path(__file__).resolve().parent
_ALIVE = ("RUNNING", "STARTING")  # the supervisor's words; STARTING lasts four seconds
_PORTS = (*SERVERS, *WANS, "issuer", "monitoring")
_PROGRAMS = (*SERVERS, "wan", "issuer", "monitoring")


class Known(NamedTuple):
    """A site as ``etc/site.json`` keeps it, secrets included."""

    name: str
    secret: str
    ports: dict[str, int]

    def __repr__(self) -> str:
        """Leave the password out: this is printed where a test fails."""
        return f"Known({self.name}, {self.ports})"


class Site(NamedTuple):
    """A site that runs.

    Args:
        folder: Where it keeps everything.
        known: Its name, its ports.
        pid: Its supervisor.
        started: False if it ran already.
    """

    folder: Path
    known: Known
    pid: int
    started: bool

    def port(self, name: str) -> int:
        """Give the port of a server, a WAN, the issuer or the monitoring."""
        return self.known.ports[name]

    def url(self, name: str, *, scheme: str = "root", path: str = "") -> str:
        """Give the URL of a path on a server, or of the server; path begins with /lake."""
        # Two slashes: an absolute path, as root:// wants it and https:// takes it.
        return f"{scheme}://localhost:{self.port(name)}/{path}"

    def storage(self, name: str) -> Path:
        """Give the folder that holds the files of an origin, below its lake/."""
        return self.folder / "storage" / name

    def cache_storage(self, name: str) -> Path:
        """Give the folder that holds the blocks of a cache, below its data/."""
        return self.folder / "caches" / name

    @property
    def monitoring(self) -> Path:
        """The JSON lines of the caches."""
        return self.folder / "monitoring/pfc.jsonl"

    @property
    def ca(self) -> Path:
        """The certificate of the authority."""
        return self.folder / "authority/ca.pem"

    def token(self, *, scope: str = "storage.read:/cms", **options: Any) -> str:
        """Mint a token: see :func:`testbed.xrootd.credentials.token`."""
        return credentials.token(self.folder, self.port("issuer"), scope=scope, **options)

    def proxy(self, user: str, *, vo: str = "", hours: float = 24, past: float = 0) -> Path:
        """Make a proxy certificate in a file of its own: see :mod:`testbed.xrootd.proxies`."""
        path = self.folder / "credentials" / f"{user}.{secrets.token_hex(4)}.proxy"
        return proxies.create(self.folder / "authority", user, path, vo=vo, hours=hours, past=past)

    def environment(self, user: str) -> dict[str, str]:
        """Give what a subprocess needs to be a user, beside os.environ without credentials."""
        return credentials.environment(self.folder, user)

    def stop(self, name: str) -> None:
        """Stop a program in order."""
        self.resume(name)
        if self._state(name) in _ALIVE:
            self._supervisor.stopProcess(name)

    def start(self, name: str, *, extra: str | None = None) -> None:
        """Start a program that was stopped or killed, and wait until it answers.

        Args:
            name: The program.
            extra: Directives that overrule those of the server; kept until others are given.
        """
        if extra is not None:
            write_private(self.folder / "etc" / f"{name}.extra.cfg", extra)
        if self._state(name) not in _ALIVE:
            self._supervisor.startProcess(name, False)
        _wait(self.folder, self.known, 20)

    def kill(self, name: str) -> None:
        """Kill a program; it stays dead."""
        self._process(name).kill()
        while self._state(name) in _ALIVE:
            time.sleep(0.02)

    def pause(self, name: str) -> None:
        """Let a program hang: its connections stay open, nothing answers."""
        self._process(name).suspend()

    def resume(self, name: str) -> None:
        """Let a program that was paused go on."""
        if self._state(name) in _ALIVE:
            self._process(name).resume()

    @property
    def _supervisor(self) -> Any:
        return processes.rpc(self.folder, self.known).supervisor

    def _state(self, name: str) -> str:
        return str(self._supervisor.getProcessInfo(name)["statename"])

    def _process(self, name: str) -> psutil.Process:
        return psutil.Process(self._supervisor.getProcessInfo(name)["pid"])


def up(folder: Path, *, seconds: float = 30) -> Site:
    """Bring the site of a folder up, or find it running; what of it is dead or hangs is mended.

    Args:
        folder: The site; made if it does not exist.
        seconds: How long it may take until all of it answers.
    """
    folder = Path(folder).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    install.folder()
    with processes.alone(folder):
        known = load(folder) or _create(folder)
        process = processes.supervisor(folder, known)
        states = processes.states(folder, known) if process else {}
        if process and set(states) == set(_PROGRAMS):
            for name, one in states.items():
                _mend(folder, known, name, one)
            _wait(folder, known, seconds)
            return Site(folder, known, process.pid, False)
        return _start(folder, known, seconds)


def find(folder: Path) -> Site | None:
    """Find the site of a folder if all of it runs and answers."""
    folder = Path(folder).resolve()
    known = load(folder)
    process = processes.supervisor(folder, known) if known else None
    if known is None or process is None or _missing(folder, known):
        return None
    return Site(folder, known, process.pid, False)


def down(folder: Path, *, delete: bool = False) -> bool:
    """Stop everything of a site, its lake too; its data stay unless they are to be deleted.

    Returns:
        Whether anything had been running.
    """
    folder = Path(folder).resolve()
    if not folder.exists():
        return False
    with processes.alone(folder):
        known = load(folder)
        if known is None:
            raise TestbedError(f"{folder} is not a site", "name the folder with --folder")
        lake.down(folder / "lake")
        family = processes.of_service(folder, known)
        for process in family:  # who hangs does not hear
            process.send_signal(signal.SIGCONT)
        processes.sweep(folder, known, patience=5)
        if delete:
            shutil.rmtree(folder)
    return bool(family)


def programs(folder: Path) -> list[tuple[str, str, int]]:
    """List the programs of the site in a folder: name, state, pid."""
    folder = Path(folder).resolve()
    known = load(folder)
    found = processes.states(folder, known) if known else {}
    return [(name, one["statename"], one["pid"]) for name, one in found.items()]


def load(folder: Path) -> Known | None:
    """Read what is known of the site in a folder, if there is one."""
    path = folder / "etc/site.json"
    try:
        return Known(**json.loads(path.read_text())) if path.exists() else None
    except (ValueError, TypeError) as error:
        raise TestbedError(f"{path} cannot be read: {error}", f"delete {folder}") from error


def _create(folder: Path) -> Known:
    if any(path.name != ".lock" for path in folder.iterdir()):
        raise TestbedError(f"{folder} is not empty and not a site", "choose another folder")
    folder.chmod(0o700)
    private_folder(folder / "etc")
    return Known(secrets.token_hex(6), secrets.token_hex(20), {})


def _start(folder: Path, known: Known, seconds: float) -> Site:
    python = server_python()
    processes.sweep(folder, known, patience=5)
    ports = {name: free_port(known.ports.get(name, 0)) for name in _PORTS}
    known = known._replace(ports=ports)
    write_private(folder / "etc/site.json", json.dumps(known._asdict(), indent=2) + "\n")
    sockets = processes.make_socket_folder(folder, known)
    for name in ("log", "monitoring", "credentials"):
        private_folder(folder / name)
    for name, server in SERVERS.items():
        private_folder(folder / "run" / name)
        parts = [f"caches/{name}/{part}" for part in ("names", "data", "meta")]
        for part in parts if server.origin else [f"storage/{name}/lake"]:
            private_folder(folder / part)
    authority.create(folder / "authority")
    issuer.create(folder / "issuer", ports["issuer"])
    credentials.create(folder, ports["issuer"])
    configuration.write(folder, ports)
    write_supervisor(folder, known.secret, sockets, _lines(folder, ports), umask="077")
    environment = {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": str(folder / "run"),
        "LANG": "C.UTF-8",
        "TZ": "UTC",
        "PYTHONDONTWRITEBYTECODE": "1",
        "OPENSSL_CONF": os.devnull,  # the host's is of another version
        processes.MARK: processes.mark(folder, known),
    }
    pid = processes.supervise(folder, python, environment)
    _wait(folder, known, seconds)
    return Site(folder, known, pid, True)


def _lines(folder: Path, ports: dict[str, int]) -> list[str]:
    """Give the supervisor's lines for every program; what was killed stays dead."""
    wans = [str(port) for name, to in WANS.items() for port in (ports[name], ports[to])]
    key = folder / "authority/host"
    commands: dict[str, list[object]] = {
        "issuer": [ports["issuer"], folder / "issuer/public", f"{key}.pem", f"{key}.key"],
        "monitoring": [ports["monitoring"], folder / "monitoring/pfc.jsonl"],
        "wan": ["--delay", configuration.WAN_DELAY, *wans],
    }
    run = [sys.executable, "-P"]
    lines = [
        program(name, shlex.join([*run, str(_HERE / f"{name}.py"), *map(str, given)]),
                restart=False)
        for name, given in commands.items()
    ]  # fmt: skip
    xrootd = [*install.unprivileged(), str(install.program("xrootd")), "-I", "v4"]
    for name in SERVERS:
        command = shlex.join([*xrootd, "-c", str(folder / f"etc/{name}.cfg"), "-n", name])
        environment = configuration.environment(folder, name)
        lines.append(program(name, command, restart=False, folder="run", environment=environment))
    return lines


def _mend(folder: Path, known: Known, name: str, found: dict[str, Any]) -> None:
    if found["statename"] not in _ALIVE:
        processes.rpc(folder, known).supervisor.startProcess(name, False)
    elif psutil.Process(found["pid"]).status() == psutil.STATUS_STOPPED:
        psutil.Process(found["pid"]).resume()


def _wait(folder: Path, known: Known, seconds: float) -> None:
    """Wait until every program that is not stopped answers."""
    deadline = time.monotonic() + seconds
    while missing := _missing(folder, known):
        time.sleep(0.05)
        if time.monotonic() > deadline:
            log = folder / "log" / f"{missing}.log"
            tail = log.read_text().splitlines()[-15:] if log.exists() else []
            raise TestbedError(
                "\n    ".join([f"the site's {missing} is not ready", *tail]), f"read {log}"
            )


def _missing(folder: Path, known: Known) -> str:
    """Name a program that does not run and answer."""
    states = processes.states(folder, known)
    for name in _PROGRAMS:
        if states.get(name, {}).get("statename") not in _ALIVE:
            return name
        if name != "monitoring":
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", known.ports[name])) != 0:
                    return name
    return ""
