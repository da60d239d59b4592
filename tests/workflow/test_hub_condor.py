"""The hub before a pool of HTCondor: a lab as a job there, whose description anybody may read."""

from __future__ import annotations

from pathlib import Path

from hubs import browser, find, log_in, needs_browser, needs_hub, needs_proxy, on_condor
from pools import queue, wait_until
from testbed import xrootd
from testbed.condor import Pool
from workspace import Workspace

pytestmark = [needs_hub, needs_proxy, needs_browser]


def test_a_lab_is_a_job_that_tells_nobody_its_secrets(
    site: xrootd.Site, pool: Pool, workspace: Workspace, tmp_path: Path
) -> None:
    (workspace.folder / "notebooks").mkdir()
    lake = str(site.folder / "lakes/token.yaml")
    own = {"FOLDER": str(workspace.folder), "LAKE": lake, "MEMORY": "1000", "CORES": "1"}
    with on_condor(tmp_path / "hub", pool, site, **own) as hub, browser(tmp_path, site) as page:
        log_in(page, hub, site, "/hub/spawn")
        find(page, "#jp-main-dock-panel", 120)
        assert queue(pool) == ["2"]
        kept = hub.home / ".nanolake"
        said = pool.run("condor_q", "-long") + hub.log.read_text()
        assert str(kept / "hub.token") in said
        for name in ("hub.token", "hub.key"):
            assert (kept / name).read_text() not in said
            assert (kept / name).stat().st_mode & 0o777 == 0o600
        # The job ends, and the hub was not asked.
        pool.run("condor_rm", "-all")
        wait_until(lambda: not list(kept.glob("hub.*")))
        page.get(f"{hub.url}/hub/home")
        assert find(page, "#start").text == "Start My Server"
        wait_until(lambda: not queue(pool))
