"""`snakemake --profile condor` on a pool of the test-bed, and what is seen of it in the queue."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from sites import require, units
from testbed.condor import Pool, down, launch, up
from workspace import REPOSITORY, SMALL, Workspace

IDLE, RUNNING, HELD = "1", "2", "5"

needs_plugin = pytest.mark.skipif(
    not find_spec("snakemake_executor_plugin_htcondor"), reason="no executor plugin: make setup"
)


@contextmanager
def brought_up(folder: Path, **options: Any) -> Iterator[Pool]:
    """A pool of its own, which has nothing in its queue when the tests are over."""
    require(launch.check, options.get("hosts", 0))
    try:
        pool = up(folder, **options)
        yield pool
        assert not queue(pool)
    finally:
        down(folder, delete=True)


def queue(pool: Pool) -> list[str]:
    """The states of the jobs in the queue."""
    return pool.run("condor_q", "-af", "JobStatus").split()


def asked(pool: Pool, *attributes: str, history: bool = False) -> list[list[str]]:
    """Attributes of all jobs in the queue, or of those that have left it, the last one first."""
    command = "condor_history" if history else "condor_q"
    return [line.split() for line in pool.run(command, "-af", *attributes).splitlines()]


def wait_until(condition: Callable[[], object], seconds: float = 60) -> None:
    """Wait for something that has to happen."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"not within {seconds} s"
        time.sleep(0.3)


def as_user(workspace: Workspace, **config: Any) -> None:
    """What setup has made in the project's root, and the configuration of the local runs."""
    (workspace.folder / "profiles").symlink_to(REPOSITORY / "profiles")
    for name in ("condor", "marconi100"):
        (workspace.folder / name).symlink_to(f"profiles/{name}")
    # Nested values in a file: the plugin cannot pass quotes of --config to jobs.
    (workspace.folder / "chosen.json").write_text(json.dumps({"lake": "local", **SMALL, **config}))


class Coordinator:
    """Snakemake as a user starts it, on the submit host of a pool."""

    def __init__(
        self, workspace: Workspace, *arguments: str, pool: Pool | None = None, **env: str
    ) -> None:
        command = self._command("condor", *arguments)
        if pool:
            command, env = (
                pool.on_submit_host(command, cwd=workspace.folder),
                pool.environment() | env,
            )
        self._start(workspace, command, env)

    def _command(self, profile: str, *arguments: str) -> list[str]:
        return [
            *(sys.executable, "-m", "snakemake", "--snakefile", str(REPOSITORY / "Snakefile")),
            *("--profile", profile, "--configfile", "chosen.json", "--nocolor", *arguments),
        ]

    def _start(self, workspace: Workspace, command: Sequence[str], env: Mapping[str, str]) -> None:
        self.log = workspace.folder / "said"
        with self.log.open("wb") as output:
            self.process = subprocess.Popen(
                command,
                cwd=workspace.folder,
                env={**os.environ, **env},
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    @property
    def said(self) -> str:
        """What it has said so far."""
        return self.log.read_text()

    def wait_until(self, condition: Callable[[], object], seconds: float = 60) -> None:
        """Wait for something that has to happen while it runs."""

        def happened() -> object:
            assert self.process.poll() is None, self.said
            return condition()

        wait_until(happened, seconds)

    def end(self, *, fails: bool = False, seconds: float = 400) -> str:
        """Wait for its end, which must be good unless it `fails`, and give what it has said."""
        try:
            status = self.process.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            self.process.send_signal(signal.SIGINT)  # no other test finds it at work
            self.process.wait()
            raise AssertionError(f"not within {seconds} s\n{self.said}") from None
        assert (status != 0) == fails, self.said
        return self.said


def setting(**resources: int) -> tuple[str, ...]:
    """Arguments that give other resources to units."""
    return "--set-resources", *(f"skim:{name}={value}" for name, value in resources.items())


def run(workspace: Workspace, *arguments: str, pool: Pool, fails: bool = False) -> str:
    """Run Snakemake to its end on the pool, and give what it says."""
    return Coordinator(workspace, *arguments, pool=pool).end(fails=fails)


def forget(workspace: Workspace, analysis: str, *samples: str) -> None:
    """Remove what was made of samples, so that it is made again."""
    for sample in samples:
        shutil.rmtree(workspace.path(analysis, "units", sample))
        workspace.path(analysis, "ntuples", f"{sample}.root").unlink()


def same(one: Workspace, other: Workspace, *paths: str) -> bool:
    """Whether files are the same bytes in both folders."""
    return all(
        (one.folder / path).read_bytes() == (other.folder / path).read_bytes() for path in paths
    )


def is_whole(user: Workspace, finished: Workspace) -> None:
    """The units are as if nothing had been, and so is what a last run makes of them."""
    mine, others = units(user), units(finished)
    assert {name: mine[name] == others[name] for name in mine} == dict.fromkeys(others, True)
    done = user.run("higgs4l", "results/ledger.json", config=SMALL)
    assert "skim" not in done.rules() and user.products() == finished.products()
    booked, expected = (
        [(unit["sample"], unit["unit"], unit["read"]) for unit in one.read("ledger.json")["units"]]
        for one in (user, finished)
    )
    assert booked == expected
    assert not user.unfinished()


@contextmanager
def engine_that(workspace: Workspace, analysis: str, does: str) -> Iterator[Path]:
    """Lines of shell that run before the engine of an analysis; `$TASK` is what it is asked.

    Yields:
        A folder in which they can leave notes: it is the working folder of the lines.
    """
    engine = workspace.path(analysis, "engine")
    notes = workspace.folder / "notes"
    notes.mkdir(exist_ok=True)
    status = engine.stat()
    real = engine.rename(engine.with_name("engine.real"))
    engine.write_text(
        f'#!/bin/sh\nTASK=$(cat)\nhere=$PWD\ncd {notes} || exit 1\n{does}\ncd "$here"\n'
        f'printf %s "$TASK" | exec {real} "$@"\n'
    )
    engine.chmod(0o755)
    # As old as it was: nothing is made again because of it.
    os.utime(engine, ns=(status.st_atime_ns, status.st_mtime_ns))
    try:
        yield notes
    finally:
        real.rename(engine)
