"""`snakemake --profile condor`: the same DAG on a real pool that shares the file system."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
from testbed.condor import Pool, down, up
from testbed.errors import TestbedError
from workspace import REPOSITORY, SMALL, Workspace, flip_bit

SAMPLE = "SMHiggsToZZTo4L"
NTUPLE = f"results/higgs4l/ntuples/{SAMPLE}.root"

pytestmark = pytest.mark.skipif(
    not find_spec("snakemake_executor_plugin_htcondor"), reason="no executor plugin: make setup"
)


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pool]:
    """One host that does everything, and has nothing in its queue when the tests are over."""
    folder = tmp_path_factory.mktemp("condor") / "pool"
    try:
        pool = up(folder)
    except TestbedError as error:
        pytest.skip(str(error))
    try:
        yield pool
        assert not queue(pool)
    finally:
        down(folder, delete=True)


def queue(pool: Pool) -> list[str]:
    """The states of the jobs in the queue: 1 idle, 2 running, 5 held."""
    return pool.run("condor_q", "-af", "JobStatus").split()


def wait_until(condition: Callable[[], object], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"not within {seconds} s"
        time.sleep(0.3)


def as_user(workspace: Workspace) -> None:
    """What setup has made in the project's root, and the configuration of the local runs."""
    (workspace.folder / "profiles").symlink_to(REPOSITORY / "profiles")
    (workspace.folder / "condor").symlink_to("profiles/condor")
    chosen = {"lake": "local", **SMALL}
    (workspace.folder / "chosen.json").write_text(json.dumps(chosen))


def start(
    workspace: Workspace, *arguments: str, env: dict[str, str], log: Path
) -> subprocess.Popen[bytes]:
    """Start Snakemake as a user does."""
    # Nested values in a file: the plugin cannot pass quotes of --config to jobs.
    command = [
        *(sys.executable, "-m", "snakemake", "--snakefile", str(REPOSITORY / "Snakefile")),
        *("--profile", "condor", "--configfile", "chosen.json", "--nocolor", *arguments),
    ]
    with log.open("wb") as output:
        return subprocess.Popen(
            command,
            cwd=workspace.folder,
            env=os.environ | env,
            stdout=output,
            stderr=subprocess.STDOUT,
        )


def run(workspace: Workspace, *arguments: str, pool: Pool, fails: bool = False) -> str:
    """Run Snakemake to its end on the pool, and give what it says."""
    log = workspace.folder / "said"
    status = start(workspace, *arguments, env=pool.environment(), log=log).wait(timeout=400)
    assert (status != 0) == fails, log.read_text()
    return log.read_text()


@pytest.fixture
def user(own: Workspace) -> Workspace:
    """Finished results of the user's own, in a folder from which `--profile condor` works."""
    as_user(own)
    return own


def forget(workspace: Workspace, analysis: str, *samples: str) -> None:
    """Remove what was made of samples, so that it is made again."""
    for sample in samples:
        shutil.rmtree(workspace.path(analysis, "units", sample))
        workspace.path(analysis, "ntuples", f"{sample}.root").unlink()


def test_dry_run_needs_no_pool(workspace: Workspace) -> None:
    as_user(workspace)
    log = workspace.folder / "said"
    env = {"CONDOR_CONFIG": "/dev/null", "PATH": os.defpath}
    process = start(workspace, "-n", env=env, log=log)
    assert process.wait(timeout=60) == 0, log.read_text()
    assert "rule merge:" in log.read_text()
    assert not workspace.path().exists()


def test_three_analyses_have_the_bytes_of_a_local_run(
    finished: Workspace, workspace: Workspace, pool: Pool
) -> None:
    as_user(workspace)
    shutil.copytree(finished.folder / "resources", workspace.folder / "resources")
    said = run(workspace, pool=pool)
    assert workspace.products() == finished.products()
    units = list(finished.path().glob("*/units/*/*.root"))
    assert said.count("with batch name skim-") == len(units)
    assert "with batch name catalogue-" not in said and "with batch name plan-" not in said
    asked = pool.run(
        "condor_history", "-constraint", 'regexp("^skim-", JobBatchName)',
        "-af", "RequestCpus", "RequestMemory", "RequestDisk", "ExitCode",
    )  # fmt: skip
    assert set(asked.splitlines()) == {f"1 1300 {100 * 1024} 0"}
    assert not queue(pool)


def test_unit_that_fails_fails_the_run_and_its_log_is_named(user: Workspace, pool: Pool) -> None:
    flip_bit(user.folder / "resources/synthetic" / f"{SAMPLE}.root")
    forget(user, "higgs4l", SAMPLE, "ZZTo4mu")
    other = "results/higgs4l/ntuples/ZZTo4mu.root"
    said = run(user, NTUPLE, other, pool=pool, fails=True)
    log = f"logs/skim/higgs4l/{SAMPLE}/0000.log"
    assert log in said and "checksum" in (user.folder / log).read_text()
    assert "checksum" in said  # the log itself is shown
    assert (user.folder / other).exists() and not (user.folder / NTUPLE).exists()
    assert not queue(pool)
    flip_bit(user.folder / "resources/synthetic" / f"{SAMPLE}.root")
    run(user, NTUPLE, pool=pool)
    assert (user.folder / NTUPLE).exists()


def test_held_job_fails_with_the_reason_and_leaves_the_queue(user: Workspace, pool: Pool) -> None:
    forget(user, "higgs4l", SAMPLE)
    log = user.folder / "said"
    process = start(user, NTUPLE, env=pool.environment(), log=log)
    wait_until(lambda: process.poll() is not None or queue(pool))
    pool.run("condor_hold", "-all")
    assert process.wait(timeout=60) != 0
    assert "is held: via condor_hold" in log.read_text()
    wait_until(lambda: not queue(pool))


def test_interrupt_empties_the_queue_and_shows_no_secret(user: Workspace, pool: Pool) -> None:
    samples = [path.name for path in user.path("htautau", "units").iterdir()]
    forget(user, "htautau", *samples)
    env = {"BEARER_TOKEN": "very-secret", "BEARER_TOKEN_FILE": "/path/of/token"}
    log = user.folder / "said"
    process = start(user, "htautau", env=pool.environment() | env, log=log)
    wait_until(lambda: process.poll() is not None or "2" in queue(pool))
    ads = pool.run("condor_q", "-long")
    assert "/path/of/token" in ads and "very-secret" not in ads
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=60) != 0
    wait_until(lambda: not queue(pool), 20)
    run(user, "htautau", pool=pool)
    assert not user.unfinished()
