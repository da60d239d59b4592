"""Files on the storage of an RSE: put there whole, or not at all, and read back."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from nanolake import protocols, sources
from nanolake.errors import CredentialError, LakeError
from nanolake.lake.client import Did, explained
from nanolake.protocols import StorageError


def pfn_of(
    rse: Mapping[str, Any], did: str, operation: str, schemes: Sequence[str] = ()
) -> tuple[str, bool]:
    """The URL of a file on an RSE, and whether the storage can rename files.

    Args:
        rse: What `client.get_rse` says of the RSE.
        did: DID of the file.
        operation: `read` or `write`.
        schemes: Of the protocols that we speak, one of these is taken where the RSE has one.

    Raises:
        LakeError: The RSE has no protocol that we speak.
    """
    from rucio.rse import rsemanager

    offered = [one for one in rse["protocols"] if one["domains"]["wan"].get(operation)]
    offered.sort(key=lambda one: one["domains"]["wan"][operation])
    known = [one for one in offered if one["scheme"] in protocols.SCHEMES]
    if not known:
        has = ", ".join(one["scheme"] for one in offered) or "none"
        problem = f"no protocol of the RSE to {operation} with is known here (it has {has})"
        remedy = f"choose RSEs with one of {', '.join(sorted(protocols.SCHEMES))}"
        raise LakeError(rse["rse"], problem, remedy)
    chosen = next((one for one in known if one["scheme"] in schemes), known[0])
    # The class that the RSE names may need what is not installed here, to write the same name: with
    # the port, or, as of a folder, without.
    impl = f"rucio.rse.protocols.{'webdav' if chosen['port'] else 'posix'}.Default"
    alone = {**rse, "protocols": [{**chosen, "impl": impl}]}
    (pfn,) = rsemanager.lfns2pfns(alone, Did.parse(did).plain(), operation=operation).values()
    return pfn, not chosen["impl"].endswith("NoRename")


def store(rse: Mapping[str, Any], file: Mapping[str, Any], *, schemes: Sequence[str] = ()) -> str:
    """Put one file on an RSE; it appears under its name when it is whole and verified.

    Args:
        rse: What `client.get_rse` says of the RSE.
        file: path, did, bytes, adler32.
        schemes: See `pfn_of`.

    Returns:
        `uploaded`, or `present` if an earlier attempt had put these bytes there.

    Raises:
        LakeError: The storage refuses, or holds other bytes than were sent.
        CredentialError: It refuses what it was shown.
    """
    what = f"{file['did']} on {rse['rse']}"
    with explained(what), _on_storage(what):
        pfn, renaming = pfn_of(rse, file["did"], "write", schemes)
        storage = protocols.protocol(pfn)
        if found := storage.stat(pfn):
            if _same(found, file):
                return "present"
            # Bytes without a registration: the caller has seen that the lake knows no such DID,
            # or one with our content, so these are a damaged copy or the rest of a killed upload.
            storage.delete(pfn)
        # A name of its own: two writers of one file must not write into each other's bytes.
        part = f"{pfn}.{uuid.uuid4().hex[:8]}.rucio.upload" if renaming else pfn
        try:
            storage.put(file["path"], part)
            if not _same(storage.stat(part), file):
                raise LakeError(what, "other bytes arrived than were sent", "run again")
            if renaming:
                storage.rename(part, pfn)
        except Exception:
            # What arrived of it must not fill the storage, least of all one that is full.
            with suppress(StorageError):
                storage.delete(part)
            raise
    return "uploaded"


def _same(found: Mapping[str, Any] | None, file: Mapping[str, Any]) -> bool:
    """Whether the storage holds these bytes, as far as it can say."""
    if found is None or found["bytes"] != file["bytes"]:
        return False
    return found["adler32"] in (None, file["adler32"])


@contextmanager
def _on_storage(what: str) -> Iterator[None]:
    """Turn what a storage says into an error about `what`."""
    try:
        yield
    except StorageError as error:
        kind, problem = LakeError, f"the storage refuses ({error})"
        remedy = "check that the RSE is up and may be written to, or choose others; run again"
        if error.kind in protocols.CREDENTIAL:
            kind, remedy = CredentialError, protocols.REFUSED
        elif error.kind == "full":
            problem = f"the storage is full ({error})"
            remedy = "free space on the RSE or choose others, and run again"
        raise kind(what, problem, remedy) from error


def verified(
    rse: Mapping[str, Any], file: Mapping[str, Any], folder: Path, *, schemes: Sequence[str] = ()
) -> None:
    """Read a replica back, whole, and compare it with what was put there.

    Raises:
        LakeError: It is not the same.
    """
    copy, what = folder / uuid.uuid4().hex, f"{file['did']} on {rse['rse']}"
    try:
        with explained(what), _on_storage(what):
            pfn, _ = pfn_of(rse, file["did"], "read", schemes)
            protocols.protocol(pfn).get(pfn, copy)
        found = sources.stamp(copy)
    finally:
        copy.unlink(missing_ok=True)
    if found != {"bytes": file["bytes"], "adler32": file["adler32"]}:
        problem = f"read back, it has {found['bytes']} bytes and adler32 {found['adler32']}"
        remedy = "declare the replica bad (`rucio replica state update bad`) and run again"
        raise LakeError(what, problem, remedy)
