"""The Slurm cluster of the test-bed: its life and death, jobs, limits, network, faults."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from testbed import processes
from testbed.errors import TestbedError
from testbed.slurm import Cluster, configuration, down, find, launch, programs, up
from testbed.slurm.state import load
from testbed.xrootd import Site

ROOT = Path(__file__).parents[2]
MINUTE = 60.0


@pytest.fixture(scope="session")
def slurm() -> None:
    """Skip where Slurm is not there, or cannot run."""
    try:
        launch.check()
    except TestbedError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What all hosts share, beside the project."""
    return tmp_path_factory.mktemp("shared")


@pytest.fixture(scope="module")
def cluster(services_folder: Path, folder: Path, slurm: None, site: Site) -> Iterator[Cluster]:
    """A cluster at whose edge are the caches of a site."""
    own = services_folder / "cluster"
    try:
        yield up(own, site=site.folder, show=[folder])
    finally:
        down(own, delete=True)


def of_cluster(folder: Path) -> list[psutil.Process]:
    known = load(folder)
    assert known is not None
    return processes.of_service(folder, known)


def wait_until(condition: Callable[[], Any], seconds: float = MINUTE) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"not within {seconds} s"
        time.sleep(0.1)


class Job:
    """A job of a shell script, in a folder of its own that all hosts share."""

    number = 0

    def __init__(self, cluster: Cluster, folder: Path, script: str, *options: str) -> None:
        Job.number += 1
        self.cluster, self.folder = cluster, folder / str(Job.number)
        self.folder.mkdir()
        job = self.folder / "job.sh"
        job.write_text(f"#!/bin/sh\n{script}\n")
        given = [*("--parsable", "--output=out", "--mem=50", f"--account={cluster.account}"),
                 *("--partition=m100_usr_prod", *options)]  # fmt: skip
        self.submitted = cluster.login_node(["sbatch", *given, job], cwd=self.folder)
        self.name = self.submitted.stdout.strip()

    def ask(self, field: str) -> str:
        shown = self.cluster.run("scontrol", "--oneliner", "show", "job", self.name)
        return dict(word.partition("=")[::2] for word in shown.split())[field]

    def state(self) -> str:
        return self.ask("JobState")

    def node(self) -> str:
        wait_until(lambda: self.state() == "RUNNING")
        return self.ask("NodeList")

    def end(self, seconds: float = MINUTE) -> str:
        """Wait until the job is over, and give its state."""
        assert self.name, self.submitted.stderr
        wait_until(lambda: self.state() not in ("PENDING", "RUNNING", "COMPLETING"), seconds)
        return self.state()

    def output(self) -> str:
        """Wait until the job has done its work, and give what it printed."""
        out = self.folder / "out"
        state = self.end()
        assert state == "COMPLETED", f"{state}: {out.read_text()}"
        return out.read_text()

    def cancel(self) -> None:
        self.cluster.run("scancel", self.name)


@pytest.fixture(scope="module")
def overdue(cluster: Cluster, folder: Path) -> Job:
    """A job that is over its time soon; Slurm looks twice a minute, so it is asked for late."""
    job = Job(cluster, folder, "sleep 600", "--time=1")
    job.node()
    end = time.strftime("%FT%T", time.localtime(time.time() + 2))
    cluster.run("scontrol", "update", f"JobId={job.name}", f"EndTime={end}")
    return job


# --- jobs ---------------------------------------------------------------------------------------


def test_cluster_that_runs_is_found_and_reused(cluster: Cluster) -> None:
    again = up(cluster.folder)
    assert again == cluster._replace(started=False)
    assert find(cluster.folder) == again
    services = ["munged", "mariadb", "slurmdbd", "slurmctld", "gateway", *cluster.nodes]
    found = programs(cluster.folder)
    assert sorted(name for name, _, pid in found if pid) == sorted(services)


def test_job_runs_on_each_node_shares_files_and_is_accounted(
    cluster: Cluster, folder: Path, overdue: Job
) -> None:
    (folder / "input").write_text("given")
    script = f"srun sh -c 'echo $(hostname) $(cat {folder}/input) $CINECA_SCRATCH'"
    job = Job(cluster, folder, script, "--nodes=2", "--ntasks-per-node=1")
    lines = sorted(line.split() for line in job.output().splitlines())
    assert lines == [[node, "given", str(cluster.scratch)] for node in cluster.nodes]
    fields = "--format=state,account,partition,qos,nnodes"

    ask = ["sacct", "-XnP", "-j", job.name, fields]
    wanted = f"COMPLETED|{cluster.account}|m100_usr_prod|normal|2"
    # The database hears of the end of so short a job before it hears of its beginning.
    wait_until(lambda: cluster.run(*ask).strip() == wanted, 20)


