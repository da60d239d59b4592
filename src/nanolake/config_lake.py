"""What the configuration says of the lake: how inputs are found and read, where results go.

Questions that the rules ask of a resolved configuration; see `config`.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nanolake.config import dataset, samples


def has_rucio(config: Mapping[str, Any]) -> bool:
    """Whether the inputs are found in a Rucio."""
    return config["lake"]["kind"] in ("embedded", "rucio")


def client_settings(lake: Mapping[str, Any]) -> dict[str, str | None]:
    """What a Rucio client of a lake is made with: `rucio_config` (a path) and `account`."""
    if lake["kind"] != "embedded":
        return {"rucio_config": lake["rucio_config"], "account": lake["account"]}
    account = lake["account"] or "analyst"
    path = Path(lake["folder"], "clients", account, "rucio.cfg")
    return {"rucio_config": str(path), "account": account}


def dataset_did(config: Mapping[str, Any], sample: str) -> str:
    """DID of the dataset of a sample that is in the lake already."""
    lake = config["lake"]
    private = (lake["embargo"] or {}).get("dataset") if embargoed(config, sample) else None
    pattern = lake["datasets"].get(sample, private or lake["dataset"])
    return str(pattern).replace("{sample}", sample)


def embargoed(config: Mapping[str, Any], sample: str) -> bool:
    """Whether a sample is embargoed."""
    return bool(dataset(config, sample).get("embargoed"))


def is_private(config: Mapping[str, Any], part: str = "run") -> bool:
    """Whether a part of the results (an analysis, or `run`) is made from any embargoed data."""
    parts = config["analyses"] if part == "run" else [part]
    return any(embargoed(config, name) for one in parts for name in samples(config, one))


def ingest_target(config: Mapping[str, Any], sample: str) -> dict[str, Any] | None:
    """Where a sample is uploaded to: scope, dataset, rse, lifetime; None if the lake takes none."""
    lake = config["lake"]
    block = lake["embargo"] or {"ingest": None} if embargoed(config, sample) else lake
    return dict(block["ingest"]) if block["ingest"] else None


def publish_target(config: Mapping[str, Any], part: str) -> dict[str, Any] | None:
    """Where a part of the results (an analysis, or `run`) is published; None if nowhere."""
    lake = config["lake"]
    block = lake["embargo"] or {"publish": None} if is_private(config, part) else lake
    return dict(block["publish"]) if block["publish"] else None


def licence(config: Mapping[str, Any]) -> str:
    """SPDX identifier of the licence of the results: open data's is not that of embargoed ones."""
    chosen = str(config["licence"])
    return "LicenseRef-embargoed" if is_private(config) and chosen == "CC0-1.0" else chosen


def closed(config: Mapping[str, Any]) -> bool:
    """Whether something is to be read that storage does not give to anybody."""
    return bool(config["lake"]["credential"]) or is_private(config)


def cache(config: Mapping[str, Any], sample: str) -> str | None:
    """The cache that a sample is read through; that of an embargoed one asks for tokens."""
    lake = config["lake"]
    if embargoed(config, sample):
        return (lake["embargo"] or {}).get("cache")
    return lake["read"]["cache"]


def caches(config: Mapping[str, Any], analysis: str) -> dict[str, str | None]:
    """The cache of every sample of an analysis."""
    return {name: cache(config, name) for name in samples(config, analysis)}


def reading(config: Mapping[str, Any], analysis: str) -> dict[str, Any]:
    """How an analysis finds its inputs in a Rucio; empty where there is none.

    Returns:
        datasets (sample to DID; none if they are those of the receipts), client, rse, schemes,
        relock, embargoed (samples).
    """
    if not has_rucio(config):
        return {}
    lake = config["lake"]
    names = samples(config, analysis) if lake["inputs"] == "registered" else []
    return {
        "datasets": {name: dataset_did(config, name) for name in names},
        "client": client_settings(lake),
        "rse": lake["read"]["rse"],
        "schemes": lake["read"]["schemes"],
        "relock": config["relock"],
        "embargoed": [s for s in samples(config, analysis) if embargoed(config, s)],
    }


def publishing(config: Mapping[str, Any], part: str) -> dict[str, Any]:
    """How a part is published: results (folder), campaign, client, target, schemes."""
    return {
        "results": config["results"],
        "campaign": config["campaign"],
        "client": client_settings(config["lake"]),
        "target": publish_target(config, part),
        "schemes": config["lake"]["read"]["schemes"],
    }


def access(config: Mapping[str, Any], sample: str) -> str:
    """How a sample is read, `stage` or `stream`: as config.yaml, its dataset, or its lake says."""
    if config["access"] != "lake":
        return str(config["access"])
    return str(dataset(config, sample).get("access") or config["lake"]["read"]["access"])
