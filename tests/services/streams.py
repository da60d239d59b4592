"""Units that read one file from the site's servers: each test says from which replicas."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest
import uproot
from testbed.xrootd import Site

from nanolake import catalogue, engine, plan, skim, sources
from nanolake.generate import generate_file

SAMPLE, EVENTS = "Run2012BC_DoubleMuParked_Muons", 3_000_000
_FOREIGN = ("BEARER_TOKEN", "BEARER_TOKEN_FILE", "X509_USER_PROXY", "X509_CERT_DIR")


def become(monkeypatch: pytest.MonkeyPatch, site: Site, user: str = "") -> None:
    """This process and its children are a user of the site; nobody if empty."""
    for name in _FOREIGN:
        monkeypatch.delenv(name, raising=False)
    for name, value in site.environment(user).items():
        monkeypatch.setenv(name, value)


class Streams:
    """A file on origins of a site, and the unit that reads it.

    Args:
        site: The site.
        folder: For the file and what units write.
        events: Events of the file, 30 bytes each.
        origins: Servers that hold it.
        compression: ROOT's code, in place of the generator's zlib.
    """

    def __init__(
        self, site: Site, folder: Path, events: int, origins: Sequence[str], compression: int = 0
    ) -> None:
        self.site, self.folder, self.events = site, folder, events
        self.place = f"/lake/cms/{folder.name}"
        self.path = folder / "good.root"
        generate_file(SAMPLE, self.path, events=events, seed=5)
        if compression:
            recompress(self.path, compression)
        for origin in origins:
            self.put(origin, "good.root", self.path)
        self.program = str(engine.obtain("dimuon", "df102"))
        (seen,) = catalogue.inspector(self.program, "dimuon")("data", [str(self.path)])
        self.known = {key: seen[key] for key in ("events", "uuid", "clusters")}
        self.known |= {"path": "cms:it", "mtime_ns": None, **sources.stamp(self.path)}
        self.right = self.run(str(self.path), unit="local")["output"]

    def same_events(self, unit: str = "u") -> bool:
        """Whether a unit wrote the events of the local one; by JIT the bytes around them differ."""
        mine, local = (
            uproot.open(self.folder / name / "events.root")["dimuon"].arrays(library="np")
            for name in (unit, "local")
        )
        return mine.keys() == local.keys() and all((mine[k] == local[k]).all() for k in local)

    def put(self, origin: str, name: str, content: Path | bytes) -> None:
        """Put a file, or bytes, into the storage of an origin."""
        place = self.site.storage(origin) / self.place.lstrip("/") / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.unlink(missing_ok=True)
        if isinstance(content, Path):
            os.link(content, place)
        else:
            place.write_bytes(content)

    def url(self, server: str, name: str = "good.root", *, at: str = "") -> str:
        """The URL of a file at a server, or at the host:port of a network in front of one."""
        path = f"{self.place}/{name}"
        return f"root://{at}/{path}" if at else self.site.url(server, path=path)

    def run(
        self,
        *replicas: str | dict[str, Any],
        unit: str = "u",
        mode: str = "compiled",
        **options: Any,
    ) -> dict[str, Any]:
        """Run the unit on replicas, best first; its ledger.

        Args:
            replicas: Their URLs, or entries of replicas.json.
            unit: Of the folder that it writes to.
            mode: Of the engine.
            options: Of `skim.run`.
        """
        folder = self.folder / unit
        folder.mkdir(exist_ok=True)
        sample = {"kind": "data", "channels": ["dimuon"], "files": [self.known]}
        content = {"analysis": "dimuon", "tree": "Events", "samples": {SAMPLE: sample}}
        content["weights"] = {SAMPLE: {"dimuon": 1.0}}
        made = plan.build(content, events_per_unit=self.events)
        catalogue.write(folder / "plan.json", made)
        entries = [one if isinstance(one, dict) else {"pfn": one} for one in replicas]
        places = [{"rse": f"RSE{i}", **one} for i, one in enumerate(entries)]
        catalogue.write(folder / "replicas.json", {"cms:it": places})
        names = ("plan.json", "replicas.json", "events.root", "ledger.json")
        program = str(engine.obtain("dimuon", "df102", mode="jit")) if mode == "jit" else ""
        return skim.run(
            program or self.program,
            *(str(folder / name) for name in names),
            sample=SAMPLE,
            unit="0000",
            scratch=str(folder),
            **options,
        )

    def struck(self, at: str, strike: Callable[[], Any], *replicas: str, **options: Any) -> Any:
        """Run the unit, and strike while it reads.

        Args:
            at: host:port that it reads from.
            strike: What happens there, when a part of the file has come through.
            replicas: See `run`.
            options: See `run`.
        """
        port = int(at.partition(":")[2])
        with ThreadPoolExecutor(1) as pool:
            unit = pool.submit(self.run, *replicas, **options)
            end = time.monotonic() + 30
            while not _connected(port) and time.monotonic() < end:
                time.sleep(0.05)
            time.sleep(1.5)
            assert not unit.done(), "it was over too soon"
            strike()
            return unit.result()


def recompress(path: Path, compression: int) -> None:
    """Write a file anew with another compression; ROOT gives it another UUID."""
    script = (
        "import sys, ROOT; m = ROOT.TFileMerger(False, False); m.SetFastMethod(False)\n"
        "m.OutputFile(sys.argv[1] + '.new', 'RECREATE', int(sys.argv[2]))\n"
        "assert m.AddFile(sys.argv[1], False) and m.Merge()"
    )
    subprocess.run([sys.executable, "-c", script, str(path), str(compression)], check=True)
    os.replace(f"{path}.new", path)


def _connected(port: int) -> bool:
    return any(
        one.raddr and one.raddr.port == port and one.status == psutil.CONN_ESTABLISHED
        for one in psutil.net_connections("tcp")
    )


def listener(at: str) -> psutil.Process:
    """The process that listens at a host:port: the network in front of a server."""
    port = int(at.partition(":")[2])
    (pid,) = {
        one.pid
        for one in psutil.net_connections("tcp")
        if one.laddr.port == port and one.status == psutil.CONN_LISTEN
    }
    return psutil.Process(pid)
