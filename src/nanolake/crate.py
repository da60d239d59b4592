"""The entities of a Workflow Run RO-Crate: how a run is said in the words of RO-Crate 1.1.

A file in a lake is called `rucio://scope/name`, as in Snakemake's plugin for Rucio. A file that is
in no lake lies outside the crate and has no address in the world: it gets a local name (`#…`) and
is known by its size and checksums.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import quote

from rocrate.model.contextentity import ContextEntity
from rocrate.model.entity import Entity
from rocrate.rocrate import ROCrate

from nanolake import sources

PROFILES = {
    "https://w3id.org/ro/wfrun/process/0.5": "Process Run Crate",
    "https://w3id.org/ro/wfrun/workflow/0.5": "Workflow Run Crate",
    "https://w3id.org/workflowhub/workflow-ro-crate/1.0": "Workflow RO-Crate",
}
BIOSCHEMAS = "https://bioschemas.org/profiles"
LICENCES = {
    "CC0-1.0": "Creative Commons Zero v1.0 Universal",
    "CC-BY-4.0": "Creative Commons Attribution 4.0 International",
    "MIT": "MIT License",
}
HOMES = {
    "ROOT": "https://root.cern/",
    "python": "https://www.python.org/",
    "rucio-clients": "https://rucio.cern.ch/",
}
# Words that RO-Crate 1.1 does not have. Those of our own are explained in the crate.
TERMS_URL = "https://w3id.org/ro/terms/nanolake#"
TERMS = {
    "adler32": "Adler-32 checksum of the bytes, 8 hexadecimal digits, as Rucio keeps it.",
    "events": "Number of events (entries of the event tree).",
    "generated": "Number of simulated events that a dataset stands for.",
    "luminosity": "Integrated luminosity that a dataset stands for, in inverse picobarn.",
    "rse": "Rucio storage element that holds a replica.",
    "rseExpression": "Rucio RSE expression of the rule that keeps a dataset.",
    "rule": "Identifier of the Rucio rule that keeps a dataset.",
}
# Not the module mimetypes: it reads files of the machine.
_FORMATS = {
    ".csv": "text/csv",
    ".html": "text/html",
    ".json": "application/json",
    ".md": "text/markdown",
    ".pdf": "application/pdf",
    ".png": "image/png",
    ".root": "application/x-root",
    ".smk": "text/x-snakemake",
    ".yaml": "application/yaml",
}


def create(published: str) -> ROCrate:
    """An empty crate with its profiles and words.

    Args:
        published: Time for `datePublished`, ISO 8601.
    """
    crate = ROCrate(version="1.1")
    crate.metadata.extra_terms.update({"sha256": "http://schema.org/sha256"})
    crate.metadata.extra_terms.update({term: f"{TERMS_URL}{term}" for term in TERMS})
    crate.datePublished = published
    profiles = []
    for identifier, name in PROFILES.items():
        version = identifier.rpartition("/")[2]
        profiles.append(add(crate, identifier, "CreativeWork", name=name, version=version))
    crate.root_dataset["conformsTo"] = profiles
    for term, comment in TERMS.items():
        known = {"rdfs:label": term, "rdfs:comment": comment}
        add(crate, f"{TERMS_URL}{term}", "rdf:Property", **known)
    return crate


def add(crate: ROCrate, identifier: str, kind: str, /, **properties: Any) -> Entity:
    """Add an entity that is no file of the crate; properties without a value are left out."""
    known = {key: value for key, value in properties.items() if value not in (None, "", [])}
    return crate.add(ContextEntity(crate, identifier, properties={"@type": kind, **known}))


def several(entities: Iterable[Entity]) -> list[Entity] | Entity | None:
    """A property's value: a list only if there are several."""
    found = list(entities)
    return found if len(found) > 1 else (found[0] if found else None)


def fill(entity: Entity, **properties: Any) -> Entity:
    """Set the properties that have a value."""
    for key, value in properties.items():
        if value not in (None, "", []):
            entity[key] = value
    return entity


def licence(crate: ROCrate, identifier: str) -> Entity:
    """A licence by its SPDX identifier."""
    name = LICENCES.get(identifier, identifier)
    if identifier.startswith("LicenseRef-"):  # SPDX's form of a licence that is not in its list
        return add(crate, f"#{identifier}", "CreativeWork", name=name, identifier=identifier)
    address = f"https://spdx.org/licenses/{identifier}"
    return add(crate, address, "CreativeWork", name=name, identifier=identifier, url=address)


