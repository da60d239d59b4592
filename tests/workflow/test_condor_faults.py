"""What goes wrong on a pool: a job runs again where that helps, and a re-run finishes the rest."""

from __future__ import annotations

import os
import re
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from pools import (
    HELD,
    IDLE,
    RUNNING,
    Coordinator,
    as_user,
    asked,
    brought_up,
    engine_that,
    forget,
    is_whole,
    needs_plugin,
    queue,
    run,
    same,
    setting,
    wait_until,
)
from sites import become
from testbed import xrootd
from testbed.condor import Pool
from workspace import REPOSITORY, SMALL, Workspace, flip_bit

SAMPLES = ("SMHiggsToZZTo4L", "ZZTo4e", "ZZTo4mu")
SAMPLE, OTHER, _ = SAMPLES
UNITS = tuple(f"results/higgs4l/units/{sample}/0000.root" for sample in SAMPLES)
UNIT = UNITS[0]

pytestmark = needs_plugin


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the hosts of a pool share."""
    return tmp_path_factory.mktemp("shared")


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory, folder: Path) -> Iterator[Pool]:
    """A submit host and two others, which share a folder."""
    where = tmp_path_factory.mktemp("hosts") / "pool"
    with brought_up(where, hosts=2, show=[folder, REPOSITORY]) as pool:
        yield pool


@pytest.fixture
def user(own: Workspace) -> Workspace:
    """Finished results of which some units of higgs4l are missing."""
    as_user(own)
    forget(own, "higgs4l", *SAMPLES)
    return own


# --- retry by cause ---------------------------------------------------------------------------


def test_overrun_runs_again_with_more_memory(
    user: Workspace, finished: Workspace, pool: Pool
) -> None:
    # Needs 600 MB and more: of the first sample the pool sees to it, the second is killed as the
    # kernel does where a host has no more.
    needs = f"""
        case "$TASK" in
        *{SAMPLE}*) {sys.executable} -c 'x = b"x" * 600_000_000; import time; time.sleep(8)' ;;
        *) [ $(sed -n 's/^Memory = //p' $_CONDOR_MACHINE_AD) -ge 600 ] || kill -9 $$ ;;
        esac"""
    with engine_that(user, "higgs4l", needs):
        said = run(user, *UNITS[:2], *setting(htcondor_request_mem_mb=400), pool=pool)
    assert "memory usage exceeded request_memory" in said
    assert "is held: cause: memory" in said
    jobs = asked(pool, "NumJobStarts", "MemoryProvisioned", "LastHoldReasonCode", history=True)[:2]
    for starts, memory, _ in jobs:  # the pool rounds up
        assert int(starts) > 1 and 0 <= int(memory) - 400 * 2 ** (int(starts) - 1) < 128
    assert {code for _, _, code in jobs} == {"3", "21"}
    assert same(user, finished, *UNITS[:2])


def test_bug_and_damaged_input_run_once(user: Workspace, finished: Workspace, pool: Pool) -> None:
    crashes = f'case "$TASK" in *{SAMPLE}*) kill -SEGV $$ ;; esac'
    other = user.folder / "resources/synthetic" / f"{OTHER}.root"
    flip_bit(other)
    with engine_that(user, "higgs4l", crashes):
        said = run(user, *UNITS, pool=pool, fails=True)
    flip_bit(other)
    jobs = asked(pool, "ExitCode", "NumJobStarts", history=True)[:3]
    assert sorted(jobs) == [["0", "1"], ["65", "1"], ["70", "1"]]
    for name, cause in ((SAMPLE, "bug"), (OTHER, "input")):
        log = f"logs/skim/higgs4l/{name}/0000.log"
        assert log in said and (user.folder / log).read_text().endswith(f"cause: {cause}\n")
        assert f"cause: {cause}\n    remedy: " in said
    run(user, *UNITS, pool=pool)
    is_whole(user, finished)


def test_time_limit_is_raised_once(user: Workspace, finished: Workspace, pool: Pool) -> None:
    # The first unit hangs for good, the second once.
    hangs = f"""
        case "$TASK" in *{SAMPLE}*) sleep 300 ;; esac
        [ -e begun ] || {{ touch begun; sleep 300; }}"""
    with engine_that(user, "higgs4l", hangs):
        said = run(user, *UNITS[:2], *setting(classad_NanolakeSeconds=12), pool=pool, fails=True)
    jobs = asked(pool, "NumJobStarts", "JobStatus", history=True)[:2]
    assert sorted(jobs) == [["2", "3"], ["2", "4"]]
    assert "is held: cause: time" in said and "remedy: make units smaller" in said
    assert not queue(pool)
    assert same(user, finished, UNITS[1]) and not (user.folder / UNIT).exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="the scratch space is the machine's own: be root")
def test_full_scratch_space_is_waited_for(user: Workspace, finished: Workspace, pool: Pool) -> None:
    pool.faults.off("negotiator")
    job = Coordinator(user, UNIT, *setting(classad_NanolakeBackoff=4), pool=pool)
    job.wait_until(lambda: queue(pool) == [IDLE])
    pool.faults.fill()
    try:
        pool.faults.on("negotiator")
        job.wait_until(lambda: queue(pool) == [HELD])
    finally:
        pool.faults.empty()
    assert "is held: " in job.end()
    assert same(user, finished, UNIT)


# --- storage and credentials ------------------------------------------------------------------


@pytest.fixture
def far(
    site: xrootd.Site, tmp_path: Path, finished: Workspace, monkeypatch: pytest.MonkeyPatch
) -> Workspace:
    """A folder whose inputs are read from the site with a token, planned and looked through."""
    become(monkeypatch, site, "analyst")
    monkeypatch.setenv("XRD_CONNECTIONWINDOW", "1")
    workspace = Workspace.new(tmp_path / "far")
    workspace.take_inputs(finished)
    lake = {"lake": str(site.folder / "lakes/stream.yaml")}
    as_user(workspace, **lake)
    names = ("engine", "plan.json", "preflight.json")
    workspace.run(*(f"results/higgs4l/{name}" for name in names), config=SMALL | lake)
    return workspace


def begun(far: Workspace, pool: Pool, *units: str) -> Coordinator:
    """A run whose jobs are in the queue, and wait for a negotiator."""
    pool.faults.off("negotiator")
    run = Coordinator(far, *units, *setting(classad_NanolakeBackoff=1), pool=pool)
    run.wait_until(lambda: queue(pool) == [IDLE] * len(units))
    return run


def test_storage_that_comes_back_is_read(
    far: Workspace, finished: Workspace, site: xrootd.Site, pool: Pool
) -> None:
    run = begun(far, pool, UNIT)
    site.kill("fast")
    try:
        pool.faults.on("negotiator")
        run.wait_until(lambda: queue(pool) == [HELD])
    finally:
        site.start("fast")
    assert "is held: cause: storage" in run.end()
    assert same(far, finished, UNIT)


def test_storage_that_stays_away_fails_and_the_next_run_goes_on(
    far: Workspace, finished: Workspace, site: xrootd.Site, pool: Pool
) -> None:
    first = begun(far, pool, UNIT)
    site.kill("fast")
    try:
        pool.faults.on("negotiator")
        said = first.end(fails=True)
    finally:
        site.start("fast")
    assert "cause: storage\n    remedy: see that the storage is up, then run again" in said
    assert asked(pool, "NumJobStarts", "ExitCode", history=True)[0] == ["4", "75"]
    run(far, UNIT, pool=pool)
    assert same(far, finished, UNIT)


def test_expired_credential_stops_everything(
    far: Workspace, finished: Workspace, site: xrootd.Site, pool: Pool
) -> None:
    first = begun(far, pool, *UNITS)
    token = Path(os.environ["BEARER_TOKEN_FILE"])
    good = token.read_text()
    try:
        token.write_text(site.token(lifetime=-60))
        pool.run("condor_hold", *(job[0] for job in asked(pool, "ClusterId")[1:]))
        pool.faults.on("negotiator")
        said = first.end(fails=True, seconds=60)
    finally:
        token.write_text(good)
    assert "remedy: renew the credential, then run again" in said
    wait_until(lambda: not queue(pool), 20)
    run(far, *UNITS, pool=pool)
    assert same(far, finished, *UNITS)


# --- survival ---------------------------------------------------------------------------------


def test_schedd_negotiator_and_eviction_lose_nothing(
    user: Workspace, finished: Workspace, pool: Pool
) -> None:
    with engine_that(user, "higgs4l", "sleep 10"):
        pool.faults.off("negotiator")
        job = Coordinator(user, *UNITS, pool=pool)
        job.wait_until(lambda: queue(pool) == [IDLE] * 3)
        assert pool.faults.kill("schedd") == 1
        wait_until(lambda: pool.submit_host(["condor_q"]).returncode == 0)
        pool.faults.on("negotiator")
        job.wait_until(lambda: RUNNING in queue(pool))
        (running, *_) = [name for name, status in asked(pool, "ClusterId", "JobStatus")
                         if status == RUNNING]  # fmt: skip
        pool.faults.evict(f"{running}.0")
        wait_until(lambda: "004" in dict(event_times(user)))
        assert pool.faults.kill("schedd") == 1
        job.end()
    # Those that ran were found again, or run again.
    assert {"023", "024"} & set(dict(event_times(user))) and not queue(pool)
    is_whole(user, finished)


def test_run_that_was_killed_is_taken_over(
    user: Workspace, finished: Workspace, pool: Pool
) -> None:
    with engine_that(user, "higgs4l", "sleep 10"):
        first = Coordinator(user, *UNITS, pool=pool)
        first.wait_until(lambda: queue(pool) == [RUNNING] * 3)
        first.process.kill()
        first.process.wait()
        assert queue(pool) == [RUNNING] * 3
        second = Coordinator(user, *UNITS, pool=pool)
        second.wait_until(lambda: "removed 3 jobs of an earlier run" in second.said)
        third = run(user, UNIT, pool=pool, fails=True)
        assert "another run is at work" in third
        second.end()
    gone, submitted = (
        [when for number, when in event_times(user) if number == kind] for kind in ("009", "000")
    )
    assert len(gone) == 3 and len(submitted) == 6 and max(gone) < min(submitted[3:])
    is_whole(user, finished)


def event_times(workspace: Workspace) -> list[tuple[str, str]]:
    """What HTCondor has logged of the jobs of a folder: numbers of events and when they were."""
    logs = (workspace.folder / "logs/condor").glob("snakemake-rules*.log")
    text = "".join(path.read_text() for path in logs)
    found = re.findall(r"^(\d{3}) \([\d.]+\) (\S+ \S+) ", text, re.MULTILINE)
    return sorted(found, key=lambda event: event[1])


@pytest.fixture
def shared(finished: Workspace, folder: Path) -> Iterator[Workspace]:
    """As `user`, in the folder that hosts share."""
    workspace = finished.copy(folder / "work")
    as_user(workspace)
    forget(workspace, "higgs4l", *SAMPLES)
    yield workspace
    shutil.rmtree(workspace.folder)


def where(pool: Pool) -> str:
    """The host on which the first job runs."""
    return asked(pool, "RemoteHost")[0][0].partition("@")[2].partition(".")[0]


def test_lost_host_is_replaced(shared: Workspace, finished: Workspace, hosts: Pool) -> None:
    with engine_that(shared, "higgs4l", "sleep 10"):
        job = Coordinator(shared, UNIT, pool=hosts)
        job.wait_until(lambda: execution(shared) == 1)
        lost = where(hosts)
        hosts.faults.power_cut(lost)
        try:
            job.end(seconds=240)
        finally:
            hosts.faults.power_on(lost)
    assert asked(hosts, "LastRemoteHost", history=True)[0][0].count(lost) == 0
    assert same(shared, finished, UNIT)


def test_host_that_is_cut_off_for_a_while(
    shared: Workspace, finished: Workspace, hosts: Pool
) -> None:
    with engine_that(shared, "higgs4l", "sleep 20"):
        job = Coordinator(shared, *UNITS, pool=hosts)
        job.wait_until(lambda: execution(shared) == 3)
        host = where(hosts)
        hosts.faults.cut(host)
        time.sleep(30)
        hosts.faults.restore(host)
        job.end(seconds=240)
    assert not queue(hosts)
    is_whole(shared, finished)


def execution(workspace: Workspace) -> int:
    """How often a job of a folder has begun to run."""
    return [number for number, _ in event_times(workspace)].count("001")
