"""The synthetic inputs: exact schema, same bytes from the same seed, physics in outline."""

import json
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import pytest
import uproot

from nanolake.generate import SAMPLES, default_events, generate_file, sample_of, stands_for
from nanolake.generate.baskets import pack
from nanolake.generate.kinematics import merged, rounded
from nanolake.schema import Branch, branches

DIMUON = "Run2012BC_DoubleMuParked_Muons"
LETTERS = {"F": "f4", "I": "i4", "i": "u4", "l": "u8", "O": "bool"}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One small file of each sample that a test reads."""
    folder = tmp_path_factory.mktemp("inputs")
    sizes = {
        DIMUON: 60_000,
        "SMHiggsToZZTo4L": 4_000,
        "Run2012B_DoubleMuParked": 13_000,
        "DYJetsToLL": 20_000,
        "VBF_HToTauTau": 4_000,
        "Run2012B_TauPlusX": 6_000,
    }
    for sample, events in sizes.items():
        generate_file(sample, folder / f"{sample}.root", events=events, seed=7)
    return {sample: folder / f"{sample}.root" for sample in sizes}


def read(path: Path, *names: str) -> Any:
    """Columns as awkward arrays."""
    with uproot.open(path) as file:
        return file["Events"].arrays(list(names) or None)


def mass_of_two(events: Any) -> np.ndarray:
    """Invariant mass of the first two muons, GeV; the muons are fast, so their mass is left out."""
    pt, eta, phi = (events[f"Muon_{name}"].to_numpy() for name in ("pt", "eta", "phi"))
    angle = np.cosh(eta[:, 0] - eta[:, 1]) - np.cos(phi[:, 0] - phi[:, 1])
    return np.sqrt(2 * pt[:, 0] * pt[:, 1] * angle)


@pytest.mark.parametrize(
    "sample",
    [DIMUON, "SMHiggsToZZTo4L", "Run2012B_DoubleMuParked", "DYJetsToLL", "Run2012B_TauPlusX"],
)
def test_files_hold_the_exact_schema(made: dict[str, Path], sample: str) -> None:
    recipe = SAMPLES[sample]
    layout = branches(recipe.schema, recipe.kind)
    with uproot.open(made[sample]) as file:
        tree = file["Events"]
        assert tree.keys() == [branch.name for branch in layout]
        for branch in layout:
            found = tree[branch.name]
            leaf = found.member("fLeaves")[0]
            counter = leaf.member("fLeafCount")
            assert (counter.member("fName") if counter else None) == branch.counter
            dtype = np.dtype(LETTERS[branch.letter])
            content = getattr(found.interpretation, "content", found.interpretation)
            assert content.to_dtype == dtype
        assert file.file.fCompress == 101


def test_root_reads_the_types(made: dict[str, Path]) -> None:
    import ROOT

    from nanolake.schema import column_types

    frame = ROOT.RDataFrame("Events", str(made["DYJetsToLL"]))
    expected = column_types("htautau", "mc")
    assert {str(name) for name in frame.GetColumnNames()} == set(expected)
    found = {name: str(frame.GetColumnType(name)) for name in expected}
    assert found == expected


def test_same_seed_same_bytes_other_seed_other_bytes(tmp_path: Path) -> None:
    for sample in ("Run2012B_TauPlusX", "ZZTo2e2mu", DIMUON):
        same = [tmp_path / "a.root", tmp_path / "b" / "another_name.root"]
        for path in same:
            generate_file(sample, path, events=3000, seed=3, cluster_events=1000)
        assert same[0].read_bytes() == same[1].read_bytes()
        other = generate_file(sample, tmp_path / "c.root", events=3000, seed=4, cluster_events=1000)
        assert other["adler32"] != f"{zlib.adler32(same[0].read_bytes()):08x}"


def test_bytes_do_not_depend_on_what_the_process_made_before(tmp_path: Path) -> None:
    for name, samples in (("alone", ["ZZTo4e"]), ("after", [DIMUON, "TTbar", "ZZTo4e"])):
        code = f"""
from nanolake.generate import generate_file
for sample in {samples}:
    generate_file(sample, {str(tmp_path)!r} + f"/{name}_{{sample}}.root", events=50, seed=1)
