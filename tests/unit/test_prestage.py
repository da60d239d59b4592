"""Inputs brought to where all nodes see them."""

import json

import pytest

from nanolake import prestage, sources
from nanolake.errors import InputError


@pytest.fixture
def given(tmp_path):
    """A file with a damaged and a good replica: its entry in the catalogue, its replicas."""
    good, bad = tmp_path / "good.root", tmp_path / "bad.root"
    good.write_bytes(bytes(range(256)) * 40)
    bad.write_bytes(bytes(range(255, -1, -1)) * 40)
    file = {"path": "cms:file", "events": 1, **sources.stamp(good)}
    replicas = [{"rse": "BAD", "pfn": f"file://{bad}"}, {"rse": "GOOD", "pfn": f"file://{good}"}]
    return file, replicas


def test_the_first_good_replica_is_brought_and_named(given, tmp_path, capsys):
    file, replicas = given
    found = prestage.bring(file, replicas, tmp_path / "fs")
    copy = tmp_path / "fs" / f"{file['adler32']}-{file['bytes']}.root"
    assert found == {
        "rse": "GOOD", "pfn": str(copy), "origin": replicas[1]["pfn"],
        "mtime_ns": copy.stat().st_mtime_ns,
    }  # fmt: skip
    assert "BAD" not in found and "the catalogue says" in capsys.readouterr().out
    assert copy.read_bytes() == (tmp_path / "good.root").read_bytes()


def test_a_copy_that_is_there_is_taken_unless_it_is_damaged(given, tmp_path):
    file, replicas = given
    first = prestage.bring(file, replicas, tmp_path / "fs")
    assert prestage.bring(file, [], tmp_path / "fs") == first | {"rse": None}
    copy = prestage.place(tmp_path / "fs", file)
    copy.write_bytes(b"x" * file["bytes"])
    with pytest.raises(InputError, match=r"none of its replicas can be copied"):
        prestage.bring(file, replicas[:1], tmp_path / "fs")
    assert prestage.bring(file, replicas, tmp_path / "fs")["rse"] == "GOOD"
    assert sources.stamp(copy)["adler32"] == file["adler32"]


def test_a_file_without_a_good_replica_fails_and_the_others_stay(given, tmp_path):
    file, replicas = given
    lost = {**file, "path": "cms:lost", "adler32": "00000001"}
    catalogue = {"samples": {"s": {"files": [file, lost]}}}
    known = {"cms:file": replicas, "cms:lost": replicas}
    paths = [tmp_path / name for name in ("catalogue.json", "replicas.json", "prestaged.json")]
    for path, content in zip(paths, (catalogue, known), strict=False):
        path.write_text(json.dumps(content))
    with pytest.raises(InputError, match="cms:lost"):
        prestage.run(*map(str, paths), folder=str(tmp_path / "fs"))
    assert prestage.place(tmp_path / "fs", file).exists() and not paths[2].exists()
    paths[0].write_text(json.dumps({"samples": {"s": {"files": [file]}}}))
    prestage.run(*map(str, paths), folder=str(tmp_path / "fs"))
    assert json.loads(paths[2].read_text())["cms:file"][0]["rse"] == "GOOD"
