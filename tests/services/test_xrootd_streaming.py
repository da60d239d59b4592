"""Units that stream: the right numbers or one clear error within a minute, whatever breaks."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from streams import EVENTS, Streams, become, listener
from testbed.xrootd import Site

from nanolake.errors import CredentialError, InputError

RATE = 15_000_000  # bytes a second: the file takes six seconds
MINUTE = 60


@pytest.fixture(scope="module")
def streams(site: Site, services_folder: Path) -> Streams:
    folder = services_folder / "streams"
    folder.mkdir()
    return Streams(site, folder, EVENTS, ("open", "cheap"))


@pytest.fixture(scope="module")
def small(site: Site, services_folder: Path) -> Streams:
    """The same with a file that is read in a moment."""
    folder = services_folder / "small-streams"
    folder.mkdir()
    return Streams(site, folder, 200_000, ("open", "cheap"))


@pytest.fixture(autouse=True)
def _analyst(site: Site, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Every test is the analyst, and leaves all servers as they should be."""
    become(monkeypatch, site, "analyst")
    yield
    for server in ("open", "ocache"):
        site.resume(server)
        site.start(server)


def failed(ledger: dict[str, Any]) -> list[str]:
    return [bad["problem"] for bad in ledger["files"][0]["failed"]]


# --- what is read -----------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["compiled", "jit"])
def test_ledger_says_what_was_read_from_where(streams: Streams, mode: str) -> None:
    url = streams.url("ocache")
    cache = streams.site.url("ocache").rstrip("/")
    ledger = streams.run({"rse": "FAST", "pfn": url, "cache": cache}, mode=mode)
    assert streams.same_events()
    assert mode == "jit" or ledger["output"] == streams.right
    (file,) = ledger["files"]
    assert (file["rse"], file["replica"], file["cache"]) == ("FAST", url, cache)
    # All columns are needed, and little beside them.
    assert 0.97 < file["bytes_read"] / file["bytes"] < 1.02
    assert file["bytes"] == streams.path.stat().st_size
    assert ledger["bytes_read"] == file["bytes_read"]
    assert 5 < file["requests"] < 100
    assert 0 < file["loop_seconds"] < ledger["wall_seconds"]
    assert 0 < file["open_seconds"] < ledger["wall_seconds"]
    assert ledger["events_per_second"] == pytest.approx(EVENTS / ledger["wall_seconds"], rel=0.01)
    assert ledger["cpu_efficiency"] > 0.1


def test_twenty_units_at_once(small: Streams) -> None:
    url = small.url("cheap")
    with ThreadPoolExecutor(20) as pool:
        units = list(pool.map(lambda i: small.run(url, unit=f"c{i}"), range(20)))
    assert all(unit["output"] == small.right and not failed(unit) for unit in units)


def test_notebook_reads_this_machine_and_roots(streams: Streams) -> None:
    urls = [streams.url("open"), streams.url("cheap").replace("root:", "roots:")]
    script = (
        "import sys; from nanolake import root; ROOT = root.load()\n"
        "for url in sys.argv[1:]: print(ROOT.RDataFrame('Events', url).Count().GetValue())"
    )
    command = [sys.executable, "-c", script, *urls]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.stdout.split() == [str(EVENTS)] * 2, done.stderr


# --- what fails at open -----------------------------------------------------------------------


def flipped(content: bytes) -> bytes:
    place = len(content) // 3
    return content[:place] + bytes([content[place] ^ 16]) + content[place + 1 :]


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "truncated": lambda content: content[: len(content) // 2],
    "corrupt": flipped,
    "html": lambda content: b"<html>404</html>".ljust(len(content)),
    "short html": lambda _: b"<html>404</html>",
    "empty": lambda _: b"",
}
PROBLEMS = {
    "truncated": "bytes, the catalogue says",
    "corrupt": "error while reading",
    "html": "not a ROOT file",
    "short html": "bytes, the catalogue says",
    "empty": "bytes, the catalogue says",
    "missing": "no such file",
    "unresolvable": "Invalid address",
    "other port": "Connection error",
}


@pytest.mark.parametrize("what", PROBLEMS)
def test_bad_replica_is_named_and_the_next_one_read(small: Streams, what: str) -> None:
    bad = small.url("open", f"{what.replace(' ', '-')}.root")
    if what in DAMAGE:
        small.put("open", bad.rpartition("/")[2], DAMAGE[what](small.path.read_bytes()))
    bad = {"unresolvable": "root://nowhere.invalid//x", "other port": "root://localhost:1//x"}.get(
        what, bad
    )
    ledger = small.run(bad, small.url("cheap"))
    assert ledger["output"] == small.right and ledger["files"][0]["rse"] == "RSE1"
    (problem,) = failed(ledger)
    assert PROBLEMS[what] in problem
    if what == "other port":
        return  # ten seconds are enough
    with pytest.raises(InputError, match=PROBLEMS[what]) as caught:
        small.run(bad)
    assert bad in str(caught.value) and "remedy:" in str(caught.value)


