"""The books close, or the run fails and says where."""

import json
import os

import pytest

from nanolake import catalogue, ledger, merge, sources
from nanolake.errors import BooksError, InputError
from nanolake.replicas import Reading
from nanolake.skim import check_read, find_unit

FILES = [{"path": "a.root", "events": 60}, {"path": "b.root", "events": 40}]
ENTRY = {
    "files": FILES,
    "units": [{"name": "0000", "key": "k0"}, {"name": "0001", "key": "k1"}],
}


def unit(name="0000", key="k0", read=50, steps=(("one", 30), ("two", 10))):
    return {"unit": name, "key": key, "read": read, "cutflow": {"c": [list(s) for s in steps]}}


def test_closed_books_name_all_numbers():
    ledgers = [unit(), unit("0001", "k1")]
    assert merge.close_books("s", ENTRY, ledgers, 20) == {
        "catalogue": 100,
        "read": 100,
        "selected": 20,
        "rejected": 80,
        "written": 20,
    }


@pytest.mark.parametrize(
    ("ledgers", "written"),
    [
        ([unit(), unit("0001", "k1", read=49)], 20),  # an event was not read
        ([unit(), unit("0001", "k1")], 19),  # an event was lost in the merge
        ([unit(), unit("0001", "k1")], 21),
        ([unit()], 10),  # a unit is missing
        ([unit(), unit("0001", "old")], 20),  # a unit of another plan
    ],
)
def test_books_that_do_not_close_fail_the_run(ledgers, written):
    with pytest.raises(BooksError, match="remedy"):
        merge.close_books("s", ENTRY, ledgers, written)


def test_a_unit_that_read_too_little_names_its_files():
    planned = {"name": "0003", "range": [10, 60], "files": FILES}
    check_read("s", planned, 50)
    with pytest.raises(BooksError, match=r"s/0003: 50 events planned, 49 read from a.root, b.root"):
        check_read("s", planned, 49)


def test_an_unknown_unit_is_named():
    with pytest.raises(KeyError, match="s/0009"):
        find_unit({"samples": {"s": {"units": [], "files": []}}}, "s", "0009")


def test_a_flipped_bit_in_an_intermediate_file_is_noticed(tmp_path):
    path = tmp_path / "0000.root"
    path.write_bytes(bytes(range(256)))
    stamp = sources.stamp(path)
    merge.verify_output(str(path), stamp, "delete it")
    path.write_bytes(bytes([1, *range(1, 256)]))
    with pytest.raises(InputError, match="changed since it was written"):
        merge.verify_output(str(path), stamp, "delete it")


def test_cut_flows_of_units_add_up_and_channels_are_named():
    total = merge.total_cutflow([unit(), unit("0001", "k1")])
    assert total == {"c": [["one", 60], ["two", 20]]}
    books = {"sample": "s", "books": {"read": 100}, "cutflow": {"4e": [["iso", 3]], "4mu": []}}
    rows = ledger.cutflow_rows(books, {"mt": 1})
    assert rows == [("s", "all", 100), ("s", "4e: iso", 3), ("s", "mt", 1)]


@pytest.mark.parametrize("how", ["checksum", "size"])
def test_inputs_are_compared_with_the_catalogue(tmp_path, how):
    path = tmp_path / "x.root"
    path.write_bytes(b"content")
    file = {"path": str(path), **sources.describe(str(path))}
    sources.verify(file, "x", how=how)
    path.write_bytes(b"Content")
    if how == "checksum":
        with pytest.raises(InputError, match=r"x: its adler32 is .*\n.*x.root\n +remedy"):
            sources.verify(file, "x", how=how)
    path.write_bytes(b"cut")
    with pytest.raises(InputError, match="3 bytes, the catalogue says 7"):
        sources.verify(file, "x", how=how)
    path.write_bytes(b"")
    with pytest.raises(InputError, match="it is empty"):
        sources.verify(file, "x", how=how)
    path.unlink()
    with pytest.raises(InputError, match="cannot be found"):
        sources.verify(file, "x", how=how)


