"""`nanolake lab`: JupyterLab on this machine, with a lake in Rucio's extension."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import requests
from pools import wait_until
from sites import become
from testbed import xrootd
from testbed.configuration import free_port
from workspace import SMALL, Workspace

pytestmark = pytest.mark.skipif(not find_spec("jupyterlab"), reason="no JupyterLab: make setup-dev")

_WHERE = re.compile(r"(http://127\.0\.0\.1:\d+)/lab/tree/notebooks\?token=(\w+)")


class Lab:
    """A lab that answers: its server's and Rucio's extension's interfaces."""

    def __init__(self, url: str, token: str) -> None:
        self.url = url
        self._http = requests.Session()
        self._http.headers["Authorization"] = f"token {token}"

    def get(self, path: str, **query: str) -> Any:
        answer = self._http.get(f"{self.url}/{path}", params=query)
        assert answer.ok, answer.text
        return answer.json()

    def make_available(self, lake: str, did: str) -> dict[str, Any]:
        """Let the extension fetch a DID of one file, and give what it says of it then."""
        where = f"{self.url}/rucio-jupyterlab/did/make-available"
        assert self._http.post(where, params={"namespace": lake}, json={"did": did}).ok

        def there() -> bool:
            return self.status(lake, did)["status"] not in ("NOT_AVAILABLE", "REPLICATING")

        wait_until(there)
        return self.status(lake, did)

    def status(self, lake: str, did: str) -> dict[str, Any]:
        (one,) = self.get("rucio-jupyterlab/did", namespace=lake, did=did)
        return dict(one)


@contextmanager
def started(workspace: Workspace, lake: str, home: Path) -> Iterator[Lab]:
    """`nanolake lab` until the end of the block, in a home of its own."""
    home.mkdir()
    log = workspace.folder / "lab.log"
    command = [sys.executable, "-m", "nanolake", "lab", "--lake", lake, "--no-browser"]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*command, "--port", str(free_port(0))],
            cwd=workspace.folder,
            env=os.environ | {"HOME": str(home)},
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        wait_until(lambda: _WHERE.search(log.read_text()) or process.poll() is not None)
        found = _WHERE.search(log.read_text())
        assert found, log.read_text()
        yield Lab(*found.groups())
    finally:
        os.killpg(process.pid, signal.SIGTERM)  # as a terminal that is closed
        process.wait(30)


def test_the_embedded_lake_is_there_as_long_as_the_lab_is(
    workspace: Workspace, tmp_path: Path
) -> None:
    workspace.run("ingest", config={"lake": "embedded", "analyses": ["dimuon"], **SMALL})
    with started(workspace, "embedded", tmp_path / "home") as lab:
        about = lab.get("rucio-jupyterlab/instances")
        assert (about["active_instance"], about["auth_type"]) == ("embedded", "userpass")
        found = lab.get("rucio-jupyterlab/did-search", namespace="embedded", type="file",
                        did="cms:*")  # fmt: skip
        (did,) = [one["did"] for one in found]
        file = lab.make_available("embedded", did)
        assert file["status"] == "OK" and Path(file["path"]).stat().st_size == file["size"]
        shown = lab.get("lab/api/settings/@jupyterlab/apputils-extension:notification")
        assert shown["schema"]["properties"]["fetchNews"]["default"] == "false"
    config = workspace.folder / ".snakemake/nanolake/lab/jupyter_server_config.json"
    assert config.stat().st_mode & 0o777 == 0o600 and "password" not in config.read_text()
    assert (tmp_path / "home/.rucio_jupyterlab").stat().st_mode & 0o777 == 0o700


def test_a_lake_with_tokens(
    workspace: Workspace, site: xrootd.Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from nanolake.interactive import lab as labs

    token = tmp_path / "token"
    token.touch(0o600)
    storage = [f"storage.{verb}:/cms" for verb in ("read", "create", "modify")]
    token.write_text(site.token(scope=" ".join(["openid", *storage])))
    template = str(xrootd.lake.client_file(site))
    own = labs.own_client(template, tmp_path / "rucio.cfg", token=str(token), account="analyst")
    assert own.stat().st_mode & 0o777 == 0o600
    become(monkeypatch, site, "analyst", RUCIO_CONFIG=str(own), BEARER_TOKEN_FILE=str(token))
    lake = str(site.folder / "lakes/token.yaml")
    workspace.run("ingest", config={"lake": lake, "analyses": ["dimuon"], **SMALL})
    with started(workspace, lake, tmp_path / "home") as lab:
        about = lab.get("rucio-jupyterlab/instances")
        assert (about["active_instance"], about["auth_type"]) == ("token", "oidc")
        (did,) = [
            one["did"]
            for one in lab.get("rucio-jupyterlab/did-search", namespace="token", type="file",
                               did="cms:*")
        ]  # fmt: skip
        file = lab.make_available("token", did)
        assert file["status"] == "OK" and Path(file["path"]).stat().st_size == file["size"]
    assert token.read_text() not in (workspace.folder / "lab.log").read_text()
