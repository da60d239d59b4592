"""H -> ZZ -> 4l in the channels 4mu, 4e and 2e2mu, 8 TeV.

Two selections that differ in little: `df103`, ROOT's tutorial df103_NanoAODHiggsAnalysis, and
`portal`, CERN Open Data record 12360 (DOI 10.7483/OPENDATA.CMS.F7HD.P3K4), which keeps masses in
double precision (and takes 2e2mu from the DoubleElectron stream as well: see datasets.yaml).
Every "all" runs over all leptons of the flavour, so one bad extra lepton vetoes the event.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from nanolake.graph import axis

CHANNELS = ("4mu", "4e", "2e2mu")
SELECTIONS = ("df103", "portal")
PARTS = CHANNELS
WEIGHT_TYPE = "double"

VARIABLES = {
    "H_mass": (36, 70.0, 180.0, r"$m_{4\ell}$ (GeV)"),
    "Z1_mass": (36, 40.0, 160.0, "$m_{Z1}$ (GeV)"),
    "Z2_mass": (36, 12.0, 160.0, "$m_{Z2}$ (GeV)"),
}

HELPERS = r"""
namespace higgs4l {
using ROOT::RVecF;
using ROOT::RVecI;
using P4 = ROOT::Math::PtEtaPhiMVector;
// Both originals add vectors of (pT, eta, phi, M), which ROOT does by way of (x, y, z, t). What is
// added several times is turned into that once, and a sum of which only the mass is asked is not
// turned back: the bits stay the same.
using XYZT = ROOT::Math::PxPyPzEVector;

// The Z mass of both originals, in GeV.
constexpr double kZMass = 91.2;

struct Pairs {
   int i[4]; // leptons of the first Z, then of the second
};

struct Candidate {
   double z1 = 0, z2 = 0, h = 0; // masses, GeV
};

inline P4 Lepton(const RVecF &pt, const RVecF &eta, const RVecF &phi, const RVecF &mass, int i)
{
   return P4(pt[i], eta[i], phi[i], mass[i]);
}

// Split four leptons of one flavour into two pairs.
// Quirk of both originals: the running best mass is an *integer* (it is declared with
// `auto best_mass = -1`), so it is truncated before the next pair is compared with it.
inline Pairs PairLeptons(const RVecF &pt, const RVecF &eta, const RVecF &phi, const RVecF &mass,
                         const RVecI &charge)
{
   const XYZT p4[] = {XYZT(Lepton(pt, eta, phi, mass, 0)), XYZT(Lepton(pt, eta, phi, mass, 1)),
                      XYZT(Lepton(pt, eta, phi, mass, 2)), XYZT(Lepton(pt, eta, phi, mass, 3))};
   int best = -1, a = 0, b = 0;
   for (int i = 0; i < 4; ++i)
      for (int j = i + 1; j < 4; ++j) {
         if (charge[i] == charge[j])
            continue;
         const double m = (p4[i] + p4[j]).M();
         if (std::abs(kZMass - m) < std::abs(kZMass - best)) {
            best = m;
            a = i;
            b = j;
         }
      }
   Pairs pairs{{a, b, 0, 0}};
   for (int i = 0, k = 2; i < 4; ++i)
      if (i != a && i != b)
         pairs.i[k++] = i;
   return pairs;
}

// Both pairs further apart than 0.02 in Delta R.
inline bool Separated(const Pairs &p, const RVecF &eta, const RVecF &phi)
{
   using ROOT::VecOps::DeltaR;
   return !(DeltaR(eta[p.i[0]], eta[p.i[1]], phi[p.i[0]], phi[p.i[1]]) < 0.02) &&
          !(DeltaR(eta[p.i[2]], eta[p.i[3]], phi[p.i[2]], phi[p.i[3]]) < 0.02);
}

// Z1 is the pair nearer to the Z mass, and the Higgs is the sum of the four leptons.
// Quirks: df103 compares Z masses rounded to float32 when all leptons are of one flavour, doubles
// in 2e2mu; the portal compares doubles, and adds the two Z instead of the four leptons, which
// differs in the last bits.
template <typename Compared, bool kAddZ>
Candidate Build(const P4 &l1, const P4 &l2, const P4 &l3, const P4 &l4)
{
   const XYZT x3(l3), x4(l4), xa = XYZT(l1) + XYZT(l2), xb = x3 + x4;
   const Compared a = xa.M(), b = xb.M();
   const bool first = std::abs(a - kZMass) < std::abs(b - kZMass);
   P4 za, zb;
   za = xa; // as a sum is rounded in the originals (a constructor would move phi = -pi to pi)
   if (kAddZ)
      zb = xb;
   else
      za += x3;
   const double h = (XYZT(za) + (kAddZ ? XYZT(zb) : x4)).M();
   return {first ? a : b, first ? b : a, h};
}

template <bool kPortal>
Candidate Build4l(const Pairs &p, const RVecF &pt, const RVecF &eta, const RVecF &phi,
                  const RVecF &mass)
{
   return Build<std::conditional_t<kPortal, double, float>, kPortal>(
      Lepton(pt, eta, phi, mass, p.i[0]), Lepton(pt, eta, phi, mass, p.i[1]),
      Lepton(pt, eta, phi, mass, p.i[2]), Lepton(pt, eta, phi, mass, p.i[3]));
}

template <bool kPortal>
Candidate Build2e2mu(const RVecF &ept, const RVecF &eeta, const RVecF &ephi, const RVecF &emass,
                     const RVecF &mpt, const RVecF &meta, const RVecF &mphi, const RVecF &mmass)
{
   return Build<double, kPortal>(
      Lepton(mpt, meta, mphi, mmass, 0), Lepton(mpt, meta, mphi, mmass, 1),
      Lepton(ept, eeta, ephi, emass, 0), Lepton(ept, eeta, ephi, emass, 1));
}

// Leading lepton of one flavour above 20 GeV and the next above 10.
inline bool Leading(const RVecF &pt)
{
   int above20 = 0, above10 = 0;
   for (float x : pt) {
      above20 += x > 20;
      above10 += x > 10;
   }
   return above20 >= 1 && above10 >= 2;
}

inline bool Apart(const RVecF &eta, const RVecF &phi)
{
   return !(ROOT::VecOps::DeltaR(eta[0], eta[1], phi[0], phi[1]) < 0.02);
}

// All impact parameters small, and small in units of their error (SIP3D, computed in float32).
inline bool Prompt(const RVecF &dxy, const RVecF &dz, const RVecF &dxyErr, const RVecF &dzErr)
{
   for (std::size_t i = 0; i < dxy.size(); ++i) {
      const float ip = std::sqrt(dxy[i] * dxy[i] + dz[i] * dz[i]);
      const float error = std::sqrt(dxyErr[i] * dxyErr[i] + dzErr[i] * dzErr[i]);
      if (!(ip / error < 4 && std::abs(dxy[i]) < 0.5 && std::abs(dz[i]) < 1.0))
         return false;
   }
   return true;
}
} // namespace higgs4l
"""

_LEPTON = ("pt", "eta", "phi", "mass", "dxy", "dz", "dxyErr", "dzErr")


def columns(kind: str) -> dict[str, str]:
    """Input columns and their types; data and simulation have the same."""
    types = {"run": "Int_t", "luminosityBlock": "UInt_t", "event": "ULong64_t"}
    for lepton, iso in (("Muon", "pfRelIso04_all"), ("Electron", "pfRelIso03_all")):
        types[f"n{lepton}"] = "UInt_t"
        types |= {f"{lepton}_{name}": "RVec<Float_t>" for name in (*_LEPTON, iso)}
        types[f"{lepton}_charge"] = "RVec<Int_t>"
    return types


def _prompt(lepton: str) -> str:
    return f"higgs4l::Prompt({lepton}_dxy, {lepton}_dz, {lepton}_dxyErr, {lepton}_dzErr)"


def _same_flavour(df: Any, lepton: str, iso: str, pt: int, eta: float) -> Any:
    """Exactly four good leptons of one flavour, two of each charge, paired into two Z."""
    n, p4 = f"n{lepton}", f"{lepton}_pt, {lepton}_eta, {lepton}_phi, {lepton}_mass"
    charges = f"Sum({lepton}_charge == 1) == 2 && Sum({lepton}_charge == -1) == 2"
    return (
        df.Filter(f"{n} >= 4", "at least four leptons")
        .Filter(f"All(abs({lepton}_{iso}) < 0.40)", "isolation")
        .Filter(f"All({lepton}_pt > {pt}) && All(abs({lepton}_eta) < {eta})", "kinematics")
        .Filter(_prompt(lepton), "impact parameters")
        .Filter(f"{n} == 4 && {charges}", "two positive and two negative")
        .Define("pairs", f"higgs4l::PairLeptons({p4}, {lepton}_charge)")
        .Filter(f"higgs4l::Separated(pairs, {lepton}_eta, {lepton}_phi)", "separation")
    )


def _two_flavours(df: Any) -> Any:
    """At least two electrons and two muons; the first two of each build the Z candidates."""
    return (
        df.Filter("nElectron >= 2 && nMuon >= 2", "at least two electrons and two muons")
        .Filter("All(abs(Electron_eta) < 2.5) && All(abs(Muon_eta) < 2.4)", "eta")
        .Filter("higgs4l::Leading(Muon_pt) || higgs4l::Leading(Electron_pt)", "transverse momenta")
        .Filter(
            "higgs4l::Apart(Muon_eta, Muon_phi) && higgs4l::Apart(Electron_eta, Electron_phi)",
            "separation",
        )
        .Filter(
            "All(abs(Electron_pfRelIso03_all) < 0.40) && All(abs(Muon_pfRelIso04_all) < 0.40)",
            "isolation",
        )
        .Filter(_prompt("Electron"), "electron impact parameters")
        .Filter(_prompt("Muon"), "muon impact parameters")
        .Filter("Sum(Electron_charge) == 0 && Sum(Muon_charge) == 0", "charges cancel")
    )


def select(df: Any, channel: str, kind: str = "mc", selection: str = "df103") -> Any:
    """The selection of one channel, with the masses of both Z candidates and of the Higgs.

    Args:
        df: A node with the columns of `columns`.
        channel: `4mu`, `4e` or `2e2mu`.
        kind: `data` or `mc`; the selection is the same.
        selection: `df103` or `portal`.
    """
    mass, portal = ("double", "true") if selection == "portal" else ("float", "false")
    if channel == "2e2mu":
        df = _two_flavours(df)
        p4 = [f"{lepton}_{x}" for lepton in ("Electron", "Muon") for x in _LEPTON[:4]]
        df = df.Define("candidate", f"higgs4l::Build2e2mu<{portal}>({', '.join(p4)})")
    else:
        lepton, iso, pt, eta = {
            "4mu": ("Muon", "pfRelIso04_all", 5, 2.4),
            "4e": ("Electron", "pfRelIso03_all", 7, 2.5),
        }[channel]
        df = _same_flavour(df, lepton, iso, pt, eta)
        p4 = [f"{lepton}_{x}" for x in _LEPTON[:4]]
        df = df.Define("candidate", f"higgs4l::Build4l<{portal}>(pairs, {', '.join(p4)})")
    return (
        df.Define("Z1_mass", f"{mass}(candidate.z1)")
        .Define("Z2_mass", f"{mass}(candidate.z2)")
        .Define("H_mass", f"{mass}(candidate.h)")
        .Filter("Z1_mass > 40 && Z1_mass < 120", "Z1 mass in 40-120 GeV")
        .Filter("Z2_mass > 12 && Z2_mass < 120", "Z2 mass in 12-120 GeV")
        .Define("channel", f"{CHANNELS.index(channel)}")
    )


def kept(kind: str) -> list[str]:
    """Columns of the reduced ntuple; `channel` counts 4mu, 4e, 2e2mu as 0, 1, 2."""
    return ["run", "luminosityBlock", "event", "channel", "H_mass", "Z1_mass", "Z2_mass"]


def ntuple_columns(selection: str = "df103") -> dict[str, str]:
    """Ntuple columns that the histograms read."""
    mass = "Float_t" if selection == "df103" else "Double_t"
    return {"channel": "Int_t", **dict.fromkeys(VARIABLES, mass)}


def parts(processes: Mapping[str, str], channels: Sequence[str]) -> list[tuple[str, str]]:
    """Histogram prefixes and the part of the sample behind each: a sample has its channels."""
    return [(f"{process}_{channel}", channel) for process in processes for channel in channels]


def book(df: Any, part: str) -> dict[str, Any]:
    """Masses of the Higgs candidate and of both Z candidates in one channel."""
    node = df.Filter(f"channel == {CHANNELS.index(part)}")
    return {
        name: node.Histo1D(axis(name, label, bins, low, high), name)
        for name, (bins, low, high, label) in VARIABLES.items()
    }


_SIGNAL, _BACKGROUND = "SMHiggsToZZTo4L", {"4mu": "ZZTo4mu", "4e": "ZZTo4e", "2e2mu": "ZZTo2e2mu"}
_DATA = (
    "Run2012B_DoubleMuParked",
    "Run2012C_DoubleMuParked",
    "Run2012B_DoubleElectron",
    "Run2012C_DoubleElectron",
)
_LABELS = {"4mu": r"$m_{4\mu}$ (GeV)", "4e": "$m_{4e}$ (GeV)", "2e2mu": r"$m_{2e2\mu}$ (GeV)"}


def figure_names() -> list[str]:
    """Names of the plots: each variable with all channels together, and the Higgs mass in each."""
    return [*VARIABLES, *(f"H_mass_{channel}" for channel in CHANNELS)]


def _figure(
    histograms: Mapping[str, Any],
    variable: str,
    channels: Sequence[str],
    luminosity: float,
    xlabel: str,
) -> Any:
    from nanolake import plotting

    def total(samples: Sequence[str]) -> Any:
        names = [f"{s}_{channel}_{variable}" for s in samples for channel in channels]
        first, *rest = (histograms[name] for name in names if name in histograms)
        return sum(rest, start=first)

    return plotting.mass_peak(
        total(_DATA),
        background=total([_BACKGROUND[channel] for channel in channels]),
        signal=total([_SIGNAL]),
        luminosity=luminosity,
        xlabel=xlabel,
    )


def figures(
    histograms: Mapping[str, Any], luminosity: Mapping[str, float], options: Mapping[str, Any]
) -> Iterator[tuple[str, Any]]:
    """Data, ZZ and the signal stacked on it: all channels together, and the Higgs mass in each.

    Args:
        histograms: Name to hist.Hist, as `plotting.read_histograms` gives them.
        luminosity: Channel to luminosity in pb-1; all channels together show the largest.
        options: None are known.
    """
    largest = max(luminosity.values())
    for name, (*_, label) in VARIABLES.items():
        yield name, _figure(histograms, name, CHANNELS, largest, label)
    for channel in CHANNELS:
        label, pb = _LABELS[channel], luminosity[channel]
        yield f"H_mass_{channel}", _figure(histograms, "H_mass", [channel], pb, label)
