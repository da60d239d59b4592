"""The processes of a service in a folder: its supervisor, and what is left of one that died."""

from __future__ import annotations

import contextlib
import fcntl
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import xmlrpc.client
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import psutil

from testbed.definition import private_folder, write_private
from testbed.errors import TestbedError

MARK = "TESTBED_SERVICE"  # in the environment of every process of a service: its name:its folder
_LONGEST_SOCKET = 100  # bytes; the system's limit is 107


class Service(Protocol):
    """What is known of a service: a name that no other has, and its supervisor's password."""

    @property
    def name(self) -> str:
        """Name, also in the environment of its processes."""

    @property
    def secret(self) -> str:
        """Password of its supervisor."""


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Let one launcher at a time work on a folder, which is made if it does not exist.

    The lock file is gone when it is done.
    """
    path = folder / ".lock"
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        # Whoever had it has deleted it: then this is a lock on nothing.
        if path.exists() and os.path.samestat(os.fstat(descriptor), path.stat()):
            break
        os.close(descriptor)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        os.close(descriptor)


def supervise(
    folder: Path, python: Path, environment: dict[str, str], *, through: Sequence[str] = ()
) -> int:
    """Start the supervisor of etc/supervisord.conf, remember it and give its pid.

    Args:
        folder: The service.
        python: Interpreter that has it.
        environment: Of the supervisor and all its programs.
        through: Command that becomes the one behind it, elsewhere.
    """
    ended = subprocess.run(
        [*through, str(python), "-m", "supervisor.supervisord", "-c", "etc/supervisord.conf"],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        umask=0o077,  # of its own log; that of its programs is in the file
    )
    if ended.returncode != 0:
        raise TestbedError(f"supervisord: {ended.stderr.strip()}", f"read {folder}/log")
    note = folder / "run/supervisord.pid"
    deadline = time.monotonic() + 10
    while not (note.exists() and note.read_text().strip()):
        if time.monotonic() > deadline:
            raise TestbedError("supervisord does not start", f"read {folder}/log/supervisord.log")
        time.sleep(0.02)
    remember(folder, pid := int(note.read_text()))
    return pid


def rpc(folder: Path, definition: Service) -> Any:
    """Connect to the supervisor of a service, and give what has its methods."""
    path = socket_folder(folder, definition) / "supervisor.sock"
    url = f"http://lake:{definition.secret}@localhost/RPC2"
    return xmlrpc.client.ServerProxy(url, transport=_Transport(path)).supervisor


def socket_folder(folder: Path, definition: Service) -> Path:
    """Give the folder of the service's sockets; one in /tmp if its own path is too long."""
    own = folder / "run"
    # supervisord binds a name with its pid at the end before it renames the socket.
    if len(os.fsencode(own / "supervisor.sock.1234567")) <= _LONGEST_SOCKET:
        return own
    place = f"{zlib.crc32(os.fsencode(folder)):08x}"
    return Path(tempfile.gettempdir()) / f"lake-{definition.name}-{place}"


def make_socket_folder(folder: Path, definition: Service) -> Path:
    """Make the folder of the sockets, refusing one that somebody else has put there."""
    sockets = private_folder(folder / "run", 0o711)
    if (elsewhere := socket_folder(folder, definition)) != sockets:
        sockets = elsewhere
        shutil.rmtree(sockets, ignore_errors=True)
        sockets.mkdir(mode=0o711)
        sockets.chmod(0o711)
    return sockets


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=10)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


class _Transport(xmlrpc.client.Transport):
    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path

    def make_connection(self, host: Any) -> http.client.HTTPConnection:
        _, self._extra_headers, _ = self.get_host_info(host)
        return _Connection(self._path)


def states(folder: Path, definition: Service) -> dict[str, dict[str, Any]]:
    """Ask the supervisor for its programs: name to state, pid and more; empty if it is silent."""
    try:
        found = rpc(folder, definition).getAllProcessInfo()
    except (OSError, http.client.HTTPException, xmlrpc.client.Error):
        return {}
    return {one["name"]: one for one in found}


def remember(folder: Path, pid: int) -> None:
    """Note the supervisor in a way that no other process is ever taken for it."""
    created = psutil.Process(pid).create_time()
    identity = {"pid": pid, "created": created, "folder": str(folder)}
    write_private(folder / "run/supervisor.json", json.dumps(identity))


