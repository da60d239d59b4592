"""A user's day at the hub: log-in at the issuer, a lab as a job of Slurm, a notebook, results.

All of it is real; the browser is outside of the cluster, as users are.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nbformat
import pytest
import requests
from clusters import brought_up, queue, site_of
from hubs import (
    ACCOUNT,
    Hub,
    browser,
    choose,
    click,
    click_text,
    find,
    find_text,
    log_in,
    needs_browser,
    needs_hub,
    needs_proxy,
    on_slurm,
    stop,
    texts,
    with_a_network,
)  # fmt: skip
from pools import wait_until
from testbed import lake, xrootd
from testbed.slurm import Cluster
from workspace import SMALL, Workspace

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

pytestmark = [needs_hub, needs_proxy, needs_browser]

# Seconds: access tokens are renewed when they are 20 s old; a run wants them for 600.
LIFETIME, RENEW = 720, 700


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    folder = tmp_path_factory.mktemp("slurm")
    shared = tmp_path_factory.getbasetemp()
    with brought_up(folder, show=shared, nodes=1) as cluster:
        site = site_of(cluster)
        found = lake.find(xrootd.lake.folder(site))
        assert found
        ports = [*site.known.ports.values(), int(found.url.rsplit(":", 1)[1])]
        with with_a_network(cluster, ports, folder):
            yield cluster


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    made = Workspace.new(tmp_path_factory.mktemp("project") / "work")
    (made.folder / "notebooks").mkdir()
    return made


@pytest.fixture(scope="module")
def hub(
    tmp_path_factory: pytest.TempPathFactory, cluster: Cluster, workspace: Workspace
) -> Iterator[Hub]:
    folder = tmp_path_factory.mktemp("hub")
    site = site_of(cluster)
    (workspace.folder / "lake.yaml").symlink_to(site.folder / "lakes/token.yaml")
    own = {"FOLDER": str(workspace.folder), "RENEW": str(RENEW), "LAKE": "lake.yaml"}
    with on_slurm(folder, cluster, site, lifetime=LIFETIME, **own) as hub:
        yield hub


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory, cluster: Cluster, hub: Hub) -> Iterator[Chrome]:
    """The browser of a user who has logged in and has a lab; at the end there is no job of it."""
    with browser(tmp_path_factory.mktemp("browser"), site_of(cluster)) as driver:
        log_in(driver, hub, site_of(cluster), "/hub/spawn")
        find(driver, "#jp-main-dock-panel", 120)
        yield driver
        if queue(cluster):
            stop(driver, hub)


def write_notebook(path: Path, *cells: str) -> None:
    made = [nbformat.v4.new_code_cell(text) for text in cells]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3 (ipykernel)"}}
    nbformat.write(nbformat.v4.new_notebook(cells=made, metadata=kernel), path)


def open_notebook(page: Chrome, hub: Hub, name: str) -> None:
    """Open a notebook, and nothing else, in the lab; its kernel is there."""
    page.get(f"{hub.url}/user/{ACCOUNT}/lab/tree/notebooks/{name}?reset")
    find(page, ".jp-Notebook .jp-InputArea-prompt")
    find(page, ".jp-Notebook-ExecutionIndicator[data-status=idle]")


def prompts(page: Chrome) -> list[str]:
    """The numbers of the cells, as far as they have been run."""
    return [text.strip("[]: \n") for text in texts(page, ".jp-Notebook .jp-InputArea-prompt")]


def run_all(page: Chrome, seconds: float = 240) -> None:
    """Run the notebook that is open, once or once again; none of its cells fails."""
    before = prompts(page)

    def begun() -> bool:
        # The menu does nothing as long as the lab does not know which notebook is in front.
        choose(page, "Run", "Run All Cells")
        end = time.monotonic() + 10
        while prompts(page) == before and time.monotonic() < end:
            time.sleep(0.2)
        return prompts(page) != before

    def done() -> bool:
        said = texts(page, ".jp-RenderedText")
        assert not any("Traceback" in text for text in said), said
        now = prompts(page)
        return all(one.isdigit() for one in now) and not set(now) & set(before)

    wait_until(begun)
    wait_until(done, seconds)


def rows(page: Chrome) -> list[str]:
    return texts(page, ".jp-Notebook tbody tr")


def test_from_log_in_to_a_plot_in_the_lake(
    hub: Hub, cluster: Cluster, workspace: Workspace, page: Chrome, tmp_path: Path
) -> None:
    assert cluster.run("squeue", "--noheader", "--format=%j %T %u").split() == [
        "lab", "RUNNING", ACCOUNT,
    ]  # fmt: skip
    write_notebook(
        workspace.folder / "notebooks/dimuon.ipynb",
        "%matplotlib inline\nimport nanolake\n\n"
        f"analysis = nanolake.analysis('dimuon', lake='lake.yaml', **{SMALL})\n"
        "result = analysis.run()",
        "result.plot()",
        "result.publish()[['did', 'rse', 'bytes']]",
    )
    open_notebook(page, hub, "dimuon.ipynb")
    run_all(page)
    picture = find(page, ".jp-RenderedImage img")
    assert page.execute_script("return arguments[0].naturalWidth", picture) > 300
    published = json.loads(workspace.path("dimuon/published.json").read_text())["files"]
    assert len(rows(page)) == len(published) > 3
    run_all(page, 60)  # there is nothing to do
    assert len(rows(page)) == len(published)
    picture = find(page, ".jp-RenderedImage img")
    page.set_window_size(1400, 1750)
    page.execute_script("arguments[0].scrollIntoView({block: 'center'})", picture)
    page.save_screenshot(str(tmp_path / "hub.png"))
    page.set_window_size(1400, 1000)
    # The lake has them: asked by another, who is its own client.
    script = """
