"""Embargoed data on real XRootD storage: who may not see them sees nothing made of them."""

from __future__ import annotations

import shutil
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import pytest
from sites import become, bring_up, embargoed_datasets, lake_file, units
from testbed import xrootd
from workspace import DIMUON, SMALL, Workspace


class Embargoed(NamedTuple):
    """A finished run on embargoed data, and the configuration that made it."""

    site: xrootd.Site
    workspace: Workspace
    config: dict[str, Any]
    output: str


@pytest.fixture(scope="module")
def embargoed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Embargoed]:
    folder = tmp_path_factory.mktemp("embargo")
    site = bring_up(folder / "site")
    workspace = Workspace.new(folder / "work")
    config = SMALL | {
        "analyses": ["dimuon"],
        "datasets": embargoed_datasets(folder, DIMUON),
        "lake": str(site.folder / "lakes/embargo.yaml"),
    }
    # What an earlier, public run has left.
    (workspace.folder / "logs").mkdir(mode=0o755)
    (workspace.folder / "logs/old.log").touch(0o644)
    with pytest.MonkeyPatch.context() as monkeypatch:
        become(monkeypatch, site, "analyst")
        run = workspace.run(config=config)
    yield Embargoed(site, workspace, config, run.output)
    xrootd.down(folder / "site", delete=True)


@pytest.fixture
def again(embargoed: Embargoed, tmp_path: Path) -> Iterator[Workspace]:
    """The finished folder without its units and what is made from them."""
    workspace = embargoed.workspace.copy(tmp_path / "again")
    for name in ("units", "books", "ntuples"):
        shutil.rmtree(workspace.path("dimuon", name))
    yield workspace
    shutil.rmtree(workspace.folder)


def test_embargoed_data_give_the_bytes_of_open_ones(
    embargoed: Embargoed, finished: Workspace
) -> None:
    same = {name: content for name, content in finished.products().items() if "dimuon" in name}
    assert embargoed.workspace.products() == same


def test_files_are_for_their_owner_alone(embargoed: Embargoed) -> None:
    seen = 0
    for folder in ("results", "logs", ".snakemake", "resources"):
        top = embargoed.workspace.folder / folder
        for path in (top, *top.rglob("*")):
            if not path.is_symlink():
                assert not stat.S_IMODE(path.stat().st_mode) & 0o077, path
                seen += 1
    assert seen > 50


def test_it_was_read_through_the_cache_that_asks_for_tokens(embargoed: Embargoed) -> None:
    (unit,) = embargoed.workspace.read("ledger.json")["units"]
    (file,) = unit["files"]
    assert file["cache"] == embargoed.site.url("tcache").rstrip("/")
    assert file["did"].startswith("embargo:")
    assert urlsplit(file["replica"]).path.lstrip("/").startswith("lake/embargo/")


def test_results_are_in_the_embargoed_scope_and_metadata_say_no_number(
    embargoed: Embargoed,
) -> None:
    from nanolake.lake.client import connect
    from nanolake.lake.content import metadata_of

    receipts = [
        embargoed.workspace.read(*p) for p in (["dimuon", "published.json"], ["published.json"])
    ]
    assert all(receipt["dataset"].startswith("embargo:") for receipt in receipts)
    assert all(f["did"].startswith("embargo:") for r in receipts for f in r["files"])
    client = connect(rucio_config=str(embargoed.site.folder / "lake/clients/analyst/rucio.cfg"))
    assert list(client.list_dids("user.analyst", {"name": "*"}, did_type="all")) == []
    assert list(client.list_dids("cms", {"name": "*"}, did_type="all")) == []
    for known in metadata_of(client, [receipt["dataset"] for receipt in receipts]).values():
        assert known["embargoed"] is True
        assert not {"cutflow", "events_selected", "events_read"} & known.keys()


def test_plots_and_provenance_do_not_say_open_data(embargoed: Embargoed) -> None:
    pypdf = pytest.importorskip("pypdf")
    page = pypdf.PdfReader(embargoed.workspace.path("dimuon", "plots", "dimuon_mass.pdf")).pages[0]
    assert "Private Work" in page.extract_text()
    crate = embargoed.workspace.path("provenance", "ro-crate-metadata.json").read_text()
    assert "CC0-1.0" not in crate and "LicenseRef-embargoed" in crate


