"""How a pool is started: its files, its supervisor, its network, and which host is not ready."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from testbed import network, processes, service, unpacked
from testbed.condor import configuration, security
from testbed.condor.configuration import DOMAIN, PORT, SUBMIT, Host, place
from testbed.condor.host import Start
from testbed.condor.state import Known, run
from testbed.configuration import free_port, program, write_supervisor
from testbed.definition import private_folder, write_json
from testbed.errors import TestbedError
from testbed.lake import server_python
from testbed.service import pids
from testbed.xrootd import Site

SCRATCH = "4g"  # of a host that is started by root; memory is taken only for what is written
_PARTS = ("log", "spool", "execute", "lock", "run", "home", "tokens.d")


def check(hosts: int) -> None:
    """Refuse what this machine cannot do.

    Raises:
        TestbedError: It can not.
    """
    unpacked.folder("condor")
    wanted = ["unshare", "nsenter", "ip"] if hosts else ["unshare"] if os.geteuid() == 0 else []
    if hosts and os.geteuid() != 0:
        raise TestbedError("hosts with a network of their own need root",
                           "be root, or bring the pool up without --hosts")  # fmt: skip
    if missing := [name for name in wanted if not shutil.which(name)]:
        raise TestbedError(f"there is no {' and no '.join(missing)} on this machine",
                           "apt-get install util-linux iproute2")  # fmt: skip


def start(folder: Path, known: Known, site: Site | None, seconds: float) -> tuple[Known, int]:
    """Start everything of a pool in which nothing may run any more.

    Returns:
        What is known of it now, and the pid of its supervisor.
    """
    python = server_python()
    port = PORT if known.hosts else free_port(known.port if known.port != PORT else 0)
    known = known._replace(port=port)
    service.save(folder, "pool", known)
    sockets = processes.make_socket_folder(folder, known)
    private_folder(folder / "log")
    private_folder(folder / "client")
    _make_hosts(folder, known)
    mark = processes.mark(folder, known)
    configuration.write(
        folder, mark, known.members, known.port, site=bool(site), shared=bool(known.show)
    )
    security.create(folder, known.members)
    if site:
        security.trust(folder, known.members, site)
    write_supervisor(folder, known.secret, sockets, _programs(folder, known), umask="077")
    environment = service.host_environment(folder, known)
    environment["OPENSSL_CONF"] = os.devnull  # the machine's is of another version
    pid = processes.supervise(folder, python, environment)
    if known.hosts:
        _connect(known.members, pids(folder, known))
    wait(folder, known, seconds)
    return known, pid


def _connect(hosts: list[Host], pids: dict[str, int]) -> None:
    """Make the network of a pool's hosts: the bridge is on the submit host, their first."""
    network.wait(pids.values())
    network.bridge(hosts[0], pids[SUBMIT])
    for host in hosts[1:]:
        network.connect(host, pids[host.name], pids[SUBMIT])


def _make_hosts(folder: Path, known: Known) -> None:
    """Write what every host must know to start."""
    names = [f"{one.address} {one.name}.{DOMAIN} {one.name}" for one in known.members]
    for one in known.members:
        where = place(folder, one.name)
        for part in _PARTS:
            private_folder(where / part)
        (where / "execute").chmod(0o755)
        far = one.name != SUBMIT
        said = Start(
            folder=str(where),
            master=str(unpacked.folder("condor") / "sbin/condor_master"),
            user=configuration.user(),
            name=f"{one.name}.{DOMAIN}" if known.hosts else "",
            address=one.address if known.hosts else "",
            names=names,
            ports=sorted({*known.ports, *known.expose}),
            hide=_hidden(folder) if far else [],
            show=[*_shown(), str(where), *known.show] if far else [],
            scratch=SCRATCH,
            alone=far,
        )
        write_json(where / "host.json", said)


