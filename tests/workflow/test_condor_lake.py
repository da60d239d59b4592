"""A pool that shares the file system, and inputs in a lake: streamed and staged with tokens."""

from __future__ import annotations

import pytest
from pools import as_user, needs_plugin, run
from sites import become, embargo_all
from testbed import xrootd
from testbed.condor import Pool
from workspace import Workspace

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
    workspace.take_inputs(finished)
    config = {"lake": str(site.folder / f"lakes/{how}.yaml"), "pack": 20}
    if how == "embargo":
        config |= embargo_all(workspace, finished)
    as_user(workspace, **config)
    targets = [f"results/{name}/histograms.root" for name in ("dimuon", "higgs4l", "htautau")]
    said = run(workspace, *targets, pool=pool)
    assert workspace.products() == finished.products()
    assert said.count("with batch name skim_pack-") == 3
    files = [file for ledger in workspace.ledgers() for file in ledger["files"]]
    access = "stage" if how == "stage" else "stream"
    assert {file["access"] for file in files} == {access}
    scope = "embargo:" if how == "embargo" else "cms:"
    assert all(file["did"].startswith(scope) for file in files)
    assert how != "embargo" or not workspace.seen_by_others()
