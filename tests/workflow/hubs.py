"""The hub of deploy/jupyterhub on a cluster or pool of the test-bed, and a browser outside."""

from __future__ import annotations

import base64
import getpass
import hashlib
import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import requests
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from pools import wait_until
from testbed import service, xrootd
from testbed.condor import Pool
from testbed.configuration import free_port
from testbed.slurm import Cluster
from testbed.slurm.gateway import Offer
from workspace import REPOSITORY

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

ACCOUNT = getpass.getuser()  # of all users of the hub
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
    pids = service.pids(cluster.folder, cluster.known)
    (node,) = cluster.nodes
    offer = Offer(f"/proc/{os.getpid()}/ns/net", "127.0.0.1", list(ports), [])
    told = folder / "network.json"
    told.write_text(json.dumps(offer._asdict()))
    enter = ["nsenter", f"--target={pids[node]}", "--net", "--"]
    command = [*enter, sys.executable, "-P", str(_CODE / "slurm/gateway.py"), str(told)]
    with ended(subprocess.Popen(command)):
        yield


class Hub:
    """A hub: its address, its folder, its log, its process."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, free_port(0)
        self.url = f"http://127.0.0.1:{self.port}"
        self.state, self.home, self.log = folder / "state", folder / "home", folder / "hub.log"

    def start(self, command: Sequence[str], env: Mapping[str, str]) -> None:
        self._given = command, env
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                command, env=env, cwd=self.state, stdout=log, stderr=log
            )

    def stop(self) -> None:
        with ended(self._process):
            pass

    def restart(self) -> None:
        """End it in order, and start it again."""
        self.stop()
        self.start(*self._given)
        self.answers()

    def answers(self) -> None:
        """Wait until it does."""

        def healthy() -> bool:
            assert self._process.poll() is None
            try:
                return requests.get(f"{self.url}/hub/health", timeout=5).ok
            except requests.ConnectionError:
                return False

        try:
            wait_until(healthy, 60)
        except AssertionError:
            raise AssertionError(self.log.read_text()) from None


@contextmanager
def brought_up(
    folder: Path,
    site: xrootd.Site,
    *,
    inside: str,
    run: Callable[..., list[str]],
    lifetime: float = 3600,
    variables: Mapping[str, str] | None = None,
    **settings: str,
) -> Iterator[Hub]:
    """The hub, a client of the site's issuer.

    Args:
        folder: Its own.
        site: Whose issuer and lake it uses.
        inside: Where labs find it.
        run: Gives the command that runs another where jobs are submitted.
        lifetime: Seconds that its users' tokens are good.
        variables: More of its environment.
        settings: More settings, or in place of those of the test-bed.
    """
    hub = Hub(folder)
    for place in (hub.state, hub.home):
        place.mkdir(mode=0o700, parents=True)
    secret = site.register("hub", f"{hub.url}/hub/oauth_callback", lifetime=lifetime)
    (hub.state / "client_secret").touch(0o600)
    (hub.state / "client_secret").write_text(secret)
    # The issuer's `guest` is not he whose account has this name here.
    (folder / "users.yaml").write_text(f"analyst: {ACCOUNT}\nsomebody: guest\n")
    given = {
        "URL": hub.url, "BIND": hub.url, "INSIDE": inside, "STATE": str(hub.state),
        "PROXY": str(PROXY), "PROXY_API": f"http://127.0.0.1:{free_port(0)}",
        "ISSUER": site.issuer, "CLIENT": "hub", "AUDIENCE": xrootd.configuration.AUDIENCE,
        "SCOPES": " ".join(scopes(site)), "USERS": str(folder / "users.yaml"), "PREFIX": "",
        "HOME": str(hub.home), "ARGUMENTS": "--allow-root", "POLL": "5", **settings,
    }  # fmt: skip
    env = {name: value for name, value in os.environ.items() if "TOKEN" not in name}
    env |= {f"NANOLAKE_HUB_{name}": value for name, value in given.items()}
    env |= {
        "RUCIO_CONFIG": str(xrootd.lake.client_file(site)),
        "X509_CERT_DIR": str(site.authorities),
        "SSL_CERT_FILE": str(site.folder / "authority/ca.pem"),
        **(variables or {}),
    }
    env["PATH"] += f":{xrootd.install.program('xrdcp').parent}"
    hub.start(run([sys.executable, "-m", "jupyterhub", "-f", str(CONFIG)], cwd=hub.state), env)
    try:
        yield hub
    finally:
        hub.stop()


@contextmanager
def on_slurm(folder: Path, cluster: Cluster, site: xrootd.Site, **options: Any) -> Iterator[Hub]:
    """A hub on the login node of a cluster; browsers find it on this machine."""
    own = {"ACCOUNT": cluster.account, "PARTITION": "m100_usr_prod", "RUNTIME": "00:30:00"}
    inside = f"http://{cluster.known.login.address}:8081"
    run = cluster.on_login_node
    with (
        brought_up(folder, site, inside=inside, run=run, **(own | options)) as hub,
        from_outside(cluster, hub.port),
    ):
        hub.answers()
        yield hub


@contextmanager
def on_condor(folder: Path, pool: Pool, site: xrootd.Site, **options: Any) -> Iterator[Hub]:
    """A hub on the submit host of a pool, which is this machine."""
    inside, variables = f"http://127.0.0.1:{free_port(0)}", pool.environment()
    options = {
        "BATCH": "condor",
        "HOST": "127.0.0.1",
        "variables": variables,
        "run": pool.on_submit_host,
    } | options
    with brought_up(folder, site, inside=inside, **options) as hub:
        hub.answers()
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


def waited(page: Chrome, condition: Callable[[Chrome], Any], what: str, seconds: float = 60) -> Any:
    """What a condition gives when it holds; the page may draw an element anew meanwhile."""
    from selenium.common.exceptions import StaleElementReferenceException
    from selenium.webdriver.support.wait import WebDriverWait

    wait = WebDriverWait(page, seconds, ignored_exceptions=[StaleElementReferenceException])
    return wait.until(condition, f"no {what} at {page.current_url}")


def find(page: Chrome, selector: str, seconds: float = 60) -> Any:
    """An element that can be clicked, now or soon."""
    from selenium.webdriver.support.expected_conditions import element_to_be_clickable

    return waited(page, element_to_be_clickable(("css selector", selector)), selector, seconds)


def find_text(page: Chrome, said: str, seconds: float = 60) -> Any:
    """An element of the page that is seen and says just this, now or soon."""
    return waited(page, saying(said), said, seconds)


def saying(said: str) -> Callable[[Chrome], Any]:
    """The condition that an element of the page is seen and says just this."""

    def one(page: Chrome) -> Any:
        found = page.find_elements("xpath", f"//*[normalize-space(text())={said!r}]")
        return next((element for element in found if element.is_displayed()), None)

    return one


def click(page: Chrome, selector: str) -> None:
    """Click an element, now or soon."""
    from selenium.webdriver.support.expected_conditions import element_to_be_clickable

    press(page, element_to_be_clickable(("css selector", selector)), selector)


def click_text(page: Chrome, said: str) -> None:
    """Click an element that says just this, now or soon."""
    press(page, saying(said), said)


def press(page: Chrome, condition: Callable[[Chrome], Any], what: str) -> None:
    """Click what a condition gives; once more if the page has drawn it anew in between."""

    def pressed(page: Chrome) -> bool:
        element = condition(page)
        if element:
            element.click()
        return bool(element)

    waited(page, pressed, what)


def texts(page: Chrome, selector: str) -> list[str]:
    """What all elements say, at one moment."""
    script = "return [...document.querySelectorAll(arguments[0])].map(one => one.innerText)"
    return [str(text) for text in page.execute_script(script, selector)]


def log_in(page: Chrome, hub: Hub, site: xrootd.Site, path: str, *, user: str = "analyst") -> None:
    page.get(f"{hub.url}{path}")
    find(page, "input[name=username]").send_keys(user)
    assert page.current_url.startswith(site.issuer)
    find(page, "input[name=password]").send_keys(site.password(user))
    click(page, "button")


def choose(page: Chrome, menu: str, item: str) -> None:
    """Choose an item of one of the lab's menus, as a user does."""
    for within, label in ((".lm-MenuBar-item", menu), (".lm-Menu-item", item)):

        def clicked(page: Chrome, within: str = within, label: str = label) -> bool:
            for one in page.find_elements("css selector", within):
                if one.text.splitlines()[:1] == [label]:
                    one.click()
                    return True
            return False

        waited(page, clicked, label)


def stop(page: Chrome, hub: Hub) -> None:
    """Stop the lab, as a user does."""
    page.get(f"{hub.url}/hub/home")

    def heard(page: Chrome) -> bool:
        # The button does nothing before the page's scripts have been loaded.
        page.find_element("css selector", "#stop").click()
        return bool(page.find_element("css selector", "#start[title='Your server is stopping']"))

    waited(page, heard, "#stop")
    find_text(page, "Start My Server", 120)
