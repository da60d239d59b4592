"""The HTCondor pool of the test-bed: its life and death, jobs, credentials, faults, both shapes."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from testbed import processes, unpacked
from testbed.condor import Pool, down, find, programs, up
from testbed.condor.configuration import AUDIENCE
from testbed.condor.state import Known, load
from testbed.definition import write_private
from testbed.errors import TestbedError
from testbed.xrootd import Site

ROOT = Path(__file__).parents[2]
MINUTE = 60.0
SCRIPT = "#!/bin/sh\n"


@pytest.fixture(scope="session")
def condor() -> None:
    """Skip where HTCondor is not there."""
    try:
        unpacked.folder("condor")
    except TestbedError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def shared(services_folder: Path, condor: None) -> Iterator[Pool]:
    """A pool on this machine with its files; it knows no site. Tests may kill it."""
    folder = services_folder / "pool"
    try:
        yield up(folder)
    finally:
        down(folder, delete=True)


SEPARABLE = os.geteuid() == 0 and bool(shutil.which("ip"))


@pytest.fixture(scope="module")
def trusting(services_folder: Path, condor: None, site: Site) -> Iterator[Pool]:
    """A pool that trusts a site: of three hosts where there can be such, else of one."""
    folder = services_folder / "trusting"
    try:
        yield up(folder, 2 if SEPARABLE else 0, site=site.folder)
    finally:
        down(folder, delete=True)


@pytest.fixture(scope="module")
def apart(request: pytest.FixtureRequest) -> Pool:
    """A pool of three hosts without shared files."""
    if not SEPARABLE:
        pytest.skip("hosts with a network of their own need root and iproute2")
    pool: Pool = request.getfixturevalue("trusting")
    return pool


def of_pool(folder: Path) -> list[psutil.Process]:
    known = load(folder)
    assert known is not None
    return processes.of_service(folder, known)


def wait_until(condition: Callable[[], Any], seconds: float = MINUTE) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"not within {seconds} s"
        time.sleep(0.1)


class Job:
    """A job of a script that is a file of a folder, which is its working folder, too."""

    def __init__(self, pool: Pool, folder: Path, script: str, **submit: object) -> None:
        self.pool, self.folder = pool, folder
        folder.mkdir(exist_ok=True)
        path = folder / "job"
        path.write_text(script)
        path.chmod(0o755)
        lines = {
            "executable": "job", "output": "out", "error": "err", "log": "log",
            "request_memory": 50, "should_transfer_files": "YES" if pool.known.hosts else "NO",
            **submit,
        }  # fmt: skip
        text = "".join(f"{name} = {value}\n" for name, value in lines.items()) + "queue\n"
        (folder / "submit").write_text(text)
        done = pool.submit_host(["condor_submit", "-terse", "submit"], cwd=folder)
        assert done.returncode == 0, done.stderr
        self.name = done.stdout.split()[0]

    def ask(self, attribute: str) -> str:
        return self.pool.run("condor_q", self.name, "-af", attribute).strip()

    def host(self) -> str:
        wait_until(lambda: self.ask("JobStatus") == "2")
        return self.ask("RemoteHost").split("@")[1].split(".")[0]

    def output(self, seconds: float = MINUTE) -> str:
        """Wait until the job has ended, and give what it printed."""
        command = ["condor_wait", "-wait", str(int(seconds)), "log"]
        done = self.pool.submit_host(command, cwd=self.folder)
        assert done.returncode == 0, (self.folder / "log").read_text() + self.ask("HoldReason")
        return (self.folder / "out").read_text() + (self.folder / "err").read_text()

    def events(self) -> list[str]:
        return [line[:3] for line in (self.folder / "log").read_text().splitlines()
                if line[:3].isdigit()]  # fmt: skip


# --- life and death ---------------------------------------------------------------------------


def test_pool_that_runs_is_found_and_reused(shared: Pool) -> None:
    again = up(shared.folder)
    assert again == shared._replace(started=False)
    assert find(shared.folder) == again
    assert [(name, pid > 0) for name, _, pid in programs(shared.folder)] == [("submit", True)]


def test_job_uses_shared_files(shared: Pool, tmp_path: Path) -> None:
    job = Job(shared, tmp_path, SCRIPT + "id -un; id -u; cat input; echo made > output; exit 3\n")
    (tmp_path / "input").write_text("given\n")
    user, number, given = job.output().split()
    assert (user, given) == (shared.user, "given") and number != "0"
    assert (tmp_path / "output").read_text() == "made\n"
    assert (tmp_path / "output").stat().st_uid == os.geteuid()
    assert "return value 3" in (tmp_path / "log").read_text()


def test_coordinator_can_be_a_job_of_the_submit_host(shared: Pool, tmp_path: Path) -> None:
    script = SCRIPT + "condor_q -totals | grep -c 'Total for query'\n"
    path = os.pathsep.join([str(shared.bin), os.defpath])
    words = f"PATH={path} CONDOR_CONFIG={shared.config}"
    job = Job(shared, tmp_path, script, universe="local", environment=f'"{words}"')
    assert job.output() == "1\n"


def test_memory_overrun_and_a_missing_program_are_held_with_their_reason(
    shared: Pool, tmp_path: Path
) -> None:
    greedy = f"#!{sys.executable}\nimport time; x = b'x' * 200_000_000; time.sleep(60)\n"
    job = Job(shared, tmp_path, greedy, request_memory=64)
    wait_until(lambda: job.ask("JobStatus") == "5")
    assert "memory usage exceeded request_memory" in job.ask("HoldReason")
    shared.run("condor_rm", job.name)
    (tmp_path / "absent").mkdir()
    absent = Job(shared, tmp_path / "absent", SCRIPT, transfer_input_files="/no/such/file",
                 should_transfer_files="YES")  # fmt: skip
    wait_until(lambda: absent.ask("JobStatus") == "5")
    assert "/no/such/file" in absent.ask("HoldReason")
    shared.run("condor_rm", absent.name)


def test_what_died_halfway_is_replaced_and_its_queue_survives(shared: Pool, tmp_path: Path) -> None:
    job = Job(shared, tmp_path, SCRIPT + "sleep 300\n", hold=True)
    running = Job(shared, tmp_path / "running", SCRIPT + "exec sleep 300\n")
    running.host()  # the job counts as running before its script does
    wait_until(lambda: any(one.name() == "sleep" for one in of_pool(shared.folder)))
    orphans = [one for one in of_pool(shared.folder) if one.pid != shared.pid]
    os.kill(shared.pid, 9)
    assert shared.faults.kill("master") == 1
    wait_until(lambda: not psutil.pid_exists(shared.pid))
    assert find(shared.folder) is None
    again = up(shared.folder)
    assert again.started
    assert not processes.outlive(orphans, 0)
    assert job.ask("JobStatus") == "5"
    again.run("condor_rm", job.name, running.name)


def test_daemons_come_back(shared: Pool, tmp_path: Path) -> None:
    pool = up(shared.folder)
    pool.faults.off("negotiator")
    job = Job(pool, tmp_path, SCRIPT + "echo ran\n")
    assert pool.faults.kill("schedd") == 1
    wait_until(lambda: pool.submit_host(["condor_q"]).returncode == 0)
    assert job.ask("JobStatus") == "1"
    pool.faults.on("negotiator")
    assert job.output() == "ran\n"


def test_down_leaves_the_queue_and_nothing_else(shared: Pool, tmp_path: Path) -> None:
    pool = up(shared.folder)
    job = Job(pool, tmp_path, SCRIPT + "(trap '' TERM; exec setsid sleep 300) & sleep 300\n")
    job.host()
    assert down(pool.folder)
    assert of_pool(pool.folder) == []
    names = ["client", "env.sh", "etc", "hosts", "log"]
    assert sorted(path.name for path in pool.folder.iterdir()) == names
    assert find(pool.folder) is None
    assert not down(pool.folder)
    again = up(pool.folder)
    assert again.run("condor_q", job.name, "-af", "Cmd").strip().endswith("/job")
    again.run("condor_rm", job.name)


def test_folder_that_is_no_pool_is_left_alone(tmp_path: Path, condor: None) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(TestbedError, match="not a pool"):
        up(tmp_path)
    with pytest.raises(TestbedError, match="not a pool"):
        down(tmp_path, delete=True)
    with pytest.raises(TestbedError, match="no site runs"):
        up(tmp_path / "pool", site=tmp_path / "site")
    assert [path.name for path in tmp_path.iterdir() if path.name != "pool"] == ["thesis.tex"]


def test_command_line(shared: Pool) -> None:
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        words = [sys.executable, "-m", "testbed.cli", arguments[0], "--folder", str(shared.folder)]
        command = [*words, *arguments[1:]]
        return subprocess.run(command, cwd=ROOT, text=True, capture_output=True)

    assert f". {shared.folder}/env.sh" in run("up", "condor").stdout
    assert "RUNNING" in run("status", "condor").stdout
    assert "Total for all users" in run("run", "condor_q").stdout
    wrong = run("up", "lake", "--hosts", "2")
    assert wrong.returncode == 2 and "--hosts is not an option of lake" in wrong.stderr
    sourced = [". ./env.sh && command -v condor_store_cred && condor_status -schedd -af Name"]
    said = subprocess.run(["sh", "-ec", *sourced], cwd=shared.folder, text=True,
                          capture_output=True, env={"PATH": os.defpath})  # fmt: skip
    assert "submit.pool.test" in said.stdout, said.stderr


@pytest.mark.skipif(os.geteuid() == 0, reason="root may have them")
def test_hosts_of_their_own_need_root(tmp_path: Path, condor: None) -> None:
    with pytest.raises(TestbedError, match="need root"):
        up(tmp_path / "pool", 2)
    assert not (tmp_path / "pool").exists()


# --- hosts of their own -----------------------------------------------------------------------


def test_job_finds_nothing_of_the_submit_host_and_brings_its_output_back(
    apart: Pool, tmp_path: Path
) -> None:
    (tmp_path / "input").write_text("given\n")
    script = SCRIPT + (
        f"hostname; cat input; ls {ROOT} {tmp_path} {Path.home()} 2>&1 | grep -c pyproject\n"
        f"{sys.executable} -c 'import joserfc' && mkdir made && echo made > made/file\n"
    )
    job = Job(apart, tmp_path, script, transfer_input_files="input",
              transfer_output_files="made")  # fmt: skip
    host, given, found = job.output().split()
    assert host.split(".")[0] in apart.hosts == ["execute1", "execute2"]
    assert (given, found) == ("given", "0")
    assert (tmp_path / "made/file").read_text() == "made\n"


RENEWAL = """#!{python}
import base64, json, os, ssl, time, urllib.error, urllib.request
place = os.environ["_CONDOR_CREDS"] + "/scitokens.use"
context = ssl.create_default_context(cafile=os.environ["X509_CERT_DIR"] + "/ca.pem")
def read(path, token):
    request = urllib.request.Request("https://localhost:{port}//lake/" + path)
    request.add_header("Authorization", "Bearer " + token)
    try:
        return urllib.request.urlopen(request, context=context).read().decode()
    except urllib.error.HTTPError as error:
        return str(error.code)
