"""The exact branch lists of the published CMS files, as plain data.

Three schemas exist: `dimuon` (6 branches), `higgs4l` (32) and `htautau` (69 in simulation, 62 in
data, which lack the GenPart block but keep the genPartIdx and jetIdx branches). Names, order and
types are those of CMS Open Data records 12341, 12351-12359 and 12361-12368, written by the
AOD2NanoAODOutreachTool. Arrays are C-style variable-length leaves, e.g. `Muon_pt[nMuon]/F`.
"""

from __future__ import annotations

from typing import NamedTuple

SCHEMAS = ("dimuon", "higgs4l", "htautau")
KINDS = ("data", "mc")
TREE = "Events"

# ROOT leaf letter -> C++ type, as RDataFrame's GetColumnType names it.
CPP_TYPES = {"O": "Bool_t", "I": "Int_t", "i": "UInt_t", "l": "ULong64_t", "F": "Float_t"}


class Branch(NamedTuple):
    """One branch of a file.

    Attributes:
        name: Name of the branch.
        letter: ROOT's leaf letter: O bool, I int32, i uint32, l uint64, F float32.
        counter: Branch that holds the array's length, None for a scalar.
    """

    name: str
    letter: str
    counter: str | None = None

    @property
    def cpp_type(self) -> str:
        """C++ type of one element, e.g. `Float_t`."""
        return CPP_TYPES[self.letter]

    @property
    def column_type(self) -> str:
        """Column type in RDataFrame: the element's, or an RVec of it for an array."""
        return f"ROOT::VecOps::RVec<{self.cpp_type}>" if self.counter else self.cpp_type

    @property
    def leaf(self) -> str:
        """ROOT's leaf list, e.g. `Muon_pt[nMuon]/F`."""
        length = f"[{self.counter}]" if self.counter else ""
        return f"{self.name}{length}/{self.letter}"


# Each line: names joined to one type letter. A block `X` is a counter nX and its arrays X_*.
_EVENT = ("run:I", "luminosityBlock:i", "event:l")
_TRIGGER = ("HLT_IsoMu24_eta2p1 HLT_IsoMu24 HLT_IsoMu17_eta2p1_LooseIsoPFTau20:O",)
_VERTEX = ("PV_npvs:I", "PV_x PV_y PV_z:F")
_MISSING = ("MET_pt MET_phi MET_sumet MET_significance MET_CovXX MET_CovXY MET_CovYY:F",)

_MUON_BASIC = ("pt eta phi mass:F", "charge:I")
_IMPACT = ("dxy dxyErr dz dzErr:F",)
_MUON_HIGGS4L = (*_MUON_BASIC, "pfRelIso03_all pfRelIso04_all:F", *_IMPACT)
_MUON_HTAUTAU = (
    *_MUON_BASIC,
    "pfRelIso03_all pfRelIso04_all:F",
    "tightId softId:O",
    *_IMPACT,
    "jetIdx genPartIdx:I",
)
_ELECTRON_HIGGS4L = ("pt eta phi mass:F", "charge:I", "pfRelIso03_all:F", *_IMPACT)
_TAU = (
    "pt eta phi mass:F",
    "charge decayMode:I",
    "relIso_all:F",
    "jetIdx genPartIdx:I",
    "idDecayMode:O",
    "idIsoRaw:F",
    "idIsoVLoose idIsoLoose idIsoMedium idIsoTight:O",
    "idAntiEleLoose idAntiEleMedium idAntiEleTight:O",
    "idAntiMuLoose idAntiMuMedium idAntiMuTight:O",
)
_JET = ("pt eta phi mass:F", "puId:O", "btag:F")
_GENPART = ("pt eta phi mass:F", "pdgId status:I")


def _scalars(lines: tuple[str, ...]) -> list[Branch]:
    """Scalar branches of lines such as `PV_x PV_y:F`."""
    found = []
    for line in lines:
        names, letter = line.split(":")
        found += [Branch(name, letter) for name in names.split()]
    return found


def _block(collection: str, lines: tuple[str, ...]) -> list[Branch]:
    """The counter of a collection and its arrays, in order."""
    counter = f"n{collection}"
    arrays = [Branch(f"{collection}_{b.name}", b.letter, counter) for b in _scalars(lines)]
    return [Branch(counter, "i"), *arrays]


def _htautau(kind: str) -> list[Branch]:
    found = [*_scalars((*_EVENT, *_TRIGGER, *_VERTEX)), *_block("Muon", _MUON_HTAUTAU)]
    found += [*_block("Tau", _TAU), *_scalars(_MISSING), *_block("Jet", _JET)]
    return found + (_block("GenPart", _GENPART) if kind == "mc" else [])


def branches(schema: str, kind: str) -> tuple[Branch, ...]:
    """The branches of a file of this schema, in the order of the published files.

    Args:
        schema: `dimuon`, `higgs4l` or `htautau`.
        kind: `data` or `mc`; matters for `htautau` only.

    Returns:
        6, 32, 69 (mc) or 62 (data) branches.

    Raises:
        ValueError: If the schema or the kind is unknown.
    """
    if schema not in SCHEMAS:
        raise ValueError(f"unknown schema '{schema}': expected one of {', '.join(SCHEMAS)}")
    if kind not in KINDS:
        raise ValueError(f"unknown kind '{kind}': expected one of {', '.join(KINDS)}")
    if schema == "dimuon":
        return tuple(_block("Muon", _MUON_BASIC))
    if schema == "htautau":
        return tuple(_htautau(kind))
    found = [*_scalars((*_EVENT, *_VERTEX)), *_block("Muon", _MUON_HIGGS4L)]
    found += [*_block("Electron", _ELECTRON_HIGGS4L), *_scalars(("MET_pt MET_phi:F",))]
    return tuple(found)


def column_types(schema: str, kind: str) -> dict[str, str]:
    """RDataFrame's column types, e.g. `{"nMuon": "UInt_t", "Muon_pt": "ROOT::VecOps::RVec<...>"}`.

    Args:
        schema: `dimuon`, `higgs4l` or `htautau`.
        kind: `data` or `mc`.

    Returns:
        Branch name to C++ type, in the order of the file.

    Raises:
        ValueError: If the schema or the kind is unknown.
    """
    return {branch.name: branch.column_type for branch in branches(schema, kind)}
