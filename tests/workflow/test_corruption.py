"""A damaged intermediate file is noticed before it reaches a histogram."""

from __future__ import annotations

import pytest
from workspace import DIMUON, SMALL, Workspace, flip_bit


@pytest.mark.parametrize("at", [0.2, 0.5, 0.9])
def test_flipped_bit_in_the_events_of_a_unit_stops_the_merge(own: Workspace, at: float) -> None:
    unit = own.path("dimuon", "units", DIMUON, "0000.root")
    flip_bit(unit, at)
    run = own.run("dimuon", "--forcerun", "merge", config=SMALL, fails=True)
    replica = f"results/dimuon/units/{DIMUON}/0000.root"
    assert run.output.count("error: ") == 1
    assert "its content has changed since it was written" in run.output
    assert f"replica: {replica}" in run.output and f"delete {replica} and run again" in run.output
    assert not own.path("dimuon", "ntuples", f"{DIMUON}.root").exists()
    assert "histogram" not in run.rules()


def test_remedy_for_a_damaged_unit_mends_it(own: Workspace) -> None:
    before = own.products()
    unit = own.path("dimuon", "units", DIMUON, "0000.root")
    flip_bit(unit)
    own.run("dimuon", "--forcerun", "merge", config=SMALL, fails=True)
    unit.unlink()
    run = own.run("dimuon", config=SMALL)
    assert {"skim", "merge"} <= run.rules()
    assert own.products() == before


def test_flipped_bit_in_a_reduced_ntuple_stops_the_histograms(own: Workspace) -> None:
    ntuple = own.path("higgs4l", "ntuples", "ZZTo4mu.root")
    flip_bit(ntuple)
    run = own.run("higgs4l", "--forcerun", "histogram", config=SMALL, fails=True)
    assert run.output.count("error: ZZTo4mu: its content has changed since it was written") == 1
    assert "replica: results/higgs4l/ntuples/ZZTo4mu.root" in run.output
    assert not own.path("higgs4l", "histograms.root").exists()
    assert run.rules().isdisjoint({"cutflow", "plot_higgs4l"})


def test_ledger_of_another_plan_is_not_booked(own: Workspace) -> None:
    ledger = own.path("dimuon", "units", DIMUON, "0000.json")
    text = ledger.read_text()
    key = own.read("dimuon", "plan.json")["samples"][DIMUON]["units"][0]["key"]
    ledger.write_text(text.replace(key, "0" * len(key)))
    run = own.run("dimuon", "--forcerun", "merge", config=SMALL, fails=True)
    assert "error: " + DIMUON in run.output and "are not those of the plan" in run.output