import json, sys
from rucio.client import Client
dids = [dict(zip(("scope", "name"), did.split(":"))) for did in sys.argv[1:]]
found = {f"{r['scope']}:{r['name']}": [r["bytes"], r["rses"]] for r in Client().list_replicas(dids)}
print(json.dumps(found))
"""
    config = str(xrootd.lake.folder(site_of(cluster)) / "clients/analyst/rucio.cfg")
    command = [sys.executable, "-c", script, *(one["did"] for one in published)]
    done = subprocess.run(
        command, env=os.environ | {"RUCIO_CONFIG": config}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    known = json.loads(done.stdout)
    for one in published:
        size, rses = known[one["did"]]
        assert size == one["bytes"] and list(rses) == ["CHEAP-ANALYSIS"]


def test_the_token_is_renewed_and_is_nowhere_but_in_its_file(
    hub: Hub, cluster: Cluster, page: Chrome
) -> None:
    token = hub.home / ".nanolake/hub.token"
    seen = {token.read_text()}
    wait_until(lambda: seen.add(token.read_text()) or len(seen) > 2, 120)
    assert token.stat().st_mode & 0o777 == 0o600
    url = lake.find(xrootd.lake.folder(site_of(cluster))).url
    header = {"X-Rucio-Auth-Token": token.read_text()}
    assert requests.get(f"{url}/accounts/whoami", headers=header).json()["account"] == "analyst"
    secrets = {*seen, (hub.home / ".nanolake/hub.key").read_text()}
    (job,) = cluster.run("squeue", "--noheader", "--format=%i").split()
    said = [
        hub.log.read_text(),
        *(path.read_text() for path in (hub.home / ".nanolake").glob("lab_*.log")),
        cluster.run("scontrol", "--details", "show", "job", job),
        cluster.run("scontrol", "write", "batch_script", job, "-"),
        *(text(path) for path in Path("/proc").glob("[0-9]*/cmdline")),
    ]
    lab = [text(path) for path in Path("/proc").glob("[0-9]*/environ")]
    lab = [one for one in lab if f"SLURM_JOB_ID={job}\0" in one and str(token) in one]
    assert lab
    for secret in secrets:
        assert not [one for one in said if secret in one]
    for secret in seen:
        assert not [one for one in lab if secret in one]


def text(path: Path) -> str:
    """A file of a process that may have ended meanwhile."""
    with contextlib.suppress(OSError):
        return path.read_text(errors="replace")
    return ""


def test_dasks_dashboard_is_behind_the_hub(hub: Hub, workspace: Workspace, page: Chrome) -> None:
    write_notebook(
        workspace.folder / "notebooks/dask.ipynb",
        f"import nanolake\nanalysis = nanolake.analysis('dimuon', lake='lake.yaml', **{SMALL})\n"
        "cluster = analysis.cluster('local', maximum=1)\nprint('at', cluster.dashboard_link)",
    )
    open_notebook(page, hub, "dask.ipynb")
    run_all(page)
    (link,) = [text.split()[1] for text in texts(page, ".jp-RenderedText") if "at " in text]
    assert link.startswith(f"/user/{ACCOUNT}/proxy/")
    # In the lab, as panels of dask-labextension; and as a page.
    click(page, '.lm-TabBar-tab[data-id="dask-dashboard-launcher"]')
    find(page, 'input[placeholder="DASK DASHBOARD URL"]').send_keys(hub.url + link, "\n")
    click_text(page, "Task Stream")
    panel = find(page, f'iframe[src*="/user/{ACCOUNT}/proxy/"]')
    page.switch_to.frame(panel)
    find(page, "canvas, .bk-Figure", 30)
    page.switch_to.default_content()
    page.get(hub.url + link)
    wait_until(lambda: "Dask: Status" in page.title)
    find(page, "canvas, .bk-Figure", 30)


def test_a_file_of_the_lake_is_found_in_the_lab_and_opened(
    hub: Hub, workspace: Workspace, page: Chrome
) -> None:
    published = json.loads(workspace.path("dimuon/published.json").read_text())["files"]
    (did,) = [one["did"] for one in published if one["path"].endswith("cutflow.csv")]
    write_notebook(workspace.folder / "notebooks/rucio.ipynb", "print('nothing')")
    open_notebook(page, hub, "rucio.ipynb")
    click(page, '.lm-TabBar-tab[data-id="rucio-jupyterlab:panel"]')
    find(page, 'input[placeholder="Enter a Data Identifier (DID)"]').send_keys(did, "\n")
    for said in (did, "Make Available"):
        click_text(page, said)
    # What the extension says of it, with the path that a notebook is to open.
    ask = (
        "const done = arguments[1]; fetch(arguments[0], {headers: {'X-XSRFToken':"
        "document.cookie.match(/_xsrf=([^;]*)/)?.[1] ?? ''}})"
        ".then(answer => answer.json()).then(done)"
    )
    url = f"{hub.url}/user/{ACCOUNT}/rucio-jupyterlab/did?namespace=lake&did={did}"

    def details() -> Any:
        return page.execute_async_script(ask, url)

    wait_until(lambda: details()[0]["status"] not in ("NOT_AVAILABLE", "REPLICATING"))
    (file,) = details()
    assert file["status"] == "OK", file
    find_text(page, "Available")
    assert Path(file["path"]).is_relative_to(hub.home)
    write_notebook(
        workspace.folder / "notebooks/open.ipynb",
        f"import pandas\nprint('steps', *pandas.read_csv({file['path']!r})['step'])",
    )
    open_notebook(page, hub, "open.ipynb")
    run_all(page)
    lines = workspace.path("dimuon/cutflow.csv").read_text().splitlines()[1:]
    steps = [line.split(",")[1] for line in lines]
    find_text(page, " ".join(["steps", *steps]))


def test_a_lab_outlives_its_hub(hub: Hub, cluster: Cluster, page: Chrome) -> None:
    token = hub.home / ".nanolake/hub.token"
    before, jobs = token.read_text(), cluster.run("squeue", "--noheader", "--format=%i")
    hub.restart()
    open_notebook(page, hub, "dimuon.ipynb")  # there is no new log-in
    run_all(page, 60)
    wait_until(lambda: token.read_text() != before)
    assert cluster.run("squeue", "--noheader", "--format=%i") == jobs


def test_no_lab_and_no_token_is_left(hub: Hub, cluster: Cluster, page: Chrome) -> None:
    stop(page, hub)
    wait_until(lambda: not queue(cluster))  # Slurm completes the job
    assert not list((hub.home / ".nanolake").glob("hub.*"))
    click(page, "#logout")
    # The issuer asks for the password again.
    page.get(f"{hub.url}/hub/home")
    find(page, "input[name=password]")
    assert page.current_url.startswith(site_of(cluster).issuer)


def test_nobody_is_taken_for_another(hub: Hub, cluster: Cluster, tmp_path: Path) -> None:
    site = site_of(cluster)
    with browser(tmp_path, site) as page:
        log_in(page, hub, site, "/hub/spawn", user="guest")
        wait_until(lambda: "guest has no account here" in page.page_source)
    assert not queue(cluster)
