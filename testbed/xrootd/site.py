"""A site in a folder: its servers brought up, found again, stopped one by one, taken down.

site = up(Path("resources/xrootd"))
site.url("fast", path="/lake/cms/...")
subprocess.run([...], env=site.environment("analyst"))
"""

from __future__ import annotations

import secrets
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import psutil

from testbed import lake, processes, service
from testbed.configuration import free_port
from testbed.definition import write_private
from testbed.errors import TestbedError
from testbed.service import ALIVE
from testbed.xrootd import credentials, install, issuer, launch, members, oauth, proxies
from testbed.xrootd.launch import Known


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
        """Give the URL of a server or WAN, or of a path on it, which begins with /lake."""
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
        """The JSON lines of the caches: see :mod:`testbed.xrootd.monitoring`."""
        return self.folder / "monitoring/pfc.jsonl"

    @property
    def authorities(self) -> Path:
        """The folder that X509_CERT_DIR names."""
        return self.folder / "authority/certificates"

    def token(self, *, scope: str = "storage.read:/cms", **options: Any) -> str:
        """Mint a token: see :func:`testbed.xrootd.issuer.mint` for the options."""
        return credentials.token(self.folder, self.port("issuer"), scope=scope, **options)

    @property
    def issuer(self) -> str:
        """The URL of the issuer, where users log in."""
        return issuer.address(self.port("issuer"), oauth.ISSUER)

    def password(self, user: str) -> str:
        """Give the password with which a user logs in at the issuer: analyst or guest."""
        return members.password(self.folder / "issuer", user)

    def register(self, client: str, redirect_uri: str, *, lifetime: float = 3600) -> str:
        """Register a client of the issuer, and give its secret: see `members.register`."""
        return members.register(self.folder / "issuer", client, redirect_uri, lifetime=lifetime)

    def proxy(self, user: str, *, vo: str = "", hours: float = 24, past: float = 0) -> Path:
        """Make a proxy in a file of its own: see :func:`testbed.xrootd.proxies.create`."""
        path = self.folder / "credentials" / f"{user}.{secrets.token_hex(4)}.proxy"
        return proxies.create(self.folder / "authority", user, path, vo=vo, hours=hours, past=past)

    def environment(self, user: str = "", *, kind: str = "any") -> dict[str, str]:
        """Give the environment of a subprocess that is a user, with no credential of another.

        Args:
            user: analyst, guest or stranger; nobody if empty, who knows the authority alone.
            kind: token, x509, or any: both.
        """
        return credentials.environment(self.folder, user, kind=kind)

    @contextmanager
    def wan(
        self, name: str, *, delay: float = 10, rate: float = 0, source: str = "", port: int = 0
    ) -> Iterator[str]:
        """Put a network in front of a server: gives the host:port at which it begins.

        Args:
            name: The server.
            delay: Milliseconds one way.
            rate: Bytes a second in each direction of each connection; 0 for no limit.
            source: Address from which the server is called, e.g. 127.0.0.2.
            port: Where the network begins; 0 for any that is free.
        """
        port = port or free_port(0)
        options = ["--delay", delay, "--rate", rate, "--source", source]
        command = launch.helper("wan", *options, port, self.port(name))
        environment = launch.environment(self.folder, self.known)
        with subprocess.Popen(command, env=environment) as process:
            try:
                # Nothing goes to the server before a client does.
                deadline = time.monotonic() + 10
                while not _listens(process.pid) and time.monotonic() < deadline:
                    time.sleep(0.02)
                yield f"localhost:{port}"
            finally:
                process.kill()

    def stop(self, name: str) -> None:
        """Stop a program in order."""
        self.resume(name)
        if self.state(name) in ALIVE:
            self._supervisor.stopProcess(name)

    def start(self, name: str, *, extra: str | None = None) -> None:
        """Start a program that was stopped or killed, and wait until it answers.

        Args:
            name: The program.
            extra: Directives that overrule those of the server, kept until others are given.
        """
        if extra is not None:
            write_private(self.folder / "etc" / f"{name}.extra.cfg", extra)
        if self.state(name) not in ALIVE:
            self._supervisor.startProcess(name, False)
        launch.wait(self.folder, self.known, 20, [name])

    def kill(self, name: str) -> None:
        """Kill a program; it stays dead."""
        self._process(name).kill()
        while self.state(name) in ALIVE:
            time.sleep(0.02)

    def pause(self, name: str) -> None:
        """Let a program hang: its connections stay open, nothing answers."""
        self._process(name).suspend()

    def resume(self, name: str) -> None:
        """Let a program that was paused go on."""
        if self.state(name) in ALIVE:
            self._process(name).resume()

    def state(self, name: str) -> str:
        """Give the supervisor's word for what a program does: RUNNING, STOPPED, EXITED ..."""
        return str(self._supervisor.getProcessInfo(name)["statename"])

    @property
    def _supervisor(self) -> Any:
        return processes.rpc(self.folder, self.known)

    def _process(self, name: str) -> psutil.Process:
        return psutil.Process(self._supervisor.getProcessInfo(name)["pid"])


def _listens(pid: int) -> bool:
    connections = psutil.Process(pid).net_connections("tcp4")
    return any(one.status == psutil.CONN_LISTEN for one in connections)


def up(folder: Path, *, seconds: float = 30) -> Site:
    """Bring the site of a folder up, or find it running; what of it is dead or hangs is mended.

    Args:
        folder: The site; made if it does not exist.
        seconds: How long it may take until all of it answers.

    Raises:
        TestbedError: XRootD is not installed, the folder is another's, a server does not start.
    """
    folder = Path(folder).resolve()
    install.folder()
    install.unprivileged()
    with processes.alone(folder):
        known = launch.load(folder) or launch.create(folder)
        process = processes.supervisor(folder, known)
        states = processes.states(folder, known) if process else {}
        if process and set(states) == set(launch.PROGRAMS):
            launch.mend(folder, known, states, seconds)
            return Site(folder, known, process.pid, False)
        known, pid = launch.start(folder, known, seconds)
        return Site(folder, known, pid, True)


def find(folder: Path) -> Site | None:
    """Find the site of a folder if all of it runs and answers."""
    found = service.find(folder, launch.load, launch.missing)
    return Site(*found, started=False) if found else None


def running(folder: Path | str) -> Site | None:
    """Give the site of a folder, None if no folder is named.

    Raises:
        TestbedError: It does not run.
    """
    if not folder:
        return None
    found = find(Path(folder))
    if found is None:
        raise TestbedError(f"no site runs in {folder}", f"testbed up xrootd --folder {folder}")
    return found


def down(folder: Path, *, delete: bool = False) -> bool:
    """Stop everything of a site, its lake too; its data stay unless they are to be deleted.

    Returns:
        Whether anything had been running.
    """
    return service.down(folder, "site", launch.load, _stop, delete=delete)


def _stop(folder: Path, known: Known) -> None:
    lake.down(folder / "lake")
    service.resume(folder, known)
    processes.sweep(folder, known, patience=5)


def programs(folder: Path) -> list[tuple[str, str, int]]:
    """List the programs of the site in a folder: name, state, pid."""
    return service.programs(folder, launch.load)
