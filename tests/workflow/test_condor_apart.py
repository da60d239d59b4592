"""A pool whose hosts share no files (`--shared-fs-usage none`), and the credentials of jobs."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from farms import (
    APART,
    ONE,
    READS,
    SERVICE,
    Farm,
    brought_up,
    dump,
    given,
    log,
    needs_hosts,
    new_project,
    ntuple,
    unit,
)
from pools import HELD, IDLE, queue, setting, wait_until
from sites import become, embargoed_datasets
from testbed.condor.configuration import AUDIENCE as OF_POOL
from testbed.definition import write_private
from testbed.xrootd.configuration import AUDIENCE as OF_STORAGE
from workspace import DIMUON, SMALL, Workspace, flip_bit

from nanolake import embargo

pytestmark = needs_hosts


@pytest.fixture(scope="module")
def farm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Farm]:
    with brought_up(tmp_path_factory.mktemp("farm")) as farm:
        yield farm


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, finished: Workspace) -> Workspace:
    """One for the tests of this module, each of which has a folder of results of its own."""
    made = new_project(tmp_path_factory.mktemp("apart") / "work")
    made.take_inputs(finished)
    return made


@pytest.fixture(autouse=True)
def _analyst(farm: Farm, monkeypatch: pytest.MonkeyPatch) -> None:
    become(monkeypatch, farm.site, "analyst")


def test_three_analyses_streamed_with_the_pools_tokens_have_the_bytes_of_a_local_run(
    farm: Farm, project: Workspace, finished: Workspace
) -> None:
    lake = farm.lake("stream")
    said = farm.run(project, "dimuon", "higgs4l", "htautau", **SMALL, lake=lake, pool=SERVICE)
    assert project.products() == finished.products()
    units = project.ledgers()
    assert {one["host"] for one in units} == {f"{host}.pool.test" for host in farm.pool.hosts}
    assert set(re.findall(r"with batch name (\w+)-", said)) == {"skim"}
    asked = farm.pool.run("condor_history", "-af", "OAuthServicesNeeded", "ExitCode")
    assert asked.splitlines() == ["scitokens 0"] * len(units)


def test_three_analyses_staged_in_packs_have_them_too(
    farm: Farm, project: Workspace, finished: Workspace
) -> None:
    chosen = SMALL | {"lake": farm.lake("stage"), "results": "three", "pool": SERVICE, "pack": 100}
    said = farm.run(project, "dimuon", "higgs4l", "htautau", **chosen)
    assert said.count("with batch name skim_pack-") == 3
    for name, content in finished.products().items():
        assert (project.folder / "three" / name).read_bytes() == content
    ledgers = [json.loads(p.read_text()) for p in project.folder.glob("three/*/units/*/*.json")]
    assert {file["access"] for one in ledgers for file in one["files"]} == {"stage"}


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


def test_pack_that_fails_brings_back_what_it_has_made(
    farm: Farm, project: Workspace, finished: Workspace
) -> None:
    chosen = SMALL | {"analyses": ["higgs4l"], "lake": farm.lake("stage"), "results": "partly"}
    chosen |= {"pool": SERVICE, "pack": 100}
    (stored,) = (farm.site.storage("fast") / "lake/cms").rglob("ZZTo4mu.*.root")
    made = "higgs4l/ntuples/ZZTo4mu.root"
    farm.run(project, "partly/higgs4l/plan.json", **chosen)
    flip_bit(stored)
    try:
        said = farm.run(project, f"partly/{made}", fails=True, **chosen)
    finally:
        flip_bit(stored)
    units = list((project.folder / "partly/higgs4l/units").glob("*/*.root"))
    assert f"1 of {len(units) + 1} units failed: ZZTo4mu/0000" in said
    before = {path: path.read_bytes() for path in units}
    farm.run(project, f"partly/{made}", **chosen)
    (pack,) = (project.folder / "logs/skim/higgs4l").glob("pack-*.log")
    assert f"{len(units) + 1} units, {len(units)} of them made before" in pack.read_text()
    assert before == {path: path.read_bytes() for path in before}
    assert (project.folder / "partly" / made).read_bytes() == finished.products()[made]


# --- what runs again ----------------------------------------------------------------------------

SAMPLES = ("SMHiggsToZZTo4L", "ZZTo4e", "ZZTo4mu", "ZZTo2e2mu")
UNITS = [f"higgs4l/units/{sample}/0000.root" for sample in SAMPLES]


@contextmanager
def engine_that(project: Workspace, results: str, does: str) -> Iterator[None]:
    """Lines of shell that run before the engine, on hosts that see only what came with the job."""
    engine = project.folder / results / "higgs4l/engine"
    status, real = engine.stat(), engine.read_bytes()
    lines = f"""#!/bin/sh