def did_url(did: str) -> str:
    """`scope:name` as `rucio://scope/name`."""
    scope, _, name = did.partition(":")
    return f"rucio://{quote(scope)}/{quote(name)}"


def bytes_of(name: str, content: bytes) -> dict[str, str]:
    """Format, size and checksum of a file in the crate."""
    return {
        "encodingFormat": _FORMATS.get(Path(name).suffix, "text/plain"),
        "contentSize": str(len(content)),
        "sha256": hashlib.sha256(content).hexdigest(),
    }


def contained(crate: ROCrate, name: str, content: bytes, **properties: Any) -> Entity:
    """Add a file of the crate."""
    known = {"name": name, **bytes_of(name, content)}
    return fill(crate.add_file(BytesIO(content), name), **known, **properties)


def outside(crate: ROCrate, local: str, facts: Mapping[str, Any], **properties: Any) -> Entity:
    """A file that is not in the crate.

    Args:
        crate: The crate.
        local: What it is called here: a relative path, or a URL.
        facts: Its did, bytes, adler32, sha256, events, as far as they are known.
        **properties: More of it.
    """
    did, size = facts.get("did"), facts.get("bytes")
    known = {
        "name": did.partition(":")[2] if did else local,
        "alternateName": local if did and local else None,
        "identifier": did,
        "contentSize": None if size is None else str(size),
        "encodingFormat": _FORMATS.get(Path(local or did or "").suffix),
        **{key: facts.get(key) for key in ("adler32", "sha256", "events")},
        **properties,
    }
    if did or sources.is_remote(local):
        published = crate.root_dataset["datePublished"]
        entity = crate.add_file(did_url(did) if did else local)
        return fill(entity, **known, sdDatePublished=published)
    del known["alternateName"]
    return add(crate, f"#{quote(local)}", "File", **known)


def dataset(crate: ROCrate, local: str, did: str | None, **properties: Any) -> Entity:
    """A dataset of the lake, or the files of a sample if they are in no lake."""
    if not did:
        return add(crate, f"#{quote(local)}", "Dataset", name=local, **properties)
    entity = crate.add_dataset(did_url(did))
    published = crate.root_dataset["datePublished"]
    name = did.partition(":")[2]
    known = {"name": name, "identifier": did, "sdDatePublished": published}
    return fill(entity, **known, **properties)


def replica(crate: ROCrate, file: str, place: str, addresses: Sequence[str]) -> Entity:
    """A place where a file was read or put.

    Args:
        crate: The crate.
        file: Name of the file.
        place: Its storage element, or its URL if it is in none.
        addresses: Its URLs there, without secrets.
    """
    known = {
        "name": f"{file} at {place}",
        "contentUrl": addresses[0] if len(addresses) == 1 else list(addresses),
        "rse": None if sources.is_remote(place) else place,
    }
    identifier = f"#replica/{quote(place, safe='')}/{quote(file, safe='')}"
    return add(crate, identifier, "DataDownload", **known)


def formal(crate: ROCrate, side: str, name: str, kind: str, examples: Sequence[Entity]) -> Entity:
    """A parameter of the workflow and what it was in this run.

    Args:
        crate: The crate.
        side: `input` or `output`.
        name: Its name.
        kind: Its additionalType: File, Dataset, Text, Integer, Float, Boolean.
        examples: What it was in this run.
    """
    entity = add(
        crate,
        f"#{side}/{quote(name)}",
        "FormalParameter",
        name=name,
        additionalType=kind,
        conformsTo={"@id": f"{BIOSCHEMAS}/FormalParameter/1.0-RELEASE"},
        workExample=several(examples),
    )
    for example in examples:
        example["exampleOfWork"] = entity
    return entity


def value(crate: ROCrate, name: str, content: Any) -> tuple[Entity, str]:
    """A value of the configuration, and its type."""
    kinds: dict[type, str] = {bool: "Boolean", int: "Integer", float: "Float"}
    kind = kinds.get(type(content), "Text")
    if not isinstance(content, str):
        content = json.dumps(content)
    properties = {"name": name, "value": content or "(empty)"}
    return add(crate, f"#value/{quote(name)}", "PropertyValue", **properties), kind


def software(crate: ROCrate, versions: Mapping[str, Sequence[str]]) -> list[Entity]:
    """Programs and their versions; a program has several if not all units had the same."""
    return [
        add(
            crate,
            f"#software/{quote(name)}-{quote(version)}",
            "SoftwareApplication",
            name=name,
            softwareVersion=version,
            url=HOMES.get(name),
        )
        for name, found in sorted(versions.items())
        for version in found
    ]
