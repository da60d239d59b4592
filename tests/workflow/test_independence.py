"""The same inputs give the same bytes, however the work is cut, shared out, run or interrupted."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from workspace import DIMUON, REPOSITORY, Workspace

from nanolake.config import load_yaml
from nanolake.generate import generate_file

EVENTS, CLUSTER = 4000, 500
# Enough for every channel, every kind of input, and every part of a sample.
SAMPLES = {
    "dimuon": [DIMUON],
    "higgs4l": ["SMHiggsToZZTo4L", "Run2012B_DoubleMuParked", "Run2012B_DoubleElectron"],
    "htautau": ["DYJetsToLL", "Run2012B_TauPlusX"],
}


def units(events: int) -> dict[str, Any]:
    """Configuration: events a unit, the same in all analyses."""
    return {"units": dict.fromkeys(SAMPLES, events)}


@pytest.fixture(scope="module")
def campaign(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Configuration of a few samples whose files have eight clusters."""
    folder = tmp_path_factory.mktemp("campaign")
    datasets = load_yaml(REPOSITORY / "config" / "datasets.yaml")
    for analysis, samples in SAMPLES.items():
        entry = datasets["analyses"][analysis]
        entry["datasets"] = {sample: entry["datasets"][sample] for sample in samples}
        for sample in samples:
            path = folder / f"{sample}.root"
            generate_file(sample, path, events=EVENTS, seed=5, cluster_events=CLUSTER)
    (folder / "datasets.yaml").write_text(yaml.safe_dump(datasets, sort_keys=False))
    return {"datasets": str(folder / "datasets.yaml"), "inputs": str(folder)}


def results(workspace: Workspace, analysis: str = "") -> dict[str, bytes]:
    """Bytes of histograms, reduced ntuples and cut flows, of one analysis or all."""
    flows = {
        str(path.relative_to(workspace.path())): path.read_bytes()
        for path in workspace.path().glob("*/cutflow.csv")
    }
    found = workspace.products() | flows
    return {name: content for name, content in found.items() if name.startswith(analysis)}


def targets(*names: str) -> list[str]:
    """Results that come before the plots."""
    return [
        f"results/{analysis}/{file}"
        for analysis in names or SAMPLES
        for file in ("histograms.root", "cutflow.csv")
    ]


