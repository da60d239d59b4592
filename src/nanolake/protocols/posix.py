"""file:// and paths: storage that is mounted here. The verbs are those of `protocols.Storage`."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from nanolake import sources
from nanolake.protocols import StorageError

_FULL = (errno.ENOSPC, errno.EDQUOT)


@contextmanager
def _said() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        kind = "full" if error.errno in _FULL else "other"
        raise StorageError(error.strerror or str(error), kind) from error


def stat(url: str) -> dict[str, Any] | None:
    """See `protocols.Storage`."""
    with _said(), suppress(FileNotFoundError):
        return sources.stamp(sources.local_path(url))
    return None


def peek(url: str) -> None:
    """See `protocols.Storage`."""
    with _said(), open(sources.local_path(url), "rb") as stream:
        stream.read(64)


def put(path: str, url: str) -> None:
    """See `protocols.Storage`; the file keeps its mode."""
    target = Path(sources.local_path(url))
    with _said():
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)


def get(url: str, path: str | os.PathLike[str]) -> None:
    """See `protocols.Storage`."""
    with _said():
        shutil.copyfile(sources.local_path(url), path)


def rename(url: str, new: str) -> None:
    """See `protocols.Storage`."""
    with _said():
        os.replace(sources.local_path(url), sources.local_path(new))


def delete(url: str) -> None:
    """See `protocols.Storage`."""
    with _said():
        Path(sources.local_path(url)).unlink(missing_ok=True)
