"""A site of storage and a pool of three hosts that trusts it and shares no files."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml
from pools import queue, wait_until
from sites import bring_up, require
from testbed import xrootd
from testbed.condor import Pool, down, launch, up
from testbed.configuration import free_port
from workspace import DIMUON, REPOSITORY, SMALL, Workspace

ONE = SMALL | {"analyses": ["dimuon"]}
SERVICE = {"token_service": "scitokens"}
APART = ("--profile", "condor", "--shared-fs-usage", "none")
READS = "storage.read:/cms storage.read:/embargo"

needs_hosts = pytest.mark.skipif(
    os.geteuid() != 0 or not shutil.which("ip"), reason="hosts of their own need root and iproute2"
)


class Farm(NamedTuple):
    """A site of storage, and a pool of three hosts that trusts it and shares no files."""

    site: xrootd.Site
    pool: Pool
    port: int  # where all hosts find what a test puts there

    def start(
        self, project: Workspace, *arguments: str, command: str = "snakemake"
    ) -> subprocess.Popen[bytes]:
        """Start a command of ours on the submit host, in a folder."""
        words = [sys.executable, "-m", command, *arguments]
        with (project.folder / "said").open("wb") as output:
            return subprocess.Popen(
                self.pool.on_submit_host(words, cwd=project.folder),
                env=os.environ | self.pool.environment() | {"COLUMNS": "200"},
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def begin(self, project: Workspace, *targets: str, **config: Any) -> subprocess.Popen[bytes]:
        """Start Snakemake, whose jobs go to hosts that share nothing."""
        dump(project.folder / "chosen.yaml", config)
        return self.start(project, *targets, *APART, "--configfile", "chosen.yaml", "--nocolor")

    def run(self, project: Workspace, *targets: str, fails: bool = False, **config: Any) -> str:
        """Run Snakemake to its end, and give what it says."""
        return self.end(self.begin(project, *targets, **config), project, fails=fails)

    def end(
        self, process: subprocess.Popen[bytes], project: Workspace, *, fails: bool = False
    ) -> str:
        """Wait for the end of a run, and for that of its jobs; give what it has said."""
        status = process.wait(timeout=400)
        said = (project.folder / "said").read_text()
        assert (status != 0) == fails, said
        wait_until(lambda: not queue(self.pool), 40)
        return said

    def lake(self, name: str) -> str:
        return str(self.site.folder / f"lakes/{name}.yaml")


def dump(path: Path, content: dict[str, Any]) -> None:
    path.write_text(yaml.safe_dump(content))


@contextmanager
def brought_up(folder: Path) -> Iterator[Farm]:
    """A farm of its own; the test is skipped where it cannot be had."""
    require(launch.check, 2)
    site = bring_up(folder / "site")
    port = free_port(0)
    try:
        yield Farm(site, up(folder / "pool", 2, site=site.folder, expose=[port]), port)
    finally:
        down(folder / "pool", delete=True)
        xrootd.down(site.folder, delete=True)


def new_project(folder: Path) -> Workspace:
    """A project of the user's own: its jobs get its files, and none of the repository."""
    project = Workspace(folder)
    for name in ("src", "workflow", "profiles", "envs", "config"):
        ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
        shutil.copytree(REPOSITORY / name, folder / name, ignore=ignored)
    shutil.copy(REPOSITORY / "Snakefile", folder)
    (folder / "condor").symlink_to("profiles/condor")
    return project


def ntuple(results: str) -> str:
    return f"{results}/dimuon/ntuples/{DIMUON}.root"


def unit(project: Workspace, results: str, suffix: str) -> Path:
    return project.folder / results / f"dimuon/units/{DIMUON}/0000.{suffix}"


def log(results: str, analysis: str = "dimuon", sample: str = DIMUON) -> str:
    return f"logs/skim/{analysis}/{sample}/0000.log"


def given(farm: Farm) -> str:
    """The token that the credential monitor has for jobs now."""
    return (farm.pool.place() / "credentials" / farm.pool.user / "scitokens.use").read_text()