def test_job_over_its_memory_is_killed(cluster: Cluster, folder: Path) -> None:
    greedy = f"{sys.executable} -c 'x = bytearray(300_000_000); import time; time.sleep(60)'"
    job = Job(cluster, folder, greedy)
    wanted = ("OUT_OF_MEMORY",) if configuration.cgroups() else ("OUT_OF_MEMORY", "FAILED")
    assert job.end() in wanted


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--account=other"], "Invalid account"),
        (["--qos=other"], "Invalid qos"),
        (["--qos=m100_qos_dbg", "--time=3:00:00"], "violates accounting/QOS policy"),
        (["--partition=m100_all_serial", "--time=5:00:00"], "time limit"),
        (["--mem=20000"], "configuration is not available"),
    ],
)
def test_job_over_the_limits_of_marconi100_is_refused(
    cluster: Cluster, folder: Path, options: list[str], said: str
) -> None:
    job = Job(cluster, folder, "true", *options)
    assert job.submitted.returncode != 0, job.submitted.stdout
    assert said in job.submitted.stderr


# --- network ------------------------------------------------------------------------------------

PROBE = """
import json, socket, urllib.request
def connects(host, port):
    try:
        socket.create_connection((host, port), timeout=3).close()
        return True
    except OSError:
        return False
page = urllib.request.urlopen("http://{gateway}:{cache}//lake/cms/edge", timeout=20)
print(json.dumps([
    socket.gethostbyname(socket.gethostname()),
    page.read().decode(),
    *(connects(host, {origin}) for host in ("{gateway}", "localhost", "{machine}")),
]))
"""


def test_compute_node_reaches_the_cache_at_the_gateway_and_no_origin(
    cluster: Cluster, site: Site, folder: Path, tmp_path: Path
) -> None:
    path = site.storage("fast") / "lake/cms/edge"
    path.parent.mkdir(exist_ok=True, parents=True)
    path.write_text("event data")
    hidden = Path("/tmp/nanolake-of-the-machine")
    hidden.touch()
    probe = folder / "probe.py"
    probe.write_text(
        PROBE.format(
            gateway=cluster.gateway,
            cache=site.port("gcache"),
            origin=site.port("fast"),
            machine=subprocess.check_output(["hostname", "-I"], text=True).split()[0],
        )
    )
    script = f"ip -json route; {sys.executable} {probe}; ls {hidden}; true"
    routes, answers, rest = Job(cluster, folder, script).output().splitlines()
    hidden.unlink()
    path.unlink()
    assert [route["dst"] for route in json.loads(routes)] == ["10.78.0.0/24"]
    address, content, *reached = json.loads(answers)
    assert address.startswith("10.78.0.1") and content == "event data"
    assert reached == [False, False, False]
    assert "No such file" in rest
    # The login node has a way out: the same origin, under its own name.
    connect = f"import socket; socket.create_connection(('localhost', {site.port('fast')}))"
    assert cluster.login_node([sys.executable, "-c", connect]).returncode == 0


def test_nothing_of_the_cluster_is_in_the_machines_network(cluster: Cluster) -> None:
    links = json.loads(subprocess.check_output(["ip", "-json", "addr"]))
    addresses = [one["local"] for link in links for one in link["addr_info"]]
    assert not any(address.startswith("10.78.0.") for address in addresses)
    assert "10.78.0.1" in cluster.login_node(["ip", "addr"]).stdout
    assert "m100" not in Path("/etc/hosts").read_text()


# --- faults -------------------------------------------------------------------------------------


def test_restarted_daemons_lose_nothing(cluster: Cluster, folder: Path) -> None:
    job = Job(cluster, folder, "sleep 4; echo done")
    job.node()
    cluster.faults.off("slurmdbd")
    cluster.faults.off("slurmctld")
    assert find(cluster.folder) is None
    cluster.faults.on("slurmctld")
    assert job.output() == "done\n"
    cluster.faults.on("slurmdbd")
    ask = ["sacct", "-XnP", "-j", job.name, "--format=state"]
    wait_until(lambda: cluster.run(*ask).strip() == "COMPLETED", 30)


def test_job_of_a_node_without_power_runs_again(
    cluster: Cluster, folder: Path, overdue: Job
) -> None:
    node = cluster.nodes[1]  # the job over its time is on the other one
    script = "[ $SLURM_RESTART_COUNT ] || sleep 600; hostname"
    job = Job(cluster, folder, script, f"--nodelist={node}")
    job.node()
    cluster.faults.power_cut(node)
    wait_until(lambda: job.ask("Restarts") == "1")
    assert find(cluster.folder) is None
    assert not up(cluster.folder).started
    assert job.output() == f"{node}\n"


def test_job_over_its_time_is_killed(overdue: Job) -> None:
    assert overdue.end() == "TIMEOUT"


