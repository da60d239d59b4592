"""Analyses in a notebook: units over real Dask workers, everything else by the DAG."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from notebooks import SAMPLES
from pools import engine_that, forget, wait_until
from sites import become, embargo_all
from testbed import xrootd
from workspace import SMALL, Workspace, flip_bit

import nanolake
from nanolake import analyses
from nanolake.batch import state
from nanolake.errors import CredentialError, EngineError, NanolakeError
from nanolake.interactive import tasks
from nanolake.interactive.analysis import Analysis

distributed = pytest.importorskip("distributed", reason="no Dask: make setup-dev")

NAMES = ("dimuon", "higgs4l", "htautau")


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Two workers of this machine."""
    with nanolake.cluster("local", minimum=2, maximum=2, config=WITHOUT) as cluster:
        yield cluster


WITHOUT: dict[str, Any] = {"lake": {"credential": None}}


@pytest.fixture
def client(cluster: Any) -> Iterator[Any]:
    with cluster.get_client() as client:
        yield client


def opened(workspace: Workspace, name: str = "higgs4l", **config: Any) -> Analysis:
    """The analysis of a workspace, small and without a lake."""
    return nanolake.analysis(name, folder=workspace.folder, **SMALL | {"lake": "local"} | config)


@pytest.fixture
def user(own: Workspace) -> Workspace:
    """Finished results of which some units of higgs4l are missing."""
    forget(own, "higgs4l", *SAMPLES)
    return own


def lost(workspace: Workspace) -> set[str]:
    """Units of higgs4l that are missing."""
    return {sample for sample in SAMPLES if not workspace.path("higgs4l/units", sample).exists()}


def test_three_analyses_have_the_bytes_of_a_batch_run(
    finished: Workspace, workspace: Workspace, client: Any
) -> None:
    for name in NAMES:
        result = opened(workspace, name).run(client)
        assert len(result.ledgers) == len(list(finished.path(name, "units").glob("*/*.json")))
    assert workspace.products() == finished.products()
    # A batch run after it finds all units made.
    after = workspace.run("-n", config=SMALL)
    assert not {"skim", "merge", "plan"} & after.rules()


def test_what_a_batch_run_has_made_is_not_made_again(
    user: Workspace, finished: Workspace, client: Any
) -> None:
    before = {path: path.stat().st_mtime_ns for path in user.path("higgs4l").glob("units/*/*")}
    analysis = opened(user)
    assert {task["sample"] for task in analysis.missing(analysis.prepare())} == set(SAMPLES)
    result = analysis.run(client)
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert user.products() == finished.products()
    assert not analysis.missing(analysis.prepare())
    assert result.cutflow.shape[0] > 0 and result.plots
    assert set(result.ntuples) >= set(SAMPLES)
    assert any(name for name in result.histograms)
    assert result.plot().axes


def test_units_are_made_anew_where_their_input_is_another(
    user: Workspace, finished: Workspace, client: Any
) -> None:
    """What Snakemake knows of units that it has made once does not make it run them again."""
    analysis = opened(user, synthetic={"seed": 7, "scale": 0.02})
    result = analysis.run(client)
    assert user.products() != finished.products()
    assert sum(one["read"] for one in result.ledgers) > 0
    again = user.run("higgs4l", "-n", config=SMALL | {"synthetic": {"seed": 7, "scale": 0.02}})
    assert "skim" not in again.rules(), again.output


def test_a_worker_that_dies_loses_its_unit_alone(
    user: Workspace, finished: Workspace, client: Any
) -> None:
    client.wait_for_workers(2)
    hang = (
        f'echo $PPID >>tried; case "$TASK" in *{SAMPLES[0]}*)'
        " [ -e one ] || { touch one; sleep 300; } ;; esac"
    )
    with engine_that(user, "higgs4l", hang) as notes:
        run = Running(opened(user), client)
        wait_until(lambda: (notes / "one").exists())
        (busy,) = (w for w, keys in client.processing().items() if SAMPLES[0] in str(keys))
        pid = client.run(os.getpid, workers=[busy])[busy]
        os.kill(pid, signal.SIGKILL)
        run.end()
    assert user.products() == finished.products()
    # It ended with its worker.
    assert not [p for p in map(int, (notes / "tried").read_text().split()) if alive(p)]


