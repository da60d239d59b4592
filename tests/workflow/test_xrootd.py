"""Runs on a lake whose storage is XRootD: the same bytes in every way, published and verified."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from testbed import xrootd
from testbed.errors import TestbedError
from testbed.xrootd import Site, install
from workspace import DIMUON, SMALL, Workspace

from nanolake import sources

ONE = SMALL | {"analyses": ["dimuon"]}
PRODUCTS = ("dimuon/histograms.root", f"dimuon/ntuples/{DIMUON}.root")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A site whose lake runs."""
    try:
        install.folder()
    except TestbedError as error:
        pytest.skip(str(error))
    found = xrootd.up(tmp_path_factory.mktemp("site") / "site")
    xrootd.lake.up(found)
    yield found
    xrootd.down(found.folder, delete=True)


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A working folder with the results of a run without a lake."""
    workspace = Workspace.new(tmp_path_factory.mktemp("xrootd") / "work")
    workspace.run(config=ONE)
    return workspace


def published(site: Site, receipt: dict[str, Any]) -> None:
    """Everything of a receipt is on the cheap origin, byte for byte, and has been read back."""
    assert receipt["rse_expression"] == "QOS=CHEAP-ANALYSIS"
    stored = {path.name: path for path in (site.storage("cheap") / "lake").rglob("*")}
    for file in receipt["files"]:
        assert file["rse"] == "CHEAP-ANALYSIS" and file["read_back"]
        stamp = sources.stamp(stored[file["did"].partition(":")[2]])
        assert stamp == {key: file[key] for key in ("bytes", "adler32")}
    assert not [name for name in stored if "upload" in name]


@pytest.fixture
def analyst(site: Site, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Be the analyst, with a credential of one kind alone."""

    def become(kind: str) -> None:
        for name in ("BEARER_TOKEN", "BEARER_TOKEN_FILE", "X509_USER_PROXY"):
            monkeypatch.delenv(name, raising=False)
        for name, value in site.environment("analyst", kind=kind).items():
            monkeypatch.setenv(name, value)

    return become


def run(site: Site, local: Workspace, lake: str, *targets: str) -> dict[str, Any]:
    """Run on a lake of the site into a folder of its name: what its one unit has read.

    What it makes must be what is made without a lake.
    """
    # A campaign of its own: else what the first one published is found and left alone.
    chosen = {"lake": str(site.folder / f"lakes/{lake}.yaml"), "results": lake, "campaign": lake}
    local.run(*targets, config=ONE | chosen)
    for product in PRODUCTS:
        assert (local.folder / lake / product).read_bytes() == local.path(product).read_bytes()
    (file,) = local.read("..", lake, "dimuon/units", DIMUON, "0000.json")["files"]
    assert (file["rse"], file["failed"]) == ("FAST", [])
    return dict(file)


@pytest.mark.parametrize(
    ("lake", "access", "server"), [("stream", "stream", "root"), ("https", "stage", "https")]
)
def test_same_bytes_published_and_verified(
    site: Site,
    local: Workspace,
    analyst: Callable[[str], None],
    lake: str,
    access: str,
    server: str,
) -> None:
    analyst("token")
    file = run(site, local, lake)
    assert file["access"] == access
    assert file["replica"].startswith(site.url("fast", scheme=server))
    receipts = [local.read("..", lake, part, "published.json") for part in ("dimuon", ".")]
    for receipt in receipts:
        published(site, receipt)
    assert set(PRODUCTS) <= {file["path"] for file in receipts[0]["files"]}


@pytest.mark.parametrize(
    ("lake", "kind", "access", "server"),
    [
        ("stage", "token", "stage", "fast"),
        ("x509", "x509", "stream", "fast"),
        ("cache", "token", "stream", "gcache"),
    ],
)
def test_same_bytes_in_other_ways(
    site: Site,
    local: Workspace,
    analyst: Callable[[str], None],
    lake: str,
    kind: str,
    access: str,
    server: str,
) -> None:
    analyst(kind)
    file = run(site, local, lake, "dimuon")
    assert file["access"] == access and file["replica"].startswith(site.url(server))
