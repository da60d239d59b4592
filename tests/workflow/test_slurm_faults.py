"""What goes wrong on a Slurm cluster: jobs run again where that helps, and a re-run does the rest.

Faults that do not touch each other share a run: to wait for a scheduler is what takes the time.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from clusters import OnLoginNode, needs_plugin, queue, run, site_of
from pools import as_user, engine_that, forget, is_whole, same, wait_until
from sites import become, lake_file
from testbed import xrootd
from testbed.slurm import Cluster
from workspace import DIMUON, SMALL, Workspace, flip_bit

SAMPLES = ("SMHiggsToZZTo4L", "ZZTo4e", "ZZTo4mu", "ZZTo2e2mu")
UNITS = tuple(f"results/higgs4l/units/{sample}/0000.root" for sample in SAMPLES)
THREE = UNITS[:3]
# Lines of an engine that leaves word of each time that it runs, and knows the time that it is.
NOTE = """
    for sample in {samples}; do case "$TASK" in *"$sample"*) break ;; esac; done
    echo >>$sample; time=$(wc -l <$sample)""".format(samples=" ".join(SAMPLES))
# Then it waits for a word of the test.
HELD = NOTE + "\n    until [ -e go ]; do sleep 0.2; done"

pytestmark = needs_plugin


@pytest.fixture
def user(own: Workspace) -> Workspace:
    """Finished results of which some units of higgs4l are missing."""
    as_user(own)
    forget(own, "higgs4l", *SAMPLES)
    return own


def jobs(cluster: Cluster, workspace: Workspace, state: str = "") -> dict[str, list[str]]:
    """The jobs that Slurm knows of a folder, by their units, in the order of their submission."""
    lines = cluster.run("squeue", "--states=all", "--noheader", "--format=%i|%T|%Z|%k")
    found: dict[str, list[str]] = {}
    for number, status, folder, comment in sorted(
        (line.split("|") for line in lines.splitlines()), key=lambda words: int(words[0])
    ):
        sample = next((name for name in SAMPLES if name in comment.split("_wildcards_")[-1]), "")
        if folder == str(workspace.folder) and state in ("", status):
            found.setdefault(sample, []).append(number)
    return found


def shown(cluster: Cluster, job: str) -> dict[str, str]:
    """What the controller says of a job."""
    words = cluster.run("scontrol", "--oneliner", "show", "job", job).split()
    return dict(word.partition("=")[::2] for word in words)


def held(workspace: Workspace, cluster: Cluster, notes: Path, **env: str) -> OnLoginNode:
    """A run whose three units are at work."""
    job = OnLoginNode(workspace, *THREE, cluster=cluster, **env)
    job.wait_until(lambda: all((notes / sample).exists() for sample in SAMPLES[:3]))
    return job


# --- retry by cause ---------------------------------------------------------------------------


def test_each_cause_has_its_remedy(user: Workspace, finished: Workspace, cluster: Cluster) -> None:
    # A bug; a damaged input; at first too much memory; at first too long.
    bug, damaged, greedy, slow = SAMPLES
    does = f"""{NOTE}
        case $sample.$time in
        {bug}.*) kill -SEGV $$ ;;
        {greedy}.1) {sys.executable} -c 'x = b"x" * 1_400_000_000' || kill -9 $$ ;;
        {slow}.1) sleep 300 ;;
        esac"""
    flip_bit(user.folder / "resources/synthetic" / f"{damaged}.root")
    with engine_that(user, "higgs4l", does) as notes:
        job = OnLoginNode(user, *UNITS, cluster=cluster)
        job.wait_until((notes / slow).exists)
        (first,) = jobs(cluster, user)[slow]
        end = time.strftime("%FT%T", time.localtime(time.time() + 2))
        cluster.run("scontrol", "update", f"JobId={first}", f"EndTime={end}")
        said = job.end(fails=True)
    flip_bit(user.folder / "resources/synthetic" / f"{damaged}.root")
    tried = {name: (notes / name).read_text().count("\n") for name in SAMPLES}
    assert tried == {bug: 1, damaged: 1, greedy: 2, slow: 2}
    for name, cause in ((bug, "bug"), (damaged, "input")):
        log = f"logs/skim/higgs4l/{name}/0000.log"
        assert log in said and (user.folder / log).read_text().endswith(f"cause: {cause}\n")
        assert f"cause: {cause}" in said  # the log itself is shown
    asked = {}
    for name, numbers in jobs(cluster, user).items():
        every = [shown(cluster, number) for number in numbers]
        asked[name] = [(one["MinMemoryCPU"], one["TimeLimit"]) for one in every]
    assert shown(cluster, first)["JobState"] == "TIMEOUT"
    memory = {name: [amount for amount, _ in every] for name, every in asked.items()}
    twice = ["1500M", "3000M"]
    assert memory == {bug: ["1500M"], damaged: ["1500M"], greedy: twice, slow: twice}
    # Of the first of them, the test has changed the limit.
    once, more = (time for _, time in asked[greedy])
    assert once < more == asked[slow][1][1]
    assert same(user, finished, *UNITS[2:])
    run(user, *UNITS, cluster=cluster)
    is_whole(user, finished)


# --- what dies --------------------------------------------------------------------------------


def test_what_slurm_loses_runs_again(
    user: Workspace, finished: Workspace, cluster: Cluster
) -> None:
    with engine_that(user, "higgs4l", HELD) as notes:
        job = held(user, cluster, notes, SBATCH_PARTITION="m100_usr_preempt")
        before = {sample: numbers[0] for sample, numbers in jobs(cluster, user).items()}
        # All daemons but those of the nodes, the database for the whole of it.
        cluster.faults.off("slurmdbd")
        cluster.faults.off("slurmctld")
        cluster.faults.on("slurmctld")
        try:
            cancelled, preempted, _ = before
            cluster.run("scancel", before[cancelled])
            job.wait_until(lambda: len(jobs(cluster, user)[cancelled]) == 2, 90)
            stronger = cluster.faults.preempt(shown(cluster, before[preempted])["NodeList"])
            job.wait_until(lambda: shown(cluster, before[preempted])["Restarts"] == "1")
            cluster.run("scancel", stronger)
            job.wait_until(lambda: set(states(cluster, user)) == {"RUNNING"})
            lost = shown(cluster, before[preempted])["NodeList"]
            cluster.faults.power_cut(lost)
            job.wait_until(lambda: shown(cluster, before[preempted])["Restarts"] == "2")
        finally:
            cluster.faults.on("slurmdbd")
        cluster.faults.power_on(lost)
        (notes / "go").touch()
        job.end()
    assert Counter(map(len, jobs(cluster, user).values())) == {1: 2, 2: 1}
    assert same(user, finished, *THREE)


def states(cluster: Cluster, workspace: Workspace) -> list[str]:
    """The states of the jobs of a folder that are in the queue."""
    lines = cluster.run("squeue", "--noheader", "--format=%T|%Z").splitlines()
    rows = [line.split("|") for line in lines]
    return [status for status, folder in rows if folder == str(workspace.folder)]


def test_run_that_was_killed_is_taken_over_and_stopped(
    user: Workspace, finished: Workspace, cluster: Cluster
) -> None:
    with engine_that(user, "higgs4l", HELD) as notes:
        first = held(user, cluster, notes)
        first.process.kill()
        first.process.wait()
        assert states(cluster, user) == ["RUNNING"] * 3
        second = OnLoginNode(user, *THREE, cluster=cluster)
        second.wait_until(lambda: "cancelled 3 jobs of an earlier run" in second.said)
        second.wait_until(lambda: states(cluster, user) == ["RUNNING"] * 3)
        for old, new in jobs(cluster, user).values():  # never two copies of a unit
            assert shown(cluster, old)["EndTime"] <= shown(cluster, new)["SubmitTime"]
        assert "another run is at work" in run(user, THREE[0], cluster=cluster, fails=True)
        stop = [Path(sys.executable).with_name("nanolake"), "stop"]
        done = cluster.login_node(stop, cwd=user.folder)
        assert "the queue holds none of its jobs" in done.stdout, done
        assert not states(cluster, user)
        second.end(fails=True, seconds=10)
        (notes / "go").touch()
        run(user, *THREE, cluster=cluster)
    assert same(user, finished, *THREE)


def test_a_run_begins_while_the_database_is_down(
    user: Workspace, finished: Workspace, cluster: Cluster
) -> None:
    cluster.faults.off("slurmdbd")
    try:
        run(user, UNITS[0], cluster=cluster)
    finally:
        cluster.faults.on("slurmdbd")
    assert same(user, finished, UNITS[0])


def test_full_file_system_is_said_and_a_re_run_finishes(
    own: Workspace, finished: Workspace, cluster: Cluster
) -> None:
    results = cluster.scratch / "results"
    forget(own, "higgs4l", SAMPLES[0])
    seen = shutil.copytree(own.path(), cluster.scratch_from_here / "results")
    as_user(own, results=str(results))
    unit = f"higgs4l/units/{SAMPLES[0]}/0000.root"
    cluster.faults.fill()
    try:
        said = run(own, f"{results}/{unit}", "--retries", "0", cluster=cluster, fails=True)
    finally:
        cluster.faults.empty()
    assert "No space left on device" in said and "cause: disk" in said
    run(own, f"{results}/{unit}", cluster=cluster)
    assert (seen / unit).read_bytes() == finished.path(unit).read_bytes()


# --- storage and credentials ------------------------------------------------------------------


def far(
    workspace: Workspace, finished: Workspace, cluster: Cluster, analysis: str, lake: str
) -> Workspace:
    """A folder whose inputs are at the site, planned and looked through."""
    as_user(workspace, lake=lake)
    workspace.take_inputs(finished)
    names = ("engine", "plan.json", "preflight.json")
    targets = [f"results/{analysis}/{name}" for name in names]
    command = workspace.command(*targets, config=SMALL | {"lake": lake}, cores=2)
    done = cluster.login_node(command, cwd=workspace.folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return workspace


@pytest.fixture
def token(
    workspace: Workspace, finished: Workspace, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Path]:
    """The file of a token of a user whose inputs are at the site; a good one before and after."""
    become(monkeypatch, site_of(cluster), "analyst")
    far(workspace, finished, cluster, "higgs4l", str(cluster.folder / "lakes/edge.yaml"))
    path = Path(os.environ["BEARER_TOKEN_FILE"])
    good = path.read_text()
    yield path
    path.write_text(good)


@pytest.mark.parametrize("why", ["expired", "not for this"])
def test_refused_credential_stops_everything(
    workspace: Workspace, finished: Workspace, cluster: Cluster, token: Path, why: str
) -> None:
    site, good = site_of(cluster), token.read_text()
    for node in cluster.nodes:
        cluster.faults.drain(node)
    job = OnLoginNode(workspace, *THREE, cluster=cluster)
    try:
        job.wait_until(lambda: states(cluster, workspace) == ["PENDING"] * 3)
        bad = {"lifetime": -60} if why == "expired" else {"scope": "storage.read:/nothing"}
        token.write_text(site.token(**bad))
        cluster.faults.resume(cluster.nodes[0])
        said = job.end(fails=True, seconds=100)
    finally:
        token.write_text(good)
        cluster.faults.resume(cluster.nodes[1])
    assert "the run stops: a credential is not good enough" in said
    assert "remedy:" in said and "cause: credential" in said
    wait_until(lambda: not queue(cluster), 20)
    run(workspace, *THREE, cluster=cluster)
    assert same(workspace, finished, *THREE)


def test_credential_must_last_as_long_as_a_job_may(
    workspace: Workspace, finished: Workspace, cluster: Cluster, token: Path
) -> None:
    ntuple = f"results/higgs4l/ntuples/{SAMPLES[0]}.root"
    # It is good for a run, and a pack of an analysis with a slow history may take hours.
    ledger_of_a_slow_unit(workspace, finished)
    token.write_text(site_of(cluster).token(lifetime=3600))
    said = run(workspace, ntuple, cluster=cluster, fails=True)
    assert "token" in said and "remedy:" in said
    assert not jobs(cluster, workspace)


def ledger_of_a_slow_unit(workspace: Workspace, finished: Workspace) -> None:
    """Leave word of a unit that took a day."""
    path = workspace.path("higgs4l/units/earlier/0000.json")
    path.parent.mkdir(parents=True)
    ledger = finished.read(f"higgs4l/units/{SAMPLES[0]}/0000.json")
    path.write_text(json.dumps(ledger | {"wall_seconds": 86400}))


def test_prestaged_inputs_need_no_route_and_no_credential(
    workspace: Workspace,
    finished: Workspace,
    cluster: Cluster,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    site: xrootd.Site = site_of(cluster)
    become(monkeypatch, site, "analyst")
    read = {"prestage": str(tmp_path / "prestaged"), "cache": None}
    lake = lake_file(site, "stream", tmp_path / "prestage.yaml", read=read)
    # Outside of what nodes share: theirs is another /tmp.
    with tempfile.TemporaryDirectory() as hidden:
        token = shutil.copy(os.environ["BEARER_TOKEN_FILE"], hidden)
        monkeypatch.setenv("BEARER_TOKEN_FILE", token)
        monkeypatch.delenv("X509_USER_PROXY", raising=False)
        far(workspace, finished, cluster, "dimuon", lake)
        with engine_that(workspace, "dimuon", 'ls "$BEARER_TOKEN_FILE" >>seen 2>&1') as notes:
            ntuple = f"results/dimuon/ntuples/{DIMUON}.root"
            run(workspace, ntuple, cluster=cluster)
        assert set((notes / "seen").read_text().splitlines()) == {
            f"ls: cannot access '{token}': No such file or directory"
        }
    assert same(workspace, finished, ntuple)
    (ledger, *_) = workspace.path("dimuon/units", DIMUON).glob("*.json")
    files = workspace.read(str(ledger.relative_to(workspace.path())))["files"]
    assert all(file["origin"] for file in files), files
