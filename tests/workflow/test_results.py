"""What a user finds after `snakemake`: the contract of results/."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import uproot
import yaml
from workspace import REPOSITORY, SMALL, Run, Workspace

from nanolake import analyses, histogram
from nanolake.analyses import htautau
from nanolake.config import load_yaml

DATASETS = load_yaml(REPOSITORY / "config" / "datasets.yaml")["analyses"]
PAIRS = [(name, sample) for name, entry in DATASETS.items() for sample in entry["datasets"]]
PROCESSES = ["ggH", "qqH", "W1J", "W2J", "W3J", "TT", "ZLL", "ZTT", "dataRunB", "dataRunC"]


def histogram_names(analysis: str) -> set[str]:
    """The names that users of histograms.root rely on."""
    if analysis == "dimuon":
        return {"dimuon_mass"}
    if analysis == "higgs4l":
        return {
            f"{sample}_{channel}_{variable}"
            for sample, entry in DATASETS["higgs4l"]["datasets"].items()
            for channel in entry["channels"]
            for variable in ("H_mass", "Z1_mass", "Z2_mass")
        }
    columns = [name for name in htautau.kept("mc") if name not in ("gen_match", "run", "weight")]
    assert len(columns) == 34
    return {f"{p}_{c}{region}" for p in PROCESSES for c in columns for region in ("", "_cr")}


@pytest.mark.parametrize("analysis", analyses.NAMES)
def test_cut_flow_starts_with_all_events_and_never_grows(
    finished: Workspace, analysis: str
) -> None:
    table = pd.read_csv(finished.path(analysis, "cutflow.csv"))
    assert list(table.columns) == ["sample", "step", "events"]
    assert set(table["sample"]) == set(DATASETS[analysis]["datasets"])
    catalogue = finished.read(analysis, "catalogue.json")["samples"]
    for sample, flow in table.groupby("sample", sort=False):
        assert flow["step"].iloc[0] == "all"
        assert flow["events"].iloc[0] == catalogue[sample]["events"]
        assert flow["step"].is_unique
        channels = flow["step"].str.extract(r"^(4mu|4e|2e2mu): ", expand=False).fillna("")
        for _, steps in flow[1:].groupby(channels[1:]):
            assert steps["events"].iloc[0] <= flow["events"].iloc[0]
            # The two sign regions at the end of htautau stand beside each other.
            falling = steps[~steps["step"].str.contains("sign")]["events"]
            assert falling.is_monotonic_decreasing


@pytest.mark.parametrize(("analysis", "sample"), PAIRS)
def test_ntuple_holds_the_events_that_the_books_say(
    finished: Workspace, analysis: str, sample: str
) -> None:
    books = finished.read(analysis, "books", f"{sample}.json")
    kind = DATASETS[analysis]["datasets"][sample]["kind"]
    with uproot.open(finished.path(analysis, "ntuples", f"{sample}.root")) as file:
        assert file["Events"].num_entries == books["books"]["written"]
        assert set(file["Events"].keys()) == {*analyses.load(analysis).kept(kind), "weight"}


def test_htautau_ntuple_has_the_37_official_columns(finished: Workspace) -> None:
    legs = "pt eta phi m iso q mt jpt jeta jphi jm jbtag"
    official = {
        *("njets", "npv", "mjj", "ptjj", "jdeta", "pt_met", "phi_met", "m_vis", "pt_vis"),
        *(f"{name}_{leg}" for name in legs.split() for leg in (1, 2)),
        *("dm_2", "gen_match", "run", "weight"),
    }
    assert len(official) == 37
    for path in finished.path("htautau", "ntuples").glob("*.root"):
        with uproot.open(path) as file:
            assert len(file["Events"].keys()) == 37 and set(file["Events"].keys()) == official, path


@pytest.mark.parametrize("analysis", analyses.NAMES)
def test_histograms_have_their_names_and_are_filled(finished: Workspace, analysis: str) -> None:
    with uproot.open(finished.path(analysis, "histograms.root")) as file:
        classes = file.classnames(cycle=False)
        assert set(classes) == histogram_names(analysis)
        assert set(classes.values()) == {"TH1D"}
        assert len(file.keys()) == len(classes), "two cycles of one histogram"
        assert sum(file[name].values(flow=True).sum() for name in classes) > 0


@pytest.mark.parametrize("analysis", ["higgs4l", "htautau"])
def test_histograms_are_the_same_whatever_the_order_of_samples(
    finished: Workspace, tmp_path: Path, analysis: str
) -> None:
    known = load_yaml(REPOSITORY / "config/datasets.yaml")["analyses"][analysis]
    plan, folder = finished.read(analysis, "plan.json"), finished.path(analysis)
    ntuples = {
        sample: {
            "path": str(folder / f"ntuples/{sample}.root"),
            "processes": dict(reversed(known["datasets"][sample]["processes"].items())),
            "channels": entry["channels"],
        }
        for sample, entry in reversed(plan["samples"].items())
    }
    output = tmp_path / "histograms.root"
    selection = analyses.load(analysis).SELECTIONS[0]
    histogram.fill(str(folder / "engine"), analysis, ntuples, str(output), selection=selection)
    assert output.read_bytes() == (folder / "histograms.root").read_bytes()


def test_there_are_680_htautau_histograms() -> None:
    assert len(histogram_names("htautau")) == 680


@pytest.mark.parametrize("analysis", analyses.NAMES)
def test_plots_are_png_and_pdf(finished: Workspace, analysis: str) -> None:
    names = analyses.load(analysis).figure_names()
    assert len(names) >= {"dimuon": 1, "higgs4l": 3, "htautau": 34}[analysis]
    for name in names:
        png = finished.path(analysis, "plots", f"{name}.png").read_bytes()
        pdf = finished.path(analysis, "plots", f"{name}.pdf").read_bytes()
        assert png.startswith(b"\x89PNG") and len(png) > 10_000, name
        assert pdf.startswith(b"%PDF") and len(pdf) > 3_000, name


def test_ledger_tells_everything_of_every_unit(finished: Workspace) -> None:
    ledger = finished.read("ledger.json")
    planned = Counter()
    for analysis in analyses.NAMES:
        for sample, entry in finished.read(analysis, "plan.json")["samples"].items():
            planned[analysis, sample] = len(entry["units"])
    assert Counter((unit["analysis"], unit["sample"]) for unit in ledger["units"]) == planned
    assert ledger["totals"]["units"] == planned.total()
    for unit in ledger["units"]:
        check_unit(unit)


def check_unit(unit: dict[str, Any]) -> None:
    """File, range, replica, bytes, times, cut flow and versions of a unit are there."""
    for file in unit["files"]:
        assert file["replica"].endswith(f"{unit['sample']}.root")
        assert file["bytes"] > 0 and re.fullmatch("[0-9a-f]{8}", file["adler32"])
    begin, end = unit["range"]
    assert unit["read"] == end - begin > 0
    assert unit["bytes_read"] > 0
    assert unit["wall_seconds"] > 0 and unit["cpu_seconds"] > 0
    assert unit["peak_rss_bytes"] < 1e9, "1 GB is what a unit may take"
    assert all(steps for steps in unit["cutflow"].values())
    assert {"nanolake", "ROOT", "python", "engine", "graph"} <= set(unit["software"])


def test_books_are_closed(finished: Workspace) -> None:
    ledger = finished.read("ledger.json")
    assert {(s["analysis"], s["sample"]) for s in ledger["samples"]} == set(PAIRS)
    for sample in ledger["samples"]:
        books, units = sample["books"], finished.read("ledger.json")["units"]
        mine = [unit for unit in units if unit["sample"] == sample["sample"]]
        assert books["catalogue"] == books["read"] == sum(unit["read"] for unit in mine)
        assert books["selected"] == books["written"]
        channels = len(sample["cutflow"])
        assert books["selected"] + books["rejected"] == channels * books["read"]
    assert ledger["totals"]["read"] == sum(s["books"]["read"] for s in ledger["samples"])


def test_configuration_of_the_run_is_kept_and_repeats_it(own: Workspace) -> None:
    kept = yaml.safe_load(own.path("config.yaml").read_text())
    assert kept["synthetic"]["scale"] == 0.02
    assert set(kept["datasets"]["analyses"]) == set(analyses.NAMES)
    assert own.run("-n", "--configfile", "results/config.yaml").nothing


def test_report_is_one_file_that_loads_nothing(finished: Workspace) -> None:
    page = finished.path("report.html").read_text()
    loaded = re.findall(r"""(?:src|href|url)\s*[=(]\s*["']?([^"')\s>]+)""", page)
    assert loaded and all(at.startswith(("data:", "#")) for at in loaded)
    assert "@import" not in page
    plots = sum(len(analyses.load(name).figure_names()) for name in analyses.NAMES)
    assert page.count("data:image/png;base64,") == plots + 3  # of how the infrastructure did
    for _, sample in PAIRS:
        assert sample in page


def test_a_run_leaves_no_unfinished_files_behind(finished: Workspace) -> None:
    assert finished.unfinished() == []


def test_first_run_runs_every_job_once(first_run: tuple[Workspace, Run]) -> None:
    _, run = first_run
    samples = {f"{analysis}/{sample}" for analysis, sample in PAIRS}
    assert run.of("generate") == {sample for _, sample in PAIRS}
    assert run.of("merge") == samples
    assert {unit.rpartition("/")[0] for unit in run.of("skim")} == samples


def test_second_run_has_nothing_to_do(own: Workspace) -> None:
    assert own.run(config=SMALL).nothing


def test_dry_run_shows_the_jobs_and_makes_nothing(workspace: Workspace) -> None:
    run = workspace.run("-n")
    assert {"generate", "engine", "catalogue", "plan", "merge", "histogram"} <= run.rules()
    assert not workspace.path().exists()


@pytest.mark.parametrize("analysis", analyses.NAMES)
def test_target_of_one_analysis_needs_nothing_of_the_others(
    workspace: Workspace, analysis: str
) -> None:
    run = workspace.run("-n", analysis)
    assert run.of("merge") == {f"{analysis}/{sample}" for sample in DATASETS[analysis]["datasets"]}
    assert run.of("generate") == set(DATASETS[analysis]["datasets"])
    others = set(analyses.NAMES) - {analysis}
    assert not any(other in job for other in others for job in run.jobs())


def test_snakemake_report_is_made_without_network(own: Workspace) -> None:
    own.run("--report", "snakemake-report.html", config=SMALL)
    page = (own.folder / "snakemake-report.html").read_text()
    assert "dimuon_mass" in page and "cut flow" in page
