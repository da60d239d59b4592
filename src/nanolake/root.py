"""Where ROOT is, and how it is loaded: quietly, without graphics, ready for the network."""

from __future__ import annotations

import functools
import importlib.util
import os
import re
import subprocess
import warnings
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

from nanolake import sources
from nanolake.errors import EngineError

CPP = Path(__file__).parent / "cpp"


class Installation(NamedTuple):
    """Folders of ROOT's headers and libraries, flags of its compiler, and its version."""

    include: Path
    lib: Path
    flags: tuple[str, ...]
    version: str


@functools.cache
def installation() -> Installation:
    """Find ROOT without importing it: the PyPI wheel, or what `root-config` names (conda).

    Raises:
        EngineError: There is no ROOT.
    """
    spec = importlib.util.find_spec("ROOT")
    places = list(spec.submodule_search_locations or []) if spec else []
    if not places:
        raise EngineError("ROOT is not installed\n  remedy:  make setup")
    wheel = Path(places[0])
    if (wheel / "include" / "RVersion.h").exists():
        # Libraries that the wheel brings along lie beside the package, out of the linker's sight.
        beside = f"-Wl,-rpath-link,{wheel.parent / 'root.libs'}"
        return Installation(
            wheel / "include", wheel / "lib", ("-std=c++17", beside), _version(wheel / "include")
        )
    include, lib = (Path(_root_config(f"--{what}dir")) for what in ("inc", "lib"))
    standard = re.findall(r"-std=\S+", _root_config("--cflags"))
    return Installation(include, lib, tuple(standard), _version(include))


def _root_config(option: str) -> str:
    result = subprocess.run(["root-config", option], capture_output=True, text=True, check=True)
    return result.stdout.strip()


def _version(include: Path) -> str:
    text = (include / "ROOT" / "RVersion.hxx").read_text()
    numbers = re.findall(r"#define ROOT_VERSION_(?:MAJOR|MINOR|PATCH) (\d+)", text)
    return "{}.{:0>2}.{:0>2}".format(*numbers)


@functools.cache
def load() -> ModuleType:
    """The ROOT module, in batch mode, with nanolake's C++ helpers declared.

    It opens root:// and roots:// of any host, this machine included, and gives up on storage that
    does not answer (see `sources.environment`).
    """
    os.environ.update(sources.environment())
    with warnings.catch_warnings():
        # The wheel of the pre-release says so at every start; README.md says it once.
        warnings.filterwarnings("ignore", message=r"\s*This distribution of ROOT is in alpha")
        import ROOT
    ROOT.gROOT.SetBatch(True)
    ROOT.gInterpreter.AddIncludePath(str(CPP))
    ROOT.gInterpreter.Declare('#include "graph.h"')
    ROOT.nanolake.PrepareNetwork()
    return ROOT
