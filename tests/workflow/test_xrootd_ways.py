"""The three analyses on real XRootD storage: the same bytes, however the inputs are read."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from sites import become, bring_up, lake_file, units
from testbed.xrootd import Site
from workspace import SMALL, Workspace

from nanolake import skim
from nanolake.catalogue import read
from nanolake.lake import content
from nanolake.lake.client import connect

ANALYSES = ("dimuon", "higgs4l", "htautau")


class OnSite(NamedTuple):
    """A finished run on a site, streamed from its origin with a token."""

    site: Site
    workspace: Workspace
    output: str


@pytest.fixture(scope="module")
def on_site(
    tmp_path_factory: pytest.TempPathFactory, first_run: tuple[Workspace, Any]
) -> Iterator[OnSite]:
    folder = tmp_path_factory.mktemp("site")
    site = bring_up(folder / "site")
    workspace = Workspace.new(folder / "work")
    # The inputs are made already; they are uploaded from there.
    synthetic = {**SMALL["synthetic"], "folder": str(first_run[0].folder / "resources/synthetic")}
    lake = str(site.folder / "lakes/cache.yaml")
    with pytest.MonkeyPatch.context() as monkeypatch:
        become(monkeypatch, site, "analyst")
        run = workspace.run(config={"lake": lake, "synthetic": synthetic})
    yield OnSite(site, workspace, run.output)
    from testbed import xrootd

    xrootd.down(folder / "site", delete=True)


def test_a_run_through_a_cache_gives_the_bytes_of_a_local_one(
    on_site: OnSite, finished: Workspace
) -> None:
    assert on_site.workspace.products() == finished.products()
    assert units(on_site.workspace) == units(finished)


def test_the_ledger_says_what_was_read_from_where(on_site: OnSite) -> None:
    ledger = on_site.workspace.read("ledger.json")
    cache = on_site.site.url("gcache").rstrip("/")
    for unit in ledger["units"]:
        (file,) = unit["files"]
        assert (file["rse"], file["cache"]) == ("FAST", cache)
        assert file["replica"].startswith(cache)
        assert 0 < file["bytes_read"] <= 2 * file["bytes"]  # small files: a header is read ahead
        assert file["requests"] > 0
        assert unit["bytes_read"] == file["bytes_read"]
    told = ledger["caches"]
    assert {entry["did"] for entry in told} == {u["files"][0]["did"] for u in ledger["units"]}
    assert all(entry["told"] for entry in told)
    assert sum(entry["miss"] for entry in told) > 0


def test_results_are_on_the_other_storage_and_verified(on_site: OnSite) -> None:
    for analysis in ANALYSES:
        receipt = on_site.workspace.read(analysis, "published.json")
        assert {file["rse"] for file in receipt["files"]} == {"CHEAP-ANALYSIS"}
        assert all(file["read_back"] for file in receipt["files"])


def test_the_report_shows_caches_and_pictures(on_site: OnSite) -> None:
    page = on_site.workspace.path("report.html").read_text()
    assert "MB missed" in page and "files it said nothing of" in page
    assert "units over time, by source" in page


class Way(NamedTuple):
    """A way to read the inputs."""

    access: str
    schemes: tuple[str, ...]
    user: str = "analyst"
    kind: str = "token"
    cache: str = ""  # a server of the site, and the scheme to speak with it
    rse: str = "QOS=FAST"


WAYS = {
    "streamed from the origin": Way("stream", ("root",)),
    "staged over root": Way("stage", ("root",)),
    "staged over https": Way("stage", ("https",)),
    "streamed with a proxy": Way("stream", ("root",), kind="x509"),
    "staged over https with a proxy": Way("stage", ("https",), kind="x509"),
    "from the other replica": Way("stream", ("root",), rse="QOS=CHEAP-ANALYSIS"),
    "warm group-managed cache, no credential": Way("stream", ("root",), kind="", cache="gcache"),
    "root from an https origin": Way("stream", ("root",), kind="", cache="hcache"),
    "https from a root origin": Way("stage", ("https",), kind="", cache="scache"),
    "cold token-enforcing cache": Way("stream", ("root",), cache="tcache"),
    "warm token-enforcing cache": Way("stream", ("root",), cache="tcache"),
}


def _replicate(client: Any, datasets: dict[str, str]) -> None:
    """Let the lake copy the inputs to the other storage: third-party copies."""
    rules = []
    for did in datasets.values():
        scope, name = did.split(":")
        dids = [{"scope": scope, "name": name}]
        rules += client.add_replication_rule(dids, 1, "QOS=CHEAP-ANALYSIS")
    end = time.monotonic() + 120
    while not all(client.get_replication_rule(rule)["state"] == "OK" for rule in rules):
        assert time.monotonic() < end, "the lake does not copy"
        time.sleep(0.5)


@pytest.mark.parametrize("name", WAYS)
def test_every_way_gives_the_same_bytes(
    on_site: OnSite, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    way, site, workspace = WAYS[name], on_site.site, on_site.workspace
    become(monkeypatch, site, way.user)
    client = connect(rucio_config=str(site.folder / "lake/clients/analyst/rucio.cfg"))
    for kind, variable in (("token", "BEARER_TOKEN_FILE"), ("x509", "X509_USER_PROXY")):
        if way.kind != kind:
            monkeypatch.delenv(variable, raising=False)
    cache = site.url(way.cache, scheme=way.schemes[0]).rstrip("/") if way.cache else None
    for analysis in ANALYSES:
        lock = workspace.read(analysis, "inputs.lock.json")["datasets"]
        datasets = {sample: entry["did"] for sample, entry in lock.items()}
        if "CHEAP" in way.rse:
            _replicate(client, datasets)
        found = content.replicas_of(
            client, datasets.values(), rse=way.rse, schemes=way.schemes, cache=cache
        )
        plan = workspace.read(analysis, "plan.json")
        replicas = {did: known[:1] for did, known in found.items()}  # no other way out
        (tmp_path / "replicas.json").write_text(json.dumps(replicas))
        for sample, entry in plan["samples"].items():
            entry["access"] = way.access
            (tmp_path / "plan.json").write_text(json.dumps(plan))
            for unit in entry["units"]:
                events = tmp_path / "events.root"
                skim.run(
                    str(workspace.path(analysis, "engine")),
                    str(tmp_path / "plan.json"),
                    str(tmp_path / "replicas.json"),
                    str(events),
                    str(tmp_path / "ledger.json"),
                    sample=sample,
                    unit=unit["name"],
                    scratch=str(tmp_path),
                )
                expected = workspace.path(analysis, "units", sample, f"{unit['name']}.root")
                assert events.read_bytes() == expected.read_bytes(), (name, sample)
                (file,) = read(tmp_path / "ledger.json")["files"]
                assert file["replica"] == replicas[file["did"]][0]["pfn"]
                assert file["cache"] == cache


def test_prestaged_inputs_are_read_without_network_and_credential(
    on_site: OnSite, finished: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site, workspace = on_site.site, on_site.workspace.copy(tmp_path / "work")
    become(monkeypatch, site, "analyst")
    lake = lake_file(site, "cache", tmp_path / "lake.yaml", read={"prestage": "parallel/nano"})
    synthetic = {**SMALL["synthetic"], "folder": str(finished.folder / "resources/synthetic")}
    for made in ("units", "ntuples", "histograms.root"):
        path = workspace.path("dimuon", made)
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    target, config = "results/dimuon/histograms.root", {"lake": lake, "synthetic": synthetic}
    run = workspace.run(target, config=config)
    assert run.of("prestage") == {"dimuon"} and run.of("skim")
    assert workspace.products() == on_site.workspace.products()
    (path,) = workspace.path("dimuon", "units").glob("*/*.json")
    (file,) = read(path)["files"]
    copy = workspace.folder / "parallel/nano" / f"{file['adler32']}-{file['bytes']}.root"
    assert file["replica"] == str(copy) and file["origin"].startswith("root://")
    assert (copy.stat().st_mode & 0o777, copy.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    assert file["rse"] == "FAST" and file["did"]
