"""All daemons of the lake in one process, each run only when the database has work for it.

Rucio's daemons are processes that poll for minutes. A laptop's lake needs answers within a second
and rest when nothing happens: so this loop counts, with one query, what each daemon would find.
"""

from __future__ import annotations

import logging
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rucio.daemons.common import HeartbeatHandler
from rucio.db.sqla import models
from rucio.db.sqla.constants import DatabaseOperationType
from rucio.db.sqla.session import db_session, get_engine
from sqlalchemy import delete, text
from sqlalchemy.exc import OperationalError

from testbed.rucio import steps, transfers
from testbed.rucio.bootstrap import fill_once
from testbed.rucio.lock import DatabaseLock, around_transactions, tune_sqlite

LOG = logging.getLogger("testbed")
HEARTBEAT = Path("run/daemons.heartbeat")
BUSY, IDLE, LONGEST_IDLE = 0.2, 0.5, 1.0
LONGEST_RETRY = 30.0


@dataclass
class Pace:
    """When a daemon is due: at once for new work, ever later for work that it cannot do."""

    left: int = 0
    wait: float = 0.0
    not_before: float = 0.0

    def due(self, work: int, now: float) -> bool:
        """Say whether it should run now, given how much work there is."""
        if work != self.left:
            self.wait = 0.0
            return work > 0
        return work > 0 and now >= self.not_before

    def ran(self, work: int, now: float) -> None:
        """Note what it had found: should it find as much the next time, it waits."""
        self.wait = min(max(2 * self.wait, 0.5), LONGEST_RETRY)
        self.left, self.not_before = work, now + self.wait


class Loop:
    """The daemons of one lake.

    Args:
        handler: The heartbeat that tells daemons that they are alone.
    """

    def __init__(self, handler: HeartbeatHandler) -> None:
        self._stop = False
        self._paces = {name: Pace() for name in steps.WORK}
        self._steps = steps.daemons(handler)

    def stop(self, *_: object) -> None:
        """End after the current step."""
        self._stop = True
        transfers.COPIES.finished.set()

    def run(self) -> None:
        """Run until stopped."""
        pause = IDLE
        while not self._stop:
            start = time.monotonic()
            worked = self._pass()
            HEARTBEAT.touch()
            # Busy daemons leave two thirds of the time to the server.
            busy = max(BUSY, 2 * (time.monotonic() - start))
            pause = min(busy, LONGEST_IDLE) if worked else min(max(IDLE, pause * 1.2), LONGEST_IDLE)
            transfers.COPIES.finished.wait(pause)  # a copy that ended is work at once
            transfers.COPIES.finished.clear()

    def _pass(self) -> bool:
        worked = False
        found = steps.work()
        for name, run in self._steps.items():
            if worked:  # what one daemon did is work for the next
                found = steps.work()
            pace = self._paces[name]
            if self._stop or not pace.due(found[name], time.monotonic()):
                pace.left = found[name]
                continue
            self._run(name, run)
            HEARTBEAT.touch()
            pace.ran(found[name], time.monotonic())
            worked = True
        return worked

    @staticmethod
    def _run(name: str, run: Callable[[], Any]) -> None:
        start = time.monotonic()
        try:
            run()
        except Exception:  # one daemon's failure must not stop the others; it is tried again
            LOG.exception("%s failed", name)
        LOG.info("%s: %.2f s", name, time.monotonic() - start)


def _wait_for_database(seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while True:
        try:
            with get_engine().connect() as connection:
                connection.execute(text("select 1"))
            return
        except OperationalError:
            if time.monotonic() > end:
                raise
            time.sleep(0.1)


def main() -> None:
    """Fill the lake if it is new, then run its daemons until a signal ends them."""
    logging.basicConfig(
        level=logging.WARNING, format="%(asctime)s %(levelname)s %(message)s", force=True
    )
    LOG.setLevel(logging.INFO)
    if get_engine().dialect.name == "sqlite":
        tune_sqlite(get_engine())
        around_transactions(get_engine(), DatabaseLock(Path("run/database.lock")))
    _wait_for_database()
    fill_once()
    with db_session(DatabaseOperationType.WRITE) as session:
        # Daemons of a lake that was killed would count as colleagues who do half of the work.
        session.execute(delete(models.Heartbeat))
    with HeartbeatHandler(executable="testbed-lake", renewal_interval=300) as handler:
        loop = Loop(handler)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, loop.stop)
        loop.run()


if __name__ == "__main__":
    main()
