"""A user's day at the hub: log-in at the issuer, a lab as a job of Slurm, a notebook, results.

All of it is real; the browser is outside of the cluster, as users are.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nbformat
import pytest
from clusters import brought_up, queue, site_of
from hubs import Hub, browser, needs_browser, needs_hub, needs_proxy, with_a_network
from hubs import brought_up as hub_up
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
    own = {"FOLDER": str(workspace.folder), "RENEW": str(RENEW)}
    with hub_up(folder, cluster, site, lifetime=LIFETIME, **own) as hub:
        yield hub
    print(hub.log.read_text())


@pytest.fixture
def page(tmp_path: Path, cluster: Cluster) -> Iterator[Chrome]:
    with browser(tmp_path, site_of(cluster)) as driver:
        yield driver


def write_notebook(path: Path, *cells: str) -> None:
    made = [nbformat.v4.new_code_cell(text) for text in cells]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3 (ipykernel)"}}
    nbformat.write(nbformat.v4.new_notebook(cells=made, metadata=kernel), path)


def find(page: Chrome, selector: str, seconds: float = 60) -> Any:
    """An element that is seen, now or soon."""
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support import expected_conditions
    from selenium.webdriver.support.wait import WebDriverWait

    condition = expected_conditions.element_to_be_clickable((By.CSS_SELECTOR, selector))
    return WebDriverWait(page, seconds).until(condition, f"no {selector} at {page.current_url}")


def log_in(page: Chrome, hub: Hub, site: xrootd.Site, path: str) -> None:
    page.get(f"{hub.url}{path}")
    find(page, "input[name=username]").send_keys("analyst")
    assert page.current_url.startswith(site.issuer)
    find(page, "input[name=password]").send_keys(site.password("analyst"))
    find(page, "button").click()


def choose(page: Chrome, menu: str, item: str) -> None:
    """Choose an item of one of the lab's menus, as a user does."""
    from selenium.webdriver.common.by import By

    def click(within: str, text: str) -> None:
        find(page, within)
        (one,) = [
            label
            for label in page.find_elements(By.CSS_SELECTOR, f"{within} .lm-MenuBar-itemLabel,"
                                            f"{within} .lm-Menu-itemLabel")
            if label.text == text
        ]  # fmt: skip
        one.click()

    click(".lm-MenuBar", menu)
    click(".lm-Menu", item)


def run_all(page: Chrome, seconds: float = 240) -> None:
    """Run the notebook that is open; none of its cells fails."""
    from selenium.webdriver.common.by import By

    choose(page, "Run", "Run All Cells")

    def done() -> bool:
        prompts = [one.text for one in page.find_elements(By.CSS_SELECTOR, ".jp-InputArea-prompt")]
        errors = page.find_elements(By.CSS_SELECTOR, '[data-mime-type*="stderr"], .jp-RenderedText')
        said = [one.text for one in errors]
        assert not any("Traceback" in text for text in said), said
        return bool(prompts) and all(text.strip("[]: ").isdigit() for text in prompts)

    wait_until(done, seconds)


def test_from_log_in_to_a_plot_in_the_lake(
    hub: Hub, cluster: Cluster, workspace: Workspace, page: Chrome, tmp_path: Path
) -> None:
    site = site_of(cluster)
    lake_file = site.folder / "lakes/token.yaml"
    write_notebook(
        workspace.folder / "notebooks/day.ipynb",
        "import nanolake\n"
        f"analysis = nanolake.analysis('dimuon', lake={str(lake_file)!r}, **{SMALL})\n"
        "result = analysis.run()",
        "result.plot()",
        "result.publish()[['did', 'rse', 'bytes']]",
    )
    log_in(page, hub, site, "/hub/spawn?next=/user/root/lab/tree/notebooks/day.ipynb")
    find(page, ".jp-Notebook", 120)
    page.save_screenshot(str(tmp_path / "lab.png"))
    print(page.current_url, cluster.run("squeue"))
    try:
        run_all(page)
    finally:
        page.save_screenshot(str(tmp_path / "ran.png"))
        (tmp_path / "page.html").write_text(page.page_source)
    page.get(f"{hub.url}/hub/home")
    find(page, "#stop").click()
    wait_until(lambda: not queue(cluster))