"""
        subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True)
    assert (tmp_path / "alone_ZZTo4e.root").read_bytes() == (
        tmp_path / "after_ZZTo4e.root"
    ).read_bytes()


def test_samples_of_one_seed_differ(tmp_path: Path) -> None:
    for sample in ("Run2012B_DoubleElectron", "Run2012C_DoubleElectron"):
        generate_file(sample, tmp_path / f"{sample}.root", events=200, seed=1)
    first, second = (read(path, "MET_pt") for path in sorted(tmp_path.glob("*.root")))
    assert not np.array_equal(first.MET_pt.to_numpy(), second.MET_pt.to_numpy())


def test_side_file_tells_the_truth(tmp_path: Path) -> None:
    path = tmp_path / "TTbar.root"
    summary = generate_file("TTbar", path, events=500, seed=1)
    assert json.loads(path.with_suffix(".json").read_text()) == summary
    content = path.read_bytes()
    assert summary["bytes"] == len(content)
    assert summary["adler32"] == f"{zlib.adler32(content):08x}"
    assert len(read(path, "run")) == summary["events"] == 500
    assert (summary["schema"], summary["kind"], summary["seed"]) == ("htautau", "mc", 1)
    assert summary["generated"] == stands_for("TTbar", 500)["generated"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["TTbar.json", "TTbar.root"]


def test_no_events_is_a_valid_file(tmp_path: Path) -> None:
    for sample in (DIMUON, "ZZTo4e", "Run2012C_TauPlusX"):
        summary = generate_file(sample, tmp_path / f"{sample}.root", events=0, seed=1)
        assert summary["events"] == 0
        with uproot.open(tmp_path / f"{sample}.root") as file:
            assert file["Events"].num_entries == 0


def test_one_event_and_a_last_cluster_of_one(tmp_path: Path) -> None:
    for sample in SAMPLES:
        path = tmp_path / f"{sample}.root"
        generate_file(sample, path, events=11, seed=2, cluster_events=10)
        assert len(read(path)) == 11


def test_clusters_are_those_announced(tmp_path: Path) -> None:
    import ROOT

    generate_file(DIMUON, tmp_path / "a.root", events=2500, seed=1, cluster_events=1000)
    file = ROOT.TFile.Open(str(tmp_path / "a.root"))
    iterator = file.Get("Events").GetClusterIterator(0)
    assert [int(iterator.Next()) for _ in range(3)] == [0, 1000, 2000]
    file.Close()


def test_baskets_hold_what_root_would_write() -> None:
    layout = [Branch("nX", "i"), Branch("X_a", "F", "nX"), Branch("X_b", "O", "nX")]
    counts = np.tile(np.array([2, 0, 1], dtype=np.uint32), 100)
    columns = [counts, np.ones(300, dtype=np.float32), np.ones(300, dtype=bool)]
    for basket, array in zip(pack(columns, layout, 70), columns, strict=True):
        block = basket.content.tobytes()
        assert block[:3] == b"ZL\x08"
        assert int.from_bytes(block[3:6], "little") == len(block) - 9
        content = zlib.decompress(block[9:])
        assert int.from_bytes(block[6:9], "little") == len(content) == basket.size
        assert content[: basket.values] == array.byteswap().tobytes()
        if array is not counts:
            words = np.frombuffer(content[basket.values :], dtype=">i4")
            begins = 70 + array.itemsize * np.cumsum([0, *counts[:-1]])
            assert words.tolist() == [301, *begins, 0]
    assert [b.largest for b in pack(columns, layout, 70)] == [2, 0, 0]


def test_a_cluster_too_large_for_a_block_is_refused() -> None:
    column = np.zeros(1 << 22, dtype=np.uint32)
    with pytest.raises(ValueError, match="a column of 16777216 bytes"):
        list(pack([column], [Branch("x", "i")], 70))


def test_a_failed_run_leaves_nothing(tmp_path: Path) -> None:
    target = tmp_path / "taken.root"
    target.mkdir()
    with pytest.raises(OSError):
        generate_file(DIMUON, target, events=10, seed=1)
    assert [p.name for p in tmp_path.iterdir()] == ["taken.root"]


def test_bad_arguments_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="unknown sample 'WJets'"):
        sample_of("WJets")
    with pytest.raises(ValueError, match="cannot make -1 events"):
        generate_file(DIMUON, tmp_path / "a.root", events=-1, seed=1)
    with pytest.raises(ValueError, match="scale"):
        default_events(DIMUON, -1)


def test_default_size_and_what_it_stands_for() -> None:
    assert sum(default_events(sample) for sample in SAMPLES) == 400_000
    assert default_events("TTbar", 2.5) == 35_000
    runs = [s for s in SAMPLES if s.endswith("DoubleMuParked")]
    whole = sum(stands_for(s, default_events(s))["luminosity"] for s in runs)
    assert whole == pytest.approx(11580, rel=1e-6)


def test_dimuon_multiplicity_and_opposite_sign(made: dict[str, Path]) -> None:
    events = read(made[DIMUON])
    two = events[events.nMuon == 2]
    assert len(two) / len(events) == pytest.approx(0.48976, abs=0.01)
    opposite = two.Muon_charge[:, 0] != two.Muon_charge[:, 1]
    assert opposite.to_numpy().mean() == pytest.approx(0.7592, abs=0.012)
    assert float(np.min(two.Muon_pt.to_numpy())) > 3


@pytest.mark.parametrize(
    ("low", "high", "real"),
    [(0.7, 0.85, 522), (2.9, 3.3, 3628), (3.6, 3.8, 288), (9.0, 10.6, 1139), (76, 106, 7318)],
)
def test_dimuon_resonances_as_in_the_real_file(
    made: dict[str, Path], low: float, high: float, real: int
) -> None:
    events = read(made[DIMUON])
    two = events[events.nMuon == 2]
    two = two[two.Muon_charge[:, 0] != two.Muon_charge[:, 1]]
    mass = mass_of_two(two)
    found = np.count_nonzero((mass > low) & (mass < high)) / len(events) * 100_000
    assert found == pytest.approx(real, rel=0.12, abs=3 * np.sqrt(real / 0.6))


def test_collections_are_not_sorted(made: dict[str, Path]) -> None:
    for sample, counter, column in (
        (DIMUON, "nMuon", "Muon_pt"),
        ("SMHiggsToZZTo4L", "nMuon", "Muon_pt"),
        ("VBF_HToTauTau", "nJet", "Jet_pt"),
    ):
        events = read(made[sample], counter, column)
        pairs = events[column][events[counter] >= 2][:, :2].to_numpy()
        assert 0.2 < np.mean(pairs[:, 0] > pairs[:, 1]) < 0.8


def test_sentinels_are_there(made: dict[str, Path]) -> None:
    leptons = read(made["SMHiggsToZZTo4L"], "Muon_dxy", "Electron_pfRelIso03_all")
    assert ak.any(leptons.Muon_dxy == -999) and ak.any(leptons.Electron_pfRelIso03_all == -999)
    events = read(made["Run2012B_TauPlusX"])
    for name in ("Muon_pfRelIso03_all", "Muon_dxy", "Muon_dzErr"):
        assert ak.any(events[name] == -999)
    assert set(ak.flatten(events.Tau_charge).to_list()) == {-1, 0, 1}
    assert set(ak.flatten(events.Tau_decayMode).to_list()) == {-1, 0, 1, 2, 10}


def test_links_point_into_the_event(made: dict[str, Path]) -> None:
    events = read(made["DYJetsToLL"])
    for link, counter in (
        ("Muon_genPartIdx", "nGenPart"),
        ("Tau_genPartIdx", "nGenPart"),
        ("Tau_jetIdx", "nJet"),
    ):
        links = events[link]
        assert ak.all((links >= -1) & (links < events[counter])) and ak.any(links >= 0)
    data = read(made["Run2012B_TauPlusX"], "Muon_genPartIdx", "Tau_genPartIdx")
    for name in ("Muon_genPartIdx", "Tau_genPartIdx"):
        assert ak.all(data[name] == -1)


def test_higgs_at_125(made: dict[str, Path]) -> None:
    events = read(made["SMHiggsToZZTo4L"])
    four = events[(events.nMuon == 4) & (events.nElectron == 0)]
    pt, eta, phi = (four[f"Muon_{name}"].to_numpy() for name in ("pt", "eta", "phi"))
    parts = pt * np.cosh(eta), pt * np.cos(phi), pt * np.sin(phi), pt * np.sinh(eta)
    energy, x, y, z = (part.sum(axis=1) for part in parts)
    mass = np.sqrt(energy**2 - x**2 - y**2 - z**2)
    assert len(mass) > 300
    assert np.median(mass) == pytest.approx(124.7, abs=0.5)


def test_four_muon_data_candidates_come_at_the_real_rate(made: dict[str, Path]) -> None:
    events = read(made["Run2012B_DoubleMuParked"])
    isolated = ak.all(np.abs(events.Muon_pfRelIso04_all) < 0.4, axis=1)
    # 115 of 11580 pb-1, of which run B is 0.385.
    assert 35 <= ak.sum((events.nMuon == 4) & isolated) <= 55


@pytest.mark.parametrize("sample", ["DYJetsToLL", "VBF_HToTauTau", "Run2012B_TauPlusX"])
def test_a_third_of_the_events_holds_a_pair(made: dict[str, Path], sample: str) -> None:
    events = read(made[sample])
    tau = events.Tau_idIsoTight & events.Tau_idAntiMuTight & (events.Tau_pt > 20)
    muon = events.Muon_tightId & (events.Muon_pt > 17)
    pair = ak.any(tau, axis=1) & ak.any(muon, axis=1) & events.HLT_IsoMu17_eta2p1_LooseIsoPFTau20
    assert 0.28 < ak.mean(pair) < 0.40


def test_rounding_keeps_the_bits_asked_for() -> None:
    values = rounded(np.array([1.0, 1.00048828125, -999.0, 0.0, 3.14159], dtype=np.float32), 10)
    assert values[[0, 2, 3]].tolist() == [1.0, -999.0, 0.0]
    assert (values.view(np.uint32) & np.uint32(0x1FFF) == 0).all()
    assert abs(values[4] - 3.14159) < 2**-9


def test_merging_keeps_the_order_within_an_event() -> None:
    event, value = merged(
        (np.array([2, 0]), np.array([2, 1, 2])), (np.array([10, 11]), np.array([12, 13, 14]))
    )
    assert event.tolist() == [0, 1, 2, 2, 2]
    assert value.tolist() == [11, 13, 10, 12, 14]
