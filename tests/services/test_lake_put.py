"""Put: files and their dataset into a real lake, whatever an earlier attempt has left there."""

from __future__ import annotations

import json
import os
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from lakes import (
    CHEAP,
    FAST,
    Meanwhile,
    actions,
    assert_whole,
    bytes_of,
    client_of,
    dataset_of,
    make_files,
    no_secrets,  # noqa: F401  (a fixture)
    place,
    plain,
    publisher,
    refused,
    states,
    until,
)
from testbed.lake import Lake

from nanolake import sources
from nanolake.lake import rules, upload
from nanolake.lake.client import Did


@pytest.fixture
def client(lake: Lake) -> Any:
    return client_of(lake)


def put(client: Any, files: list[dict[str, Any]], **options: Any) -> dict[str, Any]:
    return upload.put(client, files, **{"dataset": dataset_of(files), "rse": "QOS=FAST", **options})


def register(client: Any, file: dict[str, Any], state: str = "A", rse: str = FAST) -> None:
    stamp = sources.stamp(file["path"])
    client.add_replicas(rse, [{**plain(file["did"]), **stamp, "state": state}])


def store(client: Any, file: dict[str, Any], content: bytes | None = None) -> Path:
    path = place(client, file["did"])
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(Path(file["path"]).read_bytes() if content is None else content)
    return path


# --- once and again ---------------------------------------------------------------------------


def test_new_files_then_again(lake: Lake, client: Any, tmp_path: Path) -> None:
    files = make_files(tmp_path, 25)
    first = put(client, files, lifetime=2.0, metadata={"luminosity": 11.5}, comment="a test")
    assert actions(first) == ["uploaded"] * 25
    assert first["rse_expression"] == "QOS=FAST" and first["expires_at"]
    assert_whole(lake, client, first["dataset"], files)
    changed = {path: path.stat().st_mtime_ns for path in bytes_of(lake, dataset_of(files)[:-8])}

    again = put(client, files, lifetime=2.0, metadata={"luminosity": 11.5}, comment="a test")
    assert actions(again) == ["present"] * 25
    assert [again[key] for key in ("dataset", "rule")] == [
        first[key] for key in ("dataset", "rule")
    ]
    assert_whole(lake, client, first["dataset"], files)
    assert {path: path.stat().st_mtime_ns for path in changed} == changed

    rule = client.get_replication_rule(first["rule"])
    assert (rule["comments"], rule["copies"], rule["account"]) == ("a test", 1, "analyst")
    did = Did.parse(first["dataset"])
    assert client.get_metadata(*did, plugin="JSON") == {"luminosity": 11.5}
    events = {row["name"]: row["events"] for row in client.list_files(*did)}
    assert events == {Did.parse(file["did"]).name: file["events"] for file in files}


def test_dataset_exists_and_its_rule_was_deleted(lake: Lake, client: Any, tmp_path: Path) -> None:
    files = make_files(tmp_path, 3)
    first = put(client, files)
    client.update_replication_rule(first["rule"], {"lifetime": 3600})
    rules.expire(client, first["rule"])
    until(lambda: not any(path.exists() for path in bytes_of(lake, dataset_of(files)[:-8])))
    again = put(client, files)
    assert again["rule"] != first["rule"]
    assert actions(again) == ["uploaded"] * 3
    assert_whole(lake, client, first["dataset"], files)


def test_expired_rule_that_is_still_there_is_not_taken_for_one(
    lake: Lake, client: Any, tmp_path: Path
) -> None:
    files = make_files(tmp_path, 3)
    first = put(client, files)
    rules.expire(client, first["rule"])  # the daemons remove it within a second or two
    again = put(client, files)
    assert again["rule"] != first["rule"]
    until(lambda: client.get_replication_rule(again["rule"])["state"] == "OK")


def test_lost_attachments_are_restored(lake: Lake, client: Any, tmp_path: Path) -> None:
    files = make_files(tmp_path, 5)
    put(client, files)
    # Else no rule keeps them, and the lake's daemons may delete them before they are put again.
    put(client, files[1:3], dataset=f"{dataset_of(files)}.kept")
    client.detach_dids(*Did.parse(dataset_of(files)), [plain(file["did"]) for file in files[1:3]])
    assert actions(put(client, files)) == ["present"] * 5
    assert_whole(lake, client, dataset_of(files), files)


def test_a_file_that_is_elsewhere_is_uploaded_here(lake: Lake, client: Any, tmp_path: Path) -> None:
    files = make_files(tmp_path, 2)
    put(client, files[:1], dataset=f"{dataset_of(files)}.cheap", rse=CHEAP)
    assert actions(put(client, files, rse=FAST)) == ["uploaded", "uploaded"]
    assert_whole(lake, client, dataset_of(files), files)
    assert states(client, files[0]["did"]) == {FAST: "AVAILABLE", CHEAP: "AVAILABLE"}


# --- other content ----------------------------------------------------------------------------


def test_other_content_is_refused_before_a_byte_moves(
    lake: Lake, client: Any, tmp_path: Path
) -> None:
    files = make_files(tmp_path, 3)
    put(client, files[:1], dataset=f"{dataset_of(files)}.0")
    before = Path(files[0]["path"]).read_bytes()
    Path(files[0]["path"]).write_bytes(os.urandom(len(before)))
    with refused(files[0]["did"], "the name is taken by other content", "choose another name"):
        put(client, files)
    assert [path.read_bytes() for path in bytes_of(lake, dataset_of(files)[:-8])] == [before]
    assert list(client.list_dids("user.analyst", {"name": Did.parse(dataset_of(files)).name})) == []


