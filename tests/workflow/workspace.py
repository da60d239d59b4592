"""A working folder, the `snakemake` command in it, and what the command did."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[2]
REAL_DATA = REPOSITORY.parent / "shared" / "data" / "dimuon"
DIMUON = "Run2012BC_DoubleMuParked_Muons"
# Small enough for seconds, large enough that every sample selects some events.
SMALL = {"synthetic": {"scale": 0.02}}

_JOB = re.compile(
    r"^(?:local)?(?:rule|checkpoint) (?P<rule>\w+):\n(?P<body>(?:    .*\n)*)", re.MULTILINE
)


@dataclass(frozen=True)
class Run:
    """What one `snakemake` command did, or would do."""

    status: int
    output: str

    def jobs(self) -> set[str]:
        """Its jobs, `rule` or `rule analysis/sample/unit`, without the targets at the end."""
        names = set()
        for match in _JOB.finditer(self.output):
            wildcards = re.search(r"^    wildcards: (.*)$", match["body"], re.MULTILINE)
            values = [item.split("=")[1] for item in wildcards[1].split(", ")] if wildcards else []
            names.add(" ".join([match["rule"], "/".join(values)]).strip())
        return names - {"all", "dimuon", "higgs4l", "htautau"}

    def rules(self) -> set[str]:
        """The rules of its jobs."""
        return {job.split()[0] for job in self.jobs()}

    def of(self, rule: str) -> set[str]:
        """The wildcards of its jobs of one rule."""
        return {job.split()[1] for job in self.jobs() if job.split()[0] == rule}

    @property
    def nothing(self) -> bool:
        """Whether Snakemake said that there is nothing to do."""
        return "Nothing to be done" in self.output


@dataclass(frozen=True)
class Workspace:
    """A working folder: config/ of the repository, results and all that Snakemake remembers."""

    folder: Path

    @classmethod
    def new(cls, folder: Path) -> Workspace:
        folder.mkdir(parents=True)
        (folder / "config").symlink_to(REPOSITORY / "config")
        return cls(folder)

    def copy(self, folder: Path) -> Workspace:
        """The same state at another place, with the times of its files."""
        shutil.copytree(self.folder, folder, symlinks=True)
        return Workspace(folder)

    def command(self, *arguments: str, config: Mapping[str, Any] | None, cores: int) -> list[str]:
        """The command line of a run of the repository's workflow in this folder."""
        # Without a lake unless the test is about one: it starts no server.
        chosen = {"lake": "local", **(config or {})}
        pairs = [f"{key}={json.dumps(value)}" for key, value in chosen.items()]
        return [
            *(sys.executable, "-m", "snakemake", "--snakefile", str(REPOSITORY / "Snakefile")),
            *("--cores", str(cores), "--nocolor", *arguments),
            *(["--config", *pairs] if pairs else []),
        ]

    def run(
        self,
        *arguments: str,
        config: Mapping[str, Any] | None = None,
        cores: int = 2,
        fails: bool = False,
    ) -> Run:
        """Run Snakemake to its end, which must be good unless it `fails`."""
        done = subprocess.run(
            self.command(*arguments, config=config, cores=cores),
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert (done.returncode != 0) == fails, done.stdout
        return Run(done.returncode, done.stdout)

    def path(self, *parts: str) -> Path:
        return self.folder.joinpath("results", *parts)

    def read(self, *parts: str) -> Any:
        """A JSON file of the results."""
        return json.loads(self.path(*parts).read_text())

    def take_inputs(self, other: Workspace) -> None:
        """Copy the inputs that another folder has made."""
        shutil.copytree(other.folder / "resources", self.folder / "resources")

    def ledgers(self) -> list[Any]:
        """Those of all units."""
        found = sorted(self.path().glob("*/units/*/*.json"))
        return [json.loads(path.read_text()) for path in found]

    def seen_by_others(self) -> list[Path]:
        """What there is in the results that others than their owner may read."""
        return [path for path in self.path().rglob("*") if path.stat().st_mode & 0o077]

    def products(self) -> dict[str, bytes]:
        """The bytes of all histograms and reduced ntuples."""
        found = [*self.path().glob("*/histograms.root"), *self.path().glob("*/ntuples/*.root")]
        return {str(path.relative_to(self.path())): path.read_bytes() for path in found}

    def unfinished(self) -> list[str]:
        """Files in the results that are not whole, by their names."""
        return [str(p) for p in self.path().rglob("*") if ".part" in p.name]


def flip_bit(path: Path, at: float = 0.5) -> None:
    """Damage one bit of a file, at this fraction of its length; its time stays as it was."""
    status = path.stat()
    content = bytearray(path.read_bytes())
    content[int(len(content) * at)] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
