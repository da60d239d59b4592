"""What each level of `verify` catches of copies that are stale or rotten: docs/verify.md."""

from __future__ import annotations

import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
import uproot
from streams import Streams, become
from testbed.xrootd import Site

from nanolake import catalogue, root, sources


class Plain(Streams):
    """A file without compression: a flipped bit of it is a wrong number that nothing else tells."""

    def __init__(self, site: Site, folder: Path) -> None:
        super().__init__(site, folder, 200_000, ())
        packed, self.path = self.path, folder / "plain.root"
        hadd = root.installation().include.parent / "bin" / "hadd"
        command = [str(hadd), "-v", "0", "-f0", str(self.path), str(packed)]
        subprocess.run(command, check=True, capture_output=True)
        (seen,) = catalogue.inspector(self.program, "dimuon")("data", [str(self.path)])
        self.known |= {key: seen[key] for key in ("events", "uuid", "clusters")}
        self.known |= sources.stamp(self.path)
        self.right = self.run(str(self.path), unit="local")["output"]
        for origin in ("open", "cheap"):
            self.put(origin, "good.root", self.path)


@pytest.fixture(scope="module")
def plain(site: Site, services_folder: Path) -> Plain:
    folder = services_folder / "plain-streams"
    folder.mkdir()
    return Plain(site, folder)


@pytest.fixture(autouse=True)
def _analyst(site: Site, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    become(monkeypatch, site, "analyst")
    yield


def flip(path: Path, good: Path) -> None:
    """Flip a bit in each byte of some transverse momenta, so that some of selected events differ.

    Args:
        path: What is damaged: the file, or the copy of a cache.
        good: The file, which tells where they are.
    """
    with uproot.open(good) as file:
        begin = int(file["Events"]["Muon_pt"].member("fBasketSeek")[0]) + 1000
    with open(path, "r+b") as stream:
        stream.seek(begin)
        content = bytes(byte ^ 1 for byte in stream.read(1000))
        stream.seek(begin)
        stream.write(content)


def problems(ledger: dict) -> list[str]:
    return [bad["problem"] for bad in ledger["files"][0]["failed"]]


def test_a_rotten_replica_without_compression_is_caught_by_full_alone(plain: Plain) -> None:
    rotten = plain.folder / "rotten"
    rotten.write_bytes(plain.path.read_bytes())
    flip(rotten, plain.path)
    plain.put("open", "rotten.root", rotten.read_bytes())
    replicas = [plain.url("open", "rotten.root"), plain.url("cheap")]
    silent = plain.run(*replicas)
    # This is the hole that docs/verify.md names; if a client ever closes it, say so there.
    assert silent["output"] != plain.right and not problems(silent)
    careful = plain.run(*replicas, verify="full")
    assert careful["output"] == plain.right
    (problem,) = problems(careful)
    assert "its adler32 is" in problem


def test_full_reads_a_good_replica_to_the_same_bytes(plain: Plain) -> None:
    for server in ("open", "cheap", "ocache"):
        ledger = plain.run(plain.url(server), verify="full")
        assert ledger["output"] == plain.right and not problems(ledger)


def test_rot_on_the_disk_of_a_cache_is_caught_by_full(plain: Plain, site: Site) -> None:
    name = "cached.root"
    plain.put("open", name, plain.path)
    assert plain.run(plain.url("ocache", name), verify="full")["output"] == plain.right  # now warm
    site.stop("ocache")  # what it has in memory is on its disk then
    size = plain.path.stat().st_size
    blocks = [
        path
        for path in (site.cache_storage("ocache") / "data").rglob("*")
        if path.is_file() and path.stat().st_size == size
    ]
    (newest,) = sorted(blocks, key=lambda path: path.stat().st_mtime)[-1:]
    flip(newest, plain.path)
    site.start("ocache")
    replicas = [plain.url("ocache", name), plain.url("open", name)]
    careful = plain.run(*replicas, verify="full")
    assert careful["output"] == plain.right
    assert ["adler32" in problem for problem in problems(careful)] == [True]


@pytest.mark.parametrize("same_size", [False, True])
def test_a_stale_copy_in_a_cache_is_not_read(plain: Plain, same_size: bool) -> None:
    name = f"replaced-{same_size}.root"
    good = plain.path.read_bytes()
    identity = uuid.UUID(plain.known["uuid"]).bytes
    assert good.count(identity) >= 1
    old = good.replace(identity, uuid.uuid4().bytes)
    plain.put("open", name, old if same_size else old + b"longer")
    plain.known, known = {**plain.known, "uuid": ""}, plain.known
    plain.known |= {"bytes": len(good) + (0 if same_size else 6), "adler32": None}
    try:
        plain.run(plain.url("ocache", name), unit="old")  # the cache has the old file now
    finally:
        plain.known = known
    plain.put("open", name, plain.path)
    ledger = plain.run(plain.url("ocache", name), plain.url("open", name))
    assert ledger["output"] == plain.right
    (problem,) = problems(ledger)
    assert ("its UUID is" if same_size else "bytes, the catalogue says") in problem
