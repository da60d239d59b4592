"""What caches have said, and how infrastructure did: sums that must be right."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path
from typing import Any

from nanolake import caches, infrastructure

URL = "root://cache:1094//lake/cms/a.root"


def record(lfn: str, detached: int, **counts: int) -> str:
    counted = {"b_hit": 0, "b_miss": 0, "b_bypass": 0} | counts
    return json.dumps({"event": "file_close", "lfn": lfn, "detach_t": detached, **counted}) + "\n"


def unit(started: float, *files: dict[str, Any], **figures: Any) -> dict[str, Any]:
    plain = {"did": "cms:a", "rse": "FAST", "access": "stream", "failed": [], "cache": None,
             "replica": "root://fast//lake/cms/a.root", "bytes": 100, "bytes_read": 40,
             "requests": 3}  # fmt: skip
    return {"started": started, "wall_seconds": 2.0, "cpu_seconds": 1.0, "read": 1000,
            "analysis": "dimuon", "files": [plain | file for file in files], **figures}  # fmt: skip


THROUGH = {"replica": URL, "cache": "root://cache:1094"}


def test_what_a_cache_said_is_summed_from_the_first_unit_on(tmp_path: Path):
    path = tmp_path / "pfc.jsonl"
    path.write_text(
        record("/lake/cms/a.root", 50, b_hit=999)  # of an earlier run
        + record("/lake/cms/a.root", 100, b_miss=70)
        + record("//lake/cms/a.root", 130, b_hit=60, b_bypass=1)
        + record("/lake/cms/other.root", 130, b_hit=5)
        + '{"event": "purge"}\n'
        + '{"half a li'
    )
    units = [unit(100.4, THROUGH), unit(120.0, THROUGH), unit(90.0, {})]
    assert caches.activity(str(path), units) == [
        {"cache": "root://cache:1094", "did": "cms:a", "told": True}
        | {"hit": 60, "miss": 70, "bypass": 1}
    ]


def test_a_cache_is_waited_for_and_its_silence_is_told(tmp_path: Path):
    path = tmp_path / "pfc.jsonl"
    units = [unit(100.0, THROUGH)]
    assert not caches.activity(str(path), units, patience=0.1)[0]["told"]

    def tell() -> None:
        time.sleep(0.3)
        path.write_text(record("/lake/cms/a.root", 101, b_hit=7))

    thread = threading.Thread(target=tell)
    thread.start()
    (entry,) = caches.activity(str(path), units, patience=30)
    thread.join()
    assert (entry["told"], entry["hit"]) == (True, 7)
    assert caches.activity(str(path), [unit(1.0, {})]) == []  # nothing was read through a cache


def test_storage_is_summed_by_source():
    bad = {"replica": "root://slow//x", "rse": "CHEAP", "cache": None, "problem": "gone"}
    staged = {"access": "stage", "failed": [bad]}
    rows = infrastructure.storage([unit(1, {}, THROUGH), unit(2, {}), unit(3, staged)])
    assert {row.pop("source"): list(row.values()) for row in rows} == {
        "FAST": [2, 200, 80, 6, 0],
        "FAST through root://cache:1094": [1, 100, 40, 3, 0],
        "FAST, staged": [1, 100, 40, 3, 0],
        "CHEAP, staged": [0, 0, 0, 0, 1],
    }
    local = unit(1, {"rse": None, "replica": "file.root", "requests": None})
    assert infrastructure.storage([local])[0]["source"] == "local files"


def test_caches_are_summed():
    told = [
        {"cache": "c", "did": "cms:a", "told": True, "hit": 1, "miss": 2, "bypass": 3},
        {"cache": "c", "did": "cms:b", "told": False, "hit": 0, "miss": 0, "bypass": 0},
    ]
    (row,) = infrastructure.caches(told)
    assert row == {"cache": "c", "files": 2, "silent": 1, "hit": 1, "miss": 2, "bypass": 3}


def test_pictures_are_pictures():
    units = [unit(1, {}), unit(2, THROUGH), unit(2.5, {}, analysis="higgs4l", wall_seconds=0)]
    shown = infrastructure.pictures(units)
    assert len(shown) == 3
    assert all(picture["data"].startswith("data:image/png;base64,iVBOR") for picture in shown)
    assert infrastructure.pictures([]) == []
    assert (infrastructure.rate(units[0]), infrastructure.efficiency(units[0])) == (500, 0.5)
