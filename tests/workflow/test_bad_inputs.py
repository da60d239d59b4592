"""A bad input ends the run with one clear error, and nothing of it appears under a final name."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from workspace import DIMUON, SMALL, Workspace, flip_bit

from nanolake.generate import generate_file


def empty(path: Path) -> None:
    path.write_bytes(b"")


def truncated(path: Path) -> None:
    path.with_suffix(".json").unlink()
    path.write_bytes(path.read_bytes()[:-5000])


def truncated_beside_its_side_file(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-5000])


def text(path: Path) -> None:
    path.with_suffix(".json").unlink()
    path.write_text("<html>404 Not Found</html>\n" * 100)


def no_tree(path: Path) -> None:
    import uproot

    path.with_suffix(".json").unlink()
    with uproot.recreate(path) as file:
        file["Other"] = {"x": [1.0, 2.0]}


def wrong_checksum(path: Path) -> None:
    flip_bit(path)


def fewer_events(path: Path) -> None:
    side = path.with_suffix(".json")
    content = json.loads(side.read_text())
    side.write_text(json.dumps(content | {"events": content["events"] + 1}))


BAD: dict[Callable[[Path], None], tuple[str, str]] = {
    empty: ("it is empty", "copy it again"),
    truncated: ("cannot be opened as a ROOT file", "copy it again"),
    truncated_beside_its_side_file: ("size is", "copy it again"),
    text: ("cannot be opened as a ROOT file", "copy it again"),
    no_tree: ("there is no tree Events", "check that it is NanoAOD"),
    wrong_checksum: ("adler32 is", "copy it again"),
    fewer_events: ("declared are", "get the right version"),
}


def with_input(finished: Workspace, folder: Path) -> tuple[Workspace, Path]:
    """A working folder that has engines, and a folder `inputs` with one good file."""
    workspace = Workspace.new(folder / "work")
    results = workspace.path("dimuon")
    results.mkdir(parents=True)
    shutil.copy2(finished.path("dimuon", "engine"), results / "engine")
    inputs = workspace.folder / "inputs"
    inputs.mkdir()
    for suffix in (".root", ".json"):
        source = finished.folder / "resources" / "synthetic" / f"{DIMUON}{suffix}"
        shutil.copy2(source, inputs)
    return workspace, inputs / f"{DIMUON}.root"


def check_message(
    output: str, replica: str, problem: str, remedy: str, sample: str = DIMUON
) -> None:
    """One error of ours, with file, replica and remedy, and no traceback."""
    assert output.count("error: ") == 1, output
    message = output[output.index("error: ") :].splitlines()
    assert message[0].startswith(f"error: {sample}: ") and problem in message[0], output
    assert message[1].strip() == f"replica: {replica}"
    assert message[2].strip().startswith("remedy:") and remedy in message[2]
    assert "Traceback" not in output


@pytest.mark.parametrize("spoil", BAD, ids=lambda spoil: spoil.__name__)
def test_bad_input_is_refused_with_file_replica_and_remedy(
    finished: Workspace, tmp_path: Path, spoil: Callable[[Path], None]
) -> None:
    workspace, path = with_input(finished, tmp_path)
    spoil(path)
    run = workspace.run("dimuon", config=SMALL | {"inputs": "inputs"}, fails=True)
    check_message(run.output, f"inputs/{DIMUON}.root", *BAD[spoil])
    assert {p.name for p in workspace.path("dimuon").iterdir()} == {"engine"}


def test_file_of_another_analysis_is_refused(own: Workspace) -> None:
    # In place of a sample of higgs4l: dimuon reads six branches, which the other files have too.
    inputs = own.folder / "inputs"
    inputs.mkdir()
    generate_file(DIMUON, inputs / "ZZTo4mu.root", events=100, seed=1)
    before = own.path("higgs4l", "histograms.root").read_bytes()
    run = own.run("higgs4l", config=SMALL | {"inputs": "inputs"}, fails=True)
    wrong = ("there is no column", "check that it is NanoAOD")
    check_message(run.output, "inputs/ZZTo4mu.root", *wrong, sample="ZZTo4mu")
    assert not own.path("higgs4l", "catalogue.json").exists()
    assert own.path("higgs4l", "histograms.root").read_bytes() == before
    assert run.rules() == {"catalogue"}


def test_link_that_leads_nowhere_is_not_taken_for_no_file(
    finished: Workspace, tmp_path: Path
) -> None:
    workspace, path = with_input(finished, tmp_path)
    path.unlink()
    path.symlink_to("nowhere.root")
    run = workspace.run("-n", "dimuon", config=SMALL | {"inputs": "inputs"}, fails=True)
    assert f"inputs/{DIMUON}.root" in run.output


def vanished(path: Path) -> None:
    path.unlink()


def replaced(path: Path) -> None:
    generate_file(DIMUON, path, events=500, seed=1)


def damaged(path: Path) -> None:
    flip_bit(path)
    path.touch()


CHANGED: dict[Callable[[Path], None], tuple[str, str]] = {
    vanished: ("cannot be found", "check the path"),
    replaced: ("bytes, the catalogue says", "copy it again"),
    damaged: ("adler32 is", "copy it again"),
}


@pytest.fixture
def planned(finished: Workspace, tmp_path: Path) -> tuple[Workspace, Path]:
    """A working folder in which the input is catalogued and planned, but not yet read."""
    workspace, path = with_input(finished, tmp_path)
    workspace.run("results/dimuon/plan.json", config=SMALL | {"inputs": "inputs"})
    return workspace, path


@pytest.mark.parametrize("change", CHANGED, ids=lambda change: change.__name__)
def test_input_that_changes_during_the_run_is_refused(
    planned: tuple[Workspace, Path], change: Callable[[Path], None]
) -> None:
    workspace, path = planned
    change(path)
    unit = f"results/dimuon/units/{DIMUON}/0000.root"
    # Only the skim may run: Snakemake itself would notice the change and catalogue the file anew.
    run = workspace.run(
        unit, *("--allowed-rules", "skim"), config=SMALL | {"inputs": "inputs"}, fails=True
    )
    check_message(run.output, f"inputs/{DIMUON}.root", *CHANGED[change])
    assert not list(workspace.path("dimuon", "units").rglob("*.*"))


def test_unit_with_other_events_than_planned_is_refused(planned: tuple[Workspace, Path]) -> None:
    workspace, _ = planned
    plan = workspace.path("dimuon", "plan.json")
    content = json.loads(plan.read_text())
    content["samples"][DIMUON]["files"][0]["events"] += 1
    plan.write_text(json.dumps(content))
    run = workspace.run(
        f"results/dimuon/units/{DIMUON}/0000.root",
        *("--allowed-rules", "skim"),
        config=SMALL | {"inputs": "inputs"},
        fails=True,
    )
    problem = ("events, the catalogue says", "run again to catalogue it anew")
    check_message(run.output, f"inputs/{DIMUON}.root", *problem)
    assert not list(workspace.path("dimuon", "units").rglob("*.*"))
