"""The processes of a lake: its supervisor, and what is left of one that died."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import shutil
import signal
import socket
import tempfile
import time
import xmlrpc.client
import zlib
from pathlib import Path
from typing import Any

import psutil

from testbed.definition import Definition, private_folder, write_private

MARK = "TESTBED_LAKE"  # in the environment of every process of a lake: its name:its folder
_LONGEST_SOCKET = 100  # bytes; the system's limit is 107


def socket_folder(folder: Path, definition: Definition) -> Path:
    """Give the folder of the lake's sockets; one in /tmp if the lake's own path is too long."""
    own = folder / "run"
    # supervisord binds a name with its pid at the end before it renames the socket.
    if len(os.fsencode(own / "supervisor.sock.1234567")) <= _LONGEST_SOCKET:
        return own
    place = f"{zlib.crc32(os.fsencode(folder)):08x}"
    return Path(tempfile.gettempdir()) / f"lake-{definition.name}-{place}"


def make_socket_folder(folder: Path, definition: Definition) -> Path:
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


def states(folder: Path, definition: Definition) -> dict[str, dict[str, Any]]:
    """Ask the supervisor for its programs: name to state, pid and more; empty if it is silent."""
    path = socket_folder(folder, definition) / "supervisor.sock"
    try:
        server = xmlrpc.client.ServerProxy(
            f"http://lake:{definition.secret}@localhost/RPC2", transport=_Transport(path)
        )
        found: Any = server.supervisor.getAllProcessInfo()
    except (OSError, http.client.HTTPException, xmlrpc.client.Error):
        return {}
    return {one["name"]: one for one in found}


def remember(folder: Path, pid: int) -> None:
    """Note the supervisor in a way that no other process is ever taken for it."""
    created = psutil.Process(pid).create_time()
    identity = {"pid": pid, "created": created, "folder": str(folder)}
    write_private(folder / "run/supervisor.json", json.dumps(identity))


def supervisor(folder: Path, definition: Definition) -> psutil.Process | None:
    """Find the lake's supervisor by its note: None if it is dead or its pid is another's now."""
    try:
        note = _note(folder)
        process = psutil.Process(note["pid"])
        # A lake that was moved while it ran has every path wrong: it must start again.
        same = abs(process.create_time() - note["created"]) < 2 and note["folder"] == str(folder)
        if same and process.status() != psutil.STATUS_ZOMBIE:
            return process if _belongs(process, folder, definition) else None
    except (OSError, ValueError, KeyError, psutil.Error):
        return None
    return None


def _note(folder: Path) -> dict[str, Any]:
    note: dict[str, Any] = json.loads((folder / "run/supervisor.json").read_text())
    return note


def mark(folder: Path, definition: Definition) -> str:
    """Give the value of MARK for a lake."""
    return f"{definition.name}:{folder}"


def _belongs(process: psutil.Process, folder: Path, definition: Definition) -> bool:
    """Say whether a process is this lake's, and not one's that this folder is a copy of."""
    try:
        name, _, home = process.environ().get(MARK, "").partition(":")
    except (psutil.Error, OSError):
        return False  # another user's, or gone
    moved = home != str(folder) and not Path(home, "etc/lake.json").exists()
    return bool(name == definition.name and (moved or home == str(folder)))


def of_lake(folder: Path, definition: Definition) -> list[psutil.Process]:
    """Find every living process of a lake, whoever started it and whether supervised or not."""
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
        _send(process, signal.SIGINT if _name(process) == "postgres" else signal.SIGTERM)
    _, alive = psutil.wait_procs(processes, timeout=seconds)
    for process in alive:
        _send(process, signal.SIGKILL)
    psutil.wait_procs(alive, timeout=5)


def _name(process: psutil.Process) -> str:
    try:
        return str(process.name())
    except psutil.NoSuchProcess:
        return ""


def _send(process: psutil.Process, number: signal.Signals) -> None:
    try:
        process.send_signal(number)
    except psutil.NoSuchProcess:
        return


def sweep(folder: Path, definition: Definition, *, patience: float = 15) -> None:
    """Leave no process and no socket of a lake.

    The supervisor is told first, so that it starts nothing again; it would stop its programs one
    by one, a second each, so they are told as well: the database when nobody uses it any more.
    """
    family = of_lake(folder, definition)
    if process := supervisor(folder, definition):
        _send(process, signal.SIGTERM)
        family = [one for one in family if one != process]
    end([one for one in family if _name(one) != "postgres"], patience)
    if process:
        end([one for one in family if one.is_running()], patience)
        end([process], patience)
    deadline = time.monotonic() + patience
    while (left := of_lake(folder, definition)) and time.monotonic() < deadline:
        end(left, 5)
    places = {folder}
    with contextlib.suppress(OSError, ValueError, KeyError):
        places.add(Path(_note(folder)["folder"]))  # where it was before it was moved
    shutil.rmtree(folder / "run", ignore_errors=True)
    for place in places:
        if (sockets := socket_folder(place, definition)) != place / "run":
            shutil.rmtree(sockets, ignore_errors=True)
