"""Provenance: a run as a Workflow Run RO-Crate.

The crate lies in `results/provenance/` and holds the workflow, the configuration, the ledger, the
input locks and the receipts; it describes the inputs (DIDs, checksums, the replicas really used),
the outputs (sizes, checksums, DIDs where published), the software and the command. Nothing in it
depends on the time or the machine it is written on.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import version
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from rocrate.model.entity import Entity
from rocrate.rocrate import ROCrate

from nanolake import crate as words
from nanolake import evidence, redact, sources
from nanolake.catalogue import read
from nanolake.errors import NanolakeError
from nanolake.evidence import git_state as git_state

METADATA = "ro-crate-metadata.json"
TITLE = "Provenance of a run of nanolake"
README = f"""# {TITLE}

An RO-Crate (https://w3id.org/ro/crate/1.1) of the profile Workflow Run Crate: what the run read,
with checksums and the replicas used (`ledger.json`, `inputs.lock/`), what it made and where that
was published (`published/`), by which workflow (`Snakefile`) and configuration (`config.yaml`).
`{METADATA}` says how it belongs together.
"""
LICENCE = "MIT"  # of the workflow


def _add_copies(
    crate: ROCrate,
    config_file: str | Path,
    ledger_file: str | Path,
    locks: Mapping[str, str],
    receipts: Mapping[str, str],
) -> dict[str, list[Entity]]:
    """Put the documents of the run into the crate, without credentials and absolute paths."""

    def copy(name: str, path: str | Path) -> Entity:
        content, changed = redact.file(path)
        note = "Copied without credentials and absolute paths." if changed else "Copied as it was."
        return words.contained(crate, name, content, description=note)

    result = {"config": [copy("config.yaml", config_file)]}
    result["ledger"] = [copy("ledger.json", ledger_file)]
    for kind, paths in (("inputs.lock", locks), ("published", receipts)):
        result[kind] = [copy(f"{kind}/{name}.json", path) for name, path in sorted(paths.items())]
    return result


def _add_lakes(crate: ROCrate, locks: Mapping[str, Mapping[str, Any]]) -> dict[str, Entity]:
    lakes: dict[str, Entity] = {}
    for _, lock in sorted(locks.items()):
        if name := lock.get("lake"):
            host = redact.url(lock.get("host") or "")
            # The address of a lake on this machine means nothing to anybody else.
            here = urlsplit(host).hostname in (None, "localhost", "127.0.0.1", "::1")
            address = "" if here else host
            lakes[name] = words.add(crate, f"#lake/{name}", "DataCatalog", name=name, url=address)
    return lakes


def _add_replicas(crate: ROCrate, file: str, used: Iterable[tuple[str, str]]) -> list[Entity]:
    """The storage elements a file was read from; a path of this machine alone says nothing."""
    places: dict[str, list[str]] = {}
    for rse, address in sorted(used):
        remote = [address] if sources.is_remote(address) else []
        if rse or remote:
            places.setdefault(rse or address, []).extend(remote)
    return [words.replica(crate, file, place, found) for place, found in places.items()]


def _add_inputs(
    crate: ROCrate, found: evidence.Inputs, lakes: Mapping[str, Entity], licence: Entity
) -> list[Entity]:
    entities = {}
    for name, facts in sorted(found.files.items()):
        copies = _add_replicas(crate, name, facts["replicas"])
        local = "" if facts["did"] else facts["path"]
        if local and not sources.is_remote(local):
            local = f"inputs/{local}"
        known = {"distribution": words.several(copies), "license": licence}
        entities[name] = words.outside(crate, local, facts, **known)
    datasets = []
    for name, entry in sorted(found.datasets.items()):
        known = {key: entry.get(key) for key in evidence.STANDS_FOR}
        known |= {"license": licence, "includedInDataCatalog": lakes.get(entry["lake"] or "")}
        known |= {"hasPart": words.several(entities[file] for file in entry["files"])}
        datasets.append(words.dataset(crate, f"inputs/{name}", entry.get("did"), **known))
    return datasets


def _add_outputs(
    crate: ROCrate,
    outputs: Mapping[str, Mapping[str, Any]],
    receipts: Mapping[str, Mapping[str, Any]],
    licence: Entity,
) -> dict[str, Entity]:
    entities = {}
    for local, facts in outputs.items():
        known: dict[str, Any] = {"license": licence}
        if did := facts.get("did"):
            known["distribution"] = words.replica(crate, did, facts["rse"], [])
        entities[local] = words.outside(crate, local, facts, **known)
    for analysis, receipt in sorted(receipts.items()):
        known = {
            "description": f"Results of {analysis}",
            "license": licence,
            "expires": receipt.get("expires_at"),
            "rule": receipt.get("rule"),
            "rseExpression": receipt.get("rse_expression"),
            "hasPart": words.several(entities[file["path"]] for file in receipt["files"]),
        }
        words.dataset(crate, "", receipt["dataset"], **known)
    return entities


def _output_kind(local: str) -> str:
    """What an output is: `ntuples`, `plots`, `histograms`, `cutflow`, `report`, ..."""
    parts = Path(local).parts
    return parts[1] if len(parts) > 2 else Path(local).stem


def _add_workflow(
    crate: ROCrate,
    workflow_file: str | Path,
    includes: Sequence[str | Path],
    versions: Mapping[str, Sequence[str]],
    **properties: Any,
) -> Entity:
    """The Snakefile as the main entity, with the files it includes."""
    main = Path(workflow_file)
    licence = properties["license"]
    parts = []
    for path in sorted(map(Path, includes)):
        name = path.relative_to(main.parent).as_posix()
        parts.append(words.contained(crate, name, path.read_bytes(), license=licence))
    language = "/".join(versions.get("snakemake", [])) or None
    content = BytesIO(main.read_bytes())
    entity = crate.add_workflow(
        content, main.name, main=True, lang="snakemake", lang_version=language
    )
    conforms = {"@id": f"{words.BIOSCHEMAS}/ComputationalWorkflow/1.0-RELEASE"}
    # The language says Snakemake's version, the workflow nanolake's.
    others = {k: v for k, v in versions.items() if k not in ("nanolake", "snakemake")}
    needs = words.software(crate, others)
    known = {"name": "nanolake", "conformsTo": conforms, "hasPart": words.several(parts)}
    known |= words.bytes_of(main.name, content.getvalue())
    words.fill(entity, **known, softwareRequirements=words.several(needs), **properties)
    return entity


def _add_agent(crate: ROCrate, agent: Mapping[str, str] | None) -> Entity | None:
    if not agent:
        return None
    place = agent.get("affiliation")
    known = words.add(crate, "#affiliation", "Organization", name=place) if place else None
    orcid = agent.get("orcid") or "#agent"
    return words.add(crate, orcid, "Person", name=agent["name"], affiliation=known)


def _add_run(
    crate: ROCrate,
    workflow: Entity,
    command: Sequence[str],
    given: Mapping[str, list[Entity]],
    made: Mapping[str, Entity],
    parameters: Mapping[str, Any],
) -> Entity:
    """The action: what went in, what came out; and the parameters of the workflow behind them."""
    inputs = []
    for name, entities in sorted(given.items()):
        if not entities:
            continue
        kind = "Dataset" if "Dataset" in entities[0].type else "File"
        inputs.append(words.formal(crate, "input", name, kind, entities))
    values = []
    for name, content in sorted(parameters.items()):
        entity, kind = words.value(crate, name, redact.document({name: content})[name])
        values.append(entity)
        inputs.append(words.formal(crate, "input", name, kind, [entity]))
    kinds: dict[str, list[Entity]] = {}
    for local, entity in made.items():
        kinds.setdefault(_output_kind(local), []).append(entity)
    outputs = [words.formal(crate, "output", name, "File", kinds[name]) for name in sorted(kinds)]
    words.fill(workflow, input=words.several(inputs), output=words.several(outputs))
    return words.add(
        crate,
        "#run",
        "CreateAction",
        name="Run of nanolake",
        description=redact.command(command),
        instrument=workflow,
        object=[*(entity for name in sorted(given) for entity in given[name]), *values],
        result=words.several(made.values()),
        actionStatus="http://schema.org/CompletedActionStatus",
    )


def run(
    folder: str | Path,
    *,
    workflow_file: str | Path,
    config_file: str | Path,
    ledger_file: str | Path,
    outputs: Sequence[str],
    results: str,
    command: Sequence[str],
    software: Mapping[str, str],
    git: Mapping[str, Any],
    locks: Mapping[str, str] | None = None,
    receipts: Mapping[str, str] | None = None,
    includes: Sequence[str | Path] = (),
    parameters: Mapping[str, Any] | None = None,
    repository: str = "",
    agent: Mapping[str, str] | None = None,
    started: str = "",
    ended: str = "",
    data_licence: str = "CC0-1.0",
) -> None:
    """Write the crate of a run; it appears under its name only when it is complete.

    Args:
        folder: Folder of the crate; a crate that is there is replaced.
        workflow_file: The Snakefile.
        config_file: The resolved configuration.
        ledger_file: The ledger.
        outputs: Files that the run made, below `results`.
        results: Folder of the results, as in `outputs`.
        command: The command line.
        software: Program to version; those of nanolake, ROOT and python in the ledger are added.
        git: What `git_state` says of the workflow's folder.
        locks: Analysis to its inputs.lock.json.
        receipts: Analysis to its published.json.
        includes: Other files of the workflow, below the folder of the Snakefile.
        parameters: The choices of the configuration that a reader looks for first.
        repository: URL of the workflow's repository.
        agent: Who ran it: name and, if wanted, orcid (URL) and affiliation.
        started: Start, ISO 8601; else that of the first unit that says it.
        ended: End, ISO 8601; else that of the last unit, or the time of the ledger.
        data_licence: SPDX identifier of the licence of inputs and outputs.

    Raises:
        InputError: Locks, ledger, receipts and outputs do not tell of one run.
        NanolakeError: The folder holds something that is no crate.
    """
    ledger = read(ledger_file)
    lock, receipt = ({k: read(v) for k, v in (paths or {}).items()} for paths in (locks, receipts))
    found = evidence.inputs(lock, ledger["units"])
    inside = {Path(path).resolve() for path in (config_file, ledger_file)}
    paths = [path for path in outputs if Path(path).resolve() not in inside]
    made = evidence.outputs(paths, results, receipt)
    versions = evidence.versions(software, ledger["units"])
    first, last = evidence.times(ledger["units"], ledger_file)
    crate = words.create(ended or last)
    data, code = words.licence(crate, data_licence), words.licence(crate, LICENCE)
    known = {**evidence.identity(git, versions), "license": code}
    known |= {"url": redact.url(repository)} if repository else {}
    workflow = _add_workflow(crate, workflow_file, includes, versions, **known)
    copies = _add_copies(crate, config_file, ledger_file, locks or {}, receipts or {})
    given = {"configuration": copies["config"], "input locks": copies["inputs.lock"]}
    given["datasets"] = _add_inputs(crate, found, _add_lakes(crate, lock), data)
    result = _add_outputs(crate, made, receipt, data)
    result |= {entity.id: entity for kind in ("ledger", "published") for entity in copies[kind]}
    action = _add_run(crate, workflow, command, given, result, parameters or {})
    person = _add_agent(crate, agent)
    words.fill(action, startTime=started or first, endTime=ended or last, agent=person)
    _write(crate, Path(folder), mentions=action, author=person, license=data)


def of_run(
    metadata_file: str,
    *,
    snakefile: str,
    config_file: str,
    ledger_file: str,
    locks: Mapping[str, str],
    receipts: Mapping[str, str],
    outputs: Sequence[str],
    licence: str,
) -> None:
    """Write the crate of a run of this repository's workflow; see `run`.

    The command that it names is the one that repeats the run, not the one that was typed: the crate
    does not depend on the number of cores.
    """
    workflow = Path(snakefile)
    packages = ("snakemake", "rucio-clients", "rocrate")
    folder = Path(metadata_file).parent
    run(
        folder,
        workflow_file=workflow,
        config_file=config_file,
        ledger_file=ledger_file,
        outputs=outputs,
        results=str(folder.parent),
        command=["snakemake", "--configfile", config_file],
        software={name: version(name) for name in packages},
        git=git_state(workflow.parent),
        locks=locks,
        receipts=receipts,
        data_licence=licence,
        includes=sorted((workflow.parent / "workflow" / "rules").glob("*.smk")),
    )


def _write(crate: ROCrate, folder: Path, **properties: Any) -> None:
    """Write the crate beside its place, then put it there."""
    description = "What a run of nanolake read, did and made, with checksums and identifiers."
    about = {"about": crate.root_dataset, "encodingFormat": "text/markdown"}
    words.fill(words.contained(crate, "README.md", README.encode()), **about)
    words.fill(crate.root_dataset, name=TITLE, description=description, **properties)
    # Snakemake removes the metadata file, an output, before the job; the README still says it.
    ours = folder / "README.md"
    ours_here = ours.exists() and ours.read_text().startswith(f"# {TITLE}")
    if folder.exists() and any(folder.iterdir()) and not ours_here:
        raise NanolakeError(f"{folder}: holds files, but no crate\n  remedy:  move them away")
    part = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    crate.write(part)
    if folder.exists():
        shutil.rmtree(folder)
    part.rename(folder)
