"""The analyses give the published numbers on real CMS data, and ROOT's tutorials' on any file."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import uproot

from nanolake import engine, histogram
from nanolake.config import load_yaml

ROOT_FOLDER = Path(__file__).resolve().parents[2]

# physics.md, section 1: df102's mass in float32, first 100,000 events of record 12341.
WINDOWS = {
    (0.5, 0.6): 277,
    (0.7, 0.85): 522,
    (0.98, 1.06): 329,
    (2.9, 3.3): 3628,
    (3.6, 3.8): 288,
    (9, 10.6): 1139,
    (76, 106): 7318,
}

# Official skims of the 10 % files: skim, mt, iso, OS, SS, and OS, SS with genuine taus.
SKIMS = {
    "GluGluToHToTauTau": (813, 561, 494, 486, 8, 486, 8),
    "Run2012B_TauPlusX": (13572, 6517, 3721, 2796, 925, 0, 0),
    "VBF_HToTauTau": (1015, 682, 630, 611, 19, 605, 16),
    "W1JetsToLNu": (2363, 286, 265, 196, 69, 15, 9),
}


def fill(program, analysis, ntuple, output, sample, **kwargs):
    """Histograms and cut flow of one ntuple."""
    datasets = load_yaml(ROOT_FOLDER / "config" / "datasets.yaml")["analyses"][analysis]["datasets"]
    entry = datasets[sample]
    ntuples = {
        sample: {
            "path": str(ntuple),
            "processes": entry["processes"],
            "channels": entry["channels"],
        }
    }
    selection = kwargs.get("selection") or {"dimuon": "df102", "higgs4l": "df103"}.get(
        analysis, "portal"
    )
    return histogram.fill(program, analysis, ntuples, str(output), selection=selection)


@pytest.mark.parametrize("mode", ["compiled", "jit"])
def test_real_dimuon_events_give_the_published_numbers(mode, real_data, program, tasks, tmp_path):
    real = real_data / "dimuon" / "Run2012BC_DoubleMuParked_Muons_100k.root"
    dimuon, unit, ntuple = program("dimuon", mode), tmp_path / "unit.root", tmp_path / "n.root"
    task = tasks.skim("dimuon", real, unit, kind="data", channels=["dimuon"])
    result = engine.run(dimuon, "skim", task)
    assert result["read"] == 100_000
    assert result["cutflow"]["dimuon"] == [["exactly two muons", 48976], ["opposite charge", 37183]]

    engine.run(dimuon, "merge", tasks.merge("dimuon", unit, ntuple, result["cutflow"], kind="data"))
    fill(dimuon, "dimuon", ntuple, tmp_path / "h.root", "Run2012BC_DoubleMuParked_Muons")
    mass = uproot.open(tmp_path / "h.root")["dimuon_mass"]
    contents = mass.values(flow=True)
    assert (contents[0], contents[1:-1].sum(), contents[-1]) == (169, 36998, 16)
    assert (int(np.argmax(mass.values())) + 1, mass.values().max()) == (285, 412)
    masses = uproot.open(ntuple)["Events"]["mass"].array(library="np")
    assert masses.dtype == np.float32
    for (low, high), events in WINDOWS.items():
        assert np.count_nonzero((masses >= low) & (masses < high)) == events, (low, high)


@pytest.mark.parametrize("mode", ["compiled", "jit"])
def test_an_rntuple_of_real_events_runs_too(mode, real_data, program, tmp_path):
    (real,) = (real_data / "dimuon").glob("*rntuple*.root")
    dimuon = program("dimuon", mode)
    from nanolake.analyses.dimuon import columns

    task = {"object": "Events", "columns": columns("data"), "paths": [str(real)]}
    (found,) = engine.run(dimuon, "inspect", task)["files"]
    assert found.pop("uuid") == "bdc14542-a684-11ef-9fe3-e2a3090abeef"
    size = real.stat().st_size
    assert found == {"path": str(real), "events": 1000, "clusters": [], "bytes": size}
    task = {
        "samples": [
            {"name": "r", "object": "Events", "files": [{"path": str(real), "events": 1000}]}
        ],
        "columns": columns("data"),
        "range": [0, 1000],
        "kind": "data",
        "channels": ["dimuon"],
        "output": str(tmp_path / "unit.root"),
    }
    result = engine.run(dimuon, "skim", task)
    # The same events are the first thousand of the file of 100,000.
    tree = uproot.open(real_data / "dimuon" / "Run2012BC_DoubleMuParked_Muons_100k.root")["Events"]
    charges = tree["Muon_charge"].array(library="np", entry_stop=1000)
    pairs = [c for c in charges if len(c) == 2]
    opposite = sum(c[0] != c[1] for c in pairs)
    assert result["read"] == 1000
    assert [n for _, n in result["cutflow"]["dimuon"]] == [len(pairs), opposite]


@pytest.mark.parametrize("sample", SKIMS)
def test_official_htautau_skims_give_the_published_cut_flow(sample, real_data, program, tmp_path):
    skim = real_data / "htt_skims" / f"{sample}Skim.root"
    every, mt, iso, opposite, same, *genuine = SKIMS[sample]
    assert tasks_events(skim) == every
    output = tmp_path / "h.root"
    cutflow = fill(program("htautau"), "htautau", skim, output, sample)[sample]
    assert cutflow == {
        "mt_1 < 30": mt,
        "iso_1 < 0.1": iso,
        "opposite sign": opposite,
        "same sign": same,
    }
    # Histograms hold all of it, weighted; njets catches nearly all, so count with its overflow.
    process = {"Glu": "ggH", "Run": "dataRunB", "VBF": "qqH", "W1J": "W1J"}[sample[:3]]
    weight = float(uproot.open(skim)["Events"]["weight"].array(library="np")[0])
    with uproot.open(output) as file:
        assert len(file.keys()) == 68
        for name, events in ((f"{process}_njets", opposite), (f"{process}_njets_cr", same)):
            assert file[name].values(flow=True).sum() == pytest.approx(events * weight, rel=1e-9)
    tree = uproot.open(skim)["Events"].arrays(["mt_1", "iso_1", "q_1", "q_2", "gen_match"])
    kept = (tree.mt_1 < 30) & (tree.iso_1 < 0.1) & tree.gen_match
    signs = tree.q_1 * tree.q_2
    assert [int(np.sum(kept & (signs < 0))), int(np.sum(kept & (signs > 0)))] == genuine


def tasks_events(path):
    return uproot.open(path)["Events"].num_entries


def test_the_histogram_command_takes_official_skims(real_data, tmp_path):
    files = [str(real_data / "htt_skims" / f"{sample}Skim.root") for sample in SKIMS]
    command = [sys.executable, "-m", "nanolake", "histogram", "htautau", *files]
    command += ["-o", str(tmp_path / "h.root"), "--cutflow", str(tmp_path / "c.csv")]
    subprocess.run(command, check=True, cwd=ROOT_FOLDER, capture_output=True)
    assert len(uproot.open(tmp_path / "h.root").keys()) == 68 * len(SKIMS)
    assert "VBF_HToTauTau,opposite sign,611" in (tmp_path / "c.csv").read_text()


def test_our_skim_of_htautau_has_the_official_columns(
    real_data, program, synthetic, tasks, tmp_path
):
    official = uproot.open(real_data / "htt_skims" / "GluGluToHToTauTauSkim.root")["Events"]
    htautau, unit, ntuple = program("htautau"), tmp_path / "u.root", tmp_path / "n.root"
    source = synthetic("GluGluToHToTauTau")
    task = tasks.skim("htautau", source, unit, kind="mc", channels=["mutau"])
    cutflow = engine.run(htautau, "skim", task)["cutflow"]
    engine.run(htautau, "merge", tasks.merge("htautau", unit, ntuple, cutflow, kind="mc"))
    ours = uproot.open(ntuple)["Events"]
    assert {b.name: b.typename for b in ours.branches} == {
        b.name: b.typename for b in official.branches
    }
    assert ours.keys() == official.keys()
    assert len(ours.keys()) == 37


TUTORIAL = """
import sys, ROOT
ROOT.gROOT.SetBatch(True)
{source}
out = ROOT.TFile("tutorial.root", "RECREATE")
{write}
out.Close()
"""


def run_tutorial(name: str, replacements: dict[str, str], write: str, folder: Path) -> Path:
    """Run a tutorial of ROOT as shipped, but for the names of its files; keep its histograms."""
    import nanolake.root

    where = nanolake.root.installation().include.parent / "tutorials" / "analysis" / "dataframe"
    source = (where / name).read_text()
    for old, new in replacements.items():
        assert old in source, old
        source = source.replace(old, new)
    (folder / "tutorial.py").write_text(TUTORIAL.format(source=source, write=write))
    environment = {**os.environ, "PYTHONWARNINGS": "ignore", "ROOTSYS": str(where.parents[2])}
    command = [sys.executable, "tutorial.py"]
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return folder / "tutorial.root"


def chain(program, analysis, source, folder, tasks, *, kind, channels, selection=None):
    """Skim, merge and histogram one file; the histogram file."""
    sample = source.stem
    folder.mkdir(parents=True, exist_ok=True)
    unit, ntuple = folder / f"{sample}.u.root", folder / f"{sample}.root"
    task = tasks.skim(analysis, source, unit, kind=kind, channels=channels)
    cutflow = engine.run(program, "skim", task)["cutflow"]
    engine.run(program, "merge", tasks.merge(analysis, unit, ntuple, cutflow, kind=kind))
    fill(program, analysis, ntuple, folder / f"{sample}.h.root", sample, selection=selection)
    return folder / f"{sample}.h.root"


def test_dimuon_equals_df102_bin_by_bin(program, synthetic, tasks, tmp_path):
    sample = "Run2012BC_DoubleMuParked_Muons"
    source = synthetic(sample, 60_000)
    published = (
        "root://eospublic.cern.ch//eos/opendata/cms/derived-data/AOD2NanoAODOutreachTool/"
        f"{sample}.root"
    )
    tutorial = run_tutorial(
        "df102_NanoAODDimuonAnalysis.py", {published: str(source)}, "h.Write('mass')", tmp_path
    )
    ours = chain(
        program("dimuon"), "dimuon", source, tmp_path / "o", tasks, kind="data", channels=["dimuon"]
    )
    theirs = uproot.open(tutorial)["mass"].values(flow=True)
    assert theirs.sum() > 20_000
    np.testing.assert_array_equal(uproot.open(ours)["dimuon_mass"].values(flow=True), theirs)


DF103 = {
    "h_sig_4mu": [("SMHiggsToZZTo4L", "4mu")],
    "h_bkg_4mu": [("ZZTo4mu", "4mu")],
    "h_data_4mu": [("Run2012B_DoubleMuParked", "4mu"), ("Run2012C_DoubleMuParked", "4mu")],
    "h_sig_4el": [("SMHiggsToZZTo4L", "4e")],
    "h_bkg_4el": [("ZZTo4e", "4e")],
    "h_data_4el": [("Run2012B_DoubleElectron", "4e"), ("Run2012C_DoubleElectron", "4e")],
    "h_sig_2el2mu": [("SMHiggsToZZTo4L", "2e2mu")],
    "h_bkg_2el2mu": [("ZZTo2e2mu", "2e2mu")],
    "h_data_2el2mu": [
        ("Run2012B_DoubleMuParked", "2e2mu"),
        ("Run2012C_DoubleMuParked", "2e2mu"),
    ],
}
# The tutorial's own weights: luminosity x cross section x k / N.
DF103_WEIGHTS = {
    "SMHiggsToZZTo4L": 11580.0 * 0.0065 / 299973.0,
    "ZZTo4mu": 11580.0 * 0.077 * 1.386 / 1499064.0,
    "ZZTo4e": 11580.0 * 0.077 * 1.386 / 1499093.0,
    "ZZTo2e2mu": 11580.0 * 0.18 * 1.386 / 1497445.0,
}


@pytest.fixture(scope="module")
def df103(synthetic, tmp_path_factory):
    """Histograms of the unmodified tutorial on synthetic files."""
    folder = tmp_path_factory.mktemp("df103")
    sources = {
        s: synthetic(s, 8000) for s in sorted({s for pairs in DF103.values() for s, _ in pairs})
    }
    base = "root://eospublic.cern.ch//eos/root-eos/cms_opendata_2012_nanoaod_skimmed/"
    # The tutorial's histograms are local to its function, and it adds the channels up in place:
    # copies are kept where it fetches them first.
    fetch = "signal_4mu = df_h_sig_4mu.GetValue()"
    copies = ", ".join(f"df_{name}" for name in DF103)
    kept = f"global kept; kept = [h.GetValue().Clone() for h in ({copies})]\n    {fetch}"
    write = f"for n, h in zip({list(DF103)!r}, kept): h.Write(n)"
    folder_of_inputs = str(next(iter(sources.values())).parent) + "/"
    return sources, run_tutorial(
        "df103_NanoAODHiggsAnalysis.py", {base: folder_of_inputs, fetch: kept}, write, folder
    )


@pytest.mark.parametrize("mode", ["compiled", "jit"])
def test_higgs4l_equals_df103_bin_by_bin(mode, df103, program, tasks, tmp_path):
    sources, tutorial = df103
    channels = {}
    for pairs in DF103.values():
        for sample, channel in pairs:
            channels.setdefault(sample, []).append(channel)
    if mode == "jit":  # one sample with all channels is enough: 5 s each
        channels = {"SMHiggsToZZTo4L": channels["SMHiggsToZZTo4L"]}
    ours = {
        s: chain(
            program("higgs4l", mode),
            "higgs4l",
            sources[s],
            tmp_path,
            tasks,
            kind="data" if s.startswith("Run") else "mc",
            channels=chosen,
        )
        for s, chosen in channels.items()
    }
    compared = 0
    for name, pairs in DF103.items():
        if pairs[0][0] not in ours:
            continue
        mine = sum(
            uproot.open(ours[s])[f"{s}_{channel}_H_mass"].values(flow=True) for s, channel in pairs
        )
        theirs = uproot.open(tutorial)[name].values(flow=True)
        weight = DF103_WEIGHTS.get(pairs[0][0], 1.0)
        # The tutorial adds its weight once an event; divided out, whole numbers remain.
        np.testing.assert_array_equal(mine, np.rint(theirs / weight))
        np.testing.assert_allclose(theirs, mine * weight, rtol=1e-12, atol=0)
        compared += theirs.sum() > 0
    assert compared >= (3 if mode == "jit" else 9)
