"""Who is measured on a case, how each is started, and what each must agree with."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import cases
import physics
from cases import Case

from nanolake import engine, root

JOBS = cases.HERE / "jobs"
TUTORIALS = {
    "dimuon": "df102_NanoAODDimuonAnalysis.py",
    "higgs4l": "df103_NanoAODHiggsAnalysis.py",
}


class Contender(NamedTuple):
    """One way to run a case.

    Attributes:
        name: Name in the table.
        command: What is run in a fresh process.
        stdin: Its standard input.
        env: Additions to its environment.
        numbers: Physics numbers of the run, from the last line of its output; None: it has none.
        tolerance: Fraction of the entries of a histogram that may lie in another bin.
    """

    name: str
    command: list[str]
    stdin: str = ""
    env: Mapping[str, str] = {}
    numbers: Callable[[str], dict[str, Any]] | None = None
    tolerance: float = 0.0


def _package() -> Path:
    return root.installation().include.parent


def _tutorial(case: Case, path: Path, work: Path) -> Contender:
    """A copy of ROOT's tutorial with the names of the files changed, and no thread pool.

    EnableImplicitMT(1) instead took 4 and 8 % more, once each: no difference beyond the noise.
    """
    name = TUTORIALS[case.analysis]
    text = (_package() / "tutorials" / "analysis" / "dataframe" / name).read_text()
    file = str(path) if case.analysis == "dimuon" else f"{path.parent}/"
    text, names = re.subn(r'"root://eospublic[^"]*"', f'"{file}"', text)
    text, threads = re.subn(r"ROOT\.ROOT\.EnableImplicitMT\(\)", "", text)
    text = text.replace("run_fast = True", "run_fast = False")
    if not names or threads != 1:
        raise RuntimeError(f"{name} is not the tutorial that this benchmark knows")
    copy = work / name
    copy.write_text(text)
    return Contender(
        f"ROOT tutorial {name.split('_')[0]}",
        [sys.executable, str(JOBS / "tutorial.py"), str(copy)],
        numbers=lambda answer: physics.of_tutorial(case, json.loads(answer)),
    )


def _ours(case: Case, path: Path, work: Path) -> list[Contender]:
    """The unit by JIT, and compiled without and with the accelerator."""
    found = []
    compiled = str(engine.obtain(case.analysis, case.selection, mode="compiled"))
    jit = [sys.executable, "-m", "nanolake.jit", case.analysis, case.selection]
    for name, command, accelerator in (
        ("nanolake, JIT", jit, "off"),
        ("nanolake, compiled", [compiled], "off"),
        ("nanolake, compiled + libdeflate", [compiled], "auto"),
    ):
        output = work / f"{name}.root"
        found.append(
            Contender(
                name,
                [*command, "skim"],
                stdin=json.dumps(cases.task(case, path, output)),
                env={"NANOLAKE_ACCELERATOR": accelerator},
                numbers=lambda answer, output=output: physics.of_unit(
                    case, json.loads(answer), output
                ),
            )
        )
    return found


def _python(case: Case, path: Path) -> list[Contender]:
    """uproot + awkward, and coffea."""
    jobs = {
        "dimuon": (
            ("uproot + awkward", "dimuon_uproot.py"),
            ("coffea NanoEvents", "dimuon_coffea.py"),
        ),
        "higgs4l": (("uproot + awkward", "higgs4l_uproot.py"),),
    }
    arguments = list(case.channels) if case.analysis == "higgs4l" else []
    return [
        Contender(
            name,
            [sys.executable, str(JOBS / job), str(path), *arguments],
            numbers=json.loads,
            # Their float32 sines differ from those of the C library in the last bit.
            tolerance=0.002,
        )
        for name, job in jobs.get(case.analysis, ())
    ]


def _read_speed(case: Case, path: Path) -> Contender:
    program = str(_package() / "bin" / "rootreadspeed")
    columns = list(cases.columns(case))
    return Contender(
        "rootreadspeed, same columns",
        [program, "--trees", "Events", "--files", str(path), "--branches", *columns],
    )


def all_of(case: Case, path: Path, work: Path) -> list[Contender]:
    """All contenders of a case; the first gives the numbers that the others must have.

    Args:
        case: The case.
        path: Its file.
        work: Folder for what they write.
    """
    found = [_tutorial(case, path, work)] if case.analysis in TUTORIALS else []
    return [*found, *_ours(case, path, work), *_python(case, path), _read_speed(case, path)]


def limit(case: Case, path: Path) -> list[str]:
    """The command that times libdeflate alone on the columns of a case."""
    return [sys.executable, str(JOBS / "limit.py"), str(path), *cases.columns(case)]