def _hidden(folder: Path) -> list[str]:
    """Name the folders that hosts do not share: the project, the user's, the pool's, the temporary.

    None of them lies in another one that comes after it.
    """
    wanted = {unpacked.HOME, Path.home(), Path.cwd(), folder}
    wanted |= {Path(path) for path in ("/tmp", "/var/tmp", tempfile.gettempdir())}
    if sys.prefix != sys.base_prefix:
        wanted.add(Path(sys.prefix).parent)  # the project that has this environment
    places = sorted(path.resolve() for path in wanted if path.is_dir() and path != Path("/"))
    return [
        str(path) for i, path in enumerate(places)
        if not any(path.is_relative_to(other) for other in places[:i])
    ]  # fmt: skip


def _shown() -> list[str]:
    """Name what is on every worker node of a facility: HTCondor, and an environment of Python."""
    found = [unpacked.folder("condor"), Path(sys.prefix), Path(sys.base_prefix)]
    return [str(path.resolve()) for path in found if path != Path("/usr")]


def _programs(folder: Path, known: Known) -> list[str]:
    """Give the supervisor's lines for every host; what was killed stays dead."""
    run = [sys.executable, "-P", Path(__file__).with_name("host.py")]
    return [
        program(one.name, configuration.quote([*run, place(folder, one.name) / "host.json"]),
                restart=False, signal="QUIT")
        for one in known.members
    ]  # fmt: skip


def mend(folder: Path, known: Known, seconds: float) -> None:
    """Start what of a running pool is dead; let go on what hangs; put cables in."""
    service.resume(folder, known)
    alive, since = pids(folder, known), {}
    for one in known.members:
        since[one.name] = 0.0 if one.name in alive else time.time()
        if one.name not in alive:
            power_on(folder, known, one)
        elif known.hosts and one.name != SUBMIT:
            network.set_cable(one.name, alive[SUBMIT], plugged=True)
    wait(folder, known, seconds, since)


def power_on(folder: Path, known: Known, one: Host) -> None:
    """Start a host that is dead."""
    processes.rpc(folder, known).startProcess(one.name, False)
    if known.hosts:
        alive = pids(folder, known)
        network.connect(one, alive[one.name], alive[SUBMIT])


def wait(folder: Path, known: Known, seconds: float, since: dict[str, float] | None = None) -> None:
    """Wait until jobs can be given to hosts, and hosts can execute them.

    Args:
        folder: The pool.
        known: Its name, its hosts.
        seconds: How long it may take.
        since: Only these hosts; when each was started, as that it was there before does not count.

    Raises:
        TestbedError: A host has died, or is not there in time.
    """
    deadline = time.monotonic() + seconds
    while absent := missing(folder, known, since):
        if time.monotonic() > deadline or absent[0] not in pids(folder, known):
            problem = f"the pool's host {absent[0]} is not ready"
            raise service.failure(folder, absent[0], problem, place(folder, absent[0]) / "log")
        time.sleep(0.1)


def missing(folder: Path, known: Known, since: dict[str, float] | None = None) -> list[str]:
    """Name the hosts that do not run, or of which the pool does not know: see :func:`wait`."""
    alive = pids(folder, known)
    asked = [one for one in known.members if since is None or one.name in since]
    if dead := [one.name for one in asked if one.name not in alive]:
        return dead
    ask = ["condor_status", "-any", "-af", "MyType", "Machine", "DaemonStartTime"]
    try:
        lines = run(folder, known, ask, timeout=10).stdout.splitlines()
    except subprocess.TimeoutExpired:
        return [SUBMIT]
    # A job that wants a token is held as long as nobody makes them.
    if known.site and not security.ready(folder):
        return [SUBMIT]
    found = {(kind, machine): started for kind, machine, started in map(str.split, sorted(lines))}
    wanted = [("Machine", one.name) for one in asked if one.executes]
    wanted += [("Scheduler", one.name) for one in asked if one.name == SUBMIT]
    return [
        name for kind, name in wanted
        if int(found.get((kind, f"{name}.{DOMAIN}"), "-1")) < int((since or {}).get(name, 0))
    ]  # fmt: skip
