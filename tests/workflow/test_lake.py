"""Runs on the embedded lake: a real Rucio, started and stopped by the run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from workspace import DIMUON, REPOSITORY, SMALL, Run, Workspace, flip_bit

EMBEDDED = SMALL | {"lake": "embedded"}
ONE = EMBEDDED | {"analyses": ["dimuon"]}


@pytest.fixture(scope="module")
def lake_run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Workspace, Run]]:
    """The three analyses on the embedded lake, from nothing."""
    workspace = Workspace.new(tmp_path_factory.mktemp("lake") / "work")
    yield workspace, workspace.run(config=EMBEDDED)
    bed(workspace, "down", "lake", "--delete")


@pytest.fixture
def on_lake(lake_run: tuple[Workspace, Run]) -> Workspace:
    """The folder of that run; a test leaves lake and results as they were."""
    return lake_run[0]


def bed(workspace: Workspace, *arguments: str) -> str:
    """A command of the test-bed in the folder of a run."""
    command = [str(Path(sys.executable).with_name("testbed")), *arguments]
    return subprocess.run(
        command, cwd=workspace.folder, check=True, capture_output=True, text=True
    ).stdout


def rucio(workspace: Workspace, script: str) -> str:
    """What a script prints that has a `client` of the lake, which must be up."""
    config = workspace.folder / "resources/lake/clients/analyst/rucio.cfg"
    code = f"from rucio.client import Client\nclient = Client()\n{script}"
    environment = os.environ | {"RUCIO_CONFIG": str(config)}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def processes(workspace: Workspace) -> list[str]:
    """What runs in the folder of the lake."""
    folder = str(workspace.folder / "resources")
    found = []
    for process in psutil.process_iter(["cwd", "cmdline"]):
        if str(process.info["cwd"] or "").startswith(folder):
            found.append(" ".join(process.info["cmdline"]))
    return found


def nanolake_run(workspace: Workspace, config: dict[str, Any]) -> subprocess.CompletedProcess[str]:
    """`nanolake run`, which is `make run`."""
    pairs = [f"{key}={json.dumps(value)}" for key, value in config.items()]
    options = ["--snakefile", str(REPOSITORY / "Snakefile"), "--config", *pairs]
    return subprocess.run(
        [sys.executable, "-m", "nanolake", "run", "--cores", "2", *options],
        cwd=workspace.folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def requests(workspace: Workspace) -> list[str]:
    """Requests that the server has answered."""
    log = workspace.folder / "resources/lake/log/server.log"
    lines = log.read_text().splitlines() if log.exists() else []
    return [line for line in lines if " HTTP/1.1" in line]


def test_same_bytes_as_without_a_lake(lake_run: tuple[Workspace, Run], finished: Workspace) -> None:
    workspace, run = lake_run
    assert {"generate", "upload_inputs", "upload_results", "upload_run"} <= run.rules()
    assert workspace.products() == finished.products()
    assert not workspace.unfinished()
    assert not processes(workspace), "the lake runs on"


def test_everything_is_published_and_read_back(on_lake: Workspace) -> None:
    for analysis in ("dimuon", "higgs4l", "htautau"):
        receipt = on_lake.read(analysis, "published.json")
        published = {file["path"] for file in receipt["files"]}
        made = {
            str(path.relative_to(on_lake.path()))
            for folder in ("ntuples", "plots")
            for path in on_lake.path(analysis, folder).iterdir()
        }
        assert made | {f"{analysis}/histograms.root", f"{analysis}/cutflow.csv"} == published
        assert all(file["read_back"] for file in receipt["files"])
        assert {file["rse"] for file in receipt["files"]} == {"LAPTOP-CHEAP"}
        assert receipt["rse_expression"] == "QOS=CHEAP-ANALYSIS"
    run = {file["path"] for file in on_lake.read("published.json")["files"]}
    crate = "provenance/ro-crate-metadata.json"
    assert run == {"ledger.json", "config.yaml", "report.html", crate}


def test_ledger_names_did_and_replica(on_lake: Workspace) -> None:
    locks = on_lake.read("dimuon", "inputs.lock.json")["datasets"][DIMUON]
    (unit,) = [u for u in on_lake.read("ledger.json")["units"] if u["analysis"] == "dimuon"]
    (file,), (locked,) = unit["files"], locks["files"]
    assert file["rse"] == "LAPTOP-FAST" and file["failed"] == []
    assert {key: file[key] for key in locked} == locked
    assert file["replica"].startswith("file://localhost/")


def test_crate_lists_inputs_and_published_dids(on_lake: Workspace) -> None:
    text = on_lake.path("provenance", "ro-crate-metadata.json").read_text()
    for analysis in ("dimuon", "higgs4l", "htautau"):
        lock = on_lake.read(analysis, "inputs.lock.json")
        inputs = [file for entry in lock["datasets"].values() for file in entry["files"]]
        for file in inputs + on_lake.read(analysis, "published.json")["files"]:
            assert f'"{file["did"]}"' in text and f'"{file["adler32"]}"' in text
    assert str(on_lake.folder) not in text


def test_nothing_secret_is_left_behind(on_lake: Workspace) -> None:
    folder = on_lake.folder
    secrets = set()
    for config in folder.glob("resources/lake/clients/*/rucio.cfg"):
        assert config.stat().st_mode & 0o077 == 0
        lines = config.read_text().splitlines()
        secrets |= {line.partition("=")[2].strip() for line in lines if "password" in line}
    assert len(secrets) == 3
    kept = (folder / "resources" / "lake" / "clients", folder / "resources" / "lake" / "etc")
    for path in folder.rglob("*"):
        if path.is_file() and not any(place in path.parents for place in kept):
            content = path.read_bytes()
            assert not any(secret.encode() in content for secret in secrets), path


def test_second_run_has_nothing_to_do_and_asks_the_lake_once(on_lake: Workspace) -> None:
    before = len(requests(on_lake))
    done = nanolake_run(on_lake, EMBEDDED)
    assert done.returncode == 0, done.stdout
    assert "nothing to do" in done.stdout and "still holds the 18 inputs" in done.stdout
    new = requests(on_lake)[before:]
    # Health check, login, whoami, and one look at the catalogue.
    around = ("/ping", "/auth/", "/accounts/")
    (call,) = [line for line in new if not any(place in line for place in around)]
    assert "/dids/bulkfiles" in call
    assert not processes(on_lake)


def test_dag_is_built_without_the_server(on_lake: Workspace) -> None:
    """The lake is down: a dry-run of everything neither starts it nor asks it."""
    before = requests(on_lake)
    run = on_lake.run("-n", "--forceall", config=EMBEDDED)
    assert {"upload_inputs", "catalogue"} <= run.rules()
    assert requests(on_lake) == before and not processes(on_lake)


def test_staged_inputs_give_the_same_bytes(on_lake: Workspace, tmp_path: Path) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    chosen = {"results": "staged", "access": "stage", "scratch": str(scratch)}
    on_lake.run(config=ONE | chosen)
    folder = on_lake.folder / "staged"
    for name in ("dimuon/histograms.root", f"dimuon/ntuples/{DIMUON}.root"):
        assert (folder / name).read_bytes() == on_lake.path(name).read_bytes()
    (unit,) = json.loads((folder / "ledger.json").read_text())["units"]
    assert [file["access"] for file in unit["files"]] == ["stage"]
    assert not [path for path in scratch.rglob("*") if path.is_file() and path.suffix != ".lock"]
    receipt = json.loads((folder / "dimuon/ingested.json").read_text())
    assert receipt["datasets"][DIMUON]["files"][0]["action"] == "present"
    published = json.loads((folder / "dimuon/published.json").read_text())
    assert published["dataset"] == on_lake.read("dimuon", "published.json")["dataset"]
    assert {file["action"] for file in published["files"]} == {"present"}


def test_changed_lake_fails_and_relock_accepts(workspace: Workspace) -> None:
    workspace.run("dimuon", config=ONE)
    dataset = workspace.read("dimuon", "inputs.lock.json")["datasets"][DIMUON]["did"]
    bed(workspace, "up", "lake")
    name = dataset.partition(":")[2]
    row = {"scope": "cms", "name": "another.root", "bytes": 1, "adler32": "00000001"}
    rucio(
        workspace,
        f"client.add_replicas('LAPTOP-FAST', [{row | {'meta': {'events': 5}}!r}])\n"
        f"client.attach_dids('cms', {name!r}, [{row!r}])\n",
    )
    try:
        failed = workspace.run("dimuon", "--forcerun", "catalogue", config=ONE, fails=True)
        assert "differs from the input lock" in failed.output
        assert "cms:another.root: new in" in failed.output and "relock=true" in failed.output
        assert "skim" not in failed.rules()
        # Accepted: now the file that is not there stops the unit that reads it.
        chosen = ONE | {"relock": True}
        accepted = workspace.run("dimuon", config=chosen, fails=True)
        assert "catalogue" in accepted.rules()
        assert "cms:another.root" in accepted.output
    finally:
        bed(workspace, "down", "lake", "--delete")


def test_damaged_replica_stops_its_unit_and_repaired_goes_on(workspace: Workspace) -> None:
    workspace.run("ingest", config=ONE)
    lake = workspace.folder / "resources" / "lake"
    (replica,) = (lake / "rse" / "LAPTOP-FAST").rglob("*.root")
    whole = replica.read_bytes()
    flip_bit(replica)
    failed = workspace.run("dimuon", config=ONE, fails=True)
    assert f"replica: file://localhost{replica}" in failed.output or str(replica) in failed.output
    assert "adler32" in failed.output and "remedy" in failed.output
    assert not processes(workspace)
    replica.write_bytes(whole)
    again = workspace.run("dimuon", config=ONE)
    assert "catalogue" not in again.rules() and again.of("skim") == {f"dimuon/{DIMUON}/0000"}
    bed(workspace, "down", "lake", "--delete")


def test_moved_replicas_are_found_and_own_files_get_names_of_their_own(
    workspace: Workspace, tmp_path: Path
) -> None:
    workspace.run("dimuon", config=ONE)
    own = tmp_path / "own"
    own.mkdir()
    # The same bytes, without the side file that says what they stand for.
    made = workspace.folder / "resources" / "synthetic" / f"{DIMUON}.root"
    (own / made.name).write_bytes(made.read_bytes())
    first = workspace.read("dimuon", "ingested.json")["datasets"][DIMUON]
    workspace.run("dimuon", config=ONE | {"inputs": str(own)})
    second = workspace.read("dimuon", "ingested.json")["datasets"][DIMUON]
    assert first["dataset"] != second["dataset"], "it stands for something else"
    assert first["files"][0]["did"] == second["files"][0]["did"]
    # On another storage element, within the expression of a lake that reads from anywhere.
    text = (REPOSITORY / "config" / "lakes" / "embedded.yaml").read_text()
    (workspace.folder / "anywhere.yaml").write_text(
        text.replace("rse: QOS=FAST, schemes", "schemes")
    )
    config = ONE | {"lake": "anywhere.yaml", "inputs": str(own)}
    workspace.run("dimuon", config=config)
    nanolake = str(Path(sys.executable).with_name("nanolake"))
    for dataset in (first["dataset"], second["dataset"]):
        command = [nanolake, "lake", "move", dataset, "QOS=CHEAP-ANALYSIS"]
        subprocess.run(command, cwd=workspace.folder, check=True)
    for made in (*workspace.path("dimuon").glob("*/*/0000.*"), *workspace.path().rglob("hist*")):
        made.unlink()
    workspace.path("dimuon", "ntuples", f"{DIMUON}.root").unlink()
    run = workspace.run("dimuon", config=config)
    assert "skim" in run.rules() and "catalogue" not in run.rules()
    unit = workspace.read("dimuon", "units", DIMUON, "0000.json")
    assert [file["rse"] for file in unit["files"]] == ["LAPTOP-CHEAP"]
    bed(workspace, "down", "lake", "--delete")
