"""A unit of five minutes whose tokens live for two; it waits most of the time."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from farms import (
    APART,
    READS,
    SERVICE,
    Farm,
    brought_up,
    dump,
    given,
    needs_hosts,
    new_project,
    unit,
)
from pools import queue, wait_until
from sites import become
from testbed.definition import write_private
from testbed.xrootd.configuration import AUDIENCE as OF_STORAGE
from workspace import DIMUON, REPOSITORY, Workspace

from nanolake import preflight
from nanolake.generate import generate_file
from nanolake.preflight import Dataset

# The seconds that a token lives, and after which connections are cut; files of the unit. It opens
# all files when it begins: after the first cut most of them anew, when that moment's token has long
# expired.
LIFETIME, CUTS, FILES = 120, (30, 240), 20
RATE, EVENTS = 400_000, 200_000  # bytes a second, and events: a file takes a quarter of a minute


pytestmark = needs_hosts


@pytest.fixture(scope="module")
def farm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Farm]:
    with brought_up(tmp_path_factory.mktemp("farm")) as farm:
        yield farm


@pytest.fixture(autouse=True)
def _analyst(farm: Farm, monkeypatch: pytest.MonkeyPatch) -> None:
    become(monkeypatch, farm.site, "analyst")


def test_tokens_are_renewed_while_a_unit_runs(farm: Farm, tmp_path: Path) -> None:
    """After a cut it logs in anew for each of its files, by the token that is good then."""
    slow = slow_project(farm, tmp_path / "slow")
    farm.pool.tokens(lifetime=LIFETIME, scope=READS)
    options = [*APART, "--configfile", "chosen.yaml", "--nocolor"]
    said = slow.folder / "said"
    process = farm.start(slow, f"results/dimuon/units/{DIMUON}/0000.root", *options)
    try:
        with farm.site.wan("fast", delay=0, rate=RATE, port=farm.port):
            wait_until(lambda: process.poll() is not None or queue(farm.pool) == ["2"], 90)
            assert process.poll() is None, said.read_text()
            first, started = given(farm), time.monotonic()
            sleep_until(started + CUTS[0])
        with farm.site.wan("fast", delay=0, rate=RATE, port=farm.port):
            sleep_until(started + CUTS[1])
        assert process.poll() is None, said.read_text()
        with farm.site.wan("fast", delay=0, rate=RATE, port=farm.port):
            assert process.wait(200) == 0, said.read_text()
    finally:
        process.kill()
        farm.pool.tokens()
    ledger = json.loads(unit(slow, "results", "json").read_text())
    assert ledger["read"] == FILES * EVENTS
    assert not any(file["failed"] for file in ledger["files"])
    assert ledger["wall_seconds"] > CUTS[1]
    write_private(tmp_path / "token", first)
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setenv("BEARER_TOKEN_FILE", str(tmp_path / "token"))
        url = farm.site.url("fast", path="/lake/cms/slow0.root")
        (attempt,) = preflight.probe([Dataset("slow", (url,))], {"kind": "token"})
    assert attempt.state == "refused"


def slow_project(farm: Farm, folder: Path) -> Workspace:
    """A project with one unit, whose storage is behind a network of the test."""
    stored = farm.site.storage("fast") / "lake/cms"
    files = []
    for number in range(FILES):
        name = f"slow{number}.root"
        generate_file(DIMUON, stored / name, events=EVENTS, seed=number, cluster_events=10_000)
        url = f"root://localhost:{farm.port}//lake/cms/{name}"
        files.append({"uri": url, "events": EVENTS})
    project = new_project(folder)
    datasets = yaml.safe_load((REPOSITORY / "config/datasets.yaml").read_text())
    entry = datasets["analyses"]["dimuon"]["datasets"][DIMUON]
    entry["places"] = {"portal": {"events": FILES * EVENTS, "files": files}}
    dump(folder / "datasets.yaml", datasets)
    credential = {"kind": "token", "audience": OF_STORAGE, "minutes": 0}
    dump(folder / "lake.yaml", {"kind": "urls", "credential": credential})
    chosen = {"analyses": ["dimuon"], "datasets": "datasets.yaml", "lake": "lake.yaml"}
    dump(folder / "chosen.yaml", chosen | {"pool": SERVICE})
    return project


def sleep_until(moment: float) -> None:
    time.sleep(max(0.0, moment - time.monotonic()))
