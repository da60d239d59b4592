"""Real runs of the DAG: the `snakemake` command, each test in a working folder of its own."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import clusters
import pools
import pytest
from sites import bring_up
from testbed import xrootd
from testbed.condor import Pool
from testbed.slurm import Cluster
from workspace import SMALL, Run, Workspace


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """An empty working folder."""
    return Workspace.new(tmp_path / "work")


@pytest.fixture(scope="session")
def first_run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Workspace, Run]:
    """The three analyses, from nothing; no test changes anything in their folder.

    Processes of pytest side by side share what the first of them makes.
    """
    place = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        place = place.parent
    workspace, said = Workspace(place / "finished"), place / "finished.said"
    with (place / "finished.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not said.exists():
            run = Workspace.new(workspace.folder).run(config=SMALL)
            said.write_text(run.output)
    return workspace, Run(0, said.read_text())


@pytest.fixture(scope="session")
def finished(first_run: tuple[Workspace, Run]) -> Workspace:
    """A working folder with all results; a test that runs anything in it takes `own`."""
    return first_run[0]


@pytest.fixture
def own(finished: Workspace, tmp_path: Path) -> Iterator[Workspace]:
    """A copy of the finished working folder, for a test to change."""
    yield finished.copy(tmp_path / "own")
    shutil.rmtree(tmp_path / "own")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[xrootd.Site]:
    """Real XRootD servers with a Rucio lake."""
    found = bring_up(tmp_path_factory.mktemp("site") / "site")
    yield found
    xrootd.down(found.folder, delete=True)


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pool]:
    """One host that does everything."""
    with pools.brought_up(tmp_path_factory.mktemp("condor") / "pool") as pool:
        yield pool


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A Slurm cluster with a site outside."""
    # The folders of all tests are shared, as on a parallel file system.
    shared = tmp_path_factory.getbasetemp()
    with clusters.brought_up(tmp_path_factory.mktemp("slurm"), show=shared) as cluster:
        yield cluster
