"""How a pool is started: its files, its supervisor, its network, and who is not ready."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import psutil

from testbed import processes, unpacked
from testbed.condor import configuration, network, security
from testbed.condor.configuration import DOMAIN, PORT, SUBMIT, Host, place
from testbed.condor.host import Start
from testbed.configuration import free_port, program, write_supervisor
from testbed.definition import private_folder, write_private
from testbed.errors import TestbedError
from testbed.lake import server_python
from testbed.xrootd import Site

ALIVE = ("RUNNING", "STARTING")  # the supervisor's words; STARTING lasts four seconds
SCRATCH = "4g"  # of a host that is started by root; memory is taken only for what is written
_PARTS = ("log", "spool", "execute", "lock", "run", "home", "tokens.d")


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
    path = folder / "etc/pool.json"
    try:
        return Known(**json.loads(path.read_text())) if path.exists() else None
    except (ValueError, TypeError) as error:
        raise TestbedError(f"{path} cannot be read: {error}", f"delete {folder}") from error


def create(folder: Path) -> Known:
    """Invent a pool's name and secret; its folder must be empty."""
    if any(path.name != ".lock" for path in folder.iterdir()):
        raise TestbedError(f"{folder} is not empty and not a pool", "choose another folder")
    return Known(secrets.token_hex(6), secrets.token_hex(20), 0, 0, "", [], [], [])


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
    private_folder(folder)
    private_folder(folder / "etc")
    write_private(folder / "etc/pool.json", json.dumps(known._asdict(), indent=2) + "\n")
    sockets = processes.make_socket_folder(folder, known)
    private_folder(folder / "log")
    private_folder(folder / "client")
    _make_hosts(folder, known)
    mark = processes.mark(folder, known)
    configuration.write(folder, mark, known.members, known.port, bool(site))
    security.create(folder, known.members)
    if site:
        security.trust(folder, known.members, site)
    write_supervisor(folder, known.secret, sockets, _programs(folder, known), umask="077")
    pid = processes.supervise(folder, python, environment(folder, known))
    if known.hosts:
        network.lay(known.members, pids(folder, known))
    wait(folder, known, seconds)
    return known, pid


def environment(folder: Path, known: Known) -> dict[str, str]:
    """Make the environment of the pool's processes: nothing of the user's gets in."""
    return {
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "LANG": "C.UTF-8",
        "TZ": os.environ.get("TZ", ""),
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONPATH": str(unpacked.HOME),
        "OPENSSL_CONF": os.devnull,  # the host's is of another version
        processes.MARK: processes.mark(folder, known),
    }


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
        write_private(where / "host.json", json.dumps(said._asdict(), indent=2) + "\n")


def _hidden(folder: Path) -> list[str]:
    """Name the folders that hosts do not share: the project, the user's, the pool's, the temporary.

    None of them lies in another one that comes after it.
    """
    wanted = {unpacked.HOME, Path.home(), Path.cwd(), folder, Path("/tmp"), Path("/var/tmp")}
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


def pids(folder: Path, known: Known) -> dict[str, int]:
    """Give a process of every host that runs, by its name: the supervisor's child."""
    found = processes.states(folder, known)
    return {name: one["pid"] for name, one in found.items() if one["statename"] in ALIVE}


def daemons(folder: Path, known: Known, name: str, host: str = "") -> list[psutil.Process]:
    """Find the processes that are a daemon, of one host or of all: master, schedd, starter, ..."""
    found = []
    config = str(place(folder, host) / "condor_config") if host else ""
    for process in processes.of_service(folder, known):
        try:
            command, where = process.cmdline(), process.environ().get("CONDOR_CONFIG", "")
        except psutil.Error:
            continue
        is_it = any(part.endswith(f"/root/usr/sbin/condor_{name}") for part in command[:7])
        if is_it and config in ("", where):
            found.append(process)
    return found


def run(folder: Path, known: Known, command: list[str], **options: Any) -> Any:
    """Run a command on the submit host as the user of the pool: see :func:`subprocess.run`."""
    options = {"text": True, "capture_output": True, "check": False, **options}
    env = os.environ | configuration.variables(folder) | options.pop("env", {})
    words = [*prefix(folder, known, options.get("cwd")), *command]
    return subprocess.run(words, env=env, **options)


def checked(folder: Path, known: Known, command: Sequence[str | Path], **env: str) -> str:
    """Run a command of HTCondor on the submit host, and give what it prints.

    Raises:
        TestbedError: It fails.
    """
    done = run(folder, known, list(map(str, command)), env=env, stdin=subprocess.DEVNULL)
    if done.returncode != 0:
        said = (done.stdout + done.stderr).strip()
        raise TestbedError(f"{command[0]}: {said}", f"read {place(folder, SUBMIT)}/log")
    return str(done.stdout)


def prefix(folder: Path, known: Known, cwd: Path | None) -> list[str]:
    """Give what stands before a command that runs on the submit host, in a folder or in ours."""
    if not known.hosts:
        return []
    found = pids(folder, known)
    if SUBMIT not in found:
        raise TestbedError(f"the submit host of {folder} does not run", "testbed up condor")
    # Whoever enters another mount namespace begins at its root.
    return [
        *network.enter(found[SUBMIT], "net", "uts", "mount"),
        "env",
        f"--chdir={cwd or Path.cwd()}",
    ]


def mend(folder: Path, known: Known, seconds: float) -> None:
    """Start what of a running pool is dead; let go on what hangs; put every cable in."""
    for process in processes.of_service(folder, known):
        if process.status() == psutil.STATUS_STOPPED:
            process.resume()
    alive = pids(folder, known)
    for one in known.members:
        if one.name not in alive:
            power_on(folder, known, one)
        elif known.hosts and one.name != SUBMIT:
            network.set_cable(one.name, alive, True)
    wait(folder, known, seconds)


def power_on(folder: Path, known: Known, one: Host) -> None:
    """Start a host that is dead."""
    processes.rpc(folder, known).supervisor.startProcess(one.name, False)
    if known.hosts:
        network.connect(one, pids(folder, known))


def wait(folder: Path, known: Known, seconds: float) -> None:
    """Wait until jobs can be given to the pool and every host can execute them.

    Raises:
        TestbedError: A host has died, or is not there in time.
    """
    deadline = time.monotonic() + seconds
    while absent := missing(folder, known):
        if time.monotonic() > deadline or absent[0] not in pids(folder, known):
            log = folder / "log" / f"{absent[0]}.log"
            tail = log.read_text().splitlines()[-15:] if log.exists() else []
            problem = f"the pool's host {absent[0]} is not ready"
            logs = place(folder, absent[0]) / "log"
            raise TestbedError("\n    ".join([problem, *tail]), f"read {log} and {logs}")
        time.sleep(0.1)


def missing(folder: Path, known: Known) -> list[str]:
    """Name the hosts that do not run, or of which the pool does not know yet."""
    alive = pids(folder, known)
    dead = [one.name for one in known.members if one.name not in alive]
    if dead:
        return dead
    try:
        found = run(
            folder, known, ["condor_status", "-any", "-af", "MyType", "Machine"], timeout=10
        )
    except subprocess.TimeoutExpired:
        return [SUBMIT]
    known_of = set(found.stdout.splitlines())
    return [
        one.name for one in known.members
        if (one.executes and f"Machine {one.name}.{DOMAIN}" not in known_of)
        or (one.name == SUBMIT and f"Scheduler {one.name}.{DOMAIN}" not in known_of)
    ]  # fmt: skip