@pytest.mark.parametrize("rse", [FAST, CHEAP])
def test_other_content_that_appears_meanwhile_is_left_alone(
    lake: Lake, client: Any, tmp_path: Path, rse: str
) -> None:
    files = make_files(tmp_path / "ours", 2)
    theirs = {**files[0], "path": str(tmp_path / "theirs")}
    Path(theirs["path"]).write_bytes(b"theirs")
    others = client_of(lake, "root")

    def appears() -> None:
        put(others, [theirs], dataset=f"{dataset_of(files)}.theirs", rse=rse)

    slow = Meanwhile(client, "add_dataset", appears)  # after we have looked
    with refused("the name is taken by other content", "choose another name"):
        put(slow, files)
    assert_whole(lake, client, f"{dataset_of(files)}.theirs", [theirs], rse)
    assert states(client, files[0]["did"]) == {rse: "AVAILABLE"}
    assert [path.read_bytes() for path in bytes_of(lake, files[0]["did"])] == [b"theirs"]
    assert states(client, files[1]["did"]) == {}


# --- leftovers --------------------------------------------------------------------------------


@pytest.mark.parametrize(("bytes_there", "action"), [(True, "repaired"), (False, "repaired")])
def test_copying_leftover(
    lake: Lake, client: Any, tmp_path: Path, bytes_there: bool, action: str
) -> None:
    files = make_files(tmp_path, 2)
    register(client, files[0], "C")
    path = store(client, files[0]) if bytes_there else place(client, files[0]["did"])
    stamp = path.stat().st_mtime_ns if bytes_there else None
    assert states(client, files[0]["did"]) == {FAST: "COPYING"}
    assert actions(put(client, files)) == [action, "uploaded"]
    assert stamp in (None, path.stat().st_mtime_ns)  # not uploaded again
    assert_whole(lake, client, dataset_of(files), files)


@pytest.mark.parametrize(
    ("content", "action"), [(None, "present"), (b"cut", "uploaded"), (b"", "uploaded")]
)
def test_bytes_that_nobody_has_registered(
    lake: Lake, client: Any, tmp_path: Path, content: bytes | None, action: str
) -> None:
    files = make_files(tmp_path, 2)
    store(client, files[0], content)
    assert actions(put(client, files)) == [action, "uploaded"]
    assert_whole(lake, client, dataset_of(files), files)


def test_replica_that_is_damaged_on_storage_is_not_called_good(
    lake: Lake, client: Any, tmp_path: Path
) -> None:
    """A copy that was registered and whose bytes were lost after it: COPYING, and damaged."""
    files = make_files(tmp_path, 1)
    register(client, files[0], "C")
    store(client, files[0], b"damaged")
    assert actions(put(client, files)) == ["repaired"]
    assert_whole(lake, client, dataset_of(files), files)


# --- many at once -----------------------------------------------------------------------------


@pytest.mark.parametrize("which", ["lake", "postgresql_lake"])
def test_eight_publishers(
    which: str,
    request: pytest.FixtureRequest,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    lake: Lake = request.getfixturevalue(which)
    parts = [make_files(tmp_path, 20) for _ in range(8)]
    dataset, options = dataset_of(parts[0]), {"rse": "QOS=FAST", "metadata": {"luminosity": 1.5}}
    with ExitStack() as stack:
        crowd = [
            stack.enter_context(publisher(lake, files=part, dataset=dataset, **options))
            for part in parts
        ]
        for one in crowd:
            one.hear("ready")
        start = time.monotonic()
        for one in crowd:
            one.tell()
        receipts = [json.loads(one.hear("{")) for one in crowd]
        seconds = time.monotonic() - start
    assert [actions(receipt) for receipt in receipts] == [["uploaded"] * 20] * 8
    assert_whole(lake, client_of(lake), dataset, [file for part in parts for file in part])
    with capfd.disabled():
        print(f"\n{which}: 160 of 160 files of 8 publishers, {160 / seconds:.0f} files/s")


@pytest.mark.parametrize("which", ["lake", "postgresql_lake"])
def test_publishers_of_the_same_files(
    which: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    lake: Lake = request.getfixturevalue(which)
    files = make_files(tmp_path, 30)
    job = {"files": files, "dataset": dataset_of(files), "rse": "QOS=FAST", "metadata": {"a": 1}}
    with ExitStack() as stack:
        crowd = [stack.enter_context(publisher(lake, **job)) for _ in range(3)]
        for one in crowd:
            one.hear("ready")
        for one in crowd:
            one.tell()
        receipts = [json.loads(one.hear("{")) for one in crowd]
    assert len({receipt["rule"] for receipt in receipts}) == 1
    assert_whole(lake, client_of(lake), dataset_of(files), files)


def test_publisher_killed_in_the_middle(lake: Lake, client: Any, tmp_path: Path) -> None:
    files = make_files(tmp_path, 50)
    job = {"files": files, "dataset": dataset_of(files), "rse": "QOS=FAST"}
    with publisher(lake, **job) as victim:
        victim.hear("ready")
        victim.tell()
        victim.hear("uploaded")
        victim.process.kill()
    again = put(client, files)
    assert {"present", "uploaded"} <= set(actions(again))
    assert_whole(lake, client, dataset_of(files), files)
