"""The catalogue and the input lock of a real lake, and replicas that fail while they are read."""

from __future__ import annotations

import os
import time
import uuid
from pathlib import Path
from typing import Any

import pytest
from lakes import (
    CHEAP,
    FAST,
    SAMPLE,
    Books,
    client_of,
    dataset_of,
    events_files,
    make_files,
    no_secrets,  # noqa: F401  (a fixture)
    place,
    plain,
    refused,
    until,
)
from testbed.lake import Lake

from nanolake import sources
from nanolake.errors import InputError
from nanolake.lake import session, upload
from nanolake.lake.client import Did


@pytest.fixture
def client(lake: Lake) -> Any:
    return client_of(lake)


def put(client: Any, files: list[dict[str, Any]], rse: str = FAST) -> str:
    return str(upload.put(client, files, dataset=dataset_of(files), rse=rse)["dataset"])


def known_events(client: Any, dataset: str) -> list[int | None]:
    rows = client.list_files(*Did.parse(dataset))
    return [row["events"] for row in sorted(rows, key=lambda row: row["name"])]


# --- events -----------------------------------------------------------------------------------


def test_events_are_read_once_and_then_recorded(
    lake: Lake, client: Any, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    files = events_files(tmp_path, 2000, 3000)
    dataset = put(client, files)
    assert known_events(client, dataset) == [None, None]
    books = Books(lake, tmp_path, dataset)
    lock = books.make()
    rows = [{"did": f["did"], **sources.stamp(f["path"])} for f in files]
    expected = [{**row, "events": n} for row, n in zip(rows, (2000, 3000), strict=True)]
    assert lock["datasets"][SAMPLE]["files"] == expected
    assert lock["datasets"][SAMPLE]["did"] == dataset
    assert (lock["lake"], lock["host"]) == ("embedded", lake.url)
    assert known_events(client, dataset) == [2000, 3000]
    assert capfd.readouterr().out.count("read from the file") == 2

    # Whoever comes next needs no file: its replicas may even be damaged.
    place(client, files[0]["did"]).write_bytes(b"")
    (tmp_path / "next").mkdir()
    assert Books(lake, tmp_path / "next", dataset).make() == lock
    assert "read from the file" not in capfd.readouterr().out


def test_account_that_may_not_record_events(
    lake: Lake, client: Any, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    files = events_files(tmp_path, 2000)
    dataset = put(client, files)
    lock = Books(lake, tmp_path, dataset, account="guest").make()
    assert [file["events"] for file in lock["datasets"][SAMPLE]["files"]] == [2000]
    assert known_events(client, dataset) == [None]
    assert "the account may not record the events" in capfd.readouterr().out


def test_events_are_read_from_the_replica_that_is_whole(
    lake: Lake, client: Any, tmp_path: Path
) -> None:
    files = events_files(tmp_path, 2000)
    dataset = put(client, files)
    put(client, files, CHEAP)
    place(client, files[0]["did"], FAST).write_bytes(b"damaged")
    books = Books(lake, tmp_path, dataset)
    remedy = "tells the lake that a replica must be made again"
    with refused(files[0]["did"], FAST, "bytes", remedy, kind=InputError):
        books.make(rse=FAST)
    assert not (tmp_path / "inputs.lock.json").exists()
    assert books.make(rse=None)["datasets"][SAMPLE]["files"][0]["events"] == 2000


# --- the lock ---------------------------------------------------------------------------------


@pytest.mark.parametrize("change", ["added", "removed", "replaced", "counted anew"])
def test_changed_lake_is_refused_until_it_is_accepted(
    lake: Lake, client: Any, tmp_path: Path, change: str
) -> None:
    files = make_files(tmp_path, 4, scope="cms")
    dataset = put(client, files[:3])
    books = Books(lake, tmp_path, dataset)
    lock = books.make()
    assert books.make() == lock
    path = str(tmp_path / "inputs.lock.json")
    assert session.check(client, [path], missing=False) == 3

    if change == "added":
        upload.put(client, files[3:], dataset=dataset, rse=FAST)
        words = [f"{files[3]['did']}: new in {dataset}"]
    elif change == "removed":
        client.detach_dids(*Did.parse(dataset), [plain(files[1]["did"])])
        words = [f"{files[1]['did']}: no longer in {dataset}"]
    elif change == "replaced":
        client.detach_dids(*Did.parse(dataset), [plain(files[1]["did"])])
        upload.put(client, files[3:], dataset=dataset, rse=FAST)
        words = [f"{files[1]['did']}: no longer in {dataset}"]
        words += [f"{files[3]['did']}: new in {dataset}"]
    else:
        client.set_metadata(*Did.parse(files[2]["did"]), "events", 99)
        words = [f"{files[2]['did']}: events 2 in the lock, 99 in the lake"]
    remedy = "snakemake --config relock=true"
    before = {path.name: path.read_bytes() for path in tmp_path.glob("*.json")}
    with refused("its content differs from the input lock", *words, remedy):
        books.make()
    with refused("its content differs from the input lock", *words, remedy):
        session.check(client, [path], missing=False)
    assert {path.name: path.read_bytes() for path in tmp_path.glob("*.json")} == before

    new = books.make(relock=True)
    assert new != lock and books.make() == new


def test_dataset_that_is_missing_or_empty(lake: Lake, client: Any, tmp_path: Path) -> None:
    dataset = f"cms:{uuid.uuid4().hex[:8]}"
    words = (dataset, "the lake has no such dataset, or it is empty", "snakemake ingest")
    with refused(*words):
        Books(lake, tmp_path, dataset).make()
    client.add_dataset(*Did.parse(dataset))
    with refused(*words):
        Books(lake, tmp_path, dataset).make()
    with refused("no-scope", "it is no DID", "scope:name"):
        Books(lake, tmp_path, "no-scope").make()


def test_unknown_rse_expression(lake: Lake, client: Any, tmp_path: Path) -> None:
    dataset = put(client, make_files(tmp_path, 1, scope="cms"))
    with refused("replicas (QOS=NOWHERE)", "no RSE matches", "rucio rse list"):
        Books(lake, tmp_path, dataset).make(rse="QOS=NOWHERE")


# --- replicas ---------------------------------------------------------------------------------


def test_no_replica_where_it_is_wanted(lake: Lake, client: Any, tmp_path: Path) -> None:
    files = make_files(tmp_path, 2, scope="cms")
    dataset = put(client, files)
    with refused(files[1]["did"], f"no replica is available on {CHEAP}", "nanolake lake move"):
        Books(lake, tmp_path, dataset).make(rse=CHEAP)


def test_all_replicas_declared_lost(lake: Lake, client: Any, tmp_path: Path) -> None:
    files = make_files(tmp_path, 2, scope="cms")
    dataset = put(client, files)
    books = Books(lake, tmp_path, dataset)
    books.make()
    place(client, files[0]["did"]).unlink()
    root = client_of(lake, "root")
    root.declare_bad_file_replicas([{**plain(files[0]["did"]), "rse": FAST}], "lost")
    with refused(files[0]["did"], "no replica is available", "ingest it again"):
        books.make()
    # The lake's daemons give it up: no dataset has it any more, and its name is dead.
    until(lambda: len(known_events(client, dataset)) == 1)
    with refused(f"{files[0]['did']}: no longer in {dataset}"):
        books.make()
    with refused("given a file up as lost", "choose another scope or name"):
        put(client, files)


@pytest.mark.parametrize("access", ["stage", "stream"])
def test_corrupt_replica_is_left_for_the_next(
    lake: Lake, client: Any, tmp_path: Path, access: str
) -> None:
    files = events_files(tmp_path, 2000)
    did, dataset = files[0]["did"], put(client, files)
    put(client, files, CHEAP)
    books = Books(lake, tmp_path, dataset)
    books.make(rse=None)
    good = books.skim(access)
    assert [row["failed"] for row in good["files"]] == [[]]
    first, second = books.read("replicas")[did]
    assert {first["rse"], second["rse"]} == {FAST, CHEAP}

    damage(first)
    ledger = books.skim(access)
    (row,) = ledger["files"]
    assert (row["did"], row["rse"], row["replica"]) == (did, second["rse"], second["pfn"])
    assert row["access"] == access
    assert [(bad["rse"], bad["replica"]) for bad in row["failed"]] == [(first["rse"], first["pfn"])]
    assert "the catalogue says" in row["failed"][0]["problem"]
    assert [ledger[key] for key in ("read", "cutflow")] == [
        good[key] for key in ("read", "cutflow")
    ]

    Path(sources.local_path(second["pfn"])).unlink()
    before = (tmp_path / "ledger.json").read_bytes()
    with pytest.raises(InputError) as caught:
        books.skim(access)
    for word in (did, first["pfn"], second["pfn"], "No such file", "state update bad"):
        assert word in str(caught.value)
    assert (tmp_path / "ledger.json").read_bytes() == before
    assert not list(tmp_path.glob("scratch/*/*/*"))


@pytest.mark.parametrize("access", ["stage", "stream"])
def test_only_replica_is_corrupt(lake: Lake, client: Any, tmp_path: Path, access: str) -> None:
    files = events_files(tmp_path, 2000)
    books = Books(lake, tmp_path, put(client, files))
    books.make()
    ((replica,),) = books.read("replicas").values()
    damage(replica)
    with pytest.raises(InputError) as caught:
        books.skim(access)
    for word in (files[0]["did"], replica["pfn"], "the catalogue says", "state update bad"):
        assert word in str(caught.value)


def damage(replica: dict[str, str]) -> None:
    """Change a byte in the middle: same size, other content."""
    path = Path(sources.local_path(replica["pfn"]))
    with path.open("r+b") as stream:
        stream.seek(path.stat().st_size // 2)
        byte = stream.read(1)
        stream.seek(-1, os.SEEK_CUR)
        stream.write(bytes([byte[0] ^ 1]))


# --- many -------------------------------------------------------------------------------------


def test_ten_thousand_files(
    lake: Lake, client: Any, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    name = uuid.uuid4().hex[:8]
    dataset = f"cms:{name}"
    client.add_dataset("cms", name)
    dids = [
        {"scope": "cms", "name": f"{name}.{number}", "bytes": number, "adler32": f"{number:08x}",
         "meta": {"events": number}}
        for number in range(10_000)
    ]  # fmt: skip
    start = time.monotonic()
    for begin in range(0, len(dids), 100):
        part = {"scope": "cms", "name": name, "rse": FAST, "dids": dids[begin : begin + 100]}
        client.attach_dids_to_dids([part])
    registered = time.monotonic() - start
    start = time.monotonic()
    lock = Books(lake, tmp_path, dataset).make()
    seconds = time.monotonic() - start
    assert len(lock["datasets"][SAMPLE]["files"]) == 10_000
    with capfd.disabled():
        print(f"\n10,000 files catalogued in {seconds:.1f} s (registered in {registered:.1f} s)")
    assert seconds < 30
