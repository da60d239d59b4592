"""Lists of what the lake holds, for people."""

from __future__ import annotations

from typing import Any

from nanolake.lake.client import Did, explained


def datasets(client: Any, pattern: str, *, scope: str | None = None) -> list[dict[str, Any]]:
    """Datasets by name: [{did, files, bytes, rses: [RSE with all of it]}].

    Args:
        client: Rucio's.
        pattern: Name, with * for anything.
        scope: Scope; None for all.
    """
    rows = []
    with explained(f"{scope or '*'}:{pattern}"):
        for name in [scope] if scope else sorted(client.list_scopes()):
            for found in client.list_dids(name, [{"name": pattern}], did_type="dataset"):
                rows.append(_dataset(client, Did(name, found)))
    return sorted(rows, key=lambda row: str(row["did"]))


def _dataset(client: Any, did: Did) -> dict[str, Any]:
    about = client.get_did(*did, dynamic_depth="FILE")
    places = client.list_dataset_replicas(*did, deep=True)
    complete = [row["rse"] for row in places if row["available_length"] == row["length"]]
    return {
        "did": str(did),
        "files": about["length"] or 0,
        "bytes": about["bytes"] or 0,
        "rses": sorted(complete),
    }