@pytest.fixture(scope="module")
def reference(campaign: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """One unit a sample, two cores, compiled where there is a compiler."""
    workspace = Workspace.new(tmp_path_factory.mktemp("reference") / "work")
    run = workspace.run(*targets(), config=campaign | units(EVENTS))
    assert len(run.of("skim")) == sum(map(len, SAMPLES.values()))
    return workspace


def test_results_do_not_depend_on_how_the_work_is_done(
    campaign: dict[str, Any], reference: Workspace, workspace: Workspace
) -> None:
    config = campaign | units(-(-EVENTS // 3)) | {"accelerator": "off"}
    run = workspace.run(*targets(), config=config, cores=1)
    assert len(run.of("skim")) == 3 * sum(map(len, SAMPLES.values()))
    assert results(workspace) == results(reference)


def test_packs_give_the_bytes_of_single_units_and_keep_those_that_are_made(
    campaign: dict[str, Any], reference: Workspace, workspace: Workspace
) -> None:
    config, options = campaign | units(CLUSTER) | {"pack": 10}, ("--set-threads", "skim_pack=2")
    damaged = workspace.path("htautau", "units", "DYJetsToLL", "0003.root")
    damaged.parent.mkdir(parents=True)
    damaged.mkdir()  # its unit cannot write there
    run = workspace.run(*targets(), *options, config=config, fails=True)
    # 8 units a sample, of 1, 3 and 2 samples.
    packs = {"dimuon": ["0000-0007"], "htautau": ["0000-0009", "0010-0015"]}
    packs["higgs4l"] = ["0000-0009", "0010-0019", "0020-0023"]
    assert run.of("skim_pack") == {f"{a}/{name}" for a, names in packs.items() for name in names}
    assert "DYJetsToLL/0003" in run.output and "1 of 10 units failed" in run.output
    assert results(workspace, "dimuon") == results(reference, "dimuon")
    damaged.rmdir()
    made = {p: p.stat().st_ino for p in workspace.path("htautau").glob("units/*/*.json")}
    assert len(made) == 15
    run = workspace.run(*targets(), *options, config=config)
    assert run.of("skim_pack") == {"htautau/0000-0009"} and not run.of("skim")
    assert (
        made.items()
        <= {p: p.stat().st_ino for p in workspace.path("htautau").glob("units/*/*.json")}.items()
    )
    assert results(workspace) == results(reference)
    assert workspace.unfinished() == []
    # Packed otherwise, or not at all: the units are the same.
    run = workspace.run(*targets("htautau"), config=config | {"pack": 1})
    assert run.rules() == {"merge", "histogram", "cutflow"}
    assert results(workspace) == results(reference)


def test_jit_gives_the_bytes_of_the_compiled_program(
    campaign: dict[str, Any], reference: Workspace, workspace: Workspace
) -> None:
    # One analysis: tests/unit holds the engines of all three equal.
    workspace.run(*targets("dimuon"), config=campaign | units(EVENTS) | {"engine": "jit"})
    assert results(workspace) == results(reference, "dimuon")
    unit = reference.read("dimuon", "units", DIMUON, "0000.json")
    assert unit["software"]["engine"] == "compiled", "nothing was compared"
    assert workspace.read("dimuon", "units", DIMUON, "0000.json")["software"]["engine"] == "jit"


def test_changed_unit_size_plans_and_runs_one_analysis_again(
    campaign: dict[str, Any], reference: Workspace, tmp_path: Path
) -> None:
    workspace = reference.copy(tmp_path / "own")
    change = units(EVENTS)["units"] | {"dimuon": 1400}
    run = workspace.run(*targets(), config=campaign | {"units": change})
    assert run.jobs() == {
        *("plan dimuon", f"merge dimuon/{DIMUON}", "histogram dimuon", "cutflow dimuon"),
        *(f"skim dimuon/{DIMUON}/000{number}" for number in range(3)),
    }
    assert results(workspace) == results(reference)


def kill_in_the_middle(workspace: Workspace, command: list[str], units_done: int) -> None:
    """Start a run and kill -9 all its processes once some units are done."""
    with open(workspace.folder / "killed.log", "w") as log:
        process = subprocess.Popen(
            command, cwd=workspace.folder, stdout=log, stderr=log, start_new_session=True
        )
        deadline = time.monotonic() + 120
        while len(list(workspace.path().glob("*/units/*/*.json"))) < units_done:
            assert process.poll() is None, (workspace.folder / "killed.log").read_text()
            assert time.monotonic() < deadline, "no unit was done in two minutes"
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def test_killed_run_goes_on_and_gives_the_same_bytes(
    campaign: dict[str, Any], reference: Workspace, workspace: Workspace
) -> None:
    config, wanted = campaign | units(CLUSTER), targets("htautau")
    kill_in_the_middle(workspace, workspace.command(*wanted, config=config, cores=2), 4)
    ledgers = "*/units/*/*.json"
    done = {path.stat().st_ino for path in workspace.path().glob(ledgers)}
    # Snakemake's own lock outlives the kill, and its message says how it is taken away.
    assert "--unlock" in workspace.run(*wanted, config=config, fails=True).output
    workspace.run("--unlock", config=config)
    run = workspace.run(*wanted, config=config)
    # Two may have been at work, and two more not yet have been booked.
    assert len(run.of("skim")) <= 16 - 2, "what was done was done again"
    assert len(done & {path.stat().st_ino for path in workspace.path().glob(ledgers)}) >= 2
    assert results(workspace) == results(reference, "htautau")
    assert workspace.unfinished() == []
    assert workspace.run(*wanted, config=config).nothing


def test_killed_run_of_the_command_line_goes_on_by_itself(
    campaign: dict[str, Any], reference: Workspace, workspace: Workspace
) -> None:
    config, wanted = campaign | units(CLUSTER), targets("dimuon")
    snakemake = workspace.command(*wanted, config=config, cores=2)
    # python -m snakemake --snakefile FILE --cores 2 ... -> python -m nanolake run ...
    command = [sys.executable, "-m", "nanolake", "run", *snakemake[3:]]
    kill_in_the_middle(workspace, command, 2)
    again = subprocess.run(command, cwd=workspace.folder, capture_output=True, text=True)
    assert again.returncode == 0, again.stderr
    assert results(workspace) == results(reference, "dimuon")
    assert workspace.unfinished() == []
