"""The notebooks, run from the first cell to the last, on the embedded lake."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from workspace import REPOSITORY, SMALL, Workspace

nbclient = pytest.importorskip("nbclient", reason="no notebooks: make setup-dev")
nbformat = pytest.importorskip("nbformat", reason="no notebooks: make setup-dev")

NOTEBOOKS = REPOSITORY / "notebooks"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A working folder whose configuration asks for small inputs."""
    folder = tmp_path_factory.mktemp("notebooks")
    shutil.copytree(REPOSITORY / "config", folder / "config")
    file = folder / "config/config.yaml"
    file.write_text(yaml.safe_dump(yaml.safe_load(file.read_text()) | SMALL))
    return Workspace(folder)


def run(name: str, place: Workspace, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Run a notebook, and give it with what its cells show."""
    monkeypatch.setenv("NANOLAKE_FOLDER", str(place.folder))
    notebook = nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4)
    where = {"metadata": {"path": str(NOTEBOOKS)}}
    nbclient.NotebookClient(notebook, timeout=600, resources=where).execute()
    return notebook


def shown(notebook: Any, kind: str) -> list[str]:
    """What cells show in a format."""
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    return [output["data"][kind] for output in outputs if kind in output.get("data", {})]


@pytest.mark.parametrize("name", ["dimuon", "higgs4l", "htautau"])
def test_an_analysis_has_the_bytes_of_a_batch_run(
    name: str, place: Workspace, finished: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    notebook = run(name, place, monkeypatch)
    expected = {path: b for path, b in finished.products().items() if path.startswith(f"{name}/")}
    assert expected == {p: b for p, b in place.products().items() if p.startswith(f"{name}/")}
    assert shown(notebook, "image/png")
    # The last table is what is in the lake now.
    receipt = shown(notebook, "text/html")[-1]
    files = place.read(name, "published.json")["files"]
    assert files and all(file["did"] in receipt and file["rse"] in receipt for file in files)
    assert {file["rse"] for file in files} == {"LAPTOP-CHEAP"}


def test_your_own_analysis_is_stored(place: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    notebook = run("your_own_analysis", place, monkeypatch)
    assert shown(notebook, "image/png")
    files = place.read("own", "published.json")["files"]
    assert {Path(file["path"]).name for file in files} == {"muons.root", "pt.png"}


@pytest.mark.parametrize("file", sorted(NOTEBOOKS.glob("*.ipynb")), ids=lambda file: file.stem)
def test_no_output_is_kept(file: Path) -> None:
    command = [sys.executable, "-m", "nbstripout", "--verify", str(file)]
    assert subprocess.run(command).returncode == 0
