"""A campaign of 100,000 files: what Snakemake has to think about stays small."""

from __future__ import annotations

import copy
import json
import resource
from typing import Any

import pytest
from workspace import DIMUON, REPOSITORY, Workspace

from nanolake import catalogue, plan
from nanolake.config import load_yaml

FILES, EVENTS = 100_000, 20_000


@pytest.fixture
def campaign(workspace: Workspace) -> dict[str, Any]:
    """Configuration of a dataset of 100,000 files, catalogued and planned."""
    uris = [f"root://example.org//store/data/{n // 1000:03d}/{n:06d}.root" for n in range(FILES)]
    files = [
        {"uri": uri, "bytes": 2_000_000 + n, "adler32": f"{n:08x}", "events": EVENTS}
        for n, uri in enumerate(uris)
    ]
    datasets = copy.deepcopy(load_yaml(REPOSITORY / "config" / "datasets.yaml"))
    datasets["analyses"] = {"dimuon": datasets["analyses"]["dimuon"]}
    entry = datasets["analyses"]["dimuon"]["datasets"][DIMUON]
    entry["places"] = {"portal": {"events": FILES * EVENTS, "files": files}}
    # JSON is YAML.
    (workspace.folder / "datasets.yaml").write_text(json.dumps(datasets))
    folder = workspace.path("dimuon")
    folder.mkdir(parents=True)
    (folder / "engine").touch()
    content = {
        "analysis": "dimuon",
        "tree": "Events",
        "luminosity": {"dimuon": 1.0},
        "weights": {DIMUON: {"dimuon": 1.0}},
        "samples": {
            DIMUON: {
                **{key: entry[key] for key in ("kind", "stream", "channels", "processes")},
                "luminosity": 1.0,
                "events": FILES * EVENTS,
                "files": [
                    {"path": file["uri"], "clusters": [0, EVENTS], "mtime_ns": None}
                    | {key: file[key] for key in ("bytes", "adler32", "events")}
                    for file in files
                ],
            }
        },
    }
    catalogue.write(folder / "catalogue.json", content)
    replicas = {file["uri"]: [{"rse": None, "pfn": file["uri"]}] for file in files}
    catalogue.write(folder / "replicas.json", replicas)
    catalogue.write(folder / "plan.json", plan.build(content, events_per_unit=10_000_000))
    return {"analyses": ["dimuon"], "datasets": "datasets.yaml", "lake": "opendata"}


def test_dry_run_of_100_000_files_takes_at_most_30_cpu_seconds(
    workspace: Workspace, campaign: dict[str, Any]
) -> None:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    run = workspace.run("-n", "dimuon", config=campaign)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert len(run.of("skim")) == FILES * EVENTS // 10_000_000 == 200
    assert not run.rules() & {"engine", "catalogue", "plan"}
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    print(f"{seconds:.1f} CPU seconds")
    assert seconds <= 30
