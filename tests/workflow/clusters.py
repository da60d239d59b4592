"""`snakemake --profile marconi100` on a cluster of the test-bed, and what Slurm says of jobs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from pools import Coordinator
from sites import bring_up, require
from testbed import slurm, xrootd
from testbed.slurm import Cluster
from workspace import Workspace

needs_plugin = pytest.mark.skipif(
    not find_spec("snakemake_executor_plugin_slurm"), reason="no executor plugin: make setup"
)


@contextmanager
def brought_up(folder: Path, *, show: Path, **more: Any) -> Iterator[Cluster]:
    """A cluster with a site outside, and nothing in its queue when the tests are over."""
    require(slurm.launch.check)
    site = bring_up(folder / "site")
    try:
        cluster = slurm.up(folder / "cluster", site=site.folder, show=[show], **more)
        yield cluster
        assert not queue(cluster)
    finally:
        slurm.down(folder / "cluster", delete=True)
        xrootd.down(site.folder, delete=True)


def site_of(cluster: Cluster) -> xrootd.Site:
    """The site outside of a cluster."""
    site = xrootd.find(Path(cluster.known.site))
    assert site
    return site


def queue(cluster: Cluster) -> list[str]:
    """The states of the jobs in the queue."""
    return cluster.run("squeue", "--noheader", "--format=%T").split()


class OnLoginNode(Coordinator):
    """Snakemake as a user starts it on the login node, but impatient and on few cores."""

    def __init__(self, workspace: Workspace, *arguments: str, cluster: Cluster, **env: str) -> None:
        impatient = ("--slurm-init-seconds-before-status-checks", "4")
        few = ("--jobs", "6", "--set-threads", "skim_pack=2")
        command = self._command("marconi100", *few, *impatient, *arguments)
        command = cluster.on_login_node(command, cwd=workspace.folder)
        self._start(workspace, command, cluster.environment() | env)


def run(workspace: Workspace, *arguments: str, cluster: Cluster, fails: bool = False) -> str:
    """Run Snakemake to its end on the cluster, and give what it says."""
    return OnLoginNode(workspace, *arguments, cluster=cluster).end(fails=fails)