def test_nothing_of_a_credential_is_left_behind(embargoed: Embargoed) -> None:
    """Not in what the run has made, recorded, said and published, nor in the logs of the servers,
    where it would be if it had ever been in a URL.
    """
    site = embargoed.site
    files = [site.folder / "credentials" / f"analyst.{kind}" for kind in ("token", "proxy")]
    texts = [path.read_text().replace(".", " ").split() for path in files]
    secrets = {part for text in texts for part in text if len(part) > 20}
    assert len(secrets) > 30
    seen = [("what it said", embargoed.output)]
    for top in (embargoed.workspace.folder, *(site.folder / name for name in ("storage", "log"))):
        for path in filter(Path.is_file, top.rglob("*")):
            seen.append((f"{path}", f"{path} {path.read_text(errors='replace')}"))
    assert len(seen) > 100
    assert not [name for name, text in seen if any(secret in text for secret in secrets)]


def test_with_the_token_a_re_run_gives_the_same_bytes(
    embargoed: Embargoed, again: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    become(monkeypatch, embargoed.site, "analyst")
    again.run(config=embargoed.config)
    assert again.products() == embargoed.workspace.products()
    assert units(again) == units(embargoed.workspace)


@pytest.mark.parametrize("who", ["nobody", "guest", "prefix", "expired"])
def test_without_the_right_token_nothing_is_read(
    embargoed: Embargoed,
    again: Workspace,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    who: str,
) -> None:
    site, token = embargoed.site, tmp_path / "token"
    become(monkeypatch, site, "guest" if who == "guest" else "analyst")
    if who == "nobody":
        monkeypatch.delenv("BEARER_TOKEN_FILE")
    if who in ("prefix", "expired"):
        scope, lifetime = ("/emb", 3600) if who == "prefix" else ("/embargo", -60)
        everything = f"storage.read:{scope} storage.read:/cms"
        token.touch(0o600)
        token.write_text(site.token(scope=everything, lifetime=lifetime))
        monkeypatch.setenv("BEARER_TOKEN_FILE", str(token))
    before = site.monitoring.read_text().count("embargo")
    run = again.run(config=embargoed.config, fails=True)
    assert "remedy:" in run.output
    assert run.rules() == set(), "a job was started"
    assert not again.path("dimuon", "units").exists()
    assert site.monitoring.read_text().count("embargo") == before


def test_a_cache_that_serves_anybody_is_refused(
    embargoed: Embargoed, again: Workspace, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    site = embargoed.site
    (replica,) = [
        f["replica"] for u in embargoed.workspace.read("ledger.json")["units"] for f in u["files"]
    ]
    inside = urlsplit(replica).path.lstrip("/")
    # Somebody has put the file where everybody may read, with a cache in front.
    place = site.storage("open") / inside
    place.parent.mkdir(parents=True)
    shutil.copyfile(site.storage("fast") / inside, place)
    open_cache = site.url("ocache").rstrip("/")
    lake = lake_file(site, "embargo", tmp_path / "lake.yaml", embargo={"cache": open_cache})
    become(monkeypatch, site, "analyst")
    run = again.run(config=embargoed.config | {"lake": lake}, fails=True)
    assert "to anybody" in run.output
    assert not again.path("dimuon", "units").exists()


def test_what_the_lake_calls_embargoed_must_be_in_the_configuration(
    embargoed: Embargoed, workspace: Workspace, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    lock = embargoed.workspace.read("dimuon", "inputs.lock.json")
    did = lock["datasets"][DIMUON]["did"]
    lake = lake_file(
        embargoed.site,
        "stream",
        tmp_path / "lake.yaml",
        inputs="registered",
        datasets={DIMUON: did},
    )
    become(monkeypatch, embargoed.site, "analyst")
    config = SMALL | {"analyses": ["dimuon"], "lake": lake}
    run = workspace.run(config=config, fails=True)
    assert "embargoed: true" in run.output
    assert not workspace.path("dimuon", "units").exists()


def test_a_cache_between_workflows_is_refused(
    embargoed: Embargoed, again: Workspace, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    become(monkeypatch, embargoed.site, "analyst", SNAKEMAKE_OUTPUT_CACHE=str(tmp_path))
    run = again.run("--cache", config=embargoed.config, fails=True)
    assert "between-workflow cache" in run.output
