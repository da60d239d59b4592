"""A Rucio data lake in a folder: brought up, found again, taken down.

lake = up(Path("resources/lake"))
os.environ["RUCIO_CONFIG"] = str(lake.config("analyst"))
"""

from __future__ import annotations

import http.client
import os
import sqlite3
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from testbed import configuration, definition, postgres, processes, service
from testbed.definition import Definition, private_folder
from testbed.errors import TestbedError

_HOME = Path(__file__).resolve().parents[1]


class Lake(NamedTuple):
    """A lake that runs.

    Args:
        folder: Where it keeps everything.
        url: Its REST interface.
        pid: Its supervisor.
        started: False if it ran already.
    """

    folder: Path
    url: str
    pid: int
    started: bool

    def config(self, account: str) -> Path:
        """Give the rucio.cfg of a client that is this account."""
        path = configuration.client_file(self.folder, account)
        if not path.exists():
            known = ", ".join(sorted(one.name for one in (self.folder / "clients").iterdir()))
            raise TestbedError(f"the lake has no account {account}", f"choose one of {known}")
        return path


def up(
    folder: Path,
    *,
    database: str | None = None,
    storage: Mapping[str, Any] | None = None,
    seconds: float = 60,
) -> Lake:
    """Bring the lake of a folder up, or find it running.

    Args:
        folder: The lake; made if it does not exist.
        database: sqlite or postgresql; by default what the lake has, sqlite for a new one.
        storage: `rses`, `environment` and `issuer` of its definition; by default what the lake
            has, RSEs on this disk for a new one.
        seconds: How long it may take until it answers.
    """
    folder = Path(folder).resolve()
    with processes.alone(folder):
        known = definition.load(folder)
        if known and database not in (None, known.database):
            raise TestbedError(
                f"the lake in {folder} has the database {known.database}",
                f"take it without --database {database}, or choose another folder",
            )
        wanted = known or definition.create(folder, database or "sqlite")
        wanted = wanted._replace(**(storage or {}))
        lake = _running(folder, known, patience=10) if wanted == known else None
        if lake and all(state in service.ALIVE for _, state, _ in programs(folder)):
            return lake
        return _start(folder, wanted, seconds)


def find(folder: Path) -> Lake | None:
    """Find the lake of a folder if it runs and answers."""
    folder = Path(folder).resolve()
    known = definition.load(folder)
    return _running(folder, known, patience=0) if known else None


def down(folder: Path, *, delete: bool = False) -> bool:
    """Stop everything of the lake in a folder; its data stay unless they are to be deleted.

    Returns:
        Whether anything had been running.
    """
    return service.down(folder, "lake", definition.load, processes.sweep, delete=delete)


def programs(folder: Path) -> list[tuple[str, str, int]]:
    """List the programs of the lake in a folder: name, state, pid."""
    return service.programs(folder, definition.load)


def _running(folder: Path, known: Definition, *, patience: float) -> Lake | None:
    """Give the lake if it runs; while its supervisor lives, it may need a moment."""
    deadline = time.monotonic() + patience
    while process := processes.supervisor(folder, known):
        if _answers(known):
            return Lake(folder, known.url, process.pid, False)
        if time.monotonic() > deadline:
            return None
        time.sleep(0.2)
    return None


def _answers(known: Definition) -> bool:
    """Say whether the lake's port is served, and by this lake."""
    connection = http.client.HTTPConnection("127.0.0.1", known.port, timeout=5)
    try:
        connection.request("GET", "/ping")
        answer = connection.getresponse()
        return answer.status == 200 and answer.getheader("X-Testbed-Lake") == known.name
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def server_python() -> Path:
    """Find the Python of the lake's own environment.

    Raises:
        TestbedError: It is not installed.
    """
    python = Path(os.environ.get("TESTBED_LAKE_PYTHON", _HOME / ".venv-lake/bin/python"))
    if not python.exists():
        raise TestbedError(f"the lake's environment {python} is missing", "envs/setup lake")
    return python


def _start(folder: Path, known: Definition, seconds: float) -> Lake:
    python = server_python()
    processes.sweep(folder, known)
    known = known._replace(port=configuration.free_port(known.port))
    definition.save(folder, known)
    sockets = processes.make_socket_folder(folder, known)
    private_folder(folder / "log")
    private_folder(folder / "db")
    for name, rse in known.rses.items():
        if "protocols" not in rse:
            (folder / "rse" / name).mkdir(parents=True, exist_ok=True)
    environment = _environment(folder, known)
    database: dict[str, str] = {}
    if known.database == "postgresql":
        database = postgres.prepare(folder, known, sockets)
        environment |= postgres.client_environment(folder, sockets)
    else:
        _make_sqlite(folder / "db/rucio.db")
    configuration.write_server(folder, known, python=python, sockets=sockets, database=database)
    configuration.write_clients(folder, known)
    processes.supervise(folder, python, environment)
    _wait(folder, known, seconds)
    lake = _running(folder, known, patience=seconds)
    assert lake is not None
    return lake._replace(started=True)


def _make_sqlite(path: Path) -> None:
    """Let the database write ahead: readers then never stop a writer, nor a writer them.

    The mode is a property of the file. It is set before anybody is connected, as the change needs
    the file alone: done by a connection of a running lake it waits for the others, in vain where
    one of them belongs to the same request.
    """
    connection = sqlite3.connect(path)
    try:
        (mode,) = connection.execute("pragma journal_mode=wal").fetchone()
    finally:
        connection.close()
    if mode != "wal":
        raise TestbedError(f"{path}: journal_mode stays {mode}", "use a local file system")


def _environment(folder: Path, known: Definition) -> dict[str, str]:
    """Make the environment of the lake's processes: nothing of the user's Rucio gets in."""
    library = folder / "run/python"
    library.mkdir()
    # This package alone: what else is beside it must not hide the lake's own packages.
    (library / "testbed").symlink_to(Path(__file__).resolve().parent)
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": str(folder / "run"),
        "LANG": "C.UTF-8",
        "TZ": "UTC",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONPATH": str(library),
        "RUCIO_CONFIG": str(folder / "etc/rucio.cfg"),
        processes.MARK: processes.mark(folder, known),
        **(known.environment or {}),
    }


def _wait(folder: Path, known: Definition, seconds: float) -> None:
    """Wait until the server answers and the daemons have made their first round."""
    deadline = time.monotonic() + seconds
    while missing := _missing(folder, known):
        states = processes.states(folder, known)
        failed = [name for name, one in states.items() if one["statename"] == "FATAL"]
        if failed or time.monotonic() > deadline:
            culprit = failed[0] if failed else missing
            what = "does not start" if failed else f"is not ready after {seconds:.0f} s"
            failure = service.failure(folder, culprit, f"the lake's {culprit} {what}")
            processes.sweep(folder, known)
            raise failure
        time.sleep(0.1)


def _missing(folder: Path, known: Definition) -> str:
    """Name a program that is not ready yet."""
    if not _answers(known):
        return "server"
    return "" if (folder / "run/daemons.heartbeat").exists() else "daemons"
