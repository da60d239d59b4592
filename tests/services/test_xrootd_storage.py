"""Files of a real lake on real XRootD: put, read back, staged, moved, deleted."""

from __future__ import annotations

import subprocess
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from lake_clients import LAKE_PYTHON
from lakes import actions, client_of, dataset_of, make_files, states, until
from storage_clients import ORIGINS, Client, on_storage, run
from testbed.lake import Lake
from testbed.xrootd import Site
from testbed.xrootd import lake as site_lake

from nanolake import sources
from nanolake.lake import content, rules

FAST, CHEAP = "FAST", "CHEAP-ANALYSIS"
SCHEMES = pytest.mark.parametrize("scheme", ["root", "https"])

_PUT = """give(upload.put(client(), job["files"], dataset=job["dataset"], rse=job["rse"],
                schemes=[job["scheme"]]))"""
_READ_BACK = """
for file in job["files"]:
    for scheme in job["schemes"]:
        rse = client().get_rse(file["rse"])
        storage.verified(rse, file, Path(job["folder"]), schemes=[scheme])
give("the same")
"""
_STAGE = """
with staging.staged(job["file"], job["pfn"], scratch=job["scratch"], unit="0", users=1) as path:
    give(sources.stamp(path))
"""


@pytest.fixture(scope="module")
def lake(site: Site) -> Lake:
    """The lake of the site; it goes with it."""
    return site_lake.up(site)


def put(site: Site, files: list[dict[str, Any]], scheme: str, **options: Any) -> Any:
    job = {"files": files, "dataset": dataset_of(files), "rse": FAST, "scheme": scheme}
    return run(site, _PUT, **job | options)


def name_of(files: list[dict[str, Any]]) -> str:
    """What the names of files have in common."""
    return dataset_of(files).partition(":")[2].removesuffix(".dataset")


def assert_whole(site: Site, files: list[dict[str, Any]], rse: str = FAST) -> None:
    """The storage of an RSE holds these files, and nothing that was begun."""
    there = {path.name: sources.stamp(path) for path in on_storage(site, rse, name_of(files))}
    assert there == {Path(file["path"]).name: sources.stamp(file["path"]) for file in files}


def place(site: Site, client: Any, did: str, rse: str = FAST) -> Path:
    """Where the storage of an RSE keeps, or would keep, a file."""
    (pfn,) = client.lfns2pfns(rse, [did], scheme="https", operation="write").values()
    return site.storage(ORIGINS[rse]) / "lake" / pfn.partition("/lake/")[2]


# --- put --------------------------------------------------------------------------------------


@SCHEMES
def test_put_read_back_and_put_again(site: Site, lake: Lake, tmp_path: Path, scheme: str) -> None:
    files = make_files(tmp_path, 5, size=300_000)
    first = put(site, files, scheme)
    assert actions(first) == ["uploaded"] * 5
    assert_whole(site, files)
    job = {"files": first["files"], "schemes": ["root", "https"], "folder": str(tmp_path)}
    assert run(site, _READ_BACK, **job) == "the same"
    again = put(site, files, scheme)
    assert actions(again) == ["present"] * 5 and again["rule"] == first["rule"]
    assert states(client_of(lake), files[0]["did"]) == {FAST: "AVAILABLE"}


@SCHEMES
@pytest.mark.parametrize(("left", "action"), [(None, "present"), (b"cut", "uploaded")])
def test_bytes_that_an_earlier_attempt_left(
    site: Site, lake: Lake, tmp_path: Path, scheme: str, left: bytes | None, action: str
) -> None:
    files = make_files(tmp_path, 1)
    path = place(site, client_of(lake), files[0]["did"])
    path.parent.mkdir(parents=True)
    path.write_bytes(Path(files[0]["path"]).read_bytes() if left is None else left)
    assert actions(put(site, files, scheme)) == [action]
    assert_whole(site, files)


@SCHEMES
def test_damage_on_storage_is_found_when_read_back(
    site: Site, lake: Lake, tmp_path: Path, scheme: str
) -> None:
    files = make_files(tmp_path, 1)
    receipt = put(site, files, scheme)
    (path,) = on_storage(site, FAST, name_of(files))
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    job = {"files": receipt["files"], "schemes": [scheme], "folder": str(tmp_path)}
    found = run(site, _READ_BACK, **job)
    assert found["error"] == "LakeError" and "read back, it has 20000 bytes" in found["said"]


@SCHEMES
def test_three_writers_of_the_same_files(
    site: Site, lake: Lake, tmp_path: Path, scheme: str
) -> None:
    files = make_files(tmp_path, 20)
    job = {"files": files, "dataset": dataset_of(files), "rse": FAST, "scheme": scheme}
    with ExitStack() as stack:
        crowd = [stack.enter_context(Client(site, _PUT, **job)) for _ in range(3)]
        for one in crowd:
            one.hear("ready")
        for one in crowd:
            one.start()
        receipts = [one.given() for one in crowd]
    assert len({receipt["rule"] for receipt in receipts}) == 1
    assert_whole(site, files)


