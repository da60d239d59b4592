"""The branch lists against the facts of the published files (counts, order, types)."""

import pytest

from nanolake.schema import Branch, branches, column_types

HIGGS4L = [
    "run",
    "luminosityBlock",
    "event",
    "PV_npvs",
    "PV_x",
    "PV_y",
    "PV_z",
    "nMuon",
    "Muon_pt",
    "Muon_eta",
    "Muon_phi",
    "Muon_mass",
    "Muon_charge",
    "Muon_pfRelIso03_all",
    "Muon_pfRelIso04_all",
    "Muon_dxy",
    "Muon_dxyErr",
    "Muon_dz",
    "Muon_dzErr",
    "nElectron",
    "Electron_pt",
    "Electron_eta",
    "Electron_phi",
    "Electron_mass",
    "Electron_charge",
    "Electron_pfRelIso03_all",
    "Electron_dxy",
    "Electron_dxyErr",
    "Electron_dz",
    "Electron_dzErr",
    "MET_pt",
    "MET_phi",
]
GENPART = ["nGenPart", *(f"GenPart_{x}" for x in ["pt", "eta", "phi", "mass", "pdgId", "status"])]


def names(schema: str, kind: str) -> list[str]:
    return [branch.name for branch in branches(schema, kind)]


@pytest.mark.parametrize(
    ("schema", "kind", "count"),
    [
        ("dimuon", "data", 6),
        ("higgs4l", "data", 32),
        ("higgs4l", "mc", 32),
        ("htautau", "data", 62),
        ("htautau", "mc", 69),
    ],
)
def test_the_published_number_of_branches_without_repeats(
    schema: str, kind: str, count: int
) -> None:
    assert len(set(names(schema, kind))) == len(names(schema, kind)) == count


def test_dimuon_and_higgs4l_in_the_published_order() -> None:
    assert names("dimuon", "data") == [
        "nMuon",
        "Muon_pt",
        "Muon_eta",
        "Muon_phi",
        "Muon_mass",
        "Muon_charge",
    ]
    assert names("higgs4l", "mc") == names("higgs4l", "data") == HIGGS4L


def test_htautau_data_lack_genpart_but_keep_the_links() -> None:
    data, simulation = names("htautau", "data"), names("htautau", "mc")
    assert simulation == data + GENPART
    assert {"Muon_genPartIdx", "Tau_genPartIdx", "Muon_jetIdx", "Tau_jetIdx"} <= set(data)
    assert not any("Electron" in name for name in simulation)


def test_htautau_landmarks_of_the_order() -> None:
    order = names("htautau", "mc")
    assert order[:6] == [
        "run", "luminosityBlock", "event",
        "HLT_IsoMu24_eta2p1", "HLT_IsoMu24", "HLT_IsoMu17_eta2p1_LooseIsoPFTau20",
    ]  # fmt: skip
    assert [order.index(name) for name in ("nMuon", "nTau", "MET_pt", "nJet")] == [10, 26, 48, 55]
    assert order[25] == "Muon_genPartIdx"
    assert order[47] == "Tau_idAntiMuTight"


def test_types_are_those_of_the_tool() -> None:
    types = column_types("htautau", "mc")
    assert types["run"] == "Int_t"
    assert types["luminosityBlock"] == types["nTau"] == "UInt_t"
    assert types["event"] == "ULong64_t"
    assert types["HLT_IsoMu24"] == "Bool_t"
    assert types["PV_npvs"] == "Int_t"
    assert types["Muon_tightId"] == "ROOT::VecOps::RVec<Bool_t>"
    assert types["Tau_decayMode"] == "ROOT::VecOps::RVec<Int_t>"
    assert types["GenPart_pdgId"] == "ROOT::VecOps::RVec<Int_t>"
    assert types["Jet_btag"] == "ROOT::VecOps::RVec<Float_t>"


def test_arrays_follow_their_counter() -> None:
    for branch in branches("htautau", "mc"):
        if branch.counter:
            order = names("htautau", "mc")
            assert order.index(branch.counter) < order.index(branch.name)
    assert Branch("Muon_pt", "F", "nMuon").leaf == "Muon_pt[nMuon]/F"
    assert Branch("nMuon", "i").leaf == "nMuon/i"


def test_unknown_names_are_refused() -> None:
    with pytest.raises(ValueError, match="unknown schema 'dimuons'"):
        branches("dimuons", "data")
    with pytest.raises(ValueError, match="unknown kind 'simulation'"):
        branches("dimuon", "simulation")
