"""A change re-runs exactly what depends on it."""

from __future__ import annotations

import os
from typing import Any

import pytest
import yaml
from workspace import DIMUON, REPOSITORY, SMALL, Workspace

from nanolake.generate import generate_file

# What is made of the whole run, whatever changes in it.
WHOLE_RUN = {"ledger", "provenance", "report"}


def ends(analysis: str) -> set[str]:
    """The last jobs of an analysis: what is made of all its samples."""
    return {f"histogram {analysis}", f"cutflow {analysis}", f"plot_{analysis}"}


def test_changed_input_reruns_its_own_sample_alone(own: Workspace) -> None:
    sample, before = "ZZTo4e", own.products()
    path = own.folder / "resources" / "synthetic" / f"{sample}.root"
    generate_file(sample, path, events=300, seed=1)
    run = own.run(config=SMALL)
    made = {"catalogue higgs4l", "plan higgs4l", f"skim higgs4l/{sample}/0000"}
    assert run.jobs() == {*made, f"merge higgs4l/{sample}", *ends("higgs4l"), *WHOLE_RUN}
    after = own.products()
    changed = {name for name in before if before[name] != after[name]}
    assert changed == {f"higgs4l/ntuples/{sample}.root", "higgs4l/histograms.root"}


def test_touched_input_is_looked_at_again_but_not_read_again(own: Workspace) -> None:
    os.utime(own.folder / "resources" / "synthetic" / f"{DIMUON}.root")
    # Snakemake compares small files by their checksum; 0 makes it take this one for a large one.
    large = ("--max-checksum-file-size", "0")
    run = own.run("dimuon", *large, config=SMALL)
    assert {"catalogue dimuon", "plan dimuon"} <= run.jobs()
    assert not run.rules() & {"generate", "skim", "merge", "histogram"}
    assert own.run("-n", "dimuon", *large, config=SMALL).nothing


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (
            {"htautau": {"qcd_factor": 1.06}},
            {"plot_htautau", "configuration", "provenance", "report"},
        ),
        ({"inputs": None, "results": "results"}, set()),
    ],
    ids=["qcd_factor", "same values"],
)
def test_changed_option_redraws_only(
    own: Workspace, change: dict[str, Any], expected: set[str]
) -> None:
    assert own.run("-n", config=SMALL | change).jobs() == expected


def test_changed_selection_reruns_its_analysis_alone(own: Workspace) -> None:
    # The engine by JIT, as building another program takes long.
    change = SMALL | {"selections": {"higgs4l": "portal"}, "engine": "jit"}
    run = own.run("results/higgs4l/plan.json", config=change)
    # In one run: the engine must not hide that the catalogue depends on the selection too.
    assert run.jobs() == {"engine higgs4l", "catalogue higgs4l", "plan higgs4l"}
    run = own.run("-n", "higgs4l", config=change)
    assert len(run.of("skim")) == len(run.of("merge")) == 8
    assert run.jobs() >= ends("higgs4l")
    assert run.rules() == {"skim", "merge", "histogram", "cutflow", "plot_higgs4l"}
    channels = own.read("higgs4l", "plan.json")["samples"]["Run2012C_DoubleElectron"]["channels"]
    assert channels == ["4e", "2e2mu"]


def test_changed_cross_section_makes_new_weights_without_reading_again(own: Workspace) -> None:
    datasets = yaml.safe_load((REPOSITORY / "config" / "datasets.yaml").read_text())
    datasets["analyses"]["higgs4l"]["datasets"]["ZZTo4e"]["cross_section"] *= 2
    (own.folder / "datasets.yaml").write_text(yaml.safe_dump(datasets, sort_keys=False))
    before = own.products()
    run = own.run(config=SMALL | {"datasets": "datasets.yaml"})
    assert "skim" not in run.rules() and run.of("merge") == {"higgs4l/ZZTo4e"}
    assert ends("higgs4l") - {"cutflow higgs4l"} <= run.jobs()
    assert own.run("-n", config=SMALL | {"datasets": "datasets.yaml"}).nothing
    changed = {name for name, content in own.products().items() if content != before[name]}
    assert changed == {"higgs4l/ntuples/ZZTo4e.root", "higgs4l/histograms.root"}


def test_deleted_plot_is_drawn_again_alone(finished: Workspace, own: Workspace) -> None:
    own.path("higgs4l", "plots", "H_mass.pdf").unlink()
    assert own.run("-n", config=SMALL).jobs() <= {"plot_higgs4l", "provenance", "report"}
