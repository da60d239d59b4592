"""`snakemake --profile marconi100`: the same DAG on a real Slurm cluster.

Its compute nodes have no route to the lake: they read through the cache at its edge, or files.
"""

from __future__ import annotations

import signal

import pytest
from clusters import OnLoginNode, needs_plugin, queue, run, site_of
from pools import as_user, forget, wait_until
from sites import become
from testbed.slurm import Cluster
from workspace import Workspace, flip_bit

SAMPLE = "SMHiggsToZZTo4L"
NTUPLE = f"results/higgs4l/ntuples/{SAMPLE}.root"

pytestmark = needs_plugin


@pytest.fixture(autouse=True)
def analyst(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """Everybody is a user of the site."""
    become(monkeypatch, site_of(cluster), "analyst")


@pytest.fixture
def user(own: Workspace) -> Workspace:
    """Finished results of the user's own, in a folder from which `--profile marconi100` works."""
    as_user(own)
    return own


def test_three_analyses_through_the_edge_have_the_bytes_of_a_local_run(
    finished: Workspace, workspace: Workspace, cluster: Cluster
) -> None:
    # All units of an analysis are one job, two of them side by side.
    as_user(workspace, lake=str(cluster.folder / "lakes/edge.yaml"), pack=20)
    workspace.take_inputs(finished)
    targets = [f"results/{name}/histograms.root" for name in ("higgs4l", "htautau")]
    said = run(workspace, "dimuon", "results/dimuon/published.json", *targets, cluster=cluster)
    assert workspace.products() == finished.products()
    ledgers = workspace.ledgers()
    files = [file for ledger in ledgers for file in ledger["files"]]
    assert {file["cache"].partition(cluster.gateway)[1] for file in files} == {cluster.gateway}
    assert not any(file["failed"] for file in files)
    # What talks to the lake's catalogue stayed on the login node; the rest asked for what it needs.
    jobs = cluster.run("sacct", "-XnP", "--format=comment%60,partition,reqmem,timelimitraw,ncpus")
    rules = [line.split("_wildcards")[0] for line in jobs.splitlines()]
    assert rules.count("rule_skim_pack") == 3 < 15 < len(ledgers)
    assert not {"rule_catalogue", "rule_ingest", "rule_upload", "rule_plan"} & set(rules)
    asked = {line.partition("|")[2] for line in jobs.splitlines() if line.startswith("rule_merge")}
    assert asked == {"m100_usr_prod|1500M|60|1"}
    assert said.count("submitted with SLURM jobid") == len(rules)


def test_unit_that_fails_fails_the_run_and_its_log_is_named(
    user: Workspace, cluster: Cluster
) -> None:
    flip_bit(user.folder / "resources/synthetic" / f"{SAMPLE}.root")
    forget(user, "higgs4l", SAMPLE, "ZZTo4mu")
    other = "results/higgs4l/ntuples/ZZTo4mu.root"
    said = run(user, NTUPLE, other, cluster=cluster, fails=True)
    log = f"logs/skim/higgs4l/{SAMPLE}/0000.log"
    assert log in said and "checksum" in (user.folder / log).read_text()
    assert "SLURM status is: 'FAILED'" in said and "remedy:" in said  # the log itself is shown
    assert (user.folder / other).exists() and not (user.folder / NTUPLE).exists()
    assert not queue(cluster)


def test_interrupt_empties_the_queue(user: Workspace, cluster: Cluster) -> None:
    samples = [path.name for path in user.path("htautau", "units").iterdir()]
    forget(user, "htautau", *samples)
    job = OnLoginNode(user, "htautau", cluster=cluster)
    job.wait_until(lambda: "RUNNING" in queue(cluster))
    job.process.send_signal(signal.SIGINT)
    job.end(fails=True, seconds=60)
    wait_until(lambda: not queue(cluster), 20)
