"""How a cluster is started: its files, its programs in their order, its nodes, who is not ready."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import psutil

from testbed import network, processes, service, unpacked
from testbed.configuration import program, write_supervisor
from testbed.definition import private_folder, write_json, write_private
from testbed.errors import TestbedError
from testbed.lake import server_python
from testbed.service import pids
from testbed.slurm import configuration, database, state
from testbed.slurm.gateway import Offer
from testbed.slurm.host import Start
from testbed.slurm.state import LOGIN, Host, Known

SCRATCH = "4g"  # of $CINECA_SCRATCH; memory is taken only for what is written
_HERE = Path(__file__).resolve().parent
_NEEDED = ("slurmctld", "slurmdbd", "slurmd", "sbatch", "munged", "mariadbd", "mariadb-install-db",
           "unshare", "nsenter", "ip")  # fmt: skip
_PARTS = ("log", "state", "nodes", "scratch")
# States of a node that jobs can be given to, now or when others are over.
_READY = ("idle", "mixed", "allocated", "completing", "draining", "drained")


def check() -> None:
    """Refuse what this machine cannot do.

    Raises:
        TestbedError: It can not.
    """
    if missing := [name for name in _NEEDED if not shutil.which(name, path=service.PATH)]:
        raise TestbedError(f"there is no {' and no '.join(missing)} here", "envs/setup slurm")
    if os.geteuid() != 0:
        raise TestbedError("a Slurm cluster of several hosts needs root", "be root")


def start(folder: Path, known: Known, seconds: float) -> int:
    """Start everything of a cluster in which nothing may run any more.

    Returns:
        The pid of its supervisor.
    """
    python = server_python()
    service.save(folder, "cluster", known)
    sockets = processes.make_socket_folder(folder, known)
    for part in _PARTS:
        private_folder(folder / part)
    configuration.write(folder, known, _munge(sockets))
    lines = [*_services(folder, known, sockets), *_nodes(folder, known, sockets)]
    write_supervisor(folder, known.secret, sockets, lines, umask="077")
    login = _write_login(folder, known)
    apart = ["unshare", "--mount", "--propagation=private", "--net", "--uts", "--"]
    through = [*apart, *_ours("host", login)]
    environment = service.host_environment(folder, known)
    pid = processes.supervise(folder, python, environment, through=through)
    begin(folder, known, seconds)
    return pid


def _ours(name: str, told: Path) -> list[str]:
    """Give the command of a program of ours."""
    return [sys.executable, "-P", str(_HERE / f"{name}.py"), str(told)]


def _munge(sockets: Path) -> Path:
    return sockets / "munge.sock"


def _write_login(folder: Path, known: Known) -> Path:
    """Write what the login node must know to start, and give the file."""
    host = known.login
    said = Start(
        folder=str(folder),
        name=host.name,
        address=host.address,
        names=configuration.hosts(known),
        scratch=SCRATCH,
        hide=[],
        show=[],
    )
    path = folder / f"etc/{LOGIN}.json"
    write_json(path, said)
    return path


def _services(folder: Path, known: Known, sockets: Path) -> list[str]:
    """Give the supervisor's lines for the login node's programs; what was killed stays dead."""
    key = folder / "etc/munge.key"
    if not key.exists():
        write_private(key, known.secret)
    # Forced: its key and socket are in a private folder, which others cannot enter.
    munged = [
        *("munged", "--foreground", "--force", "--num-threads=2", f"--key-file={key}"),
        *(f"--socket={_munge(sockets)}", f"--pid-file={folder}/run/munged.pid"),
        *(f"--log-file={folder}/log/munged.log", f"--seed-file={folder}/run/munge.seed"),
    ]
    lines = [
        program("munged", shlex.join(munged), restart=False),
        database.prepare(folder, sockets),
        program("slurmdbd", "slurmdbd -D", restart=False, automatic=False),
        program("slurmctld", "slurmctld -D", restart=False, automatic=False),
    ]
    if known.ports or known.offered:
        offer = Offer(str(folder / "run/outside"), known.login.address, known.ports, known.offered)
        told = folder / "etc/gateway.json"
        write_private(told, json.dumps(offer._asdict()) + "\n")
        lines.append(program("gateway", shlex.join(_ours("gateway", told)), restart=False))
    return lines


def _nodes(folder: Path, known: Known, sockets: Path) -> list[str]:
    """Give the supervisor's lines for the compute nodes."""
    temporary = {Path(path).resolve() for path in ("/tmp", "/var/tmp", tempfile.gettempdir())}
    shown = [str(unpacked.HOME), str(folder), str(sockets), sys.prefix, *known.show]
    apart = ["unshare", "--mount", "--propagation=private", "--net", "--uts", "--pid", "--fork",
             "--kill-child", "--"]  # fmt: skip
    lines = []
    for host in known.computes:
        private_folder(folder / "nodes" / host.name)
        said = Start(
            folder=str(folder),
            name=host.name,
            address=host.address,
            names=[],
            scratch="",
            hide=sorted(map(str, temporary)),
            show=shown,
        )
        told = folder / f"etc/{host.name}.json"
        write_json(told, said)
        command = shlex.join([*apart, *_ours("host", told), "slurmd", "-D"])
        lines.append(program(host.name, command, restart=False, automatic=False))
    return lines