def test_preempted_job_is_queued_again(cluster: Cluster, folder: Path) -> None:
    node = cluster.nodes[1]
    options = ["--partition=m100_usr_preempt", f"--nodelist={node}"]
    job = Job(cluster, folder, "[ $SLURM_RESTART_COUNT ] || sleep 600; echo done", *options)
    job.node()
    stronger = cluster.faults.preempt(node)
    try:
        wait_until(lambda: job.ask("Restarts") == "1" and job.state() == "PENDING")
    finally:
        cluster.run("scancel", stronger)
    assert job.output() == "done\n"


def test_drained_node_gets_no_job(cluster: Cluster, folder: Path) -> None:
    node = cluster.nodes[1]
    cluster.faults.drain(node)
    job = Job(cluster, folder, "echo done", f"--nodelist={node}")
    wait_until(lambda: "ReqNodeNotAvail" in job.ask("Reason"))
    cluster.faults.resume(node)
    assert job.output() == "done\n"


def test_full_file_system_fails_jobs(cluster: Cluster, folder: Path) -> None:
    script = "head -c 100000 /dev/zero >$CINECA_SCRATCH/file || exit 9"
    cluster.faults.fill()
    full = Job(cluster, folder, script)
    assert full.end() == "FAILED"
    assert "No space left on device" in (full.folder / "out").read_text()
    cluster.faults.empty()
    Job(cluster, folder, script).output()
    assert (cluster.scratch_from_here / "file").stat().st_size == 100000


def test_node_that_is_cut_off_is_silent_and_comes_back(cluster: Cluster) -> None:
    ask = "import socket, sys; socket.create_connection((sys.argv[1], 6818), timeout=2)"

    def reach() -> str:
        return cluster.login_node([sys.executable, "-c", ask, cluster.nodes[0]]).stderr

    assert not reach()
    cluster.faults.cut(cluster.nodes[0])
    assert "TimeoutError" in reach() or "No route" in reach()
    cluster.faults.restore(cluster.nodes[0])
    wait_until(lambda: not reach())


# --- life and death -----------------------------------------------------------------------------


def test_secrets_are_private(cluster: Cluster) -> None:
    assert cluster.known.secret not in repr(cluster)
    etc = cluster.folder / "etc"
    for name in ("cluster.json", "munge.key", "slurm/slurmdbd.conf", "supervisord.conf"):
        assert stat.S_IMODE((etc / name).stat().st_mode) == 0o600, name
    lines = [" ".join(process.cmdline()) for process in of_cluster(cluster.folder)]
    logs = [path.read_text(errors="replace") for path in (cluster.folder / "log").iterdir()]
    assert len(lines) > 8
    assert not any(cluster.known.secret in text for text in [*lines, *logs])


def test_command_line(cluster: Cluster) -> None:
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        words = [sys.executable, "-m", "testbed.cli", arguments[0], "--folder", str(cluster.folder)]
        return subprocess.run([*words, *arguments[1:]], cwd=ROOT, text=True, capture_output=True)

    said = run("up", "slurm")
    assert f"testbed run --service slurm --folder {cluster.folder}" in said.stdout, said.stderr
    assert "slurmctld" in run("status", "slurm").stdout
    assert "m100_usr_prod" in run("run", "--service", "slurm", "sinfo").stdout
    assert "--hosts is not an option of slurm" in run("up", "slurm", "--hosts", "2").stderr


def test_down_leaves_the_queue_and_nothing_else(cluster: Cluster, folder: Path) -> None:
    waiting = Job(cluster, folder, "true", "--hold")
    running = Job(cluster, folder, "(trap '' TERM; exec setsid sleep 987) & sleep 987")
    running.node()
    assert down(cluster.folder)
    assert of_cluster(cluster.folder) == [] and find(cluster.folder) is None
    assert not any("987" in process.info["cmdline"] for process in psutil.process_iter(["cmdline"])
                   if process.info["cmdline"])  # fmt: skip
    assert str(cluster.folder) not in Path("/proc/self/mounts").read_text()
    assert not list(Path("/sys/fs/cgroup").glob(f"*/slurm_{cluster.nodes[0]}"))
    assert not down(cluster.folder)
    again = up(cluster.folder)
    assert again.started and again.run("squeue", "-h", "-j", waiting.name, "-o", "%t") == "PD\n"


def test_folder_that_is_no_cluster_is_left_alone(tmp_path: Path, slurm: None) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(TestbedError, match="not a cluster"):
        up(tmp_path)
    with pytest.raises(TestbedError, match="not a cluster"):
        down(tmp_path, delete=True)
    with pytest.raises(TestbedError, match="no site runs"):
        up(tmp_path / "cluster", site=tmp_path / "site")
    assert [path.name for path in tmp_path.iterdir() if path.name != "cluster"] == ["thesis.tex"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may have it")
def test_cluster_needs_root(tmp_path: Path) -> None:
    with pytest.raises(TestbedError, match=r"needs root|envs/setup slurm"):
        up(tmp_path / "cluster")
    assert not (tmp_path / "cluster").exists()
