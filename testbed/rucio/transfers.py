"""A transfer tool that moves bytes between the RSEs of this machine.

Rucio's own tools need an FTS server, or move nothing. This one copies files in threads of the
daemons' process, or lets storage copy them, outside any transaction, and verifies size and adler32
before a file gets its final name.
"""

from __future__ import annotations

import logging
import os
import shutil
import threading
import uuid
import zlib
from collections.abc import Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from rucio.core import transfer as transfer_core
from rucio.db.sqla.constants import RequestState
from rucio.transfertool.transfertool import (
    TransferStatusReport,
    Transfertool,
    TransferToolBuilder,
)

from testbed.rucio import webdav

LOG = logging.getLogger(__name__)
NAME = "testbed-copy"
SCHEMES = ["file", "https", "davs"]
_CHUNK = 4 * 1024 * 1024


class Outcome(NamedTuple):
    """What became of one request: the error is empty when its file arrived."""

    request: str
    error: str
    started: datetime
    ended: datetime


def _now() -> datetime:
    return datetime.now(UTC).replace(tzinfo=None)  # Rucio's times are naive and in UTC


def copy_verified(source: Path, target: Path, size: int | None, adler32: str | None) -> None:
    """Copy a file and give it its name once its bytes are what the catalogue says.

    Raises:
        OSError: One of the files cannot be read or written.
        ValueError: Size or checksum of the source differ from the catalogue's.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name}.{uuid.uuid4().hex}")
    checksum, written = 1, 0
    try:
        with source.open("rb") as reading, partial.open("xb") as writing:
            while chunk := reading.read(_CHUNK):
                checksum = zlib.adler32(chunk, checksum)
                written += writing.write(chunk)
            writing.flush()
            os.fsync(writing.fileno())
        if size is not None and written != size:
            raise ValueError(f"source has {written} bytes, the catalogue says {size}")
        if adler32 and f"{checksum:08x}" != adler32.rjust(8, "0").lower():
            raise ValueError(f"source has adler32 {checksum:08x}, the catalogue says {adler32}")
        shutil.copymode(source, partial)
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)


def _copy(source: str, target: str, size: int | None, adler32: str | None) -> str:
    """Copy as the scheme of the URLs, which both have, demands; says how."""
    if not source.startswith("file:"):
        return webdav.copy_verified(source, target, size, adler32)
    copy_verified(_path(source), _path(target), size, adler32)
    return "copied"


def _path(url: str) -> Path:
    return Path(urlsplit(url, allow_fragments=False)._replace(scheme="", netloc="").geturl())


class Copies:
    """The copies that are under way, and the outcomes that Rucio has not asked for yet."""

    def __init__(self, threads: int = 2) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="copy")
        self._jobs: dict[str, Future[list[Outcome]]] = {}
        self.finished = threading.Event()

    def submit(self, job: list[tuple[str, list[str], str, int | None, str | None]]) -> str:
        """Start a job of (request, source URLs, destination URL, size, adler32); give its name."""
        name = uuid.uuid4().hex
        self._jobs[name] = self._pool.submit(lambda: [self._one(*request) for request in job])
        self._jobs[name].add_done_callback(lambda _: self.finished.set())
        return name

    def knows(self, job: str) -> bool:
        """Say whether this process has started the job: another's are lost."""
        return job in self._jobs

    def outcomes(self, job: str) -> list[Outcome]:
        """Give the outcomes of a job, none while it runs."""
        future = self._jobs[job]
        return future.result() if future.done() else []

    def done(self, job: str) -> bool:
        """Say whether the outcomes of a job are all there."""
        return job in self._jobs and self._jobs[job].done()

    def forget(self, jobs: Iterable[str]) -> None:
        """Drop jobs whose outcomes are in the database."""
        for job in jobs:
            self._jobs.pop(job, None)

    def running(self) -> int:
        """Count the jobs that are not done."""
        return sum(not future.done() for future in self._jobs.values())

    @staticmethod
    def _one(
        request: str, sources: list[str], target: str, size: int | None, adler32: str | None
    ) -> Outcome:
        started, errors = _now(), []
        for source in sources:
            try:
                how = _copy(source, target, size, adler32)
            except (OSError, ValueError) as error:
                LOG.warning("%s -> %s: %s", source, target, error)
                errors.append(f"{source}: {error}")
            else:
                LOG.info("%s -> %s: %s", source, target, how)
                return Outcome(request, "", started, _now())
        return Outcome(request, "; ".join(errors)[:900] or "no source", started, _now())


COPIES = Copies()


class _Report(TransferStatusReport):
    supported_db_fields = ("state", "external_id", "started_at", "transferred_at", "err_msg")

    def __init__(self, job: str, outcome: Outcome) -> None:
        super().__init__(outcome.request)
        self.state = RequestState.FAILED if outcome.error else RequestState.DONE
        self.external_id = job
        self.started_at, self.transferred_at = outcome.started, outcome.ended
        self.err_msg = outcome.error or None

    def initialize(self, session: Any, logger: Any = logging.log) -> None:
        """Nothing is left to look up."""

    def get_monitor_msg_fields(self, session: Any, logger: Any = logging.log) -> dict[str, Any]:
        """Nobody listens to messages here."""
        return {}


class CopyTool(Transfertool):
    """Copies files between RSEs that both have the file protocol, or both https."""

    external_name = NAME
    required_rse_attrs = ()
    supported_schemes = frozenset(SCHEMES)

    def __init__(self, external_host: str = NAME, logger: Any = logging.log) -> None:
        super().__init__(external_host, logger)

    @classmethod
    def submission_builder_for_path(
        cls, transfer_path: list[Any], logger: Any = logging.log
    ) -> tuple[list[Any], TransferToolBuilder]:
        """Take every path."""
        return transfer_path, TransferToolBuilder(cls, external_host=NAME)

    def group_into_submit_jobs(self, transfer_paths: Iterable[list[Any]]) -> list[dict[str, Any]]:
        """Make one job of each path."""
        return [{"transfers": list(path), "job_params": {}} for path in transfer_paths]

    def submit(
        self, transfers: Iterable[Any], job_params: dict[str, str], timeout: int | None = None
    ) -> str:
        """Hand the copies to the threads; URLs are made here, where the database may be asked."""
        return COPIES.submit(
            [
                (
                    transfer.rws.request_id,
                    [transfer.source_url(source) for source in transfer.sources],
                    transfer.dest_url,
                    transfer.rws.byte_count,
                    transfer.rws.adler32,
                )
                for transfer in transfers
            ]
        )

    def bulk_query(
        self, requests_by_eid: Mapping[str, Mapping[str, Any]], timeout: int | None = None
    ) -> dict[str, dict[str, TransferStatusReport] | None]:
        """Report what has ended; a job of an earlier process is lost, and Rucio tries again."""
        return {
            job: {one.request: _Report(job, one) for one in COPIES.outcomes(job)}
            if COPIES.knows(job)
            else None
            for job in requests_by_eid
        }

    def cancel(self, transfer_ids: list[str], timeout: int | None = None) -> bool:
        """Let it end: a copy takes seconds, and its replica is deleted afterwards."""
        return True

    def update_priority(self, transfer_id: str, priority: int, timeout: int | None = None) -> bool:
        """Ignore priorities: copies start at once."""
        return True


transfer_core.TRANSFERTOOL_CLASSES_BY_NAME[NAME] = CopyTool
webdav.install()
