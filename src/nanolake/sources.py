"""Where bytes come from: the one module that decides whether an input may be opened.

A file is a plain mapping: path (a local path or a root:// URL), bytes, adler32, events; the last
three are None where nobody has said.
"""

from __future__ import annotations

import errno
import os
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from nanolake import protocols
from nanolake.errors import CredentialError, InputError

_BLOCK = 1 << 20


def is_remote(path: str) -> bool:
    """Whether a path is a URL that ROOT opens over the network."""
    return "://" in path


def local_path(pfn: str) -> str:
    """The path behind a file:// URL; anything else as it is."""
    parts = urlsplit(pfn)
    return unquote(parts.path) if parts.scheme == "file" else pfn


def adler32(path: str | os.PathLike[str]) -> str:
    """Checksum of a local file as Rucio and the Open Data portal give it: 8 hexadecimal digits."""
    value = 1
    with open(path, "rb") as stream:
        while block := stream.read(_BLOCK):
            value = zlib.adler32(block, value)
    return f"{value:08x}"


def stamp(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Size and checksum of a local file: {bytes, adler32}."""
    return {"bytes": os.stat(path).st_size, "adler32": adler32(path)}


def describe(path: str, name: str = "") -> dict[str, Any]:
    """Size, time of last change and checksum of an input; of a remote one, nothing is known.

    Raises:
        InputError: A local file is missing or empty.
    """
    if is_remote(path):
        return {"bytes": None, "mtime_ns": None, "adler32": None}
    status = _status(path, name or Path(path).stem)
    return {"bytes": status.st_size, "mtime_ns": status.st_mtime_ns, "adler32": adler32(path)}


def verify(file: Mapping[str, Any], name: str, *, how: str = "checksum") -> None:
    """Compare a local input with what the catalogue says of it, before a byte of it is used.

    The checksum is computed again if the file was touched since it was catalogued, as many units
    read the same large file, or if `full` is wanted.

    Args:
        file: path, bytes, adler32 and, where known, mtime_ns.
        name: Sample or DID, for the message.
        how: `size` alone, `checksum`, or `full`.

    Raises:
        InputError: The file is missing, empty, or another one than the catalogue's.
    """
    path = file["path"]
    if is_remote(path):
        return
    status = _status(path, name)
    if file["bytes"] is not None and status.st_size != file["bytes"]:
        problem = f"it has {status.st_size} bytes, the catalogue says {file['bytes']}"
        raise InputError(name, path, problem, "copy it again: it is cut short or another file")
    untouched = how != "full" and status.st_mtime_ns == file.get("mtime_ns")
    if how == "size" or file["adler32"] is None or untouched:
        return
    if (found := adler32(path)) != file["adler32"]:
        problem = f"its adler32 is {found}, the catalogue says {file['adler32']}"
        raise InputError(name, path, problem, "copy it again: its content is damaged or replaced")


# A server that is dead or hangs is an error after 5 to 30 seconds; by default after 3 to 8 minutes.
FAIL_FAST = {
    "XRD_REQUESTTIMEOUT": "30",
    "XRD_STREAMTIMEOUT": "15",
    "XRD_CONNECTIONWINDOW": "5",
    "XRD_CONNECTIONRETRY": "2",
    "XRD_STREAMERRORWINDOW": "0",
    "XRD_TIMEOUTRESOLUTION": "1",
}


def environment() -> dict[str, str]:
    """The environment of whatever opens root://: this process's, in which XRootD fails fast.

    XRootD's client reads it once, when it is loaded. The user's own XRD_* stay as they are.
    """
    return {**FAIL_FAST, **os.environ}


def copy(pfn: str, target: str | os.PathLike[str], name: str) -> None:
    """Copy a replica to a local path; the caller compares it with the catalogue.

    Raises:
        InputError: It cannot be read.
        CredentialError: Its storage wants another credential.
    """
    try:
        protocols.protocol(pfn).get(pfn, target)
    except protocols.StorageError as error:
        if error.kind in protocols.CREDENTIAL:
            raise CredentialError(name, f"{pfn}: {error}", protocols.REFUSED) from error
        cause = "disk" if error.kind == "full" else "storage"
        remedy = "see that its storage is up; another replica is tried"
        problem = f"it cannot be copied ({error})"
        raise InputError(name, pfn, problem, remedy, cause=cause) from error


def _status(path: str, name: str) -> os.stat_result:
    try:
        status = os.stat(path)
    except OSError as error:
        problem = f"it cannot be found ({error.strerror})"
        # Who answers that it is not there does answer.
        cause = "input" if error.errno in (errno.ENOENT, errno.ENOTDIR) else "storage"
        remedy = "check the path, or get the file again"
        raise InputError(name, path, problem, remedy, cause=cause) from error
    if status.st_size == 0:
        raise InputError(name, path, "it is empty", "copy it again: nothing of it arrived")
    return status
