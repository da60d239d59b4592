"""Notebooks over HTCondor: workers of Dask are jobs of a real pool, with tokens of its monitor."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest
from notebooks import SAMPLES, Kernel, killed, refused, same
from pools import RUNNING, asked, brought_up, engine_that, forget, queue, wait_until
from sites import become, embargo_all
from testbed import xrootd
from testbed.condor import Pool
from workspace import Workspace

pytest.importorskip("dask_jobqueue", reason="no Dask: make setup-dev")

NAMES = ("dimuon", "higgs4l", "htautau")
SERVICE = {"token_service": "scitokens"}


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory, site: xrootd.Site) -> Iterator[Pool]:
    """One host that does everything, and gives its jobs tokens of the site."""
    with brought_up(tmp_path_factory.mktemp("condor") / "pool", site=site.folder) as pool:
        yield pool


@pytest.fixture(autouse=True)
def _analyst(site: xrootd.Site, monkeypatch: pytest.MonkeyPatch) -> None:
    become(monkeypatch, site, "analyst")
    monkeypatch.delenv("X509_USER_PROXY", raising=False)  # a token, and nothing else


@pytest.mark.parametrize("how", ["stage", "embargo"])
def test_three_analyses_have_the_bytes_of_a_batch_run(
    finished: Workspace, workspace: Workspace, site: xrootd.Site, pool: Pool, how: str
) -> None:
    """A pool with fewer slots than it is asked for, whose monitor gives workers their tokens."""
    workspace.take_inputs(finished)
    config = {"lake": str(site.folder / f"lakes/{how}.yaml"), "pool": SERVICE}
    if how == "embargo":
        config |= embargo_all(workspace, finished)
    slots = len(pool.run("condor_status", "-af", "Name").split())
    kernel = Kernel(workspace, *NAMES, on=pool, config=config, maximum=40, minimum=40)
    kernel.wait_until(lambda: len(queue(pool)) == 40)
    kernel.end()
    assert workspace.products() == finished.products()
    accesses = {file["access"] for ledger in workspace.ledgers() for file in ledger["files"]}
    assert accesses == {"stage" if how == "stage" else "stream"}
    assert all(worker.startswith("tls://") for one in kernel.seen() for worker in one["workers"])
    assert slots >= 1 and 1 <= max(len(one["workers"]) for one in kernel.seen()) < 40
    wait_until(lambda: not queue(pool), 40)
    services = asked(pool, "OAuthServicesNeeded", history=True)
    assert ["scitokens"] in services
    assert how != "embargo" or not workspace.seen_by_others()
    # The tokens themselves are nowhere.
    token = (pool.place() / "credentials" / pool.user / "scitokens.use").read_text().strip()
    for path in (workspace.folder / "logs").rglob("*"):
        assert not path.is_file() or token.split(".")[2] not in path.read_text(errors="replace")


def test_a_job_that_is_removed_loses_its_unit_alone(
    own: Workspace, finished: Workspace, pool: Pool
) -> None:
    forget(own, "higgs4l", *SAMPLES)
    hang = f'case "$TASK" in *{SAMPLES[0]}*) [ -e one ] || {{ touch one; sleep 300; }} ;; esac'
    with engine_that(own, "higgs4l", hang) as notes:
        kernel = Kernel(own, "higgs4l", on=pool, minimum=1, maximum=1)
        kernel.wait_until(lambda: (notes / "one").exists(), 120)
        (job,) = asked(pool, "ClusterId", "JobStatus")
        assert job[1] == RUNNING
        pool.run("condor_rm", job[0])
        kernel.end()
    assert own.products() == finished.products()
    wait_until(lambda: not queue(pool), 40)


def test_interrupt_leaves_no_job(own: Workspace, finished: Workspace, pool: Pool) -> None:
    forget(own, "higgs4l", *SAMPLES)
    with engine_that(own, "higgs4l", "touch one; sleep 300") as notes:
        kernel = Kernel(own, "higgs4l", on=pool, minimum=2, maximum=2)
        kernel.wait_until(lambda: (notes / "one").exists(), 120)
        kernel.process.send_signal(signal.SIGINT)
        assert "KeyboardInterrupt" in kernel.end(fails=True)
    wait_until(lambda: not queue(pool), 60)
    Kernel(own, "higgs4l", on=pool, minimum=1, maximum=2).end()
    assert own.products() == finished.products()
    wait_until(lambda: not queue(pool), 40)


def test_a_notebook_that_is_killed_leaves_no_job_and_the_next_goes_on(
    own: Workspace, finished: Workspace, pool: Pool
) -> None:
    killed(own, pool)
    assert own.products() == finished.products()
    wait_until(lambda: not queue(pool), 120)


def test_a_token_that_expires_stops_the_run_and_a_new_one_ends_it(
    workspace: Workspace, finished: Workspace, site: xrootd.Site, pool: Pool
) -> None:
    """The pool's monitor has none but expired ones while the notebook works."""
    lake = str(site.folder / "lakes/stream.yaml")
    try:
        refused(workspace, finished, pool, lambda: pool.tokens(lifetime=-60), lake, pool=SERVICE)
    finally:
        pool.tokens()
    config = {"lake": lake, "pool": SERVICE}
    Kernel(workspace, "dimuon", on=pool, config=config, minimum=1, maximum=1).end()
    assert same(workspace, finished, "dimuon")
    wait_until(lambda: not queue(pool), 40)
