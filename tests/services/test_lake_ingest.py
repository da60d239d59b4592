"""Ingest and publish as the workflow calls them, against a real lake."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from lakes import (
    ENTRY,
    SAMPLE,
    STREAMS,
    Books,
    actions,
    assert_whole,
    client_of,
    no_secrets,  # noqa: F401  (a fixture)
    place,
    program,
)
from testbed.lake import Lake

from nanolake import catalogue as local
from nanolake.generate import generate_file
from nanolake.lake import ingest, publish
from nanolake.lake.client import Did


@pytest.mark.parametrize("kind", ["data", "mc"])
def test_inputs_arrive_with_what_they_stand_for(lake: Lake, tmp_path: Path, kind: str) -> None:
    client, books = client_of(lake), Books(lake, tmp_path)
    paths = [tmp_path / f"{number}.root" for number in range(2)]
    for number, path in enumerate(paths):
        generate_file(SAMPLE, path, events=2000 + number, seed=10 * len(kind) + number)
    entry: dict[str, Any] = {**ENTRY, "files": [{"path": str(path)} for path in paths]}
    if kind == "mc":
        entry |= {
            "kind": "mc",
            "cross_section": 1.0,
            "k_factor": 1.0,
            "generated": ENTRY["full_events"],
        }
        for path in paths:  # as a user's own files, which nobody describes
            path.with_suffix(".json").unlink()
    receipt_file = str(tmp_path / "ingested.json")

    def run() -> dict[str, Any]:
        ingest.run(
            program(), receipt_file, analysis="dimuon", entries={SAMPLE: entry}, streams=STREAMS,
            client=books.client,
            targets={SAMPLE: {"scope": "cms", "dataset": "{sample}.{key}", "rse": "QOS=FAST",
                              "lifetime": 3}},
        )  # fmt: skip
        return dict(local.read(receipt_file)["datasets"][SAMPLE])

    first = run()
    assert actions(first) == ["uploaded"] * 2
    assert_whole(lake, client, first["dataset"], first["files"])
    again = run()
    assert actions(again) == ["present"] * 2
    assert (again["dataset"], again["rule"]) == (first["dataset"], first["rule"])

    lock = books.make(receipts=[receipt_file], entries={SAMPLE: {**entry, "files": []}})
    (sample,) = lock["datasets"].values()
    assert sorted(file["events"] for file in sample["files"]) == [2000, 2001]
    expected = local.build("dimuon", {SAMPLE: entry}, STREAMS, local.inspector(program(), "dimuon"))
    what = "luminosity" if kind == "data" else "generated"
    assert sample[what] == pytest.approx(expected["samples"][SAMPLE][what])
    metadata = client.get_metadata(*Did.parse(first["dataset"]), plugin="JSON")
    assert metadata == {what: pytest.approx(sample[what]), "identity": "TFile.UUID"}
    for file in first["files"]:
        assert place(client, file["did"]).read_bytes() == Path(file["path"]).read_bytes()


def test_results_are_published_and_read_back(lake: Lake, tmp_path: Path) -> None:
    client, results = client_of(lake), tmp_path / "results"
    paths = [results / "dimuon/plots/mass.pdf", results / "dimuon/ntuples/data.root"]
    for path in paths:
        path.parent.mkdir(parents=True)
        path.write_bytes(path.name.encode() + str(tmp_path).encode())
    options: dict[str, Any] = {
        "results": str(results),
        "part": "dimuon",
        "campaign": "test",
        "client": {"rucio_config": str(lake.config("analyst")), "account": None},
        "target": {"scope": "user.analyst", "rse": "QOS=CHEAP-ANALYSIS", "lifetime": 90},
        "metadata": {"git_commit": "abc", "cutflow": {"data": {"dimuon": [["all", 5]]}}},
    }
    receipt_file = results / "dimuon/published.json"
    publish.run([str(path) for path in paths], str(receipt_file), **options)
    receipt = local.read(receipt_file)
    assert actions(receipt) == ["uploaded"] * 2
    assert [row["path"] for row in receipt["files"]] == [
        "dimuon/plots/mass.pdf",
        "dimuon/ntuples/data.root",
    ]
    assert all(row["read_back"] for row in receipt["files"]) and receipt["expires_at"]
    files = [{**row, "path": results / row["path"]} for row in receipt["files"]]
    assert_whole(lake, client, receipt["dataset"], files, "LAPTOP-CHEAP")
    metadata = client.get_metadata(*Did.parse(receipt["dataset"]), plugin="JSON")
    assert metadata == options["metadata"]

    publish.run([str(path) for path in paths], str(receipt_file), **options)
    assert actions(local.read(receipt_file)) == ["present"] * 2
    paths[0].write_bytes(b"other results")
    publish.run([str(path) for path in paths], str(receipt_file), **options)
    other = local.read(receipt_file)
    assert other["dataset"] != receipt["dataset"] and actions(other) == ["uploaded"] * 2
    assert_whole(lake, client, receipt["dataset"], [
        {**row, "path": place(client, row["did"], "LAPTOP-CHEAP")} for row in receipt["files"]
    ], "LAPTOP-CHEAP")  # fmt: skip
