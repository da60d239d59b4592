"""What is measured: one file a case, made once by `nanolake.generate`, kept in build/bench."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

from nanolake import analyses

HERE = Path(__file__).parent
BUILD = HERE.parent / "build" / "bench"
SEED = 7  # as in jobs/make_file.py

# The other files that df103 opens; they hold no events here.
DF103_FILES = (
    "SMHiggsToZZTo4L",
    "ZZTo4mu",
    "ZZTo4e",
    "ZZTo2e2mu",
    "Run2012B_DoubleMuParked",
    "Run2012C_DoubleMuParked",
    "Run2012B_DoubleElectron",
    "Run2012C_DoubleElectron",
)


class Case(NamedTuple):
    """One file and what is done with it.

    Attributes:
        name: Name in the table.
        analysis: dimuon, higgs4l or htautau.
        selection: Selection of the analysis.
        sample: Sample that the file imitates.
        channels: Channels that are selected.
        rates: For htautau: fractions of events with a pair, and (cumulative) with the trigger,
            in place of the generator's enriched ones. Those of the real VBF_HToTauTau file.
        note: What the file is, for the reader.
    """

    name: str
    analysis: str
    selection: str
    sample: str
    channels: tuple[str, ...]
    rates: tuple[float, float] | None = None
    note: str = ""


CASES = (
    Case(
        *("dimuon", "dimuon", "df102", "Run2012BC_DoubleMuParked_Muons", ("dimuon",)),
        note="data; not enriched, 37 % of the events pass, 39 % of the real file's",
    ),
    Case(
        *("higgs4l", "higgs4l", "df103", "SMHiggsToZZTo4L", ("4mu", "4e", "2e2mu")),
        note="simulation, all three channels; 33 % of the events pass, 9 % of the real file's",
    ),
    Case(
        *("higgs4l-data", "higgs4l", "df103", "Run2012B_DoubleMuParked", ("4mu", "2e2mu")),
        note="data, as 96 % of the real events are; 0.8 % of them pass, far fewer of the real",
    ),
    Case(
        *("htautau", "htautau", "portal", "VBF_HToTauTau", ("mutau",)),
        note="simulation as embedded: 33 % of the events pass, 2.1 % of the real file's",
    ),
    Case(
        *("htautau-rates", "htautau", "portal", "VBF_HToTauTau", ("mutau",), (0.0213, 0.0999)),
        note="the same with the real file's fractions: 10 % fire the trigger, 2.1 % pass",
    ),
)


def kind_of(case: Case) -> str:
    """`data` or `mc`."""
    return "data" if case.sample.startswith("Run") else "mc"


def columns(case: Case) -> dict[str, str]:
    """The columns that the analysis reads."""
    found: dict[str, str] = analyses.load(case.analysis).columns(kind_of(case))
    return found


def _make(sample: str, path: Path, events: int, rates: tuple[float, float] | None = None) -> None:
    job = [sys.executable, str(HERE / "jobs" / "make_file.py"), sample, str(path), str(events)]
    subprocess.run([*job, *map(str, rates or ())], check=True, capture_output=True)


def inputs(case: Case, events: int) -> Path:
    """The file of a case, made now if it is not there; a folder of its own."""
    folder = BUILD / "inputs" / f"{case.name}-{events}"
    path, done = folder / f"{case.sample}.root", folder / "complete.json"
    if not done.exists():
        if case.analysis == "higgs4l":
            empty = folder / f"{DF103_FILES[0]}.root"
            _make(DF103_FILES[0], empty, 0)
            for other in DF103_FILES[1:]:  # data and simulation have the same branches
                shutil.copyfile(empty, folder / f"{other}.root")
        _make(case.sample, path, events, case.rates)
        done.write_text(json.dumps({"seed": SEED, "rates": case.rates}) + "\n")
    return path


def into_page_cache(path: Path) -> None:
    """Read a file once, so that no measurement waits for the disk."""
    with path.open("rb") as stream:
        while stream.read(1 << 24):
            pass


def task(case: Case, path: Path, output: Path) -> dict[str, Any]:
    """The task of the engine: one unit that is the whole file."""
    events = json.loads(path.with_suffix(".json").read_text())["events"]
    files = [{"path": str(path), "events": events}]
    return {
        "samples": [{"name": case.sample, "object": "Events", "files": files}],
        "columns": columns(case),
        "range": [0, events],
        "kind": kind_of(case),
        "channels": list(case.channels),
        "output": str(output),
    }
