"""A pool in a folder: brought up, found again, made to fail in every way, taken down.

pool = up(Path("resources/condor"), hosts=2)
pool.submit_host(["snakemake", "--profile", "condor"])
"""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from testbed import processes, service, xrootd
from testbed.condor import configuration, launch, security, state
from testbed.condor.configuration import SUBMIT, place
from testbed.condor.faults import Faults
from testbed.condor.security import LIFETIME, SCOPE
from testbed.condor.state import Known
from testbed.errors import TestbedError
from testbed.xrootd import Site


class Pool(NamedTuple):
    """A pool that runs.

    Args:
        folder: Where it keeps everything.
        known: Its name, its hosts.
        pid: Its supervisor.
        started: False if it ran already.
    """

    folder: Path
    known: Known
    pid: int
    started: bool

    @property
    def config(self) -> Path:
        """What CONDOR_CONFIG of the user names."""
        return configuration.client_file(self.folder)

    @property
    def bin(self) -> Path:
        """The folder of condor_submit and the other commands."""
        return configuration.binaries()

    @property
    def user(self) -> str:
        """Name of the user in the pool."""
        return configuration.user()

    @property
    def hosts(self) -> list[str]:
        """Names of the hosts that execute jobs."""
        return [one.name for one in self.known.members if one.executes]

    def place(self, host: str = SUBMIT) -> Path:
        """Give the folder of a host: log/ and the rest."""
        return place(self.folder, host)

    def submit_host(
        self, command: Sequence[str | Path], **options: Any
    ) -> subprocess.CompletedProcess[str]:
        """Run a command on the submit host as the user of the pool.

        Args:
            command: Program and arguments.
            options: Of :func:`subprocess.run`; `env` is added to the environment.
        """
        return state.run(self.folder, self.known, command, **options)

    def on_submit_host(
        self, command: Sequence[str | Path], *, cwd: Path | None = None
    ) -> list[str]:
        """Give the command that runs another on the submit host; its pid is that of the other.

        Args:
            command: Program and arguments.
            cwd: Where it runs; here by default.
        """
        return [*state.prefix(self.folder, self.known, cwd), *map(str, command)]

    def environment(self) -> dict[str, str]:
        """Give what a user of the pool has in the environment: CONDOR_CONFIG and PATH."""
        return configuration.variables(self.folder)

    def run(self, *command: str | Path) -> str:
        """Run a command of HTCondor as the user, and give what it prints.

        Raises:
            TestbedError: It fails.
        """
        return state.checked(self.folder, self.known, command)

    def tokens(self, *, scope: str = SCOPE, lifetime: float = LIFETIME) -> None:
        """Say what tokens jobs get from now on, and wait until the first is there.

        Args:
            scope: Capabilities, e.g. ``storage.read:/cms``.
            lifetime: Seconds; a token is replaced when half of them are over.

        Raises:
            TestbedError: The pool has no site whose tokens these could be.
        """
        security.set_tokens(self.folder, scope=scope, lifetime=lifetime)
        deadline = time.monotonic() + 10
        while not security.given(self.folder, scope=scope, lifetime=lifetime):
            if not self.known.site or time.monotonic() > deadline:
                raise TestbedError("nobody makes tokens", "bring the pool up with --site")
            time.sleep(0.1)

    @property
    def faults(self) -> Faults:
        """What can go wrong."""
        return Faults(self.folder, self.known)


def up(
    folder: Path,
    hosts: int | None = None,
    *,
    site: Path | None = None,
    expose: Sequence[int] | None = None,
    show: Sequence[Path] | None = None,
    seconds: float = 60,
) -> Pool:
    """Bring the pool of a folder up, or find it running; what of it is dead or hangs is mended.

    What is not given is as the pool had it before. One that runs is started anew, queue and all,
    if something else is given.

    Args:
        folder: The pool; made if it does not exist.
        hosts: How many execute hosts there are beside the submit host, each with a network and
            files of its own, which needs root; 0: one host does everything on shared files.
        site: A site of XRootD that runs: jobs get tokens of its issuer, its tokens are taken for
            submission, its authorities and its ports are known on every host.
        expose: More ports of this machine's loopback that every host has on its own.
        show: More folders that execute hosts with files of their own see: jobs run in them.
        seconds: How long it may take until all of it answers.
    """
    folder = Path(folder).resolve()
    launch.check(hosts or 0)
    with processes.alone(folder):
        known = state.load(folder) or state.create(folder)
        trusted = xrootd.running(site or known.site)
        asked = _asked(known, trusted, hosts=hosts, expose=expose, show=show)
        process = processes.supervisor(folder, known)
        if process and asked == known and SUBMIT in service.pids(folder, known):
            launch.mend(folder, known, seconds)
            return Pool(folder, known, process.pid, False)
        _stop(folder, known)
        known, pid = launch.start(folder, asked, trusted, seconds)
        return Pool(folder, known, pid, True)


def _asked(
    known: Known,
    site: Site | None,
    *,
    hosts: int | None,
    expose: Sequence[int] | None,
    show: Sequence[Path] | None,
) -> Known:
    """Give what a pool is to be; what is None stays as it is."""
    return known._replace(
        hosts=known.hosts if hosts is None else hosts,
        site=str(site.folder) if site else "",
        ports=sorted(xrootd.lake.ports(site)) if site else [],
        expose=known.expose if expose is None else sorted(expose),
        show=known.show if show is None else [str(Path(path).resolve()) for path in show],
    )


def find(folder: Path) -> Pool | None:
    """Find the pool of a folder if all of it runs and answers."""
    found = service.find(folder, state.load, launch.missing)
    return Pool(*found, started=False) if found else None


def down(folder: Path, *, delete: bool = False) -> bool:
    """Stop everything of the pool in a folder; its queue stays unless it is to be deleted.

    Returns:
        Whether anything had been running.
    """
    return service.down(folder, "pool", state.load, _stop, delete=delete)


def _stop(folder: Path, known: Known) -> None:
    """Leave no process of a pool: first its masters stop what is theirs, in order."""
    service.resume(folder, known)
    masters = state.daemons(folder, known, "master")
    for process in masters:
        processes.send(process, signal.SIGQUIT)
    processes.outlive(masters, 5)
    processes.sweep(folder, known, patience=3)


def programs(folder: Path) -> list[tuple[str, str, int]]:
    """List the hosts of the pool in a folder: name, state, pid."""
    return service.programs(folder, state.load)