def test_full_computes_the_checksum_of_a_file_that_nobody_touched(tmp_path):
    path = tmp_path / "x.root"
    path.write_bytes(b"content")
    file = {"path": str(path), **sources.describe(str(path))}
    path.write_bytes(b"Content")
    os.utime(path, ns=(file["mtime_ns"], file["mtime_ns"]))
    sources.verify(file, "x", how="checksum")
    with pytest.raises(InputError, match="x: its adler32 is"):
        sources.verify(file, "x", how="full")


def test_a_failed_server_is_avoided_and_its_remedy_is_not_that_of_a_bad_file():
    files = [{"path": f"s:{n}", "bytes": 1, "adler32": None, "events": 1} for n in "ab"]
    places = {
        file["path"]: [{"rse": rse, "pfn": f"root://{rse}//{file['path']}"} for rse in ("x", "y")]
        for file in files
    }

    def read(paths):
        for path in paths:
            if "//x" in path:
                raise InputError("", path, "it hangs", "wait", cause="storage")
        return "read"

    reading = Reading(files, places, sample="s", unit="0")
    result, used = reading.run(read)
    assert result == "read" and [file["rse"] for file in used] == ["y", "y"]
    # The second file was not tried on the server that had failed for the first.
    assert [len(file["failed"]) for file in used] == [1, 0]
    for file in files:
        places[file["path"]] = places[file["path"]][:1]
    with pytest.raises(InputError, match="none of its replicas") as caught:
        Reading(files, places, sample="s", unit="0").run(read)
    assert caught.value.remedy == "wait"


def test_xrootd_fails_fast_unless_the_user_says_otherwise(monkeypatch):
    monkeypatch.setenv("XRD_STREAMTIMEOUT", "99")
    monkeypatch.delenv("XRD_REQUESTTIMEOUT", raising=False)
    environment = sources.environment()
    assert (environment["XRD_STREAMTIMEOUT"], environment["XRD_REQUESTTIMEOUT"]) == ("99", "30")


def dataset(kind, files, **more):
    return {
        "kind": kind,
        "channels": ["c"],
        "processes": {},
        "files": files,
        "full_events": 1000,
        "published": [],
        **more,
    }


def build(tmp_path, entry, *, events=100, side=None):
    path = tmp_path / "x.root"
    path.write_bytes(b"root")
    if side is not None:
        (tmp_path / "x.json").write_text(json.dumps(side))
    entry["files"] = [{"path": str(path)}]
    found = {"path": str(path), "events": events, "clusters": [0, events], "bytes": 4, "uuid": ""}
    content = [found]
    made = catalogue.build("a", {"x": entry}, {"c": "S"}, lambda kind, paths: content)
    return made


def test_luminosity_scales_with_the_data_that_are_there(tmp_path):
    entry = dataset("data", [], stream="S", luminosity=500.0)
    assert build(tmp_path, entry)["luminosity"] == {"c": 50.0}
    assert build(tmp_path, entry, side={"luminosity": 7.0})["luminosity"] == {"c": 7.0}


def test_weights_follow_cross_section_luminosity_and_generated_events():
    samples = {
        "d": {"kind": "data", "stream": "S", "luminosity": 10.0, "channels": ["c"]},
        "m": {
            "kind": "mc",
            "channels": ["c"],
            "cross_section": 2.0,
            "k_factor": 1.5,
            "generated": 60,
        },
    }
    luminosity = catalogue.luminosities(samples, {"c": "S", "other": "T"})
    assert luminosity == {"c": 10.0, "other": 0.0}
    assert catalogue.weights(samples, luminosity) == {"d": {"c": 1.0}, "m": {"c": 0.5}}


@pytest.mark.parametrize(
    ("side", "published", "problem"),
    [
        ({"adler32": "00000000"}, [], "its adler32 is .*, declared is 00000000"),
        ({"bytes": 5}, [], "its size is 4, declared is 5"),
        ({"events": 99}, [], "it holds 100 events, declared are 99"),
        ({}, [{"bytes": 4, "adler32": "00000000"}], "published is 00000000"),
    ],
)
def test_a_file_that_is_not_the_declared_one_is_refused(tmp_path, side, published, problem):
    entry = dataset("data", [], stream="S", luminosity=500.0) | {"published": published}
    with pytest.raises(InputError, match=problem):
        build(tmp_path, entry, side=side)
