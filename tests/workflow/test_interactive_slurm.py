"""Notebooks over Slurm: workers of Dask are jobs of a real cluster without a network outside."""

from __future__ import annotations

import json
import shutil

import pytest
from clusters import queue, site_of
from notebooks import Kernel
from pools import engine_that, forget, wait_until
from sites import become
from testbed.slurm import Cluster
from workspace import Workspace

pytest.importorskip("dask_jobqueue", reason="no Dask: make setup-dev")

NAMES = ("dimuon", "higgs4l", "htautau")
SAMPLES = ("SMHiggsToZZTo4L", "ZZTo4e", "ZZTo4mu")


@pytest.fixture(autouse=True)
def _analyst(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    become(monkeypatch, site_of(cluster), "analyst")


def test_three_analyses_have_the_bytes_of_a_batch_run(
    finished: Workspace, workspace: Workspace, cluster: Cluster
) -> None:
    """Nodes read through the cache at the edge, with the user's token."""
    shutil.copytree(finished.folder / "resources", workspace.folder / "resources")
    config = {"lake": str(cluster.folder / "lakes/edge.yaml")}
    kernel = Kernel(workspace, *NAMES, on=cluster, config=config, minimum=2, maximum=2)
    kernel.end()
    assert workspace.products() == finished.products()
    ledgers = [json.loads(path.read_text()) for path in workspace.path().glob("*/units/*/*.json")]
    assert {ledger["host"] for ledger in ledgers} <= set(cluster.nodes)
    files = [file for ledger in ledgers for file in ledger["files"]]
    assert {file["cache"].partition(cluster.gateway)[1] for file in files} == {cluster.gateway}
    wait_until(lambda: not queue(cluster), 40)


def test_a_node_that_is_lost_loses_its_unit_alone(
    own: Workspace, finished: Workspace, cluster: Cluster
) -> None:
    forget(own, "higgs4l", *SAMPLES)
    hang = f'case "$TASK" in *{SAMPLES[0]}*) [ -e one ] || {{ hostname >one; sleep 300; }} ;; esac'
    with engine_that(own, "higgs4l", hang) as notes:
        kernel = Kernel(own, "higgs4l", on=cluster, minimum=2, maximum=2)
        kernel.wait_until(lambda: (notes / "one").exists(), 120)
        node = (notes / "one").read_text().strip()
        cluster.faults.power_cut(node)
        try:
            kernel.end()
        finally:
            cluster.faults.power_on(node)
    assert own.products() == finished.products()
    wait_until(lambda: not queue(cluster), 60)
