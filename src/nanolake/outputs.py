"""Outputs: files that appear under their names when all of them is there."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def whole(path: str | Path) -> Iterator[Path]:
    """Where to write a file, which gets its name at the end and is removed after an error.

    The place is this process's own. A host that was cut off from the others may still be at work
    on what another one has been given, and both end well.

    Args:
        path: Name of the file; its folder is made.
    """
    target = Path(path)
    part = target.with_name(f".{target.name}.{platform.node()}-{os.getpid()}.part")
    part.parent.mkdir(parents=True, exist_ok=True)
    try:
        yield part
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)


def clear(folder: str | Path) -> None:
    """Remove what processes that were killed have left in a folder."""
    for left in Path(folder).glob(".*.part"):
        left.unlink(missing_ok=True)
