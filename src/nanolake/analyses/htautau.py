"""H -> tau tau -> mu tau_h, 8 TeV: the 37-column skim and 34 variables of the open-data analysis.

Selection, variables and binning are those of CERN Open Data record 12350
(DOI 10.7483/OPENDATA.CMS.GV20.PR5T); names of columns and histograms too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from nanolake.graph import axis

CHANNELS = ("mutau",)
SELECTIONS = ("portal",)
# Parts of a sample: Drell-Yan is split into genuine taus (ZTT) and everything else (ZLL).
PARTS = {"all": "", "tautau": "gen_match", "ll": "!gen_match"}
# The official ntuple's weight is a float32.
WEIGHT_TYPE = "float"

# name: bins, low, high, axis title
VARIABLES: dict[str, tuple[int, float, float, str]] = {
    "pt_1": (30, 17, 70, "Muon $p_T$ (GeV)"),
    "pt_2": (30, 20, 70, "Tau $p_T$ (GeV)"),
    "eta_1": (30, -2.1, 2.1, r"Muon $\eta$"),
    "eta_2": (30, -2.3, 2.3, r"Tau $\eta$"),
    "phi_1": (30, -3.14, 3.14, r"Muon $\phi$"),
    "phi_2": (30, -3.14, 3.14, r"Tau $\phi$"),
    "iso_1": (30, 0, 0.10, "Muon isolation"),
    "iso_2": (30, 0, 0.10, "Tau isolation"),
    "q_1": (2, -2, 2, "Muon charge"),
    "q_2": (2, -2, 2, "Tau charge"),
    "pt_met": (30, 0, 60, "Missing $p_T$ (GeV)"),
    "phi_met": (30, -3.14, 3.14, r"Missing $p_T$ $\phi$"),
    "m_1": (30, 0, 0.2, "Muon mass (GeV)"),
    "m_2": (30, 0, 2, "Tau mass (GeV)"),
    "mt_1": (30, 0, 100, "Muon transverse mass (GeV)"),
    "mt_2": (30, 0, 100, "Tau transverse mass (GeV)"),
    "dm_2": (11, 0, 11, "Tau decay mode"),
    "m_vis": (30, 20, 140, "Visible di-tau mass (GeV)"),
    "pt_vis": (30, 0, 60, "Visible di-tau $p_T$ (GeV)"),
    "jpt_1": (30, 30, 70, "Leading jet $p_T$ (GeV)"),
    "jpt_2": (30, 30, 70, "Second jet $p_T$ (GeV)"),
    "jeta_1": (30, -4.7, 4.7, r"Leading jet $\eta$"),
    "jeta_2": (30, -4.7, 4.7, r"Second jet $\eta$"),
    "jphi_1": (30, -3.14, 3.14, r"Leading jet $\phi$"),
    "jphi_2": (30, -3.14, 3.14, r"Second jet $\phi$"),
    "jm_1": (30, 0, 20, "Leading jet mass (GeV)"),
    "jm_2": (30, 0, 20, "Second jet mass (GeV)"),
    "jbtag_1": (30, 0, 1, "Leading jet CSV b-tag"),
    "jbtag_2": (30, 0, 1, "Second jet CSV b-tag"),
    "npv": (25, 5, 30, "Number of primary vertices"),
    "njets": (5, 0, 5, "Number of jets"),
    "mjj": (30, 0, 400, "Dijet mass (GeV)"),
    "ptjj": (30, 0, 200, "Dijet $p_T$ (GeV)"),
    "jdeta": (30, -9.4, 9.4, r"Dijet $\Delta\eta$"),
}

_INTEGERS = {"njets", "npv", "q_1", "q_2", "dm_2", "run"}
_DOUBLES = {"mt_1", "mt_2"}

# Columns of the official skim, in its order; `weight` closes it and is added by the merge.
COLUMNS = [
    "njets",
    "npv",
    "pt_1",
    "eta_1",
    "phi_1",
    "m_1",
    "iso_1",
    "q_1",
    "mt_1",
    "pt_2",
    "eta_2",
    "phi_2",
    "m_2",
    "iso_2",
    "q_2",
    "mt_2",
    "dm_2",
    "jpt_1",
    "jeta_1",
    "jphi_1",
    "jm_1",
    "jbtag_1",
    "jpt_2",
    "jeta_2",
    "jphi_2",
    "jm_2",
    "jbtag_2",
    "pt_met",
    "phi_met",
    "m_vis",
    "pt_vis",
    "mjj",
    "ptjj",
    "jdeta",
    "gen_match",
    "run",
]

HELPERS = r"""
namespace htautau {
using ROOT::RVecF;
using ROOT::RVecI;
using RVecB = ROOT::RVec<bool>;
using XYZT = ROOT::Math::PxPyPzEVector;

// Sums of Cartesian vectors have the bits of the official skim, where vectors are (pT, eta, phi, M)
// and only the results of their sums are turned back into that.
inline XYZT P4(float pt, float eta, float phi, float mass)
{
   return XYZT(ROOT::Math::PtEtaPhiMVector(pt, eta, phi, mass));
}

// Value of a quantity of a jet, or a pair of jets, that is not there (official skim).
constexpr float kMissing = -999.f;

// Azimuth from a to b in [-pi, pi]. Quirk of the official skim: pi is a float32 there, the
// reduction runs in double precision, and the result is a float32 again.
inline float DeltaPhi(float a, float b)
{
   constexpr float kPi = 3.14159265358979323846;
   double r = std::fmod(b - a, 2.0 * kPi);
   if (r < -kPi)
      r += 2.0 * kPi;
   else if (r > kPi)
      r -= 2.0 * kPi;
   return r;
}

// One pass over the leptons: operators of RVec would make an array for each comparison.
inline RVecI GoodTaus(const RVecI &charge, const RVecF &eta, const RVecF &pt,
                      const RVecB &decayMode, const RVecB &tightIso, const RVecB &notElectron,
                      const RVecB &notMuon)
{
   RVecI good(pt.size());
   for (std::size_t i = 0; i < pt.size(); ++i)
      good[i] = charge[i] != 0 && std::abs(eta[i]) < 2.3 && pt[i] > 20 && decayMode[i] &&
                tightIso[i] && notElectron[i] && notMuon[i];
   return good;
}

inline RVecI GoodMuons(const RVecF &eta, const RVecF &pt, const RVecB &tight)
{
   RVecI good(pt.size());
   for (std::size_t i = 0; i < pt.size(); ++i)
      good[i] = std::abs(eta[i]) < 2.1 && pt[i] > 17 && tight[i];
   return good;
}

struct Pair {
   int muon = -1, tau = -1;
};

// Of all pairs of a good muon and a good tau with Delta R > 0.5: the muon of highest pT, then the
// tau of smallest isolation sum beside that muon. Comparisons are strict: the first wins a tie.
inline Pair FindPair(const RVecI &goodMuons, const RVecF &mpt, const RVecF &meta, const RVecF &mphi,
                     const RVecI &goodTaus, const RVecF &tiso, const RVecF &teta, const RVecF &tphi)
{
   Pair pair;
   float highest = -1, smallest = 999;
   for (std::size_t m = 0; m < mpt.size(); ++m) {
      if (!goodMuons[m] || !(highest < mpt[m]))
         continue;
      Pair found;
      smallest = 999;
      bool any = false;
      for (std::size_t t = 0; t < teta.size(); ++t) {
         if (!goodTaus[t])
            continue;
         const float dphi = DeltaPhi(mphi[m], tphi[t]);
         const float deta = meta[m] - teta[t];
         if (!(std::sqrt(double(deta) * deta + double(dphi) * dphi) > 0.5))
            continue;
         any = true;
         if (smallest > tiso[t]) {
            smallest = tiso[t];
            found.tau = t;
         }
      }
      if (any) {
         highest = mpt[m];
         found.muon = m;
         pair = found;
      }
   }
   return pair;
}

// Transverse mass of a lepton and the missing momentum, in double precision (official skim).
inline double TransverseMass(float pt, float phi, float met, float metphi)
{
   return std::sqrt(2.0 * pt * met * (1.0 - std::cos(DeltaPhi(phi, metphi))));
}

// Indices of the first two good jets in the order of the collection, which is not that of pT;
// leptons are not removed from the jets.
struct Jets {
   int n = 0, first = -1, second = -1;
};

inline Jets GoodJets(const RVecF &pt, const RVecF &eta, const RVecB &puId)
{
   Jets jets;
   for (std::size_t i = 0; i < pt.size(); ++i) {
      if (!(puId[i] && std::abs(eta[i]) < 4.7 && pt[i] > 30))
         continue;
      if (jets.n == 0)
         jets.first = i;
      else if (jets.n == 1)
         jets.second = i;
      ++jets.n;
   }
   return jets;
}

inline float At(const RVecF &x, int i)
{
   return i < 0 ? kMissing : x[i];
}

// |pdgId| of the generator particle matched to a lepton is 15. The index may be -1 (no match).
inline bool IsTau(const RVecI &pdgId, int i)
{
   return i >= 0 && i < int(pdgId.size()) && std::abs(pdgId[i]) == 15;
}
} // namespace htautau
"""


def columns(kind: str) -> dict[str, str]:
    """Input columns and their types; only simulation has generator particles."""
    floats = {
        "Muon": "pt eta phi mass pfRelIso03_all",
        "Tau": "pt eta phi mass relIso_all",
        "Jet": "pt eta phi mass btag",
    }
    flags = {
        "Muon": "tightId",
        "Tau": "idDecayMode idIsoTight idAntiEleTight idAntiMuTight",
        "Jet": "puId",
    }
    integers = {"Muon": "charge", "Tau": "charge decayMode"}
    types = {"run": "Int_t", "HLT_IsoMu17_eta2p1_LooseIsoPFTau20": "Bool_t", "PV_npvs": "Int_t"}
    types |= {"nMuon": "UInt_t", "nTau": "UInt_t", "MET_pt": "Float_t", "MET_phi": "Float_t"}
    for group, ctype in ((floats, "Float_t"), (flags, "Bool_t"), (integers, "Int_t")):
        for collection, names in group.items():
            types |= {f"{collection}_{name}": f"RVec<{ctype}>" for name in names.split()}
    if kind == "mc":
        types |= dict.fromkeys(
            ["Muon_genPartIdx", "Tau_genPartIdx", "GenPart_pdgId"], "RVec<Int_t>"
        )
    return types


def _pair(df: Any) -> Any:
    """Trigger, good muons and taus, and the selected pair."""
    return (
        df.Filter("HLT_IsoMu17_eta2p1_LooseIsoPFTau20", "trigger")
        .Filter("nMuon > 0", "nMuon > 0")
        .Filter("nTau > 0", "nTau > 0")
        .Define(
            "goodTaus",
            "htautau::GoodTaus(Tau_charge, Tau_eta, Tau_pt, Tau_idDecayMode, Tau_idIsoTight,"
            " Tau_idAntiEleTight, Tau_idAntiMuTight)",
        )
        .Filter("Sum(goodTaus) > 0", "good tau")
        .Define("goodMuons", "htautau::GoodMuons(Muon_eta, Muon_pt, Muon_tightId)")
        .Filter("Sum(goodMuons) > 0", "good muon")
        .Define(
            "pair",
            "htautau::FindPair(goodMuons, Muon_pt, Muon_eta, Muon_phi,"
            " goodTaus, Tau_relIso_all, Tau_eta, Tau_phi)",
        )
        .Filter("pair.muon != -1", "pair muon")
        .Filter("pair.tau != -1", "pair tau")
    )


def _leptons(df: Any) -> Any:
    """Columns of the muon (1), the tau (2), and both together."""
    for leg, collection, index, iso in (
        (1, "Muon", "pair.muon", "pfRelIso03_all"),
        (2, "Tau", "pair.tau", "relIso_all"),
    ):
        for name, branch in (
            ("pt", "pt"),
            ("eta", "eta"),
            ("phi", "phi"),
            ("m", "mass"),
            ("iso", iso),
            ("q", "charge"),
        ):
            df = df.Define(f"{name}_{leg}", f"{collection}_{branch}[{index}]")
        df = df.Define(
            f"mt_{leg}", f"htautau::TransverseMass(pt_{leg}, phi_{leg}, MET_pt, MET_phi)"
        )
        df = df.Define(f"p4_{leg}", f"htautau::P4(pt_{leg}, eta_{leg}, phi_{leg}, m_{leg})")
    return (
        df.Define("dm_2", "Tau_decayMode[pair.tau]")
        .Define("p4", "p4_1 + p4_2")
        .Define("m_vis", "float(p4.M())")
        .Define("pt_vis", "float(p4.Pt())")
        .Define("pt_met", "MET_pt")
        .Define("phi_met", "MET_phi")
        .Define("npv", "PV_npvs")
    )


def _jets(df: Any) -> Any:
    """Columns of the first two good jets, -999 where there is none."""
    df = df.Define("jets", "htautau::GoodJets(Jet_pt, Jet_eta, Jet_puId)")
    df = df.Define("njets", "jets.n")
    for number, member in ((1, "first"), (2, "second")):
        for name, branch in (("pt", "pt"), ("eta", "eta"), ("phi", "phi"), ("m", "mass")):
            df = df.Define(f"j{name}_{number}", f"htautau::At(Jet_{branch}, jets.{member})")
        df = df.Define(f"jbtag_{number}", f"htautau::At(Jet_btag, jets.{member})")
    return (
        df.Define(
            "jj",
            "jets.n < 2 ? htautau::XYZT() : htautau::P4(jpt_1, jeta_1, jphi_1, jm_1)"
            " + htautau::P4(jpt_2, jeta_2, jphi_2, jm_2)",
        )
        .Define("mjj", "jets.n >= 2 ? float(jj.M()) : htautau::kMissing")
        .Define("ptjj", "jets.n >= 2 ? float(jj.Pt()) : htautau::kMissing")
        .Define("jdeta", "jets.n >= 2 ? jeta_1 - jeta_2 : htautau::kMissing")
    )


def select(df: Any, channel: str = "mutau", kind: str = "mc", selection: str = "portal") -> Any:
    """The mu tau_h pair and all columns of the official skim but the weight.

    Args:
        df: A node with the columns of `columns(kind)`.
        channel: `mutau`.
        kind: In `data`, gen_match is false.
        selection: `portal`.
    """
    df = _jets(_leptons(_pair(df)))
    if kind == "data":
        return df.Define("gen_match", "false")
    return df.Define(
        "gen_match",
        "htautau::IsTau(GenPart_pdgId, Muon_genPartIdx[pair.muon])"
        " && htautau::IsTau(GenPart_pdgId, Tau_genPartIdx[pair.tau])",
    )


def kept(kind: str) -> list[str]:
    """Columns of the reduced ntuple."""
    return COLUMNS


def ntuple_columns(selection: str = "portal") -> dict[str, str]:
    """Ntuple columns that the histograms read."""
    types = {"gen_match": "Bool_t"}
    for name in VARIABLES:
        integer, double = name in _INTEGERS, name in _DOUBLES
        types[name] = "Int_t" if integer else "Double_t" if double else "Float_t"
    return types


def parts(processes: Mapping[str, str], channels: Sequence[str]) -> list[tuple[str, str]]:
    """Histogram prefixes and the part of the sample behind each."""
    return list(processes.items())


def book(df: Any, part: str = "all") -> dict[str, Any]:
    """34 variables in the signal region (opposite charges) and the control region (`_cr`, same)."""
    base = df.Filter("mt_1 < 30", "mt_1 < 30").Filter("iso_1 < 0.1", "iso_1 < 0.1")
    booked = {}
    for suffix, sign, name in (("", "<", "opposite sign"), ("_cr", ">", "same sign")):
        node = base.Filter(f"q_1 * q_2 {sign} 0", name)
        if PARTS[part]:
            node = node.Filter(PARTS[part])
        for variable, (bins, low, high, title) in VARIABLES.items():
            wanted = axis(f"{variable}{suffix}", title, bins, low, high)
            booked[wanted.name] = node.Histo1D(wanted, variable)
    return booked


_BACKGROUNDS = {"TT": ["TT"], "W": ["W1J", "W2J", "W3J"], "ZLL": ["ZLL"], "ZTT": ["ZTT"]}
_SIGNALS = {"ggH": 10, "qqH": 100}


def figure_names() -> list[str]:
    """Names of the plots: the variables."""
    return list(VARIABLES)


def _figure(histograms: Mapping[str, Any], variable: str, luminosity: float, factor: float) -> Any:
    """Data against the stack of QCD (from the same-sign region), TT, W, ZLL and ZTT."""
    from nanolake import plotting

    def total(processes: Sequence[str], suffix: str = "") -> Any:
        first, *rest = (histograms[f"{process}_{variable}{suffix}"] for process in processes)
        return sum(rest, start=first)

    data = ["dataRunB", "dataRunC"]
    simulated = [process for group in _BACKGROUNDS.values() for process in group]
    same_sign = [histograms[f"{process}_{variable}_cr"] for process in simulated]
    qcd = plotting.qcd_estimate(total(data, "_cr"), same_sign, factor=factor)
    backgrounds = {"QCD": qcd} | {name: total(group) for name, group in _BACKGROUNDS.items()}
    return plotting.stack(
        total(data),
        backgrounds=backgrounds,
        signals={name: total([name]) for name in _SIGNALS},
        scales=_SIGNALS,
        luminosity=luminosity,
        xlabel=VARIABLES[variable][3],
    )


def figures(
    histograms: Mapping[str, Any], luminosity: Mapping[str, float], options: Mapping[str, Any]
) -> Iterator[tuple[str, Any]]:
    """The 34 variables in the signal region, one (name, Figure) after the other.

    Args:
        histograms: Name to hist.Hist, as `plotting.read_histograms` gives them.
        luminosity: Channel to luminosity in pb-1.
        options: `qcd_factor`: opposite-sign over same-sign QCD events.
    """
    factor = options.get("qcd_factor", 0.80)
    for variable in VARIABLES:
        yield variable, _figure(histograms, variable, luminosity["mutau"], factor)
