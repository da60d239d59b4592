"""A file of every dataset that will be read, and where it is, before anything is catalogued."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nanolake import config as settings
from nanolake import config_lake
from nanolake.catalogue import read
from nanolake.lake import content
from nanolake.lake.client import connect
from nanolake.preflight import Dataset
from nanolake.replicas import through


def datasets(config: Mapping[str, Any]) -> list[Dataset]:
    """The datasets of a configuration, as far as they are known.

    Those that the run itself will put into the lake are known once it has.

    Args:
        config: A resolved configuration.

    Raises:
        LakeError: The lake does not answer.
    """
    places: dict[str, list[dict[str, Any]]] = {}
    for analysis in config["analyses"]:
        if config_lake.has_rucio(config):
            places |= _in_rucio(config, analysis)
        elif config["lake"]["kind"] == "urls":
            places |= _at_urls(config, analysis)
    return [
        Dataset(name, tuple(row["pfn"] for row in rows), config_lake.embargoed(config, name))
        for name, rows in places.items()
        if rows
    ]


def _at_urls(config: Mapping[str, Any], analysis: str) -> dict[str, list[dict[str, Any]]]:
    own = config["inputs"]
    return {
        name: through(
            cache, [{"rse": None, "pfn": settings.place(config, name)["files"][0]["uri"]}]
        )
        for name, cache in config_lake.caches(config, analysis).items()
        if not (own and os.path.lexists(os.path.join(own, f"{name}.root")))
    }


def _in_rucio(config: Mapping[str, Any], analysis: str) -> dict[str, list[dict[str, Any]]]:
    reading = config_lake.reading(config, analysis)
    known, receipt = reading["datasets"], Path(config["results"], analysis, "ingested.json")
    if not known and receipt.exists():
        known = {name: entry["dataset"] for name, entry in read(receipt)["datasets"].items()}
    if not known:
        return {}
    rucio = connect(**reading["client"])
    files = content.files_if_any(rucio, list(known.values()))
    first = {name: files[did][0]["did"] for name, did in known.items() if files[did]}
    found = content.replicas_of_samples(
        rucio,
        first,
        rse=reading["rse"],
        schemes=reading["schemes"],
        caches=config_lake.caches(config, analysis),
    )
    return {name: found.get(did, []) for name, did in first.items()}
