"""Bytes to and from storage: one module a protocol, each with the same six verbs.

`protocol(url)` gives the module for a URL. None of them reads more than it is asked for, waits
longer than a minute without progress, or leaves a name that stands for half a file: what is put
under a name that others look for is put beside it first and then renamed (see `lake.storage`).
"""

from __future__ import annotations

import importlib
import os
from typing import Any, Protocol, cast

from nanolake.errors import NanolakeError

_MODULES = {"file": "posix", "root": "xrootd", "roots": "xrootd", "https": "webdav",
            "davs": "webdav"}  # fmt: skip
SCHEMES = frozenset(_MODULES)
# Kinds of refusals that have to do with credentials, and what to do about them.
CREDENTIAL = ("refused", "untrusted")
REFUSED = "`nanolake doctor --lake NAME` shows what the lake needs, what was found, what it may do"


class StorageError(NanolakeError):
    """What a storage says when it refuses; who called knows what it is about and what to do.

    Args:
        problem: In the storage's own words.
        kind: `refused` (the credential is missing or does not suffice), `untrusted` (no CA that is
            known here vouches for the server), `full`, `busy`, or `other`.
    """

    def __init__(self, problem: str, kind: str = "other") -> None:
        super().__init__(problem)
        self.problem, self.kind = problem, kind


class Storage(Protocol):
    """The verbs of a protocol. All raise StorageError."""

    def stat(self, url: str) -> dict[str, Any] | None:
        """{bytes, adler32} of a file, None if there is none; adler32 is None if nobody knows."""

    def peek(self, url: str) -> None:
        """Open a file and read its first bytes; half a minute at most."""

    def put(self, path: str, url: str) -> None:
        """Copy a local file there; the folders above are made."""

    def get(self, url: str, path: str | os.PathLike[str]) -> None:
        """Copy a file to a local path."""

    def rename(self, url: str, new: str) -> None:
        """Give a file another name in its folder, in one step; who had that name is replaced."""

    def delete(self, url: str) -> None:
        """Delete a file; it may be gone already."""


def protocol(url: str) -> Storage:
    """The module that speaks the protocol of a URL; a path is a file.

    Raises:
        StorageError: There is none.
    """
    scheme = url.partition("://")[0] if "://" in url else "file"
    if scheme not in _MODULES:
        raise StorageError(f"{scheme}:// is none of {', '.join(sorted(SCHEMES))}")
    return cast(Storage, importlib.import_module(f"{__name__}.{_MODULES[scheme]}"))