tokens = lambda: open(place).read().strip()
end = lambda token: json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "=="))["exp"]
first = tokens()
answers = [read(path, first) for path in {paths}]
while time.time() < end(first) + 1:
    time.sleep(1)
answers += [read({paths}[0], tokens()), end(tokens()) > time.time()]
print(*answers, oct(os.stat(place).st_mode & 0o777))
"""


@pytest.fixture
def files(site: Site) -> Iterator[list[str]]:
    """Two files of an origin: an open one, one under embargo."""
    paths = ["cms/condor-open", "embargo/condor-secret"]
    for path in paths:
        place = site.storage("fast") / "lake" / path
        place.parent.mkdir(exist_ok=True, parents=True)
        place.write_text(path.split("-")[1])
    yield paths
    for path in paths:
        (site.storage("fast") / "lake" / path).unlink()


def test_jobs_get_fresh_tokens_and_proxies_while_they_run(
    trusting: Pool, site: Site, files: list[str], tmp_path: Path
) -> None:
    trusting.tokens(lifetime=20, scope="storage.read:/cms")
    script = RENEWAL.format(python=sys.executable, port=site.port("fast"), paths=files)
    token = Job(trusting, tmp_path / "token", script, **{"+OAuthServicesNeeded": '"scitokens"'})
    proxy = tmp_path / "proxy"
    shutil.move(site.proxy("analyst", vo="escape", hours=2), proxy)
    script = SCRIPT + (
        "stat -c %a $X509_USER_PROXY; cksum < $X509_USER_PROXY\n"
        "first=$(cksum < $X509_USER_PROXY)\n"
        "for i in $(seq 60); do\n"
        '  [ "$(cksum < $X509_USER_PROXY)" = "$first" ] || break; sleep 0.5\n'
        "done; cksum < $X509_USER_PROXY\n"
    )
    # As Snakemake's plugin can say it: the attribute, not the submit command.
    x509 = Job(trusting, tmp_path / "x509", script, **{"+x509userproxy": f'"{proxy}"'})
    before = cksum(proxy)
    wait_until(lambda: "001" in x509.events())
    time.sleep(2)  # it has read the first one
    shutil.move(site.proxy("analyst", vo="escape", hours=9), proxy)
    assert x509.output().splitlines() == ["600", before, cksum(proxy)]
    assert before != cksum(proxy)
    # What the token is not for, the origin refuses; what it is for, it gives, past its life, too.
    assert token.output().split() == ["open", "403", "open", "True", "0o600"]


def cksum(path: Path) -> str:
    with path.open() as file:
        return subprocess.run(["cksum"], stdin=file, capture_output=True, text=True).stdout.strip()


def test_job_without_a_credential_gets_none(trusting: Pool, tmp_path: Path) -> None:
    job = Job(trusting, tmp_path, SCRIPT + 'echo "none:$_CONDOR_CREDS$X509_USER_PROXY"\n')
    assert job.output() == "none:\n"
    job = Job(trusting, tmp_path, SCRIPT, **{"+OAuthServicesNeeded": '"unknown"'})
    wait_until(lambda: job.ask("JobStatus") == "5")
    assert "credentials are not available" in job.ask("HoldReason")
    trusting.run("condor_rm", job.name)


@pytest.mark.parametrize(
    ("claims", "who"),
    [
        ({}, "analyst@pool.test"),
        ({"audience": "https://lake.testbed"}, ""),
        ({"issuer": "evil"}, ""),
        ({"key": "evil"}, ""),
        ({"subject": "stranger"}, ""),
        ({"lifetime": -60}, ""),
    ],
)
def test_submission_with_a_token_of_the_site(
    trusting: Pool, site: Site, tmp_path: Path, claims: dict[str, Any], who: str
) -> None:
    scope = "compute.read compute.create compute.modify compute.cancel"
    token = tmp_path / "token"
    write_private(token, site.token(**{"scope": scope, "audience": AUDIENCE, **claims}))
    env = {"_CONDOR_SEC_CLIENT_AUTHENTICATION_METHODS": "SCITOKENS",
           "BEARER_TOKEN_FILE": str(token)}  # fmt: skip
    done = trusting.submit_host(["condor_ping", "-type", "schedd", "-table", "WRITE"], env=env)
    assert (done.returncode == 0) == bool(who), done.stdout + done.stderr
    assert who in done.stdout


def test_secrets_are_private(trusting: Pool) -> None:
    known = trusting.known
    assert isinstance(known, Known) and known.secret not in repr(trusting)
    submit = trusting.place()
    secret_files = [
        trusting.folder / "etc/supervisord.conf", trusting.folder / "etc/pool.json",
        *trusting.folder.glob("client/tokens.d/*"), *trusting.folder.glob("hosts/*/tokens.d/*"),
        submit / "passwords.d/POOL", submit / "host.key", submit / "credmon.json",
        *submit.glob("credentials/*/*"),
    ]  # fmt: skip
    assert len(secret_files) >= 7
    for path in secret_files:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
    for host in set(trusting.hosts) - {"submit"}:
        assert not list((trusting.place(host) / "passwords.d").glob("*"))
        assert not (trusting.place(host) / "credmon.json").exists()
    family = of_pool(trusting.folder)
    lines = [" ".join(process.cmdline()) for process in family]
    logs = [path.read_text(errors="replace") for path in trusting.folder.rglob("log/*Log*")]
    tokens = [path.read_text().strip() for path in secret_files[2:5]]
    tokens += [path.read_text().strip() for path in submit.glob("credentials/*/*.use")]
    for text in [*lines, *logs]:
        assert not any(secret in text for secret in [known.secret, *tokens])


def test_nothing_of_the_pool_is_in_the_machines_network(apart: Pool) -> None:
    links = json.loads(subprocess.check_output(["ip", "-json", "addr"]))
    addresses = [one["local"] for link in links for one in link["addr_info"]]
    assert not any(address.startswith("10.77.0.") for address in addresses)
    assert "10.77.0.1" in apart.submit_host(["ip", "addr"]).stdout


def test_host_that_is_cut_off_is_silent_and_comes_back(apart: Pool, site: Site) -> None:
    ask = "import socket, sys; socket.create_connection((sys.argv[1], 9618), timeout=2)"

    def reach() -> str:
        return apart.submit_host([sys.executable, "-c", ask, "execute1.pool.test"]).stderr

    assert not reach()
    apart.faults.cut("execute1")
    assert "TimeoutError" in reach() or "No route" in reach()
    apart.faults.restore("execute1")
    wait_until(lambda: not reach())


def test_full_scratch_space_holds_jobs(apart: Pool, tmp_path: Path) -> None:
    for host in apart.hosts:
        apart.faults.fill(host)
    job = Job(apart, tmp_path, SCRIPT + "echo ran\n")
    wait_until(lambda: job.ask("JobStatus") == "5")
    assert "No space left on device" in job.ask("HoldReason")
    for host in apart.hosts:
        apart.faults.empty(host)
    apart.run("condor_release", job.name)
    assert job.output() == "ran\n"


def test_evicted_job_runs_again(apart: Pool, tmp_path: Path) -> None:
    job = Job(apart, tmp_path, SCRIPT + "echo $(hostname); sleep 3\n")
    wait_until(lambda: "001" in job.events())
    apart.faults.evict(job.name)
    assert job.output().count("execute") == 1
    assert [one for one in job.events() if one in ("001", "004", "005")] == [
        "001", "004", "001", "005",
    ]  # fmt: skip


def test_power_cut_ends_everything_on_a_host_and_up_mends_it(apart: Pool, tmp_path: Path) -> None:
    stubborn = SCRIPT + "trap '' TERM INT QUIT HUP\nwhile :; do sleep 1; done\n"
    job = Job(apart, tmp_path, stubborn)
    host = job.host()
    wait_until(lambda: any("condor_exec" in " ".join(one.cmdline()) or "/job" in
                           " ".join(one.cmdline()) for one in of_pool(apart.folder)))  # fmt: skip
    own = [one for one in of_pool(apart.folder) if _is_on(one, apart, host)]
    assert len(own) > 3
    apart.faults.power_cut(host)
    assert not processes.outlive(own, 5)
    assert find(apart.folder) is None
    apart.faults.power_on(host)
    other = next(one for one in apart.hosts if one != host)
    apart.faults.power_cut(other, silent=True)
    again = up(apart.folder)
    assert not again.started and find(apart.folder) == again
    apart.run("condor_rm", job.name)


def _is_on(process: psutil.Process, pool: Pool, host: str) -> bool:
    try:
        where = str(pool.place(host))
        return where in " ".join([*process.cmdline(), *process.environ().values()])
    except psutil.Error:
        return False


def test_hosts_go_down_without_a_trace(apart: Pool, tmp_path: Path) -> None:
    Job(apart, tmp_path, SCRIPT + "trap '' TERM\nwhile :; do sleep 1; done\n").host()
    assert down(apart.folder)
    assert of_pool(apart.folder) == []
    mounts = Path("/proc/self/mounts").read_text()
    assert str(apart.folder) not in mounts
