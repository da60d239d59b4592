"""Rules: where the lake keeps a dataset and for how long; another QoS class, and the end."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from nanolake.errors import LakeError
from nanolake.lake.client import Did, explained, repeated

_ENDING = 60  # seconds that an expired rule may need to go


def rules_of(client: Any, did: str) -> list[dict[str, Any]]:
    """The rules of a DID: [{id, account, rse_expression, state, ok, replicating, stuck, expires_at,
    error}].
    """
    with explained(did):
        rows = client.list_did_rules(*Did.parse(did))
        return [
            {
                **{key: row[key] for key in ("id", "account", "rse_expression", "state")},
                "ok": row["locks_ok_cnt"],
                "replicating": row["locks_replicating_cnt"],
                "stuck": row["locks_stuck_cnt"],
                "expires_at": str(row["expires_at"]) if row["expires_at"] else None,
                "error": row["error"],
            }
            for row in rows
        ]


def add(
    client: Any, did: str, rse: str, *, lifetime: float | None = None, comment: str = ""
) -> str:
    """Ask for one copy of a DID on RSEs; returns the id of the rule, an old one if it exists.

    An old one that has expired but that the lake has not removed yet is of no use: its replicas go
    with it. Its end is waited for.

    Raises:
        LakeError: The account may not, or there is no room.
    """
    from rucio.common import exception

    seconds = None if lifetime is None else round(lifetime * 86400)
    options = {"lifetime": seconds, "grouping": "DATASET", "comment": comment or None}
    what, end = [Did.parse(did).plain()], time.monotonic() + _ENDING
    with explained(f"{did} on {rse}"):
        while True:
            try:
                (rule,) = repeated(lambda: client.add_replication_rule(what, 1, rse, **options))
                return str(rule)
            except exception.DuplicateRule:
                for row in client.list_did_rules(*Did.parse(did)):
                    ours = (row["account"], row["rse_expression"]) == (client.account, rse)
                    if ours and not _expired(row):
                        return str(row["id"])
            if time.monotonic() > end:
                problem = f"its earlier rule there has expired, but is there after {_ENDING} s"
                raise LakeError(f"{did} on {rse}", problem, "run again when the lake removed it")
            time.sleep(0.5)


def _expired(rule: dict[str, Any]) -> bool:
    """Whether the time of a rule is over; the lake's times are in UTC."""
    expires = rule["expires_at"]
    return expires is not None and expires <= datetime.now(UTC).replace(tzinfo=None)


def wait(
    client: Any, rule: str, *, timeout: float, say: Callable[[dict[str, Any]], None] | None = None
) -> None:
    """Wait until a rule has all its replicas.

    Args:
        client: Rucio's.
        rule: Its id.
        timeout: Seconds.
        say: Called with the rule at every look.

    Raises:
        LakeError: A transfer is stuck, or the time is over.
    """
    end = time.monotonic() + timeout
    while True:
        with explained(f"rule {rule}"):
            row = client.get_replication_rule(rule)
        if say:
            say(row)
        if row["state"] == "OK":
            return
        if row["state"] == "STUCK":
            problem = f"its transfers are stuck ({row['error'] or 'no reason given'})"
            raise LakeError(f"rule {rule}", problem, "see the lake's transfers; it tries again")
        if time.monotonic() > end:
            state = f"{row['locks_ok_cnt']} files there, {row['locks_replicating_cnt']} to come"
            remedy = "it goes on by itself: look later with `nanolake lake rules`"
            raise LakeError(f"rule {rule}", f"not done after {timeout:.0f} s: {state}", remedy)
        time.sleep(0.5)


def expire(client: Any, rule: str) -> None:
    """End a rule now: the lake may delete the replicas that only it protects."""
    with explained(f"rule {rule}"):
        client.update_replication_rule(rule, {"lifetime": 0})


def move(client: Any, did: str, rse: str, *, lifetime: float | None, timeout: float) -> str:
    """Move a DID to RSEs of another class: copied there, then its other rules of ours end.

    Nothing ends before all replicas are at the new place.

    Returns:
        Id of the rule at the new place.

    Raises:
        LakeError: The move is not possible, or not finished in time; the old rules then stay.
    """
    rule = add(client, did, rse, lifetime=lifetime)
    wait(client, rule, timeout=timeout)
    for row in rules_of(client, did):
        if row["id"] != rule and row["account"] == client.account:
            expire(client, row["id"])
    return rule
