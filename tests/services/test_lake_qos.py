"""Rules move and delete bytes on real storage."""

from __future__ import annotations

import fcntl
import signal
from pathlib import Path
from typing import Any

import psutil
import pytest
from lakes import (
    CHEAP,
    FAST,
    client_of,
    dataset_of,
    make_files,
    no_secrets,  # noqa: F401  (a fixture)
    place,
    refused,
    states,
    until,
)
from testbed import lake as launcher
from testbed.lake import Lake

from nanolake import sources
from nanolake.lake import rules, upload


@pytest.fixture
def client(lake: Lake) -> Any:
    return client_of(lake)


def put(client: Any, files: list[dict[str, Any]]) -> dict[str, Any]:
    return upload.put(client, files, dataset=dataset_of(files), rse="QOS=FAST")


def test_there_and_back_then_deleted(client: Any, tmp_path: Path) -> None:
    files = make_files(tmp_path, 3)
    dataset = put(client, files)["dataset"]
    for here, there, quality in ((FAST, CHEAP, "CHEAP-ANALYSIS"), (CHEAP, FAST, "FAST")):
        rule = rules.move(client, dataset, f"QOS={quality}", lifetime=None, timeout=60)
        until(lambda here=here: not any(place(client, f["did"], here).exists() for f in files))
        for file in files:
            until(lambda f=file, rse=there: states(client, f["did"]) == {rse: "AVAILABLE"})
            assert sources.stamp(place(client, file["did"], there)) == sources.stamp(file["path"])
        until(lambda rule=rule: [row["id"] for row in rules.rules_of(client, dataset)] == [rule])
    rules.expire(client, rule)
    until(lambda: not any(place(client, file["did"]).exists() for file in files))
    assert rules.rules_of(client, dataset) == []


def test_back_before_the_old_rule_is_gone(client: Any, tmp_path: Path) -> None:
    """An expired rule at the target must not be taken for one that keeps the data."""
    files = make_files(tmp_path, 2)
    dataset = put(client, files)["dataset"]
    rules.move(client, dataset, "QOS=CHEAP-ANALYSIS", lifetime=None, timeout=60)
    last = rules.move(client, dataset, "QOS=FAST", lifetime=None, timeout=60)
    until(lambda: [row["id"] for row in rules.rules_of(client, dataset)] == [last])
    until(lambda: not any(place(client, file["did"], CHEAP).exists() for file in files))
    for file in files:
        assert sources.stamp(place(client, file["did"])) == sources.stamp(file["path"])


def test_move_that_nobody_carries_out(lake: Lake, client: Any, tmp_path: Path) -> None:
    files = make_files(tmp_path, 2)
    receipt = put(client, files)
    (pid,) = [pid for name, _, pid in launcher.programs(lake.folder) if name == "daemons"]
    daemons = psutil.Process(pid)
    # Not while they hold the database, which the server needs, too.
    with (lake.folder / "run/database.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        daemons.send_signal(signal.SIGSTOP)
    try:
        with refused("not done after 1 s: 0 files there, 2 to come", "nanolake lake rules"):
            rules.move(client, receipt["dataset"], "QOS=CHEAP-ANALYSIS", lifetime=None, timeout=1)
        (old,) = [
            r for r in rules.rules_of(client, receipt["dataset"]) if r["id"] == receipt["rule"]
        ]
        assert (old["state"], old["expires_at"]) == ("OK", None)  # it still keeps the data
    finally:
        daemons.send_signal(signal.SIGCONT)
    rules.move(client, receipt["dataset"], "QOS=CHEAP-ANALYSIS", lifetime=None, timeout=60)
    until(lambda: states(client, files[0]["did"]) == {CHEAP: "AVAILABLE"})


def test_move_to_nowhere(client: Any, tmp_path: Path) -> None:
    dataset = put(client, make_files(tmp_path, 1))["dataset"]
    with refused(f"{dataset} on QOS=NOWHERE", "no RSE matches", "rucio rse list"):
        rules.move(client, dataset, "QOS=NOWHERE", lifetime=None, timeout=1)