@SCHEMES
def test_writer_is_killed(site: Site, lake: Lake, tmp_path: Path, scheme: str) -> None:
    files = make_files(tmp_path, 40, size=4_000_000)
    job = {"files": files, "dataset": dataset_of(files), "rse": FAST, "scheme": scheme}
    with Client(site, _PUT, **job) as victim:
        victim.hear("ready")
        victim.start()
        until(lambda: on_storage(site, FAST, name_of(files)))
        victim.process.kill()
    sizes = {path.stat().st_size for path in on_storage(site, FAST, name_of(files))
             if "upload" not in path.name}  # fmt: skip
    assert sizes <= {4_000_000}  # never half a file under a file's name
    again = put(site, files, scheme)
    assert "uploaded" in actions(again)
    left = [path for path in on_storage(site, FAST, name_of(files)) if "upload" in path.name]
    for path in left:  # harms nobody; over root:// the server removes it after ten minutes
        path.unlink()
    assert len(left) <= 4
    assert_whole(site, files)


@SCHEMES
def test_full_storage(site: Site, lake: Lake, tmp_path: Path, scheme: str) -> None:
    files, space = make_files(tmp_path, 2), site.storage("cheap") / "space"
    space.mkdir(exist_ok=True)
    site.stop("cheap")
    site.start("cheap", extra=f"oss.space public {space}/\noss.alloc 1000000g\n")
    try:
        found = put(site, files, scheme, rse=CHEAP)
        assert found["error"] == "LakeError"
        assert "the storage is full" in found["said"] and "free space on the RSE" in found["said"]
        assert on_storage(site, CHEAP, name_of(files)) == []
    finally:
        site.stop("cheap")
        site.start("cheap", extra="")
    assert actions(put(site, files, scheme, rse=CHEAP)) == ["repaired"] * 2
    assert_whole(site, files, CHEAP)


@SCHEMES
@pytest.mark.parametrize("user", ["guest", ""])
def test_storage_refuses_the_credential(
    site: Site, lake: Lake, tmp_path: Path, scheme: str, user: str
) -> None:
    """The lake's account may, the token may not: it is read-only, or there is none."""
    files = make_files(tmp_path, 1)
    receipt = {**files[0], **sources.stamp(files[0]["path"])}
    code = """give(storage.store(job["rse"], job["file"], schemes=[job["scheme"]]))"""
    rse = client_of(lake).get_rse(FAST)
    found = run(site, code, user=user, rse=rse, file=receipt, scheme=scheme)
    assert found["error"] == "CredentialError"
    assert "the storage refuses" in found["said"] and "nanolake doctor" in found["said"]
    assert on_storage(site, FAST, name_of(files)) == []
    if user:
        token = (site.folder / "credentials" / f"{user}.token").read_text().strip()
        assert not any(part in found["said"] for part in token.split("."))


# --- staged -----------------------------------------------------------------------------------


def replica_of(lake: Lake, files: list[dict[str, Any]], scheme: str) -> dict[str, Any]:
    """The arguments of `staged` for the first of some files."""
    found = content.replicas_of(client_of(lake), [files[0]["did"]], rse=FAST, schemes=[scheme])
    file = {"path": files[0]["did"], **sources.stamp(files[0]["path"])}
    return {"file": file, "pfn": found[files[0]["did"]][0]["pfn"]}


