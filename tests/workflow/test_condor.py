"""`snakemake --profile condor`: the same DAG on a real pool that shares the file system."""

from __future__ import annotations

import os
import signal

import pytest
from pools import (
    RUNNING,
    Coordinator,
    as_user,
    forget,
    needs_plugin,
    queue,
    run,
    wait_until,
)
from testbed.condor import Pool
from workspace import Workspace, flip_bit

SAMPLE = "SMHiggsToZZTo4L"
NTUPLE = f"results/higgs4l/ntuples/{SAMPLE}.root"

pytestmark = needs_plugin


@pytest.fixture
def user(own: Workspace) -> Workspace:
    """Finished results of the user's own, in a folder from which `--profile condor` works."""
    as_user(own)
    return own


def test_dry_run_needs_no_pool(workspace: Workspace) -> None:
    as_user(workspace)
    said = Coordinator(workspace, "-n", CONDOR_CONFIG="/dev/null", PATH=os.defpath).end()
    assert "rule merge:" in said
    assert not workspace.path().exists()


def test_three_analyses_have_the_bytes_of_a_local_run(
    finished: Workspace, workspace: Workspace, pool: Pool
) -> None:
    as_user(workspace)
    workspace.take_inputs(finished)
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
    run = Coordinator(user, NTUPLE, pool=pool)
    run.wait_until(lambda: queue(pool))
    pool.run("condor_hold", "-all")
    said = run.end(fails=True, seconds=60)
    # Once when it is seen, and once more with the failure.
    assert said.count("is held: via condor_hold") == said.count("was held: via condor_hold") == 1
    assert "removed/aborted" in said
    wait_until(lambda: not queue(pool))


def test_interrupt_empties_the_queue_and_shows_no_secret(user: Workspace, pool: Pool) -> None:
    samples = [path.name for path in user.path("htautau", "units").iterdir()]
    forget(user, "htautau", *samples)
    env = {"BEARER_TOKEN": "very-secret", "BEARER_TOKEN_FILE": "/path/of/token"}
    first = Coordinator(user, "htautau", pool=pool, **env)
    first.wait_until(lambda: RUNNING in queue(pool))
    ads = pool.run("condor_q", "-long")
    assert "/path/of/token" in ads and "very-secret" not in ads
    first.process.send_signal(signal.SIGINT)
    first.end(fails=True, seconds=60)
    wait_until(lambda: not queue(pool), 20)
    run(user, "htautau", pool=pool)
    assert not user.unfinished()
