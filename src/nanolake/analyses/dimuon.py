"""Dimuon spectrum: all events with exactly two muons of opposite charge, 0.25 to 300 GeV.

The selection is that of ROOT's tutorial df102 and of CERN Open Data record 12342
(DOI 10.7483/OPENDATA.CMS.AAR1.4NZQ).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from nanolake.graph import axis

CHANNELS = ("dimuon",)
SELECTIONS = ("df102",)
HELPERS = ""
PARTS = ("all",)
WEIGHT_TYPE = "double"

LABEL = r"$m_{\mu\mu}$ (GeV)"
MASS = axis("mass", LABEL, 30000, 0.25, 300)

# Masses of the resonances that are labelled, GeV (Particle Data Group; Y is the middle of 1S-3S).
RESONANCES = {
    r"$\eta$": 0.548,
    r"$\rho,\omega$": 0.78,
    r"$\phi$": 1.019,
    r"$J/\psi$": 3.097,
    r"$\psi'$": 3.686,
    "Y(1,2,3S)": 9.7,
    "Z": 91.19,
}


def columns(kind: str) -> dict[str, str]:
    """Input columns and their types; data and simulation have the same."""
    return {
        "nMuon": "UInt_t",
        "Muon_pt": "RVec<Float_t>",
        "Muon_eta": "RVec<Float_t>",
        "Muon_phi": "RVec<Float_t>",
        "Muon_mass": "RVec<Float_t>",
        "Muon_charge": "RVec<Int_t>",
    }


def select(df: Any, channel: str = "dimuon", kind: str = "data", selection: str = "df102") -> Any:
    """Two muons of opposite charge, and their invariant mass.

    Quirk: the mass is ROOT's InvariantMass of float32 columns, itself a float32; in double
    precision up to 12 entries a bin move (df102, which does the same).
    """
    return (
        df.Filter("nMuon == 2", "exactly two muons")
        .Filter("Muon_charge[0] != Muon_charge[1]", "opposite charge")
        .Define("mass", "InvariantMass(Muon_pt, Muon_eta, Muon_phi, Muon_mass)")
        .Define("pt_1", "Muon_pt[0]")
        .Define("eta_1", "Muon_eta[0]")
        .Define("phi_1", "Muon_phi[0]")
        .Define("pt_2", "Muon_pt[1]")
        .Define("eta_2", "Muon_eta[1]")
        .Define("phi_2", "Muon_phi[1]")
        .Define("q_1", "Muon_charge[0]")
    )


def kept(kind: str) -> list[str]:
    """Columns of the reduced ntuple."""
    return ["mass", "pt_1", "eta_1", "phi_1", "pt_2", "eta_2", "phi_2", "q_1"]


def ntuple_columns(selection: str = "df102") -> dict[str, str]:
    """Ntuple columns that the histograms read."""
    return {"mass": "Float_t"}


def parts(processes: Mapping[str, str], channels: Sequence[str]) -> list[tuple[str, str]]:
    """Histogram prefixes and the part of the sample behind each."""
    return list(processes.items())


def book(df: Any, part: str = "all") -> dict[str, Any]:
    """The mass spectrum."""
    return {"mass": df.Histo1D(MASS, "mass")}


def figure_names() -> list[str]:
    """Names of the plots."""
    return ["dimuon_mass"]


def figures(
    histograms: Mapping[str, Any], luminosity: Mapping[str, float], options: Mapping[str, Any]
) -> Iterator[tuple[str, Any]]:
    """The spectrum on logarithmic axes, the resonances labelled.

    Args:
        histograms: Name to hist.Hist, as `plotting.read_histograms` gives them.
        luminosity: Channel to luminosity in pb-1.
        options: None are known.
    """
    from nanolake import plotting

    yield (
        "dimuon_mass",
        plotting.spectrum(
            histograms["dimuon_mass"],
            luminosity=luminosity["dimuon"],
            xlabel=LABEL,
            resonances=RESONANCES,
        ),
    )
