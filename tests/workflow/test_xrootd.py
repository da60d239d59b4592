"""Runs on a lake on XRootD publish what a run without a lake makes, over each scheme."""

from __future__ import annotations

import pytest
from sites import become
from testbed import xrootd
from workspace import DIMUON, SMALL, Workspace

from nanolake import sources

ONE = SMALL | {"analyses": ["dimuon"]}


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A working folder with the results of a run without a lake."""
    workspace = Workspace.new(tmp_path_factory.mktemp("xrootd") / "work")
    workspace.run(config=ONE)
    return workspace


@pytest.mark.parametrize(
    ("lake", "access", "scheme"), [("stream", "stream", "root"), ("https", "stage", "https")]
)
def test_same_bytes_published_and_verified(
    site: xrootd.Site,
    local: Workspace,
    monkeypatch: pytest.MonkeyPatch,
    lake: str,
    access: str,
    scheme: str,
) -> None:
    become(monkeypatch, site, "analyst")
    # A campaign of its own: else what the first one published is found and left alone.
    chosen = {"lake": str(site.folder / f"lakes/{lake}.yaml"), "results": lake, "campaign": lake}
    local.run(config=ONE | chosen)
    made, products = local.folder / lake, local.products()
    assert {name: (made / name).read_bytes() for name in products} == products
    (file,) = local.read("..", lake, "dimuon/units", DIMUON, "0000.json")["files"]
    assert (file["rse"], file["access"], file["failed"]) == ("FAST", access, [])
    assert file["replica"].startswith(site.url("fast", scheme=scheme))

    stored = {path.name: path for path in (site.storage("cheap") / "lake").rglob("*.*")}
    assert not [name for name in stored if "upload" in name]
    receipts = [local.read("..", lake, part, "published.json") for part in ("dimuon", ".")]
    assert set(products) <= {file["path"] for file in receipts[0]["files"]}
    for file in receipts[0]["files"] + receipts[1]["files"]:
        assert file["rse"] == "CHEAP-ANALYSIS" and file["read_back"]
        stamp = sources.stamp(stored[file["did"].partition(":")[2]])
        assert stamp == {key: file[key] for key in ("bytes", "adler32")}


def test_dead_storage_stops_a_run_and_the_next_one_finishes_it(
    site: xrootd.Site, local: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    become(monkeypatch, site, "analyst")
    config = ONE | {
        "lake": str(site.folder / "lakes/stream.yaml"),
        "results": "resumed",
        "campaign": "resumed",
    }
    local.run("resumed/dimuon/plan.json", config=config)
    site.kill("fast")
    try:
        run = local.run(config=config, fails=True)
    finally:
        site.start("fast")
    assert "none of its replicas can be opened" in run.output and "remedy:" in run.output
    made = local.folder / "resumed"
    assert not (made / "dimuon/units").exists()
    local.run(config=config)
    products = local.products()
    assert {name: (made / name).read_bytes() for name in products} == products