def begin(folder: Path, known: Known, seconds: float) -> None:
    """Start what of a cluster does not run, in order; let go on what hangs; put cables in."""
    service.resume(folder, known)
    sockets = processes.socket_folder(folder, known)
    deadline = time.monotonic() + seconds
    start_program(folder, known, "munged")
    start_program(folder, known, "mariadb")
    if known.ports or known.offered:
        start_program(folder, known, "gateway")
    until(lambda: database.admit(known, sockets), folder, "mariadb", deadline)
    start_program(folder, known, "slurmdbd", deadline)
    database.enter_accounts(folder, known)
    start_program(folder, known, "slurmctld", deadline)
    alive, hub = pids(folder, known), login_pid(folder, known)
    for host in known.computes:
        if host.name not in alive:
            power_on(folder, known, host)
        else:
            network.set_cable(host.name, hub, plugged=True)
    wait(folder, known, deadline)


_LISTENS = {
    "slurmdbd": configuration.DATABASE_DAEMON,
    "slurmctld": configuration.CONTROLLER,
}


def start_program(folder: Path, known: Known, name: str, deadline: float = 0) -> None:
    """Start a program of the login node, unless it runs, and wait until it listens."""
    if name not in pids(folder, known):
        processes.rpc(folder, known).startProcess(name, False)
    if port := _LISTENS.get(name):
        until(lambda: _listens(pids(folder, known).get(name, 0), port), folder, name, deadline)


def until(condition: Callable[[], object], folder: Path, name: str, deadline: float) -> None:
    """Wait until a condition holds; if it does not in time, say so with the log of a program."""
    while not condition():
        if time.monotonic() > deadline:
            raise service.failure(folder, name, f"the cluster's {name} is not ready")
        time.sleep(0.05)


def _listens(pid: int, port: int) -> bool:
    """Say whether somebody listens on a port in the network of a process."""
    try:
        lines = Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]
    except OSError:
        return False
    columns = [line.split() for line in lines]
    return any(one[1].endswith(f":{port:04X}") and one[3] == "0A" for one in columns)


def login_pid(folder: Path, known: Known) -> int:
    """Give the pid of a process of the login node: the supervisor."""
    process = processes.supervisor(folder, known)
    if process is None:
        raise TestbedError(f"the login node of {folder} does not run", "testbed up slurm")
    return process.pid


def power_on(folder: Path, known: Known, host: Host) -> None:
    """Start a compute node that is dead."""
    processes.rpc(folder, known).startProcess(host.name, False)
    network.connect(host, pids(folder, known)[host.name], login_pid(folder, known))


def wait(folder: Path, known: Known, deadline: float) -> None:
    """Wait until jobs can be given to all nodes.

    Raises:
        TestbedError: One is not ready in time, or has died.
    """
    while absent := missing(folder, known):
        if absent[0] not in pids(folder, known) or time.monotonic() > deadline:
            raise service.failure(folder, absent[0], f"the cluster's {absent[0]} is not ready")
        time.sleep(0.1)


def missing(folder: Path, known: Known) -> list[str]:
    """Name the programs that do not run, and the nodes that slurmctld has not got."""
    alive = pids(folder, known)
    expected = ["munged", "mariadb", "slurmdbd", "slurmctld", *(one.name for one in known.computes)]
    if dead := [name for name in expected if name not in alive]:
        return dead
    found = state.nodes(folder, known)
    return [one.name for one in known.computes if found.get(one.name) not in _READY]


def stop(folder: Path, known: Known) -> None:
    """Leave no process of a cluster, and no cgroup; what it knows of its jobs is saved before."""
    service.resume(folder, known)
    alive = pids(folder, known)
    for name in ("slurmctld", "slurmdbd"):  # each writes what it knows into the next
        if name in alive:
            process = psutil.Process(alive[name])
            processes.send(process, signal.SIGTERM)
            processes.outlive([process], 5)
    processes.sweep(folder, known, patience=3)
    for host in known.computes:
        for top in Path("/sys/fs/cgroup").glob(f"*/slurm_{host.name}"):
            for path, _, _ in os.walk(top, topdown=False):
                Path(path).rmdir()