def test_refused_credential_is_no_bad_replica(
    small: Streams, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    become(monkeypatch, site)
    with pytest.raises(CredentialError, match="Auth failed") as caught:
        small.run(small.url("cheap"), small.url("open"))
    assert small.url("cheap") in str(caught.value) and "nanolake doctor" in str(caught.value)


@pytest.mark.parametrize("what", ["kill", "pause"])
def test_origin_dead_or_hung_at_open(small: Streams, site: Site, what: str) -> None:
    getattr(site, what)("open")
    begun = time.monotonic()
    ledger = small.run(small.url("open"), small.url("cheap"))
    assert ledger["output"] == small.right and len(failed(ledger)) == 1
    assert time.monotonic() - begun < MINUTE


def test_origin_back_after_five_seconds(small: Streams, site: Site) -> None:
    site.kill("open")
    with ThreadPoolExecutor(1) as pool:
        unit = pool.submit(small.run, small.url("open"))
        time.sleep(5)
        site.start("open")
        assert unit.result()["output"] == small.right


def test_all_replicas_dead(small: Streams, site: Site) -> None:
    site.kill("open")
    begun = time.monotonic()
    with pytest.raises(InputError, match="none of its replicas can be read") as caught:
        small.run(small.url("open"), "root://localhost:1//x")
    assert time.monotonic() - begun < MINUTE
    assert "see that its storage is up" in str(caught.value)
    site.start("open")
    assert small.run(small.url("open"))["output"] == small.right  # as a run that is resumed


# --- what fails in the middle -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("what", "mode"),
    [("kill", "compiled"), ("kill", "jit"), *((w, "compiled") for w in ("hang", "cut", "restart"))],
)
def test_origin_fails_in_the_middle(streams: Streams, site: Site, what: str, mode: str) -> None:
    def restart() -> None:
        site.kill("open")
        time.sleep(5)
        site.start("open")

    with site.wan("open", rate=RATE) as at:
        strikes = {
            "kill": lambda: site.kill("open"),
            "hang": lambda: site.pause("open"),
            "cut": lambda: listener(at).kill(),
            "restart": restart,
        }
        replicas = [streams.url("open", at=at), streams.url("cheap")]
        begun = time.monotonic()
        ledger = streams.struck(at, strikes[what], *replicas, mode=mode)
    assert time.monotonic() - begun < MINUTE
    assert streams.same_events()
    assert mode == "jit" or ledger["output"] == streams.right
    # A server that is back in time is waited for, or not: that depends on how the connection broke.
    if what != "restart":
        (problem,) = failed(ledger)
        assert "error while reading: TNetXNGFile" in problem


def test_only_replica_is_killed_in_the_middle(streams: Streams, site: Site) -> None:
    with site.wan("open", rate=RATE) as at:
        begun = time.monotonic()
        with pytest.raises(InputError, match="error while reading: TNetXNGFile") as caught:
            streams.struck(at, lambda: site.kill("open"), streams.url("open", at=at))
    assert time.monotonic() - begun < MINUTE
    assert at in str(caught.value) and "see that its storage is up" in str(caught.value)
    assert not list((streams.folder / "u").glob("events.root.part*"))


# --- caches -----------------------------------------------------------------------------------


def test_origin_dead_and_the_cache_warm(small: Streams, site: Site) -> None:
    for state in ("cold", "warm", "origin dead"):
        if state == "origin dead":
            site.kill("open")
        ledger = small.run(small.url("ocache"))
        assert ledger["output"] == small.right and not failed(ledger), state


def test_cache_killed_in_the_middle(streams: Streams, site: Site) -> None:
    with site.wan("ocache", rate=RATE) as at:
        replicas = [streams.url("ocache", at=at), streams.url("cheap")]
        ledger = streams.struck(at, lambda: site.kill("ocache"), *replicas)
    assert ledger["output"] == streams.right and len(failed(ledger)) == 1


def test_disk_of_the_cache_full(streams: Streams, site: Site) -> None:
    data = str(site.cache_storage("ocache") / "data")
    streams.put("open", "for-full.root", streams.path)
    site.stop("ocache")
    mounting = ["mount", "-t", "tmpfs", "-o", "size=10m", "tmpfs", data]
    if subprocess.run(mounting, capture_output=True).returncode != 0:
        pytest.skip("only root may mount a small file system")
    try:
        site.start("ocache")
        ledger = streams.run(streams.url("ocache", "for-full.root"), streams.url("cheap"))
    finally:
        site.stop("ocache")
        subprocess.run(["umount", data], check=True)
    assert ledger["output"] == streams.right
