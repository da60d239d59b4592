"""Put: files and their dataset into the lake, safe to repeat after any crash.

The order is: content of the DIDs compared, dataset made; then, in batches, the names taken
(registered as COPYING and attached, in one transaction in which the lake compares the content
again), bytes on the storage and verified there, replicas declared AVAILABLE; then rule and
metadata. Whatever of it an earlier attempt did is found and left alone. As a name is taken before
a byte moves, two writers of other content under one name cannot damage each other's bytes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from nanolake import sources
from nanolake.errors import LakeError
from nanolake.lake import rules, storage
from nanolake.lake.client import Did, explained, repeated
from nanolake.lake.content import adler

# Files that are registered in one call: what a killed run has uploaded in vain is no more.
_BATCH = 20
_THREADS = 4
_TAKEN = "the name is taken by other content, and a DID is for ever"
_RENAME = "choose another name: campaign of the configuration, or dataset of the lake's file"


def put(
    client: Any,
    files: Sequence[Mapping[str, Any]],
    *,
    dataset: str,
    rse: str,
    lifetime: float | None = None,
    metadata: Mapping[str, Any] | None = None,
    comment: str = "",
    schemes: Sequence[str] = (),
) -> dict[str, Any]:
    """Upload files, register them, attach them to a dataset and ask for its replication.

    Args:
        client: Rucio's.
        files: [{path, did}], where known with events.
        dataset: DID of the dataset; made if it does not exist.
        rse: RSE expression of the rule; the files go to one of its RSEs.
        lifetime: Days that the rule keeps them, None for ever.
        metadata: JSON metadata of the dataset.
        comment: Of the rule.
        schemes: Of the protocols to upload with, where the RSE has one of them.

    Returns:
        {dataset, rule, rse_expression, expires_at, files: [{path, did, bytes, adler32, rse,
        action: uploaded | present | repaired}]}

    Raises:
        LakeError: A name is taken by other content, or lake or storage refuse.
    """
    stamped = [{**file, **sources.stamp(file["path"])} for file in files]
    known = _compare(client, stamped)
    target = _target(client, rse, stamped, known)
    # Before a byte moves: an account that may not write to the scope is told so here.
    _make_dataset(client, dataset)
    done = _store(client, target, dataset, stamped, known, schemes)
    rule = _rule(client, dataset, rse, lifetime, comment)
    if metadata:
        scope, name = Did.parse(dataset)
        with explained(f"metadata of {dataset}"):
            repeated(lambda: client.set_metadata_bulk(scope, name, dict(metadata)))
    return {"dataset": dataset, **rule, "files": done}


def _compare(client: Any, files: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, str]]:
    """Compare the DIDs that exist with the files.

    Returns:
        DID to {RSE: state} of its replicas, for those that the lake knows.

    Raises:
        LakeError: A DID has other content.
    """
    dids = [Did.parse(file["did"]).plain() for file in files]
    with explained("DIDs"):
        rows = client.get_metadata_bulk(dids, plugin="DID_COLUMN")
        found = {f"{row['scope']}:{row['name']}": row for row in rows}
    taken = []
    for file in files:
        row = found.get(file["did"])
        if row and (row["bytes"], adler(row["adler32"])) != (file["bytes"], file["adler32"]):
            there = f"{row['bytes']} bytes, adler32 {row['adler32']}"
            taken.append(f"{file['did']} ({there}; ours {file['bytes']}, {file['adler32']})")
    if taken:
        raise LakeError("; ".join(taken), _TAKEN, _RENAME)
    if not found:
        return {}
    with explained("replicas"):
        rows = client.list_replicas([Did.parse(did).plain() for did in found], all_states=True)
        states = {f"{row['scope']}:{row['name']}": row["states"] for row in rows}
    return {did: states.get(did, {}) for did in found}


def _target(
    client: Any,
    expression: str,
    files: Sequence[Mapping[str, Any]],
    known: Mapping[str, Mapping[str, str]],
) -> dict[str, Any]:
    """The RSE to upload to: writable, with quota for what is missing, holding most already.

    Raises:
        LakeError: None can be used; each is named with its reason.
    """
    with explained(f"RSEs {expression}"):
        names = sorted(row["rse"] for row in client.list_rses(expression))
        usage = client.get_local_account_usage(client.account)
        remaining = {row["rse"]: row["bytes_remaining"] for row in usage}
    here = {
        name: sum(states.get(name) == "AVAILABLE" for states in known.values()) for name in names
    }
    reasons = []
    for name in sorted(names, key=lambda name: (-here[name], name)):
        missing = [f for f in files if known.get(f["did"], {}).get(name) != "AVAILABLE"]
        need = sum(file["bytes"] for file in missing)
        with explained(name):
            settings = client.get_rse(name)
        if need and not settings["availability_write"]:
            reasons.append(f"{name} is blocked for writing")
        elif need and name not in remaining:
            reasons.append(f"the account {client.account} has no quota on {name}")
        elif need and need >= float(remaining[name]):  # Rucio wants a byte more than that
            left = float(remaining[name])
            reasons.append(f"quota on {name}: {need} bytes needed, {left:.0f} left")
        else:
            return dict(settings)
    remedy = "ask for quota, wait until an RSE may be written to, or choose others"
    raise LakeError(f"RSEs {expression}", "; ".join(reasons) or "there is none", remedy)


def _store(
    client: Any,
    target: Mapping[str, Any],
    dataset: str,
    files: Sequence[Mapping[str, Any]],
    known: Mapping[str, Mapping[str, str]],
    schemes: Sequence[str],
) -> list[dict[str, Any]]:
    """Register, attach and upload what is missing on the target, in batches."""
    name = target["rse"]
    done = []
    for batch in _batches(files):
        _take(client, dataset, name, batch)
        missing = [f for f in batch if known.get(f["did"], {}).get(name) != "AVAILABLE"]
        with ThreadPoolExecutor(_THREADS) as pool:
            attempts = [
                (file, pool.submit(storage.store, target, file, schemes=schemes))
                for file in missing
            ]
        stored = {f["did"]: a.result() for f, a in attempts if not a.exception()}
        _declare(client, name, [file for file in missing if file["did"] in stored])
        for _, attempt in attempts:
            attempt.result()  # the first failure ends it, after its neighbours are declared
        for file in batch:
            half = name in known.get(file["did"], {}) and file["did"] in stored
            action = "repaired" if half else stored.get(file["did"], "present")
            row = {key: file[key] for key in ("path", "did", "bytes", "adler32")}
            done.append({**row, "rse": name, "action": action})
            print(f"{action}: {file['did']} on {name}", flush=True)
    return done


def _batches(files: Sequence[Mapping[str, Any]]) -> Iterator[Sequence[Mapping[str, Any]]]:
    for begin in range(0, len(files), _BATCH):
        yield files[begin : begin + _BATCH]


def _take(client: Any, dataset: str, rse: str, files: Sequence[Mapping[str, Any]]) -> None:
    """Register replicas as COPYING and attach them; what is there already is left as it is.

    Raises:
        LakeError: A name was taken by other content since we looked, or is dead for ever.
    """
    from rucio.common import exception

    dids = []
    for file in files:
        row: dict[str, Any] = {**Did.parse(file["did"]).plain(), "state": "C"}
        row |= {"bytes": file["bytes"], "adler32": file["adler32"]}
        events = file.get("events")
        dids.append(row if events is None else {**row, "meta": {"events": events}})
    attachment = {**Did.parse(dataset).plain(), "rse": rse, "dids": dids}
    with explained(f"registration in {dataset}"):
        try:
            repeated(lambda: client.attach_dids_to_dids([attachment], ignore_duplicate=True))
        except exception.FileConsistencyMismatch as error:
            raise LakeError(dataset, f"{_TAKEN} ({error})", _RENAME) from error
        except exception.UnsupportedOperation as error:
            if "LOST" not in str(error):
                raise
            problem = f"the lake has given a file up as lost, and its name with it ({error})"
            remedy = "choose another scope or name, or ask the lake's people to reset its state"
            raise LakeError(dataset, problem, remedy) from error


def _declare(client: Any, rse: str, files: Sequence[Mapping[str, Any]]) -> None:
    """Declare replicas AVAILABLE whose bytes are on the storage.

    A server or client that is killed before leaves them COPYING for ever: the next attempt comes
    here again.
    """
    rows = [{**Did.parse(f["did"]).plain(), "bytes": f["bytes"], "state": "A"} for f in files]
    if rows:
        with explained(f"replicas on {rse}"):
            repeated(lambda: client.update_replicas_states(rse, rows))


def _make_dataset(client: Any, dataset: str) -> None:
    from rucio.common import exception

    did = Did.parse(dataset)
    with explained(dataset):
        try:
            repeated(lambda: client.add_dataset(*did))
        except exception.DataIdentifierAlreadyExists:
            print(f"present: {dataset}")
        except exception.AccessDenied as error:
            # Rucio asks whose a scope is before it asks whether there is one.
            if did.scope in client.list_scopes():
                raise
            problem = f"the scope {did.scope} does not exist"
            remedy = "choose one of `rucio scope list`, or ask for it to be made"
            raise LakeError(dataset, problem, remedy) from error


def _rule(
    client: Any, dataset: str, expression: str, lifetime: float | None, comment: str
) -> dict[str, Any]:
    """One rule for the dataset: the one that exists already for the account, or a new one."""
    rule = rules.add(client, dataset, expression, lifetime=lifetime, comment=comment)
    with explained(f"rule {expression} for {dataset}"):
        expires = client.get_replication_rule(rule)["expires_at"]
    return {
        "rule": rule,
        "rse_expression": expression,
        "expires_at": str(expires) if expires else None,
    }
