"""One lock around the SQLite database of a lake, held by one process and one thread at a time.

Rucio leaves it to the database to keep transactions apart. SQLite through Python's driver does not
(it begins a transaction at the first write, after the reads it rests on), and concurrent uploads
lose most of what they register. With this lock no two transactions of server and daemons overlap:
the server holds it for one request, the daemons for one transaction.
"""

from __future__ import annotations

import fcntl
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, event

StartResponse = Callable[..., Any]
Application = Callable[[dict[str, Any], StartResponse], Iterable[bytes]]


class DatabaseLock:
    """A lock between threads and processes; its thread may take it again.

    Args:
        path: File that stands for the lock; made when it is missing.
    """

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        self._threads = threading.Condition()
        self._owner: int | None = None
        self._depth = 0

    def acquire(self) -> None:
        """Wait for the lock and take it."""
        me = threading.get_ident()
        with self._threads:
            if self._owner == me:
                self._depth += 1
                return
            while self._owner is not None:
                self._threads.wait()
            self._owner, self._depth = me, 1
        fcntl.flock(self._descriptor, fcntl.LOCK_EX)

    def release(self) -> None:
        """Give the lock back; any thread may do it, as a garbage collector closes sessions."""
        with self._threads:
            self._depth -= 1
            if self._depth == 0:
                fcntl.flock(self._descriptor, fcntl.LOCK_UN)
                self._owner = None
                self._threads.notify()

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold the lock for a block."""
        self.acquire()
        try:
            yield
        finally:
            self.release()


def around_requests(application: Application, lock: DatabaseLock) -> Application:
    """Make a WSGI application that holds the lock for each of its requests.

    Answers that Rucio streams from the database are read to their end inside the lock.
    """

    def locked(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        with lock.held():
            answer = application(environ, start_response)
            try:
                return list(answer)
            finally:
                if hasattr(answer, "close"):
                    answer.close()

    return locked


def around_transactions(engine: Engine, lock: DatabaseLock) -> None:
    """Hold the lock for as long as a connection is out of the engine's pool: one transaction."""
    event.listen(engine, "checkout", lambda *_: lock.acquire())
    event.listen(engine, "checkin", lambda *_: lock.release())


def tune_sqlite(engine: Engine) -> None:
    """Do not wait for the disk at every commit; a power cut costs the last seconds."""

    def pragmas(connection: Any, _record: Any) -> None:
        connection.execute("pragma synchronous=normal")

    event.listen(engine, "connect", pragmas)
