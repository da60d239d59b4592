"""A cluster in a folder: brought up, found again, made to fail in every way, taken down.

cluster = up(Path("resources/slurm"))
cluster.login_node(["snakemake", "--profile", "marconi100"])
"""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from testbed import processes, service, xrootd
from testbed.slurm import configuration, edge, launch, state
from testbed.slurm.faults import Faults
from testbed.slurm.state import Known
from testbed.xrootd import Site


class Cluster(NamedTuple):
    """A cluster that runs.

    Args:
        folder: Where it keeps everything.
        known: Its name, its nodes.
        pid: Its supervisor, a process of the login node.
        started: False if it ran already.
    """

    folder: Path
    known: Known
    pid: int
    started: bool

    @property
    def nodes(self) -> list[str]:
        """Names of the compute nodes."""
        return [one.name for one in self.known.computes]

    @property
    def account(self) -> str:
        """The account that jobs are charged to."""
        return configuration.ACCOUNT

    @property
    def gateway(self) -> str:
        """Name of the login node, under which compute nodes reach what the gateway offers."""
        return configuration.address()

    @property
    def scratch(self) -> Path:
        """$CINECA_SCRATCH, as the hosts see it."""
        return state.scratch(self.folder)

    @property
    def scratch_from_here(self) -> Path:
        """$CINECA_SCRATCH, as the machine sees it."""
        return Path(f"/proc/{self.pid}/root{self.scratch}")

    def login_node(
        self, command: Sequence[str | Path], **options: Any
    ) -> subprocess.CompletedProcess[str]:
        """Run a command on the login node.

        Args:
            command: Program and arguments.
            options: Of :func:`subprocess.run`; `env` is added to the environment.
        """
        return state.run(self.folder, self.known, command, **options)

    def on_login_node(self, command: Sequence[str | Path], *, cwd: Path | None = None) -> list[str]:
        """Give the command that runs another on the login node; its pid is that of the other.

        Args:
            command: Program and arguments.
            cwd: Where it runs; here by default.
        """
        return [*state.prefix(self.folder, self.known, cwd), *map(str, command)]

    def environment(self) -> dict[str, str]:
        """Give what a user of the cluster has in the environment: CINECA_SCRATCH."""
        return state.variables(self.folder)

    def run(self, *command: str | Path) -> str:
        """Run a command of Slurm, and give what it prints.

        Raises:
            TestbedError: It fails.
        """
        return state.checked(self.folder, self.known, *command)

    @property
    def faults(self) -> Faults:
        """What can go wrong."""
        return Faults(self.folder, self.known)


def up(
    folder: Path,
    nodes: int | None = None,
    *,
    site: Path | None = None,
    expose: Sequence[int] | None = None,
    show: Sequence[Path] | None = None,
    seconds: float = 60,
) -> Cluster:
    """Bring the cluster of a folder up, or find it running; what of it is dead or hangs is mended.

    What is not given is as the cluster had it before. One that runs is started anew, queue and all,
    if something else is given.

    Args:
        folder: The cluster; made if it does not exist.
        nodes: How many compute nodes there are; 2 at first.
        site: A site of XRootD that runs: the login node reaches it, and offers its caches.
        expose: More ports of this machine's loopback that the login node has, and offers.
        show: Folders among the machine's temporary files that all nodes share.
        seconds: How long it may take until all of it answers.
    """
    folder = Path(folder).resolve()
    launch.check()
    with processes.alone(folder):
        known = state.load(folder) or state.create(folder)
        outside = xrootd.running(site or known.site)
        asked = _asked(known, outside, nodes=nodes, expose=expose, show=show)
        process = processes.supervisor(folder, known)
        started = not process or asked != known
        if process and not started:
            launch.begin(folder, known, seconds)
            pid = process.pid
        else:
            launch.stop(folder, known)
            pid = launch.start(folder, asked, seconds)
        if outside:
            edge.write_lake(folder, outside, configuration.address())
        return Cluster(folder, asked, pid, started)


def _asked(
    known: Known,
    site: Site | None,
    *,
    nodes: int | None,
    expose: Sequence[int] | None,
    show: Sequence[Path] | None,
) -> Known:
    """Give what a cluster is to be; what is None stays as it is."""
    more = known.expose if expose is None else sorted(expose)
    shown = known.show if show is None else [str(Path(path).resolve()) for path in show]
    if site and str(site.folder) not in shown:
        shown = [*shown, str(site.folder)]  # credentials and authorities
    return known._replace(
        nodes=nodes or known.nodes,
        site=str(site.folder) if site else "",
        ports=sorted({*(xrootd.lake.ports(site) if site else []), *more}),
        offered=sorted({*(edge.offered(site) if site else []), *more}),
        expose=more,
        show=shown,
    )


def find(folder: Path) -> Cluster | None:
    """Find the cluster of a folder if all of it runs and answers."""
    found = service.find(folder, state.load, launch.missing)
    return Cluster(*found, started=False) if found else None


def down(folder: Path, *, delete: bool = False) -> bool:
    """Stop everything of the cluster in a folder; its queue stays unless it is to be deleted.

    Returns:
        Whether anything had been running.
    """
    return service.down(folder, "cluster", state.load, launch.stop, delete=delete)


def programs(folder: Path) -> list[tuple[str, str, int]]:
    """List the nodes and programs of the cluster in a folder: name, state, pid."""
    return service.programs(folder, state.load)
