"""Real runs of the DAG: the `snakemake` command, each test in a working folder of its own."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from workspace import SMALL, Run, Workspace


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """An empty working folder."""
    return Workspace.new(tmp_path / "work")


@pytest.fixture(scope="session")
def first_run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Workspace, Run]:
    """The three analyses, from nothing; not to be changed by a test."""
    workspace = Workspace.new(tmp_path_factory.mktemp("finished") / "work")
    return workspace, workspace.run(config=SMALL)


@pytest.fixture(scope="session")
def finished(first_run: tuple[Workspace, Run]) -> Workspace:
    """A working folder with all results; not to be changed by a test."""
    return first_run[0]


@pytest.fixture
def own(finished: Workspace, tmp_path: Path) -> Iterator[Workspace]:
    """A copy of the finished working folder, for a test to change."""
    yield finished.copy(tmp_path / "own")
    shutil.rmtree(tmp_path / "own")
