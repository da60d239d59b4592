"""Replicas behind unauthenticated root://, staged and streamed from a real XRootD server."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from testbed.xrootd import Site

from nanolake import engine, plan, skim, sources
from nanolake.catalogue import read
from nanolake.generate import generate_file

SAMPLE, EVENTS = "Run2012BC_DoubleMuParked_Muons", 3000


@pytest.fixture(scope="module")
def origin(site: Site) -> tuple[str, Path]:
    """A file on a server that asks for nothing: its URL, and the file."""
    name = f"/lake/cms/{SAMPLE}.root"
    path = site.storage("open") / name[1:]
    path.parent.mkdir(exist_ok=True)
    generate_file(SAMPLE, path, events=EVENTS, seed=1)
    return site.url("open", path=name).replace("localhost", "127.0.0.1"), path


@pytest.mark.parametrize("access", ["stream", "stage"])
def test_root_replica_is_read_where_another_is_missing(
    origin: tuple[str, Path], tmp_path: Path, access: str
) -> None:
    url, path = origin
    file = {"path": "cms:it", "events": EVENTS, **sources.stamp(path), "clusters": []}
    catalogue = {
        "analysis": "dimuon",
        "tree": "Events",
        "samples": {SAMPLE: {"kind": "data", "channels": ["dimuon"], "files": [file]}},
        "weights": {SAMPLE: {"dimuon": 1.0}},
    }
    made = plan.build(catalogue, events_per_unit=EVENTS, access={SAMPLE: access})
    (tmp_path / "plan.json").write_text(json.dumps(made))
    missing = {"rse": "GONE", "pfn": url.replace(SAMPLE, "missing")}
    replicas = {"cms:it": [missing, {"rse": "ORIGIN", "pfn": url}]}
    (tmp_path / "replicas.json").write_text(json.dumps(replicas))
    ledger = skim.run(
        str(engine.obtain("dimuon", _selection())),
        str(tmp_path / "plan.json"),
        str(tmp_path / "replicas.json"),
        str(tmp_path / "events.root"),
        str(tmp_path / "ledger.json"),
        sample=SAMPLE,
        unit="0000",
        scratch=str(tmp_path),
    )
    assert ledger["read"] == EVENTS
    (used,) = read(tmp_path / "ledger.json")["files"]
    assert (used["rse"], used["replica"], used["access"]) == ("ORIGIN", url, access)
    assert [bad["rse"] for bad in used["failed"]] == ["GONE"]


def _selection() -> str:
    from nanolake.analyses import dimuon

    return str(dimuon.SELECTIONS[0])
