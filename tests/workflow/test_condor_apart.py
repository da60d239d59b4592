"""A pool whose hosts share no files (`--shared-fs-usage none`), and the credentials of jobs."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml
from pools import queue, wait_until
from sites import become, bring_up, embargoed_datasets
from testbed import xrootd
from testbed.condor import Pool, down, up
from testbed.condor.configuration import AUDIENCE as OF_POOL
from testbed.configuration import free_port
from testbed.definition import write_private
from testbed.errors import TestbedError
from testbed.xrootd.configuration import AUDIENCE as OF_STORAGE
from workspace import DIMUON, REPOSITORY, SMALL, Workspace, flip_bit

from nanolake import embargo, preflight
from nanolake.generate import generate_file
from nanolake.preflight import Dataset

ONE = SMALL | {"analyses": ["dimuon"]}
SERVICE = {"token_service": "scitokens"}
APART = ("--profile", "condor", "--shared-fs-usage", "none")
READS = "storage.read:/cms storage.read:/embargo"

pytestmark = pytest.mark.skipif(
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

    def run(self, project: Workspace, *targets: str, fails: bool = False, **config: Any) -> str:
        """Run Snakemake on hosts that share nothing, and give what it says."""
        dump(project.folder / "chosen.yaml", config)
        options = [*APART, "--configfile", "chosen.yaml", "--nocolor"]
        status = self.start(project, *targets, *options).wait(timeout=400)
        said = (project.folder / "said").read_text()
        assert (status != 0) == fails, said
        wait_until(lambda: not queue(self.pool), 40)
        return said

    def lake(self, name: str) -> str:
        return str(self.site.folder / f"lakes/{name}.yaml")


def dump(path: Path, content: dict[str, Any]) -> None:
    path.write_text(yaml.safe_dump(content))


@pytest.fixture(scope="module")
def farm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Farm]:
    folder = tmp_path_factory.mktemp("farm")
    site = bring_up(folder / "site")
    port = free_port(0)
    try:
        yield Farm(site, up(folder / "pool", 2, site=site.folder, expose=[port]), port)
    except TestbedError as error:
        pytest.skip(str(error))
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


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, finished: Workspace) -> Workspace:
    """One for the tests of this module, each of which has a folder of results of its own."""
    made = new_project(tmp_path_factory.mktemp("apart") / "work")
    shutil.copytree(finished.folder / "resources", made.folder / "resources")
    return made


@pytest.fixture(autouse=True)
def _analyst(farm: Farm, monkeypatch: pytest.MonkeyPatch) -> None:
    become(monkeypatch, farm.site, "analyst")


def ntuple(results: str) -> str:
    return f"{results}/dimuon/ntuples/{DIMUON}.root"


def unit(project: Workspace, results: str, suffix: str) -> Path:
    return project.folder / results / f"dimuon/units/{DIMUON}/0000.{suffix}"


def log(results: str, analysis: str = "dimuon", sample: str = DIMUON) -> str:
    return f"logs/skim/{analysis}/{sample}/0000.log"


def test_three_analyses_streamed_with_the_pools_tokens_have_the_bytes_of_a_local_run(
    farm: Farm, project: Workspace, finished: Workspace
) -> None:
    lake = farm.lake("stream")
    said = farm.run(project, "dimuon", "higgs4l", "htautau", **SMALL, lake=lake, pool=SERVICE)
    assert project.products() == finished.products()
    units = [json.loads(path.read_text()) for path in project.path().glob("*/units/*/*.json")]
    assert {one["host"] for one in units} == {f"{host}.pool.test" for host in farm.pool.hosts}
    assert set(re.findall(r"with batch name (\w+)-", said)) == {"skim"}
    asked = farm.pool.run("condor_history", "-af", "OAuthServicesNeeded", "ExitCode")
    assert asked.splitlines() == ["scitokens 0"] * len(units)


def test_staged_with_a_copied_token_that_also_submits(
    farm: Farm,
    project: Workspace,
    finished: Workspace,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """One token for storage and for the pool; a bit that flips on the way back is noticed."""
    scope = f"{READS} compute.read compute.create compute.modify compute.cancel"
    token = tmp_path / "token"
    write_private(token, farm.site.token(scope=scope, audience=[OF_STORAGE, OF_POOL]))
    monkeypatch.setenv("BEARER_TOKEN_FILE", str(token))
    monkeypatch.setenv("_CONDOR_SEC_CLIENT_AUTHENTICATION_METHODS", "SCITOKENS")
    chosen = ONE | {"lake": farm.lake("stage"), "results": "staged", "pool": {"minutes": 50}}
    events = unit(project, "staged", "root")
    farm.run(project, f"staged/dimuon/units/{DIMUON}/0000.root", **chosen)
    assert (project.folder / log("staged")).read_text().startswith("staged cms:")
    flip_bit(events)
    said = farm.run(project, ntuple("staged"), fails=True, **chosen)
    assert "its content has changed since it was written" in said and "remedy:" in said
    assert not (project.folder / ntuple("staged")).exists()
    flip_bit(events)
    farm.run(project, ntuple("staged"), **chosen)
    made = (project.folder / ntuple("staged")).read_bytes()
    assert made == finished.products()[ntuple("x").partition("/")[2]]
    # 3 min are enough for a run, not for a job that gets a copy and may run for 50.
    write_private(token, farm.site.token(scope=scope, audience=[OF_STORAGE, OF_POOL], lifetime=900))
    said = farm.run(project, "dimuon", fails=True, **chosen | {"results": "short"})
    assert "a job that gets a copy of it may run 50 min" in said and "pool.token_service" in said
    assert not (project.folder / "short").exists()


def test_units_of_a_pack_come_back(farm: Farm, project: Workspace, finished: Workspace) -> None:
    chosen = SMALL | {"analyses": ["higgs4l"], "lake": farm.lake("stream"), "results": "packed"}
    made = "higgs4l/ntuples/ZZTo4mu.root"
    said = farm.run(project, f"packed/{made}", **chosen, pool=SERVICE, pack=100)
    assert said.count("with batch name skim_pack-") == 1
    assert (project.folder / "packed" / made).read_bytes() == finished.products()[made]


def test_a_proxy_goes_with_the_job(farm: Farm, project: Workspace, finished: Workspace) -> None:
    chosen = ONE | {"lake": farm.lake("x509"), "results": "x509"}
    farm.run(project, ntuple("x509"), **chosen)
    made = (project.folder / ntuple("x509")).read_bytes()
    assert made == finished.products()[ntuple("x").partition("/")[2]]
    asked = farm.pool.run("condor_history", "-limit", "1", "-af", "x509userproxy")
    assert asked.strip() == os.environ["X509_USER_PROXY"]


def test_unit_that_fails_shows_its_log_and_leaves_nothing(farm: Farm, project: Workspace) -> None:
    chosen = ONE | {"lake": farm.lake("stage"), "results": "fails", "pool": SERVICE}
    farm.run(project, "fails/dimuon/plan.json", **chosen)
    (stored,) = (farm.site.storage("fast") / "lake/cms").rglob(f"{DIMUON}.*.root")
    flip_bit(stored)
    try:
        said = farm.run(project, ntuple("fails"), fails=True, **chosen)
    finally:
        flip_bit(stored)
    assert "none of its replicas can be read" in said and "remedy:" in said
    assert "Transfer output files failure" not in said
    assert not unit(project, "fails", "root").exists()
    assert not unit(project, "fails", "json").exists()


def test_what_is_on_the_submit_host_alone_is_refused(farm: Farm, project: Workspace) -> None:
    said = farm.run(project, "dimuon", fails=True, **ONE, lake="local", results="none")
    assert "the files of the lake 'local' are on this one alone" in said
    said = farm.run(project, "dimuon", fails=True, **ONE, lake=farm.lake("x509"), results="/tmp/x")
    assert "results: '/tmp/x' must be a folder below" in said
    assert not (project.folder / "none").exists()


# --- tokens -------------------------------------------------------------------------------------

LONG = bool(os.environ.get("NANOLAKE_LONG_TESTS"))
# The seconds that a token lives, and after which the connection is cut; files of the unit.
LIFETIME, CUTS, FILES = (120, (150, 270), 20) if LONG else (20, (24, 38), 3)
RATE, EVENTS = 400_000, 200_000  # bytes a second, and events: a file takes a quarter of a minute


def test_tokens_are_renewed_while_a_unit_runs(farm: Farm, tmp_path: Path) -> None:
    """Each cut makes it log in anew, the last time when its first token is long refused."""
    slow = slow_project(farm, tmp_path / "slow")
    farm.pool.tokens(lifetime=LIFETIME, scope=READS)
    options = [*APART, "--configfile", "chosen.yaml", "--nocolor"]
    said = slow.folder / "said"
    process = farm.start(slow, f"results/dimuon/units/{DIMUON}/0000.root", *options)
    try:
        with farm.site.wan("fast", delay=0, rate=RATE, port=farm.port):
            wait_until(lambda: process.poll() is not None or queue(farm.pool) == ["2"], 90)
            assert process.poll() is None, said.read_text()
            first, started = given(farm), time.monotonic()
            sleep_until(started + CUTS[0])
        with farm.site.wan("fast", delay=0, rate=RATE, port=farm.port):
            sleep_until(started + CUTS[1])
        assert process.poll() is None, "the unit has ended too early"
        with farm.site.wan("fast", delay=0, rate=RATE, port=farm.port):
            assert process.wait(200) == 0, said.read_text()
    finally:
        process.kill()
        farm.pool.tokens()
    ledger = json.loads(unit(slow, "results", "json").read_text())
    assert ledger["read"] == FILES * EVENTS
    assert not any(file["failed"] for file in ledger["files"])
    assert ledger["wall_seconds"] > CUTS[1]
    write_private(tmp_path / "token", first)
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setenv("BEARER_TOKEN_FILE", str(tmp_path / "token"))
        url = farm.site.url("fast", path="/lake/cms/slow0.root")
        (attempt,) = preflight.probe([Dataset("slow", (url,))], {"kind": "token"})
    assert attempt.state == "refused"


def slow_project(farm: Farm, folder: Path) -> Workspace:
    """A project with one unit, whose storage is behind a network of the test."""
    stored = farm.site.storage("fast") / "lake/cms"
    files = []
    for number in range(FILES):
        name = f"slow{number}.root"
        generate_file(DIMUON, stored / name, events=EVENTS, seed=number, cluster_events=10_000)
        url = f"root://localhost:{farm.port}//lake/cms/{name}"
        files.append({"uri": url, "events": EVENTS})
    project = new_project(folder)
    datasets = yaml.safe_load((REPOSITORY / "config/datasets.yaml").read_text())
    entry = datasets["analyses"]["dimuon"]["datasets"][DIMUON]
    entry["places"] = {"portal": {"events": FILES * EVENTS, "files": files}}
    dump(folder / "datasets.yaml", datasets)
    credential = {"kind": "token", "audience": OF_STORAGE, "minutes": 0}
    dump(folder / "lake.yaml", {"kind": "urls", "credential": credential})
    chosen = {"analyses": ["dimuon"], "datasets": "datasets.yaml", "lake": "lake.yaml"}
    dump(folder / "chosen.yaml", chosen | {"pool": SERVICE})
    return project


def given(farm: Farm) -> str:
    """The token that the credential monitor has for jobs now."""
    return (farm.pool.place() / "credentials" / farm.pool.user / "scitokens.use").read_text()


def sleep_until(moment: float) -> None:
    time.sleep(max(0.0, moment - time.monotonic()))


def test_embargoed_data_are_read_with_the_right_token_alone(
    farm: Farm, project: Workspace, finished: Workspace, tmp_path: Path
) -> None:
    embargo.keep_private([project.folder / "resources"])
    datasets = embargoed_datasets(project.folder, DIMUON)
    chosen = ONE | {"datasets": datasets, "lake": farm.lake("embargo"), "pool": SERVICE}
    farm.pool.tokens(scope="storage.read:/cms")
    said = farm.run(project, ntuple("secret"), fails=True, **chosen, results="secret")
    assert "permission denied" in said and "remedy:" in said
    assert not unit(project, "secret", "root").exists()
    assert not unit(project, "secret", "json").exists()
    farm.pool.tokens()
    farm.run(project, ntuple("secret"), **chosen, results="secret")
    made = (project.folder / ntuple("secret")).read_bytes()
    assert made == finished.products()[ntuple("x").partition("/")[2]]
    assert not (project.folder / ntuple("secret")).stat().st_mode & 0o077


# --- the canary ---------------------------------------------------------------------------------


def doctor(farm: Farm, project: Workspace, *options: str) -> subprocess.Popen[bytes]:
    dump(project.folder / "chosen.yaml", ONE | {"pool": SERVICE})
    lake = ["--lake", farm.lake("stream")]
    more = [*APART[2:], "--configfile", "chosen.yaml"]
    return farm.start(
        project, "doctor", *lake, "--profile", "condor", *options, *more, command="nanolake"
    )


def test_doctor_says_what_a_job_finds(farm: Farm, project: Workspace) -> None:
    farm.run(project, "results/dimuon/ingested.json", **SMALL, lake=farm.lake("stream"))
    process = doctor(farm, project)
    status, said = process.wait(200), (project.folder / "said").read_text()
    assert status == 0, said
    said = re.sub(r"\s+", "", said)
    for words in ("host execute", "ROOT 6.", "engine it starts", "token in", f"{DIMUON} open to"):
        assert f"inajob:{words}".replace(" ", "") in said
    assert not queue(farm.pool)


def test_doctor_names_what_jobs_miss(farm: Farm, project: Workspace) -> None:
    farm.pool.tokens(scope="storage.read:/nothing")
    try:
        process = doctor(farm, project)
        status, said = process.wait(200), (project.folder / "said").read_text()
    finally:
        farm.pool.tokens()
    assert status == 1
    said = re.sub(r"\s+", "", said)
    assert "missinginajob:token" in said and "donotcover" in said
    assert not queue(farm.pool)


@pytest.mark.parametrize("how", ["interrupted", "out of time"])
def test_doctor_leaves_no_job_behind(farm: Farm, project: Workspace, how: str) -> None:
    farm.pool.faults.off("negotiator")
    try:
        process = doctor(farm, project, "--wait", "20" if how == "out of time" else "120")
        wait_until(lambda: process.poll() is not None or queue(farm.pool) == ["1"])
        if how == "interrupted":
            process.send_signal(signal.SIGINT)
        assert process.wait(60) == 1
        said = (project.folder / "said").read_text()
        assert how == "interrupted" or "condor_status" in said, said
        wait_until(lambda: not queue(farm.pool), 10)
    finally:
        farm.pool.faults.on("negotiator")


# --- and all of it ------------------------------------------------------------------------------


def test_nothing_of_a_credential_is_left_behind(farm: Farm, project: Workspace) -> None:
    """Not in the ads of jobs, in what runs have made and said, nor in the pool's logs."""
    files = [farm.site.folder / "credentials" / f"analyst.{kind}" for kind in ("token", "proxy")]
    texts = [given(farm), *(path.read_text() for path in files)]
    secrets = {part for text in texts for part in re.split(r"[.\s]", text) if len(part) > 20}
    seen = {"ads": farm.pool.run("condor_history", "-long")}
    tops = [
        project.folder,
        *(farm.pool.place(host) / "log" for host in ("submit", *farm.pool.hosts)),
    ]
    for path in (path for top in tops for path in top.rglob("*")):
        # What vouches for servers is no secret, and a proxy has some of it.
        if path.is_file() and not path.is_symlink() and path.parent.name != "certificates":
            seen[str(path)] = path.read_text(errors="replace")
    assert len(secrets) > 30 and len(seen) > 100
    assert "skim" in seen["ads"]
    assert not [name for name, text in seen.items() if any(part in text for part in secrets)]
