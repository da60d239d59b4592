"""Notebooks over Slurm: workers of Dask are jobs of a real cluster without a network outside."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import yaml
from clusters import queue, site_of
from notebooks import SAMPLES, Kernel, killed, refused, same
from pools import engine_that, forget, wait_until
from sites import become, embargo_all, lake_file
from testbed.slurm import Cluster
from workspace import Workspace

pytest.importorskip("dask_jobqueue", reason="no Dask: make setup-dev")

NAMES = ("dimuon", "higgs4l", "htautau")


@pytest.fixture(autouse=True)
def _analyst(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    become(monkeypatch, site_of(cluster), "analyst")


@pytest.mark.parametrize("how", ["open", "embargo"])
def test_three_analyses_have_the_bytes_of_a_batch_run(
    finished: Workspace, workspace: Workspace, cluster: Cluster, how: str
) -> None:
    """Nodes read through the cache at the edge, with the user's token."""
    workspace.take_inputs(finished)
    lake = cluster.folder / "lakes/edge.yaml"
    config = {"lake": str(lake)}
    if how == "embargo":
        config = embargo_all(workspace, finished) | {"lake": embargoed(cluster, workspace)}
    kernel = Kernel(workspace, *NAMES, on=cluster, config=config, minimum=2, maximum=2)
    kernel.end()
    assert workspace.products() == finished.products()
    ledgers = workspace.ledgers()
    assert {ledger["host"] for ledger in ledgers} <= set(cluster.nodes)
    files = [file for ledger in ledgers for file in ledger["files"]]
    assert {file["cache"].partition(cluster.gateway)[1] for file in files} == {cluster.gateway}
    scope = "embargo:" if how == "embargo" else "cms:"
    assert all(file["did"].startswith(scope) for file in files)
    assert how != "embargo" or not workspace.seen_by_others()
    wait_until(lambda: not queue(cluster), 40)


def embargoed(cluster: Cluster, workspace: Workspace) -> str:
    """The lake of embargoed data, read through the same cache."""
    edge = yaml.safe_load((cluster.folder / "lakes/edge.yaml").read_text())
    site, target = site_of(cluster), workspace.folder / "edge.yaml"
    return lake_file(site, "embargo", target, embargo={"cache": edge["read"]["cache"]})


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


def test_a_notebook_that_is_killed_leaves_no_job_and_the_next_goes_on(
    own: Workspace, finished: Workspace, cluster: Cluster
) -> None:
    killed(own, cluster)
    assert own.products() == finished.products()
    wait_until(lambda: not queue(cluster), 120)


def test_a_token_that_expires_stops_the_run_and_a_new_one_ends_it(
    workspace: Workspace, finished: Workspace, cluster: Cluster
) -> None:
    """A unit reads its user's file, which is renewed too late."""
    site, token = site_of(cluster), Path(os.environ["BEARER_TOKEN_FILE"])
    lake, good = str(cluster.folder / "lakes/edge.yaml"), token.read_text()

    def expire() -> None:
        token.write_text(site.token(lifetime=-60))

    try:
        refused(workspace, finished, cluster, expire, lake)
    finally:
        token.write_text(good)
    Kernel(workspace, "dimuon", on=cluster, config={"lake": lake}, minimum=1, maximum=1).end()
    assert same(workspace, finished, "dimuon")
    wait_until(lambda: not queue(cluster), 40)