def test_how_a_unit_has_ended_may_be_lost_with_its_worker(
    user: Workspace, finished: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker dies when it has made two units, and the run has looked at the first only."""
    make, look = tasks.make, threading.Event()

    def slowly(*arguments: Any, tell: Callable[[Any], None], **options: Any) -> None:
        def told(task: Any) -> None:
            assert look.wait(60)
            tell(task)

        make(*arguments, tell=told, **options)

    monkeypatch.setattr(tasks, "make", slowly)
    last = "[ -e two ] && [ ! -e three ] && { touch three; sleep 300; }"
    hang = f"{last}; [ -e one ] && touch two; touch one"
    with (
        engine_that(user, "higgs4l", hang) as notes,
        nanolake.cluster("local", minimum=1, maximum=1, config=WITHOUT) as cluster,
        cluster.get_client() as client,
    ):
        run = Running(opened(user), client)
        wait_until((notes / "three").exists)
        ((_, pid),) = client.run(os.getpid).items()
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: "lost" in {state.status for state in client.futures.values()})
        look.set()
        run.end()
    assert user.products() == finished.products()


def alive(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


class Running:
    """A run in a thread of its own, as a kernel has it."""

    def __init__(self, analysis: Analysis, client: Any, **options: Any) -> None:
        self.error: BaseException | None = None

        def work() -> None:
            try:
                analysis.run(client, progress=False, **options)
            except BaseException as error:
                self.error = error

        self.thread = threading.Thread(target=work)
        self.thread.start()

    def end(self) -> None:
        self.thread.join(300)
        assert not self.thread.is_alive()
        if self.error:
            raise self.error


def test_a_scheduler_that_dies_is_said_and_the_next_goes_on(
    user: Workspace, finished: Workspace, client: Any, tmp_path: Path
) -> None:
    address = tmp_path / "scheduler.json"
    command = [sys.executable, "-m", "distributed.cli.dask_scheduler", "--host", "127.0.0.1"]
    command += ["--no-dashboard", "--port", "0", "--scheduler-file", str(address)]
    scheduler = subprocess.Popen(command)
    worker = [sys.executable, "-m", "distributed.cli.dask_worker", "--nthreads", "1"]
    worker += ["--no-dashboard", "--death-timeout", "10", "--scheduler-file", str(address)]
    workers = []
    try:
        wait_until(address.exists)
        workers.append(subprocess.Popen(worker, cwd=tmp_path))
        waits = f'case "$TASK" in *{SAMPLES[1]}*) until [ -e go ]; do sleep 0.2; done ;; esac'
        with engine_that(user, "higgs4l", f'echo >>"began-$$"\n{waits}') as notes:
            other = distributed.Client(scheduler_file=str(address))
            run = Running(opened(user), other)
            wait_until(lambda: len(list(notes.glob("began-*"))) >= 2)
            scheduler.kill()
            with pytest.raises(NanolakeError, match="run again: what is made stays made"):
                run.end()
            other.close()
            assert set(SAMPLES) - lost(user) and lost(user)
            (notes / "go").touch()
            opened(user).run(client)
    finally:
        for process in (scheduler, *workers):
            process.kill()
            process.wait()
    assert user.products() == finished.products()


def test_a_bug_and_a_damaged_input_fail_the_run_and_the_others_are_made(
    user: Workspace, finished: Workspace, client: Any
) -> None:
    damaged = user.folder / "resources/synthetic" / f"{SAMPLES[1]}.root"
    analysis = opened(user)
    analysis.prepare()
    flip_bit(damaged)
    with (
        engine_that(user, "higgs4l", f'case "$TASK" in *{SAMPLES[0]}*) kill -SEGV $$ ;; esac'),
        pytest.raises(EngineError, match="2 of 3 units failed") as failed,
    ):
        analysis.run(client)
    flip_bit(damaged)
    for sample, cause in ((SAMPLES[0], "bug"), (SAMPLES[1], "input")):
        log = f"logs/skim/higgs4l/{sample}/0000.log"
        assert f"{sample}/0000 (cause: {cause}; log: {log})" in str(failed.value)
        assert (user.folder / log).read_text().endswith(f"cause: {cause}\n")
    assert "remedy:" in str(failed.value)
    assert user.path("higgs4l/units", SAMPLES[2], "0000.root").exists()
    said = state.read(user.folder / state.STATUS)
    assert said and said["well"] is False and len(said["failed"]) == 2
    analysis.run(client)
    assert user.products() == finished.products()


def test_two_runs_in_a_folder_are_refused_and_status_is_of_the_one_at_work(
    user: Workspace, client: Any
) -> None:
    client.wait_for_workers(2)
    with engine_that(user, "higgs4l", "until [ -e go ]; do sleep 0.2; done") as notes:
        run = Running(opened(user), client)
        wait_until(lambda: at_work(user))
        assert "another run is at work" in user.run("higgs4l", config=SMALL, fails=True).output
        wait_until(lambda: "jobs: 2 running, 1 idle" in status(user))
        units = len(list(user.path("higgs4l/units").glob("*/*.json"))) + len(SAMPLES)
        head, line = status(user).splitlines()[:2]
        assert head.startswith(f"a run is at work in {user.folder}, process {os.getpid()}, for ")
        assert line == f"  units {units - 3} of {units}; jobs: 2 running, 1 idle"
        (notes / "go").touch()
        run.end()
    assert f"\n  units {units} of {units}\n" in status(user, 3)


def status(workspace: Workspace, code: int = 0) -> str:
    """What `nanolake status` says, which ends with this code."""
    command = [sys.executable, "-m", "nanolake", "status"]
    done = subprocess.run(command, cwd=workspace.folder, capture_output=True, text=True)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout


def test_status_of_a_run_that_failed_is_that_of_a_batch_run(user: Workspace, client: Any) -> None:
    def figures() -> list[str]:
        """Without what Snakemake's own log adds."""
        head, *lines = status(user, 1).partition("  last lines of")[0].splitlines()
        assert head.startswith(f"no run is at work in {user.folder}; the last one ")
        return [line.partition(" events/s")[0].rpartition("; ")[0] or line for line in lines]

    opened(user).prepare()
    with engine_that(user, "higgs4l", f'case "$TASK" in *{SAMPLES[0]}*) exit 1 ;; esac'):
        with pytest.raises(EngineError):
            opened(user).run(client, progress=False)
        by_dask = figures()
        for sample in SAMPLES[1:]:
            shutil.rmtree(user.path("higgs4l/units", sample))
        user.run("higgs4l", "--keep-going", config=SMALL, fails=True)
        in_batch = figures()
    assert by_dask == in_batch
    log = f"logs/skim/higgs4l/{SAMPLES[0]}/0000.log"
    assert f"1 failed (log: {log})" in by_dask[0]
    assert f"  failed: skim higgs4l/{SAMPLES[0]}/0000: " in by_dask[1]
    assert by_dask[2] == f"    log: {log}"


def at_work(workspace: Workspace) -> bool:
    said = state.read(workspace.folder / state.STATUS)
    return bool(said and said["engine"] == "dask" and not said["ended"])


# --- a lake with tokens -------------------------------------------------------------------------


def test_a_token_that_expires_stops_the_run_and_a_new_one_ends_it(
    finished: Workspace,
    own: Workspace,
    site: xrootd.Site,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    become(monkeypatch, site, "analyst")
    analysis = opened(own, results="far", lake=str(site.folder / "lakes/stream.yaml"))
    token = Path(os.environ["BEARER_TOKEN_FILE"])
    good = token.read_text()
    analysis.prepare()
    with analysis.cluster("local", maximum=1) as cluster, cluster.get_client() as client:
        try:
            token.write_text(site.token(lifetime=-60))
            with pytest.raises(CredentialError, match="remedy:  renew the credential"):
                analysis.run(client)
        finally:
            token.write_text(good)
        assert not list(analysis.path("units").glob("*/*.root"))
        analysis.run(client)
    for name, content in finished.products().items():
        if name.startswith("higgs4l"):
            assert (own.folder / "far" / name).read_bytes() == content


def test_embargoed_data_give_the_same_bytes_for_their_owner_alone(
    finished: Workspace,
    workspace: Workspace,
    site: xrootd.Site,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    become(monkeypatch, site, "analyst")
    workspace.take_inputs(finished)
    config = embargo_all(workspace, finished)
    config |= {"lake": str(site.folder / "lakes/embargo.yaml")}
    analyses = [opened(workspace, name, **config) for name in NAMES]
    with analyses[0].cluster("local", maximum=2) as cluster, cluster.get_client() as client:
        for analysis in analyses:
            analysis.run(client, progress=False)
    assert workspace.products() == finished.products()
    files = [file for ledger in workspace.ledgers() for file in ledger["files"]]
    assert all(file["did"].startswith("embargo:") for file in files)
    assert {file["cache"] for file in files} == {site.url("tcache").rstrip("/")}
    assert not workspace.seen_by_others()


def test_root_reads_a_sample_through_the_lake_here_and_distributed(
    own: Workspace, site: xrootd.Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = f"""
import nanolake
a = nanolake.analysis("higgs4l", folder={str(own.folder)!r}, results="near", **{SMALL!r},
                      lake={str(site.folder / "lakes/stream.yaml")!r})
def look(name, df):
    chosen = a.select(df, kind="mc")
    print(name, df.Count().GetValue(), chosen.Count().GetValue())
look("here", a.dataframe("ZZTo4mu"))
with a.cluster("local", maximum=1) as cluster, cluster.get_client() as client:
    look("there", a.dataframe("ZZTo4mu", client=client, npartitions=2))
"""
    become(monkeypatch, site, "analyst")
    done = subprocess.run([sys.executable, "-c", lines], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    plan = nanolake.catalogue.read(own.folder / "near/higgs4l/plan.json")
    events = sum(file["events"] for file in plan["samples"]["ZZTo4mu"]["files"])
    lines = [line.split() for line in done.stdout.splitlines()]
    said = {line[0]: line[1:] for line in lines if line and line[0] in ("here", "there")}
    # The first channel of the analysis, four muons: as the batch run has booked it.
    ledger = own.read("higgs4l/units/ZZTo4mu/0000.json")
    assert ledger["range"] == [0, events]
    channel = analyses.load("higgs4l").CHANNELS[0]
    expected = [str(events), str(ledger["cutflow"][channel][-1][1])]
    assert int(expected[1]) > 0 and said == {"here": expected, "there": expected}