TASK=$(cat)
{does}
sed '1,/^__ENGINE__$/d' "$0" >engine.real && chmod +x engine.real || exit 1
printf %s "$TASK" | exec ./engine.real "$@"
__ENGINE__
"""
    engine.write_bytes(lines.encode() + real)
    os.utime(engine, ns=(status.st_atime_ns, status.st_mtime_ns))
    try:
        yield
    finally:
        engine.write_bytes(real)
        os.utime(engine, ns=(status.st_atime_ns, status.st_mtime_ns))


def planned(farm: Farm, project: Workspace, results: str) -> dict[str, Any]:
    """Plan and engine are made; the configuration with which a run goes on."""
    chosen = SMALL | {"analyses": ["higgs4l"], "lake": farm.lake("stream"), "results": results}
    chosen |= {"pool": SERVICE}
    names = ("plan.json", "engine", "preflight.json")
    farm.run(project, *(f"{results}/higgs4l/{name}" for name in names), **chosen)
    return chosen


def have_the_bytes(
    project: Workspace, results: str, finished: Workspace, units: Sequence[str]
) -> bool:
    return all(
        (project.folder / results / unit).read_bytes() == finished.path(unit).read_bytes()
        for unit in units
    )


def test_each_cause_has_its_remedy(farm: Farm, project: Workspace, finished: Workspace) -> None:
    """Killed as for want of memory until it has 600 MB; hangs once; a bug; a damaged input."""
    greedy, slow, bug, damaged = SAMPLES
    chosen = planned(farm, project, "causes")
    does = f"""case "$TASK" in
    *{greedy}*) [ $(sed -n 's/^Memory = //p' $_CONDOR_MACHINE_AD) -ge 600 ] || kill -9 $$ ;;
    *{slow}*) grep -q '^LastHoldReasonSubCode = 124' $_CONDOR_JOB_AD || sleep 300 ;;
    *{bug}*) kill -SEGV $$ ;;
    esac"""
    (stored,) = (farm.site.storage("fast") / "lake/cms").rglob(f"{damaged}.*.root")
    options = setting(htcondor_request_mem_mb=400, classad_NanolakeSeconds=40)
    flip_bit(stored, 0.1)
    try:
        with engine_that(project, "causes", does):
            targets = [f"causes/{unit}" for unit in UNITS]
            said = farm.run(project, *targets, *options, fails=True, **chosen)
    finally:
        flip_bit(stored, 0.1)
    for cause in ("memory", "time"):
        assert f"is held: cause: {cause}" in said
    for name, cause in ((bug, "bug"), (damaged, "input")):
        text = (project.folder / log("causes", "higgs4l", name)).read_text(errors="replace")
        assert text.endswith(f"cause: {cause}\n") and f"cause: {cause}\n    remedy: " in said
    rows = farm.pool.run("condor_history", "-limit", "4", "-af", "NumJobStarts", "ExitCode")
    assert sorted(rows.splitlines()) == ["1 65", "1 70", "2 0", "2 0"]
    assert have_the_bytes(project, "causes", finished, UNITS[:2])
    farm.run(project, *(f"causes/{unit}" for unit in UNITS), **chosen)
    assert have_the_bytes(project, "causes", finished, UNITS)


def test_storage_that_comes_back_is_read(
    farm: Farm, project: Workspace, finished: Workspace
) -> None:
    chosen = planned(farm, project, "back")
    patient = setting(classad_NanolakeBackoff=1)
    farm.pool.faults.off("negotiator")
    process = farm.begin(project, f"back/{UNITS[0]}", *patient, **chosen)
    wait_until(lambda: process.poll() is not None or queue(farm.pool) == [IDLE])
    farm.site.kill("fast")
    try:
        farm.pool.faults.on("negotiator")
        wait_until(lambda: process.poll() is not None or queue(farm.pool) == [HELD])
    finally:
        farm.site.start("fast")
    assert "is held: cause: storage" in farm.end(process, project)
    assert have_the_bytes(project, "back", finished, UNITS[:1])


def test_full_scratch_space_is_waited_for_but_not_for_ever(
    farm: Farm, project: Workspace, finished: Workspace
) -> None:
    """The first job sees space in the end; the second, a run later, does not."""
    chosen, faults = planned(farm, project, "full"), farm.pool.faults
    patient, hasty = (setting(classad_NanolakeBackoff=seconds) for seconds in (8, 0))
    for host in farm.pool.hosts:
        faults.fill(host)
    try:
        process = farm.begin(project, f"full/{UNITS[0]}", *patient, **chosen)
        wait_until(lambda: process.poll() is not None or queue(farm.pool) == [HELD])
        for host in farm.pool.hosts:
            faults.empty(host)
        said = farm.end(process, project)
        for host in farm.pool.hosts:
            faults.fill(host)
        never = farm.run(project, f"full/{UNITS[1]}", *hasty, fails=True, **chosen)
    finally:
        for host in farm.pool.hosts:
            faults.empty(host)
    assert "is held: Transfer input files failure" in said
    assert have_the_bytes(project, "full", finished, UNITS[:1])
    assert "remedy: ask for more scratch space" in never
    starts = farm.pool.run("condor_history", "-limit", "1", "-af", "NumShadowStarts")
    assert starts.strip() == "6"


def test_refused_token_stops_everything(
    farm: Farm, project: Workspace, finished: Workspace
) -> None:
    chosen = planned(farm, project, "refused")
    targets = [f"refused/{unit}" for unit in UNITS]
    farm.pool.tokens(scope="storage.read:/nothing")
    try:
        said = farm.run(project, *targets, fails=True, **chosen)
    finally:
        farm.pool.tokens()
    assert "the run stops: a credential is not good enough" in said
    assert "remedy: renew the credential, then run again" in said
    farm.run(project, *targets, **chosen)
    assert have_the_bytes(project, "refused", finished, UNITS)


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


# --- embargo -----------------------------------------------------------------------------------


def test_embargoed_data_are_read_with_the_right_token_alone(
    farm: Farm, project: Workspace, finished: Workspace, tmp_path: Path
) -> None:
    embargo.keep_private([project.folder / "resources"])
    datasets = embargoed_datasets(project.folder, DIMUON)
    chosen = ONE | {"datasets": datasets, "lake": farm.lake("embargo"), "pool": SERVICE}
    farm.run(project, "secret/dimuon/plan.json", **chosen, results="secret")
    farm.pool.tokens(scope="storage.read:/cms")
    before = served(farm)
    said = farm.run(project, ntuple("secret"), fails=True, **chosen, results="secret")
    # The submit host has looked at the first bytes of the file; the job has got none.
    assert served(farm) - before <= FIRST_BYTES
    assert "permission denied" in said and "remedy:" in said
    assert not unit(project, "secret", "root").exists()
    assert not unit(project, "secret", "json").exists()
    farm.pool.tokens()
    farm.run(project, ntuple("secret"), **chosen, results="secret")
    made = (project.folder / ntuple("secret")).read_bytes()
    assert made == finished.products()[ntuple("x").partition("/")[2]]
    assert not (project.folder / ntuple("secret")).stat().st_mode & 0o077
    ledger = json.loads(unit(project, "secret", "json").read_text())
    wait_until(lambda: served(farm) - before >= ledger["bytes_read"] > FIRST_BYTES)


FIRST_BYTES = 1024  # of each look at a file


def served(farm: Farm) -> int:
    """Bytes of embargoed files that the caches say they have served."""
    records = map(json.loads, farm.site.monitoring.read_text().splitlines())
    kinds = ("b_hit", "b_miss", "b_bypass")
    return sum(r[kind] for r in records if "embargo" in r.get("lfn", "") for kind in kinds)


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
