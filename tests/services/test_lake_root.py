"""Replicas behind unauthenticated root://, staged and streamed from a real XRootD server."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from nanolake import engine, plan, skim, sources
from nanolake.catalogue import read
from nanolake.generate import generate_file

SAMPLE, EVENTS = "Run2012BC_DoubleMuParked_Muons", 3000
CONFIGURATION = """\
all.role server
xrd.port {port}
xrd.network nodnr
all.export /data
oss.localroot {folder}
all.adminpath {folder}/admin
all.pidpath {folder}/admin
"""


@pytest.fixture(scope="module")
def origin(services_folder: Path) -> Iterator[tuple[str, Path]]:
    """A server on loopback with one file: its URL, and the file."""
    program = shutil.which("xrootd")
    if not program:
        pytest.skip("no XRootD server: apt-get install --no-install-recommends xrootd-server")
    folder = services_folder / "root"
    (folder / "data").mkdir(parents=True)
    (folder / "admin").mkdir()
    path = folder / "data" / f"{SAMPLE}.root"
    generate_file(SAMPLE, path, events=EVENTS, seed=1)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (folder / "xrootd.cfg").write_text(CONFIGURATION.format(port=port, folder=folder))
    command = [program, "-I", "v4", "-c", str(folder / "xrootd.cfg")]
    if os.getuid() == 0:  # it refuses to be root
        subprocess.run(["chown", "-R", "nobody", str(folder)], check=True)
        command += ["-R", "nobody"]
    with open(folder / "log", "w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder)
    try:
        _wait(port, process, folder / "log")
        yield f"root://127.0.0.1:{port}//data/{path.name}", path
    finally:
        process.terminate()
        process.wait()


def _wait(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + 20
    while time.monotonic() < end and process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise AssertionError(log.read_text())


@pytest.mark.parametrize("access", ["stream", "stage"])
def test_root_replica_is_read_where_another_is_missing(
    origin: tuple[str, Path], tmp_path: Path, access: str
) -> None:
    url, path = origin
    file = {"path": "cms:it", "events": EVENTS, **sources.stamp(path), "clusters": []}
    catalogue = {
        "analysis": "dimuon",
        "tree": "Events",
        "samples": {SAMPLE: {"kind": "data", "channels": ["dimuon"], "files": [file]}},
        "weights": {SAMPLE: {"dimuon": 1.0}},
    }
    made = plan.build(catalogue, events_per_unit=EVENTS, access={SAMPLE: access})
    (tmp_path / "plan.json").write_text(json.dumps(made))
    missing = {"rse": "GONE", "pfn": url.replace(SAMPLE, "missing")}
    replicas = {"cms:it": [missing, {"rse": "ORIGIN", "pfn": url}]}
    (tmp_path / "replicas.json").write_text(json.dumps(replicas))
    ledger = skim.run(
        str(engine.obtain("dimuon", _selection())),
        str(tmp_path / "plan.json"),
        str(tmp_path / "replicas.json"),
        str(tmp_path / "events.root"),
        str(tmp_path / "ledger.json"),
        sample=SAMPLE,
        unit="0000",
        scratch=str(tmp_path),
    )
    assert ledger["read"] == EVENTS
    (used,) = read(tmp_path / "ledger.json")["files"]
    assert (used["rse"], used["replica"], used["access"]) == ("ORIGIN", url, access)
    assert [bad["rse"] for bad in used["failed"]] == ["GONE"]


def _selection() -> str:
    from nanolake.analyses import dimuon

    return str(dimuon.SELECTIONS[0])
