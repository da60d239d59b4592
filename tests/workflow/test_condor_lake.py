"""A pool that shares the file system, and inputs in a lake: streamed and staged with tokens."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from pools import as_user, needs_plugin, run
from sites import become, embargoed_datasets
from testbed import xrootd
from testbed.condor import Pool
from workspace import Workspace

from nanolake import embargo

pytestmark = needs_plugin


@pytest.mark.parametrize("how", ["stage", "stream", "embargo"])
def test_three_analyses_have_the_bytes_of_a_local_run(
    finished: Workspace,
    workspace: Workspace,
    pool: Pool,
    site: xrootd.Site,
    monkeypatch: pytest.MonkeyPatch,
    how: str,
) -> None:
    become(monkeypatch, site, "analyst")
    monkeypatch.delenv("X509_USER_PROXY", raising=False)  # a token, and nothing else
    shutil.copytree(finished.folder / "resources", workspace.folder / "resources")
    config = {"lake": str(site.folder / f"lakes/{how}.yaml"), "pack": 20}
    if how == "embargo":
        embargo.keep_private([workspace.folder / "resources"])
        samples = [path.stem for path in finished.path().glob("*/ntuples/*.root")]
        config["datasets"] = embargoed_datasets(workspace.folder, *samples)
    as_user(workspace, **config)
    targets = [f"results/{name}/histograms.root" for name in ("dimuon", "higgs4l", "htautau")]
    said = run(workspace, *targets, pool=pool)
    assert workspace.products() == finished.products()
    assert said.count("with batch name skim_pack-") == 3
    ledgers = [workspace.read(path) for path in units(workspace)]
    files = [file for ledger in ledgers for file in ledger["files"]]
    access = "stage" if how == "stage" else "stream"
    assert {file["access"] for file in files} == {access}
    scope = "embargo:" if how == "embargo" else "cms:"
    assert all(file["did"].startswith(scope) for file in files)
    assert how != "embargo" or not private(workspace.folder)


def units(workspace: Workspace) -> list[str]:
    """Ledgers of all units."""
    found = workspace.path().glob("*/units/*/*.json")
    return [str(path.relative_to(workspace.path())) for path in found]


def private(folder: Path) -> list[Path]:
    """Results that others than their owner may read."""
    return [p for p in (folder / "results").rglob("*") if p.stat().st_mode & 0o077]
