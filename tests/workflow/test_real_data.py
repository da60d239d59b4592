"""Real CMS data in place of a synthetic file: the published numbers come out of the workflow."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import pandas as pd
import pytest
import uproot
from workspace import DIMUON, REAL_DATA, SMALL, Run, Workspace

REAL = REAL_DATA / f"{DIMUON}_100k.root"
RNTUPLE = REAL_DATA / f"{DIMUON}_1000evts_rntuple_v1-0-0-0.root"
# GeV, and events in float32 as df102 computes the mass.
WINDOWS = {
    "eta": (0.5, 0.6, 277),
    "rho, omega": (0.7, 0.85, 522),
    "phi": (0.98, 1.06, 329),
    "J/psi": (2.9, 3.3, 3628),
    "psi'": (3.6, 3.8, 288),
    "Upsilon": (9, 10.6, 1139),
    "Z": (76, 106, 7318),
}

pytestmark = pytest.mark.skipif(
    not REAL.exists(), reason="the folder shared/data with real CMS events is not on this machine"
)


@pytest.fixture(scope="module")
def real(
    finished: Workspace, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Workspace, Run]]:
    """The finished run, and then again with the real file in a folder `inputs`."""
    folder = tmp_path_factory.mktemp("real")
    (folder / "inputs").mkdir()
    (folder / "inputs" / f"{DIMUON}.root").symlink_to(REAL)
    workspace = finished.copy(folder / "work")
    yield workspace, workspace.run(config=SMALL | {"inputs": str(folder / "inputs")})


@pytest.fixture(scope="module")
def mass(real: tuple[Workspace, Run]) -> np.ndarray:
    """Masses in the reduced ntuple, GeV."""
    with uproot.open(real[0].path("dimuon", "ntuples", f"{DIMUON}.root")) as file:
        return file["Events"]["mass"].array(library="np")


@pytest.fixture(scope="module")
def spectrum(real: tuple[Workspace, Run]) -> Any:
    with uproot.open(real[0].path("dimuon", "histograms.root")) as file:
        return file["dimuon_mass"]


def test_real_file_runs_its_own_analysis_again_and_no_other(real: tuple[Workspace, Run]) -> None:
    everywhere = {"ledger", "configuration", "provenance", "report"}
    assert real[1].jobs() == {
        *("catalogue dimuon", "plan dimuon", f"skim dimuon/{DIMUON}/0000"),
        *(f"merge dimuon/{DIMUON}", "histogram dimuon", "cutflow dimuon", "plot_dimuon"),
        *everywhere,
    }


def test_real_file_gives_the_published_cut_flow(real: tuple[Workspace, Run]) -> None:
    table = pd.read_csv(real[0].path("dimuon", "cutflow.csv"))
    assert list(table["events"][:3]) == [100_000, 48_976, 37_183]
    assert list(table["step"][:3]) == ["all", "exactly two muons", "opposite charge"]


def test_real_file_gives_the_published_spectrum(spectrum: Any, mass: np.ndarray) -> None:
    values, edges = spectrum.to_numpy(flow=True)
    assert len(edges) == 30_000 + 3
    assert (values[0], values[1:-1].sum(), values[-1]) == (169, 36_998, 16)
    assert (values[1:-1].argmax() + 1, values[1:-1].max()) == (285, 412)
    in_range = mass[(mass >= 0.25) & (mass < 300)].astype(float)
    assert in_range.mean() == pytest.approx(32.9716, abs=5e-5)
    assert np.array_equal(spectrum.variances(), spectrum.values())


@pytest.mark.parametrize("window", WINDOWS)
def test_real_file_gives_the_published_windows(
    mass: np.ndarray, spectrum: Any, window: str
) -> None:
    low, high, events = WINDOWS[window]
    assert np.count_nonzero((mass >= low) & (mass < high)) == events
    # The windows' edges lie within bins: the histogram has the events of the whole bins inside,
    # and at most those of the two cut bins more.
    edges, values = spectrum.axis().edges(), spectrum.values()
    first, last = np.searchsorted(edges, low), np.searchsorted(edges, high, side="right") - 1
    assert values[first:last].sum() <= events <= values[first - 1 : last + 1].sum()


def test_real_file_stands_for_its_share_of_the_luminosity(real: tuple[Workspace, Run]) -> None:
    catalogue = real[0].read("dimuon", "catalogue.json")
    expected = 11_580 * 100_000 / 61_540_413
    assert catalogue["luminosity"]["dimuon"] == pytest.approx(expected, rel=1e-12)


def test_ledger_names_the_real_file(real: tuple[Workspace, Run]) -> None:
    (unit,) = [u for u in real[0].read("ledger.json")["units"] if u["analysis"] == "dimuon"]
    (file,) = unit["files"]
    assert Path(file["replica"]).resolve() == REAL.resolve()
    assert (file["bytes"], file["events"]) == (REAL.stat().st_size, 100_000)


@pytest.mark.skipif(not RNTUPLE.exists(), reason="the RNTuple file is not on this machine")
def test_rntuple_in_four_units_gives_what_the_same_events_in_a_tree_do(own: Workspace) -> None:
    inputs = own.folder / "inputs"
    inputs.mkdir()
    (inputs / f"{DIMUON}.root").symlink_to(RNTUPLE)
    run = own.run("dimuon", config=SMALL | {"inputs": "inputs", "units": {"dimuon": 250}})
    assert len(run.of("skim")) == 4
    with uproot.open(REAL) as file:
        events = file["Events"].arrays(["nMuon", "Muon_pt", "Muon_charge"], entry_stop=1000)
    two = events[events["nMuon"] == 2]
    opposite = two[two["Muon_charge"][:, 0] != two["Muon_charge"][:, 1]]
    table = pd.read_csv(own.path("dimuon", "cutflow.csv"))
    assert list(table["events"][:3]) == [1000, len(two), len(opposite)]
    with uproot.open(own.path("dimuon", "ntuples", f"{DIMUON}.root")) as file:
        pt_1 = file["Events"]["pt_1"].array(library="np")
    assert np.array_equal(pt_1, ak.to_numpy(opposite["Muon_pt"][:, 0]))
