"""Staged copies of a lake's files: shared, verified, and gone when nobody needs them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from lakes import (
    FAST,
    Script,
    client_of,
    dataset_of,
    make_files,
    no_secrets,  # noqa: F401  (a fixture)
    until,
)
from testbed.lake import Lake

from nanolake import sources, staging
from nanolake.errors import InputError
from nanolake.lake import content, upload

_UNIT = """
import json, sys
from nanolake import staging
job = json.loads(sys.stdin.readline())
with staging.staged(**job) as path:
    print("reads", path, flush=True)
    if sys.stdin.readline().strip() == "fail":
        raise SystemExit("the unit failed")
print("ends", flush=True)
"""


@pytest.fixture
def job(lake: Lake, tmp_path: Path) -> dict[str, Any]:
    """The arguments of `staged` for a file of the lake that two units read."""
    client, files = client_of(lake), make_files(tmp_path, 1, size=1_000_000)
    upload.put(client, files, dataset=dataset_of(files), rse=FAST)
    ((did, replicas),) = content.replicas_of(
        client, [dataset_of(files)], rse=None, schemes=["file"]
    ).items()
    file = {"path": did, **sources.stamp(files[0]["path"])}
    return {"file": file, "pfn": replicas[0]["pfn"], "scratch": str(tmp_path / "scratch"),
            "unit": "0", "users": 2}  # fmt: skip


@contextmanager
def unit(job: dict[str, Any], **other: Any) -> Iterator[Script]:
    """A process that stages the file and reads it until it is told to end."""
    with Script(_UNIT) as script:
        script.tell(json.dumps(job | other))
        yield script


def copies(job: dict[str, Any]) -> list[str]:
    return sorted(path.name for path in Path(job["scratch"]).rglob("input*"))


def test_two_units_share_a_copy_and_the_last_removes_it(job: dict[str, Any]) -> None:
    with unit(job) as first, unit(job, unit="1") as second:
        readings = [one.hear("") for one in (first, second)]
        while not all(line.startswith("reads") for line in readings):
            assert [line[:6] for line in readings].count("staged") == 1  # by one of them
            readings = [
                line if line.startswith("reads") else one.hear("reads")
                for one, line in zip((first, second), readings, strict=True)
            ]
        assert readings[0] == readings[1]  # both read, at the same time
        path = readings[0].removeprefix("reads ")
        assert sources.stamp(path) == {key: job["file"][key] for key in ("bytes", "adler32")}
        first.tell()
        first.hear("ends")
        assert copies(job) == ["input.root"]
        second.tell()
        second.hear("ends")
    assert copies(job) == []
    assert staging.clean(job["scratch"]) == 0


def test_copy_is_kept_after_a_failure(job: dict[str, Any]) -> None:
    with unit(job, users=1) as failing:
        failing.hear("reads")
        failing.tell("fail")
        assert failing.rest() == (1, "the unit failed\n")
    assert copies(job) == ["input.root"]
    with unit(job, users=1) as again:
        assert again.hear("").startswith("reads")  # nothing is copied
        again.tell()
        again.hear("ends")
    assert copies(job) == []


def test_clean_leaves_what_is_read(job: dict[str, Any]) -> None:
    with unit(job) as reader:
        reader.hear("reads")
        assert staging.clean(job["scratch"]) == 1
        assert copies(job) == ["input.root"]
        reader.tell("fail")
        reader.rest()
    assert copies(job) == ["input.root"]
    assert staging.clean(job["scratch"]) == 0
    assert not staging.folder(job["scratch"]).exists()


def test_copying_is_killed_and_done_again(job: dict[str, Any], tmp_path: Path) -> None:
    big = tmp_path / "big"
    with big.open("wb") as stream:
        stream.truncate(500_000_000)
    file = {"path": job["file"]["path"], **sources.stamp(big)}
    job |= {"file": file, "pfn": f"file://{big}", "users": 1}
    with unit(job) as victim:
        until(lambda: copies(job))
        victim.process.kill()
        victim.rest()
    assert copies(job) == ["input.part"]
    with unit(job) as again:
        assert again.hear("").startswith("staged")
        again.hear("reads")
        assert copies(job) == ["input.root"]
        again.tell()
        again.hear("ends")
    assert copies(job) == []


def test_scratch_that_is_too_small(job: dict[str, Any]) -> None:
    job["file"]["bytes"] = 10**15
    with pytest.raises(InputError) as caught, staging.staged(**job):
        raise AssertionError("it was staged")
    for word in (job["file"]["path"], "do not fit into scratch", "--config scratch=DIR"):
        assert word in str(caught.value)
    assert copies(job) == []


def test_damaged_replica_is_not_staged(job: dict[str, Any]) -> None:
    path = Path(sources.local_path(job["pfn"]))
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    with pytest.raises(InputError) as caught, staging.staged(**job):
        raise AssertionError("it was staged")
    for word in (job["file"]["path"], job["pfn"], "adler32", "the catalogue says"):
        assert word in str(caught.value)
    assert copies(job) == []
