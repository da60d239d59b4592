"""Stage: inputs copied to local scratch and checked there, shared by the units of one node."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from nanolake import sources
from nanolake.errors import InputError


def folder(scratch: str | None) -> Path:
    """The folder of staged inputs of this user within a scratch folder, TMPDIR by default."""
    return Path(scratch or tempfile.gettempdir()) / f"nanolake-staged-{os.getuid()}"


@contextmanager
def staged(
    file: Mapping[str, Any],
    pfn: str,
    *,
    scratch: str | None,
    unit: str,
    users: int,
    again: bool = False,
) -> Iterator[str]:
    """A verified local copy of a replica while the block runs.

    Units that read the same file at the same time or one after the other share the copy: each
    holds a shared lock on it. The last of the file's units to succeed here removes it; what other
    nodes or a failure leave behind goes with `clean`, or with the job's own TMPDIR.

    Args:
        file: path (its DID), bytes, adler32.
        pfn: URL of the replica.
        scratch: Scratch folder; None for TMPDIR.
        unit: Name of the unit that reads it.
        users: Number of units that read the file in this run.
        again: Compare a copy that another unit has made with the catalogue, too.

    Yields:
        Path of the copy.

    Raises:
        InputError: The replica cannot be read or is not what the catalogue says, or scratch is
            full.
    """
    place = folder(scratch) / f"{file['adler32']}-{file['bytes']}"
    copy = place / "input.root"
    # Shared by readers from before the copy is made until they are done, so nobody removes it.
    # Who makes the copy has another lock, so that no reader waits for another to be done.
    with locked(place.with_suffix(".lock"), fcntl.LOCK_SH) as lock:
        with locked(place.with_suffix(".making"), fcntl.LOCK_EX):
            if not copy.exists() or (again and sources.adler32(copy) != file["adler32"]):
                fetch(file, pfn, copy)
        yield str(copy)
        (place / f"done-{unit}").touch()
        if len(list(place.glob("done-*"))) >= users:
            _remove(place, lock)


@contextmanager
def locked(path: Path, how: int) -> Iterator[IO[str]]:
    """A lock of a copy, held while the block runs; its file is beside it and may be removed."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    while True:
        with open(path, "w") as lock:
            fcntl.flock(lock, how)
            # Removed while we waited: others lock another file of that name.
            if path.exists() and os.fstat(lock.fileno()).st_ino == path.stat().st_ino:
                yield lock
                return


def _remove(place: Path, lock: IO[str]) -> bool:
    """Remove a copy that nobody reads."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    if place.exists():
        shutil.rmtree(place)
    for suffix in (".making", ".lock"):
        place.with_suffix(suffix).unlink(missing_ok=True)
    return True


def fetch(file: Mapping[str, Any], pfn: str, target: Path) -> None:
    """Copy a replica, compare it with the catalogue, and only then give it its name.

    Args:
        file: path (its DID), bytes, adler32.
        pfn: URL of the replica.
        target: Path of the copy; its folder is made, for this user alone.

    Raises:
        InputError: The replica cannot be read or is not what the catalogue says, or the disk is
            full.
        CredentialError: Its storage wants another credential.
    """
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    free = shutil.disk_usage(target.parent).free
    if file["bytes"] is not None and free < file["bytes"]:
        problem = f"{file['bytes'] / 1e9:.1f} GB do not fit into scratch ({free / 1e9:.1f} GB free)"
        remedy = "free space, choose another folder (--config scratch=DIR), or access=stream"
        raise InputError(file["path"], str(target.parent), problem, remedy, cause="disk")
    part, started = target.with_suffix(".part"), time.monotonic()
    try:
        sources.copy(pfn, part, file["path"])
        _check(file, pfn, part)
        part.rename(target)
    finally:
        part.unlink(missing_ok=True)
    seconds = time.monotonic() - started
    rate = target.stat().st_size / 1e6 / max(seconds, 1e-6)
    print(f"staged {file['path']} from {pfn} in {seconds:.1f} s ({rate:.0f} MB/s)", flush=True)


def _check(file: Mapping[str, Any], pfn: str, part: Path) -> None:
    """The copy must be what the catalogue says; the message names the replica, not the copy."""
    found = sources.stamp(part)
    for key, what in (("bytes", "bytes"), ("adler32", "adler32")):
        if file[key] is not None and found[key] != file[key]:
            problem = f"its copy has {what} {found[key]}, the catalogue says {file[key]}"
            remedy = "declare the replica bad, so that the lake makes it again"
            raise InputError(file["path"], pfn, problem, remedy)


def clean(scratch: str | None) -> int:
    """Remove staged copies that nobody reads; returns how many stay because somebody does."""
    stay = 0
    for lock in folder(scratch).glob("*.lock"):
        with open(lock, "w") as stream:
            stay += not _remove(lock.with_suffix(""), stream)
    with suppress(OSError):  # it is not there, or not empty as somebody has begun to stage
        folder(scratch).rmdir()
    return stay
