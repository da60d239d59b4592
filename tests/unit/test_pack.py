"""Packs of units, and what jobs are estimated to take."""

import json

import pytest

from nanolake import estimate, pack
from nanolake.estimate import Costs

PLAN = {
    "samples": {
        "a": {"units": [{"name": "0000"}, {"name": "0001"}]},
        "b": {"units": [{"name": f"000{n}"} for n in range(3)]},
    }
}
ALL = [("a", "0000"), ("a", "0001"), ("b", "0000"), ("b", "0001"), ("b", "0002")]


@pytest.mark.parametrize("size", [1, 2, 4, 5, 9])
def test_packs_hold_every_unit_once_and_in_order(size):
    names = pack.names(len(pack.members(PLAN)), size)
    found = [pack.chosen(PLAN, name) for name in names]
    assert [unit for units in found for unit in units] == ALL
    assert all(len(units) <= size for units in found)


def test_a_thousand_units_are_at_most_fifty_packs():
    assert len(pack.names(1000, 20)) == 50
    assert pack.names(1000, 20)[-1] == "0980-0999"


@pytest.fixture
def units(tmp_path):
    """Function (rate in events per second, MB): ledger of a unit of a million events."""
    (tmp_path / "s").mkdir()

    def add(number, rate, mb):
        known = {"read": 10**6, "wall_seconds": 1e6 / rate, "peak_rss_bytes": mb * 10**6}
        (tmp_path / "s" / f"{number}.json").write_text(json.dumps(known))
        return tmp_path

    return add


def test_first_jobs_ask_for_what_is_surely_enough(tmp_path):
    assert estimate.costs(tmp_path) == (estimate.FIRST_RATE, estimate.FIRST_MB)


def test_later_jobs_ask_by_what_units_took(units):
    units(0, 500_000, 400)
    folder = units(1, 250_000, 300)
    known = estimate.costs(folder)
    assert known == Costs(rate=pytest.approx(2e6 / 6), memory_mb=400)
    # 8 units of 30 M events, 4 at a time: 180 s in the mean, and a last one alone of 90 s.
    asked = estimate.minutes([30_000_000] * 8, known, cores=4)
    assert asked == 2 + 3 * 270 / 60 + 0.5
    assert estimate.minutes([30_000_000] * 8, known, cores=4, attempt=2) == pytest.approx(
        2 * asked, abs=1
    )


def test_memory_grows_with_cores_and_attempts_but_is_never_tiny():
    assert estimate.memory_mb(Costs(1.0, 600), cores=4) == 3600
    assert estimate.memory_mb(Costs(1.0, 600), cores=4, attempt=2) == 7200
    assert estimate.memory_mb(Costs(1.0, 10)) == 700