@pytest.fixture(scope="module")
def stored(site: Site, lake: Lake, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A file of 5 MB in the public scope."""
    files = make_files(tmp_path_factory.mktemp("stored"), 1, scope="cms", size=5_000_000)
    put(site, files, "root")
    return files


@SCHEMES
@pytest.mark.parametrize("kind", ["token", "x509"])
def test_staged(
    site: Site, lake: Lake, stored: Any, tmp_path: Path, scheme: str, kind: str
) -> None:
    job = replica_of(lake, stored, scheme) | {"scratch": str(tmp_path)}
    found = run(site, _STAGE, kind=kind, **job)
    assert found == sources.stamp(stored[0]["path"])


def test_staged_through_a_cache(site: Site, lake: Lake, stored: Any, tmp_path: Path) -> None:
    cache = site.url("gcache").rstrip("/")
    found = content.replicas_of(
        client_of(lake), [stored[0]["did"]], rse=FAST, schemes=["root", "https"], cache=cache
    )[stored[0]["did"]]
    through, direct, https = found
    assert through["cache"] == cache and through["pfn"].startswith(f"{cache}//lake/cms/")
    assert "cache" not in direct and direct["pfn"].startswith(f"{site.url('fast')}/lake/cms/")
    assert https["pfn"].startswith("https://")
    job = {**replica_of(lake, stored, "root"), "pfn": through["pfn"], "scratch": str(tmp_path)}
    assert run(site, _STAGE, user="", **job) == sources.stamp(stored[0]["path"])


@SCHEMES
def test_what_cannot_be_staged(
    site: Site, lake: Lake, stored: Any, tmp_path: Path, scheme: str
) -> None:
    job = replica_of(lake, stored, scheme) | {"scratch": str(tmp_path)}
    missing = run(site, _STAGE, **job | {"pfn": job["pfn"] + "x"})
    assert missing["error"] == "InputError" and "no such file" in missing["said"]
    assert job["pfn"] + "x" in missing["said"]
    down = run(site, _STAGE, **job | {"pfn": f"{scheme}://localhost:1//lake/cms/x"})
    assert down["error"] == "InputError" and "another replica is tried" in down["said"]
    other = run(site, _STAGE, **job | {"file": {**job["file"], "adler32": "00000001"}})
    assert other["error"] == "InputError" and "the catalogue says 00000001" in other["said"]
    nobody = run(site, _STAGE, user="", **job)
    assert nobody["error"] == "CredentialError" and "nanolake doctor" in nobody["said"]
    assert not [path for path in tmp_path.rglob("*") if "input" in path.name]


def test_hung_storage_is_given_up_within_a_minute(
    site: Site, lake: Lake, stored: Any, tmp_path: Path
) -> None:
    started = time.monotonic()
    with ExitStack() as stack:
        clients = []
        for scheme in ("root", "https"):
            job = replica_of(lake, stored, scheme) | {"scratch": str(tmp_path / scheme)}
            clients.append(stack.enter_context(Client(site, _STAGE, **job)))
            clients[-1].hear("ready")
        site.pause("fast")
        try:
            for one in clients:
                one.start()
            given = [one.given() for one in clients]
        finally:
            site.resume("fast")
    assert [one["error"] for one in given] == ["InputError"] * 2
    assert time.monotonic() - started < 60


# --- moved by storage itself ------------------------------------------------------------------


def daemons_say(lake: Lake, name: str) -> list[str]:
    """What the daemons have logged of the files of a name."""
    lines = (lake.folder / "log/daemons.log").read_text().splitlines()
    return [line for line in lines if name in line]


def test_rule_moves_by_third_party_copy_and_the_reaper_deletes(
    site: Site, lake: Lake, tmp_path: Path
) -> None:
    files = make_files(tmp_path, 3, size=1_000_000)
    dataset, client = put(site, files, "root")["dataset"], client_of(lake)
    for here, there in ((FAST, CHEAP), (CHEAP, FAST)):
        rules.move(client, dataset, there, lifetime=None, timeout=60)
        assert_whole(site, files, there)
        until(lambda here=here: not on_storage(site, here, name_of(files)))
        until(lambda rse=there: states(client, files[0]["did"]) == {rse: "AVAILABLE"})
    done = [line for line in daemons_say(lake, name_of(files)) if "third-party copy" in line]
    assert len(done) == 6
    (rule,) = rules.rules_of(client, dataset)
    rules.expire(client, rule["id"])
    until(lambda: not on_storage(site, FAST, name_of(files)))


def test_corrupted_source_is_not_copied_on(site: Site, lake: Lake, tmp_path: Path) -> None:
    files = make_files(tmp_path, 1)
    dataset, client = put(site, files, "root")["dataset"], client_of(lake)
    (path,) = on_storage(site, FAST, name_of(files))
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    rules.add(client, dataset, CHEAP)
    until(lambda: any("the catalogue says" in line for line in daemons_say(lake, name_of(files))))
    assert "adler32" in next(x for x in daemons_say(lake, name_of(files)) if "catalogue" in x)
    until(lambda: not on_storage(site, CHEAP, name_of(files)))
    assert states(client, files[0]["did"]).get(CHEAP) != "AVAILABLE"


def test_storage_without_third_party_copy_is_relayed_to(
    site: Site, lake: Lake, stored: Any
) -> None:
    source = replica_of(lake, stored, "https")
    target = site.url("open", scheme="http", path="/lake/cms/relayed")
    code = (
        "import sys; from testbed.rucio import webdav; print(webdav.copy_verified(*sys.argv[1:3],"
    )
    code += " int(sys.argv[3]), sys.argv[4]))"
    stamp = source["file"]
    environment = {
        "RUCIO_CONFIG": str(lake.folder / "etc/rucio.cfg"),
        "PYTHONPATH": str(lake.folder / "run/python"),
        "BEARER_TOKEN_FILE": str(site.folder / "credentials/lake.token"),
        "X509_CERT_DIR": str(site.folder / "authority/certificates"),
    }
    arguments = [source["pfn"], target, str(stamp["bytes"]), stamp["adler32"]]
    done = subprocess.run(
        [LAKE_PYTHON, "-c", code, *arguments], env=environment, cwd=lake.folder,
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.splitlines()[-1] == "relay"
    there = list(site.storage("open").rglob("relayed*"))
    assert [sources.stamp(path) for path in there] == [sources.stamp(stored[0]["path"])]
