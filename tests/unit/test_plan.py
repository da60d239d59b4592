"""Units tile the inputs, keep to clusters, and are about equal."""

from itertools import pairwise

import pytest

from nanolake import config as settings
from nanolake import plan
from nanolake.config import load_yaml


def entry(*sizes, cluster=1000):
    files = [
        {
            "path": f"f{i}.root",
            "bytes": size,
            "adler32": f"{i:08x}",
            "events": size,
            "clusters": [*range(0, size, cluster), size] if cluster else [],
        }
        for i, size in enumerate(sizes)
    ]
    return {"kind": "mc", "channels": ["c"], "files": files}


def catalogue(**samples):
    weights = {name: {"c": 1.0} for name in samples}
    return {"analysis": "dimuon", "tree": "Events", "samples": samples, "weights": weights}


def absolute(sample):
    """Ranges of the units in the whole chain."""
    starts = [0]
    for file in sample["files"]:
        starts.append(starts[-1] + file["events"])
    return [
        (starts[u["first"]] + u["range"][0], starts[u["first"]] + u["range"][1])
        for u in sample["units"]
    ]


@pytest.mark.parametrize("per_unit", [700, 1000, 2500, 7000, 10**9])
@pytest.mark.parametrize("sizes", [(10_000,), (1, 2, 3), (5000, 0, 12_345, 10), (0,), (999, 999)])
def test_units_tile_the_chain_of_files(sizes, per_unit):
    sample = plan.build(catalogue(s=entry(*sizes)), events_per_unit=per_unit)["samples"]["s"]
    ranges = absolute(sample)
    assert ranges[0][0] == 0
    assert ranges[-1][1] == sum(sizes)
    assert all(a[1] == b[0] for a, b in pairwise(ranges))
    for unit in sample["units"]:
        held = sum(f["events"] for f in sample["files"][unit["first"] : unit["last"]])
        assert 0 <= unit["range"][0] <= unit["range"][1] <= held
        first, last = (sample["files"][i]["events"] for i in (unit["first"], unit["last"] - 1))
        assert unit["range"][0] < first or not held  # no file is opened in vain
        assert held - unit["range"][1] < last or not held


def test_edges_lie_on_clusters():
    sample = plan.build(catalogue(s=entry(9500, 4000)), events_per_unit=2300)["samples"]["s"]
    edges = {end for _, end in absolute(sample)} - {13_500}
    allowed = {*range(0, 9500, 1000), 9500, *range(9500, 13_500, 1000)}
    assert edges <= allowed
    sizes = [end - begin for begin, end in absolute(sample)]
    assert max(sizes) <= 2300 + 1000


def test_small_files_are_packed_together():
    sample = plan.build(catalogue(s=entry(*[100] * 50)), events_per_unit=1000)["samples"]["s"]
    assert [u["last"] - u["first"] for u in sample["units"]] == [10] * 5


def test_the_key_of_a_unit_follows_its_content_and_nothing_else():
    one = plan.build(catalogue(s=entry(4000, 4000)), events_per_unit=4000)["samples"]["s"]["units"]
    changed = entry(4000, 4000)
    changed["files"][1]["adler32"] = "deadbeef"
    changed["files"][0]["mtime_ns"] = 1
    two = plan.build(catalogue(s=changed), events_per_unit=4000)["samples"]["s"]["units"]
    assert one[0]["key"] == two[0]["key"]
    assert one[1]["key"] != two[1]["key"]


def campaign():
    """The full campaign of 84 GB, as datasets.yaml describes it."""
    config = settings.resolve({}, datasets=load_yaml("config/datasets.yaml"))
    for analysis, entries in config["datasets"]["analyses"].items():
        samples = {}
        for name, dataset in entries["datasets"].items():
            files = dataset["places"]["portal"]["files"]
            described = [
                {"path": f["uri"], **{k: f[k] for k in ("bytes", "adler32", "events")}}
                for f in files
            ]
            samples[name] = {"kind": dataset["kind"], "channels": ["c"], "files": described}
        yield analysis, catalogue(**samples), config["units"][analysis]


def test_the_full_campaign_is_100_to_200_units():
    units, events = 0, 0
    for _, made, per_unit in campaign():
        for sample in plan.build(made, events_per_unit=per_unit)["samples"].values():
            units += len(sample["units"])
            events += sum(b - a for a, b in absolute(sample))
    assert 100 <= units <= 200
    assert events == 382_409_298


def test_a_hundred_thousand_files_are_planned_and_packed():
    made = plan.build(catalogue(s=entry(*[4000] * 100_000, cluster=0)), events_per_unit=2_000_000)
    units = made["samples"]["s"]["units"]
    assert len(units) == 200
    assert {u["last"] - u["first"] for u in units} == {500}
