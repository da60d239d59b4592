"""The hub of deploy/jupyterhub on the login node of a cluster, and a browser outside of it."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import requests
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from pools import wait_until
from testbed import xrootd
from testbed.configuration import free_port
from testbed.slurm import Cluster, state
from testbed.slurm.gateway import Offer
from workspace import REPOSITORY

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

CONFIG = REPOSITORY / "deploy/jupyterhub/jupyterhub_config.py"
PROXY = REPOSITORY / ".hub/node_modules/.bin/configurable-http-proxy"
_CODE = REPOSITORY / "testbed"

needs_hub = pytest.mark.skipif(
    not (find_spec("jupyterhub") and find_spec("selenium")), reason="no JupyterHub: make setup-dev"
)
needs_proxy = pytest.mark.skipif(
    not (PROXY.exists() and shutil.which("node")), reason="no proxy of JupyterHub: envs/setup hub"
)
needs_browser = pytest.mark.skipif(
    not (shutil.which("chromium") and shutil.which("chromedriver")),
    reason="no Chromium with chromedriver: envs/setup hub",
)


@contextmanager
def ended(process: subprocess.Popen[Any]) -> Iterator[None]:
    """A process that has ended after the block."""
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(timeout=30)
        finally:
            process.kill()


@contextmanager
def from_outside(cluster: Cluster, port: int) -> Iterator[None]:
    """A port of the login node is on this machine's loopback, where browsers are."""
    with socket.create_server(("127.0.0.1", port)) as listener:
        mine, other = socket.socketpair()
        socket.send_fds(mine, [json.dumps([port]).encode()], [listener.fileno()])
    enter = ["nsenter", f"--target={cluster.pid}", "--net", "--"]
    command = [*enter, sys.executable, "-P", str(_CODE / "relay.py"), str(other.fileno())]
    with mine, other, ended(subprocess.Popen(command, pass_fds=[other.fileno()])):
        yield


@contextmanager
def with_a_network(cluster: Cluster, ports: Sequence[int], folder: Path) -> Iterator[None]:
    """Ports of this machine are on the loopback of the compute node, as where nodes may go out."""
    pids = state.pids(cluster.folder, cluster.known)
    (node,) = cluster.nodes
    offer = Offer(f"/proc/{os.getpid()}/ns/net", "127.0.0.1", list(ports), [])
    told = folder / "network.json"
    told.write_text(json.dumps(offer._asdict()))
    enter = ["nsenter", f"--target={pids[node]}", "--net", "--"]
    command = [*enter, sys.executable, "-P", str(_CODE / "slurm/gateway.py"), str(told)]
    with ended(subprocess.Popen(command)):
        yield


class Hub:
    """A hub that runs: its address, its folder, its log, its process."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder, self.port = folder, port
        self.url = f"http://127.0.0.1:{port}"
        self.state, self.home, self.log = folder / "state", folder / "home", folder / "hub.log"

    def answers(self) -> bool:
        try:
            return requests.get(f"{self.url}/hub/health", timeout=5).ok
        except requests.ConnectionError:
            return False


@contextmanager
def brought_up(
    folder: Path, cluster: Cluster, site: xrootd.Site, *, lifetime: float = 3600, **settings: str
) -> Iterator[Hub]:
    """The hub, a client of the site's issuer, on the login node of a cluster."""
    hub = Hub(folder, free_port(0))
    hub.state.mkdir(mode=0o700, parents=True)
    hub.home.mkdir(mode=0o700)
    (hub.home / ".nanolake").mkdir(mode=0o700)
    secret = site.register("hub", f"{hub.url}/hub/oauth_callback", lifetime=lifetime)
    (hub.state / "client_secret").touch(0o600)
    (hub.state / "client_secret").write_text(secret)
    (folder / "users.yaml").write_text("analyst: root\n")
    given = {
        "URL": hub.url, "BIND": hub.url, "INSIDE": f"http://{cluster.known.login.address}:8081",
        "STATE": str(hub.state), "ISSUER": site.issuer, "CLIENT": "hub",
        "AUDIENCE": xrootd.configuration.AUDIENCE, "SCOPES": " ".join(scopes(site)),
        "USERS": str(folder / "users.yaml"), "PREFIX": "", "HOME": str(hub.home),
        "PROXY": str(PROXY), "ACCOUNT": cluster.account, "PARTITION": "m100_usr_prod",
        "ARGUMENTS": "--allow-root", "RUNTIME": "00:30:00", "POLL": "5",
        **settings,
    }  # fmt: skip
    env = {name: value for name, value in os.environ.items() if "TOKEN" not in name}
    env |= {f"NANOLAKE_HUB_{name}": value for name, value in given.items()}
    env |= {
        "PATH": f"{os.environ['PATH']}:{xrootd.install.program('xrdcp').parent}",
        "RUCIO_CONFIG": str(xrootd.lake.client_file(site)),
        "X509_CERT_DIR": str(site.authorities),
        "SSL_CERT_FILE": str(site.folder / "authority/ca.pem"),
    }
    command = [sys.executable, "-m", "jupyterhub", "-f", str(CONFIG)]
    with hub.log.open("wb") as log, from_outside(cluster, hub.port):
        started = subprocess.Popen(
            cluster.on_login_node(command, cwd=hub.state), env=env, stdout=log, stderr=log
        )
        with ended(started):
            wait_until(lambda: hub.answers() or started.poll() is not None, 60)
            assert started.poll() is None, hub.log.read_text()
            yield hub


def scopes(site: xrootd.Site) -> list[str]:
    """The storage scopes of the analyst."""
    users = json.loads((site.folder / "issuer/users.json").read_text())
    return [scope for scope in users["analyst"]["scopes"] if ":" in scope]


@contextmanager
def browser(folder: Path, site: xrootd.Site) -> Iterator[Chrome]:
    """Chromium without a window, which trusts the site's own certificate and no other like it."""
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    pem = (site.folder / "authority/host.pem").read_bytes()
    key = x509.load_pem_x509_certificate(pem).public_key()
    der = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    pin = base64.b64encode(hashlib.sha256(der).digest()).decode()
    options = webdriver.ChromeOptions()
    for argument in (
        "--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--window-size=1400,1000",
        f"--user-data-dir={folder / 'profile'}", f"--ignore-certificate-errors-spki-list={pin}",
    ):  # fmt: skip
        options.add_argument(argument)
    options.binary_location = str(shutil.which("chromium"))
    driver = webdriver.Chrome(options, Service(shutil.which("chromedriver")))
    try:
        yield driver
    finally:
        driver.quit()
