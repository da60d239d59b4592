"""Bytes to and from the storage of an RSE, through Rucio's own protocols."""

from __future__ import annotations

import errno
import os
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from nanolake import sources
from nanolake.errors import LakeError
from nanolake.lake.client import Did, explained
from nanolake.lake.content import adler

_REFUSED = "check that the RSE is up and that the account may use it, or choose others; run again"
_STORAGE = {
    *("DestinationNotAccessible", "ServiceUnavailable", "SourceNotFound", "RSENotConnected"),
    *("RSEAccessDenied", "SourceAccessDenied", "RSEOperationNotSupported"),
}


def _protocol(client: Any, rse: Mapping[str, Any], operation: str) -> Any:
    from rucio.rse import rsemanager

    protocol = rsemanager.create_protocol(dict(rse), operation, auth_token=client.auth_token)
    protocol.connect()
    return protocol


def _same(protocol: Any, pfn: str, file: Mapping[str, Any]) -> bool:
    """Whether the storage holds these bytes under a name."""
    found = protocol.stat(pfn)
    size, checksum = found.get("filesize"), adler(found.get("adler32"))
    return int(size) == file["bytes"] and checksum in (None, file["adler32"])


def store(client: Any, rse: Mapping[str, Any], file: Mapping[str, Any]) -> str:
    """Put one file on an RSE; it appears under its name when it is whole and verified.

    Args:
        client: Rucio's.
        rse: What `client.get_rse` says of the RSE.
        file: path, did, bytes, adler32.

    Returns:
        `uploaded`, or `present` if an earlier attempt had put these bytes there.

    Raises:
        LakeError: The storage refuses, or holds other bytes than were sent.
    """
    did, what = Did.parse(file["did"]), f"{file['did']} on {rse['rse']}"
    with explained(what), _on_storage(what):
        protocol = _protocol(client, rse, "write")
        (pfn,) = protocol.lfns2pfns(did.plain()).values()
        if protocol.exists(pfn):
            if _same(protocol, pfn, file):
                return "present"
            # Bytes without a registration: the caller has seen that the lake knows no such DID,
            # or one with our content, so these are a damaged copy or the rest of a killed upload.
            protocol.delete(pfn)
        # A name of its own: two writers of one file must not write into each other's bytes.
        part = f"{pfn}.{uuid.uuid4().hex[:8]}.rucio.upload" if protocol.renaming else pfn
        try:
            _put(protocol, file["path"], part)
            if not _same(protocol, part, file):
                raise LakeError(what, "other bytes arrived than were sent", "run again")
            if part != pfn:
                protocol.rename(part, pfn)
        except Exception:
            # What arrived of it must not fill the storage, least of all one that is full.
            if protocol.exists(part):
                protocol.delete(part)
            raise
        protocol.close()
    return "uploaded"


def _put(protocol: Any, path: str, pfn: str) -> None:
    source = os.path.abspath(path)
    for last in (False, True):
        try:
            protocol.put(os.path.basename(source), pfn, source_dir=os.path.dirname(source))
            return
        except Exception as error:
            cause = _system_error(error)
            # Rucio's posix protocol looks for a folder and then makes it: another writer may have
            # made it in between.
            if not last and cause and cause.errno == errno.EEXIST:
                continue
            raise (cause or error) from error


def _system_error(error: BaseException | None) -> OSError | None:
    """The system's error behind one of Rucio, whose posix protocol stumbles over its own words."""
    while error:
        inner = error.args[0] if error.args else None
        for candidate in (error, inner):
            if isinstance(candidate, OSError):
                return candidate
        error = error.__cause__ or error.__context__
    return None


@contextmanager
def _on_storage(what: str) -> Iterator[None]:
    """Turn what a protocol raises about its storage into an error about `what`."""
    try:
        yield
    except LakeError:
        raise
    except Exception as error:
        if not (isinstance(error, OSError) or type(error).__name__ in _STORAGE):
            raise
        text = " ".join(str(error).split())[:300]
        if "No space left" in text:
            remedy = "free space on the RSE or choose others, and run again"
            raise LakeError(what, "the storage is full", remedy) from error
        raise LakeError(what, f"the storage refuses ({text})", _REFUSED) from error


def verified(client: Any, rse: Mapping[str, Any], file: Mapping[str, Any], folder: Path) -> None:
    """Read a replica back, whole, and compare it with what was put there.

    Raises:
        LakeError: It is not the same.
    """
    copy, what = folder / uuid.uuid4().hex, f"{file['did']} on {rse['rse']}"
    try:
        with explained(what), _on_storage(what):
            protocol = _protocol(client, rse, "read")
            (pfn,) = protocol.lfns2pfns(Did.parse(file["did"]).plain()).values()
            protocol.get(pfn, str(copy))
            protocol.close()
        found = sources.stamp(copy)
    finally:
        copy.unlink(missing_ok=True)
    if found != {"bytes": file["bytes"], "adler32": file["adler32"]}:
        problem = f"read back, it has {found['bytes']} bytes and adler32 {found['adler32']}"
        remedy = "declare the replica bad (`rucio replica state update bad`) and run again"
        raise LakeError(what, problem, remedy)