def supervisor(folder: Path, definition: Service) -> psutil.Process | None:
    """Find the service's supervisor by its note: None if it is dead or its pid is another's now."""
    try:
        note = _note(folder)
        process = psutil.Process(note["pid"])
        # A service that was moved while it ran has every path wrong: it must start again.
        same = abs(process.create_time() - note["created"]) < 2 and note["folder"] == str(folder)
        if same and process.status() != psutil.STATUS_ZOMBIE:
            return process if _belongs(process, folder, definition) else None
    except (OSError, ValueError, KeyError, psutil.Error):
        return None
    return None


def _note(folder: Path) -> dict[str, Any]:
    note: dict[str, Any] = json.loads((folder / "run/supervisor.json").read_text())
    return note


def mark(folder: Path, definition: Service) -> str:
    """Give the value of MARK for a service."""
    return f"{definition.name}:{folder}"


def _belongs(process: psutil.Process, folder: Path, definition: Service) -> bool:
    """Say whether a process is this service's, and not one's that this folder is a copy of."""
    try:
        name, _, home = process.environ().get(MARK, "").partition(":")
    except (psutil.Error, OSError):
        return False  # another user's, or gone
    moved = home != str(folder) and not Path(home, "etc/supervisord.conf").exists()
    return bool(name == definition.name and (moved or home == str(folder)))


def of_service(folder: Path, definition: Service) -> list[psutil.Process]:
    """Find every living process of a service, whoever started it and whether supervised or not."""
    found = [process for process in psutil.process_iter() if _belongs(process, folder, definition)]
    # PostgreSQL overwrites its environment with its title, but says who it is.
    note = folder / "db/data/postmaster.pid"
    if note.exists():
        try:
            process = psutil.Process(int(note.read_text().split()[0]))
            ours = Path(process.cwd()) == note.parent
        except (psutil.Error, ValueError, IndexError, OSError):
            ours = False
        if ours:
            found.append(process)
        else:
            note.unlink(missing_ok=True)  # of a machine that was switched off
    return list(dict.fromkeys(found))


def end(processes: list[psutil.Process], seconds: float) -> None:
    """Ask processes to end, and kill those that have not after some seconds."""
    for process in processes:
        # PostgreSQL takes SIGTERM for "when all clients have left".
        send(process, signal.SIGINT if _name(process) == "postgres" else signal.SIGTERM)
    alive = outlive(processes, seconds)
    for process in alive:
        send(process, signal.SIGKILL)
    outlive(alive, 5)


def outlive(processes: list[psutil.Process], seconds: float) -> list[psutil.Process]:
    """Wait until processes have ended, and give those that have not after some seconds."""
    # psutil's own wait fails on Linux 6.18 for a process that ends at this moment.
    deadline = time.monotonic() + seconds
    while (alive := list(filter(_lives, processes))) and time.monotonic() < deadline:
        time.sleep(0.02)
    return alive


def _lives(process: psutil.Process) -> bool:
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def _name(process: psutil.Process) -> str:
    try:
        return str(process.name())
    except psutil.NoSuchProcess:
        return ""


def send(process: psutil.Process, number: signal.Signals) -> None:
    """Send a signal to a process that may have gone."""
    try:
        process.send_signal(number)
    except psutil.NoSuchProcess:
        return


def sweep(folder: Path, definition: Service, *, patience: float = 15) -> None:
    """Leave no process and no socket of a service.

    The supervisor is told first, so that it starts nothing again; it would stop its programs one
    by one, a second each, so they are told as well: the database when nobody uses it any more.
    """
    family = of_service(folder, definition)
    if process := supervisor(folder, definition):
        send(process, signal.SIGTERM)
        family = [one for one in family if one != process]
    end([one for one in family if _name(one) != "postgres"], patience)
    if process:
        end([one for one in family if one.is_running()], patience)
        end([process], patience)
    deadline = time.monotonic() + patience
    while (left := of_service(folder, definition)) and time.monotonic() < deadline:
        end(left, 5)
    places = {folder}
    with contextlib.suppress(OSError, ValueError, KeyError):
        places.add(Path(_note(folder)["folder"]))  # where it was before it was moved
    shutil.rmtree(folder / "run", ignore_errors=True)
    for place in places:
        if (sockets := socket_folder(place, definition)) != place / "run":
            shutil.rmtree(sockets, ignore_errors=True)
