"""Embargo: what is made from embargoed data is for its owner alone on every local disk.

Where such data are read from and published to is configuration: see `config_checks`.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from nanolake.errors import EmbargoError

UMASK = 0o077
_OTHERS = 0o077


def begin(cached: Sequence[str] | None) -> None:
    """New files of this process and its children are for their owner alone.

    Args:
        cached: Rules whose outputs a between-workflow cache is asked to keep.

    Raises:
        EmbargoError: A between-workflow cache is asked for.
    """
    os.umask(UMASK)
    if cached is not None:
        problem = "embargoed data must not enter a between-workflow cache"
        raise EmbargoError("snakemake --cache", problem, "leave --cache away")


def keep_private(folders: Iterable[str | os.PathLike[str]]) -> None:
    """What an earlier run has left is for its owner alone, too.

    Args:
        folders: Where the run writes; those that do not exist are skipped.
    """
    for folder in map(Path, folders):
        for path in (folder, *folder.rglob("*")):
            if path.is_symlink() or not path.exists():
                continue
            mode = path.stat().st_mode
            if mode & _OTHERS:
                path.chmod(mode & 0o700)


def check_private(paths: Iterable[str | os.PathLike[str]]) -> None:
    """Embargoed local files must be for their owner alone.

    Raises:
        EmbargoError: Somebody else may read one.
    """
    for path in map(Path, paths):
        if path.exists() and path.stat().st_mode & _OTHERS:
            problem = "it is embargoed, and others than its owner may read it"
            raise EmbargoError(str(path), problem, f"chmod go-rwx {path}")
