"""JupyterLab with the notebooks and with the lake in Rucio's extension: here, or below a hub.

`nanolake lab` starts one on this machine; deploy/jupyterhub/lab configures those of a hub with
:func:`settings`.
"""

from __future__ import annotations

import configparser
import contextlib
import json
import os
import shutil
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nanolake import config as configuration
from nanolake import config_lake
from nanolake.errors import LakeError
from nanolake.interactive import PROJECT
from nanolake.lake import session

OWN = Path(".snakemake/nanolake/lab")  # configuration of this machine's lab, 0700
NOTEBOOKS = "/lab/tree/notebooks"
# Settings of every user until changed: JupyterLab is to ask nobody outside for news of itself.
QUIET = {
    "@jupyterlab/apputils-extension:notification": {"checkForUpdates": False, "fetchNews": "false"}
}
_LABS = "labconfig/default_setting_overrides.json"


def settings(lake: Mapping[str, Any]) -> dict[str, Any]:
    """Give the configuration of a lab, as traitlets take it.

    Args:
        lake: Contents of the lake's file, resolved.

    Raises:
        LakeError: Its rucio.cfg cannot be used.
    """
    found: dict[str, Any] = {}
    if config_lake.has_rucio({"lake": lake}):
        client = client_section(lake)
        found["RucioConfig"] = {
            "instances": [instance(str(lake["name"]), client)],
            "default_instance": str(lake["name"]),
            "default_auth_type": client["auth_type"],
        }
    return found


def client_section(lake: Mapping[str, Any]) -> dict[str, str]:
    """Read what the rucio.cfg of a lake says of the client.

    Raises:
        LakeError: There is none, or it says too little.
    """
    path = config_lake.client_settings(lake)["rucio_config"] or os.environ.get("RUCIO_CONFIG", "")
    parser = configparser.ConfigParser(interpolation=None)
    if not parser.read(path):
        raise LakeError(path or "rucio.cfg", "it cannot be read", "set RUCIO_CONFIG to a rucio.cfg")
    found = dict(parser["client"]) if parser.has_section("client") else {}
    if absent := {"rucio_host", "auth_host", "auth_type"} - set(found):
        raise LakeError(path, f"it lacks {', '.join(sorted(absent))}", "complete it")
    return found


def instance(name: str, client: Mapping[str, str]) -> dict[str, Any]:
    """Give a lake as Rucio's extension of JupyterLab is told of one; it has no secrets in it.

    Files are made available by a download: the other mode needs an RSE that is mounted here.

    Args:
        name: Of the lake.
        client: See `client_section`.
    """
    authorities = os.environ.get("REQUESTS_CA_BUNDLE")
    if not authorities:
        import certifi

        authorities = certifi.where()
    found: dict[str, Any] = {
        "name": name,
        "display_name": name,
        "rucio_base_url": client["rucio_host"],
        "rucio_auth_url": client["auth_host"],
        "rucio_ca_cert": client.get("ca_cert", authorities),
        "mode": "download",
        "wildcard_enabled": True,
    }
    token = client.get("auth_token_file_path") or os.environ.get("BEARER_TOKEN_FILE", "")
    if client["auth_type"] == "oidc":
        found |= {"oidc_auth": "file", "oidc_file_name": token}
    return found


def log_in(name: str, client: Mapping[str, str]) -> None:
    """Give Rucio's extension the credentials of rucio.cfg: it asks for them in its settings else.

    With a token these are the word that there is one. The extension keeps them in a database of
    its own, whose folder is made private.

    Args:
        name: Of the lake.
        client: See `client_section`.
    """
    from rucio_jupyterlab import db

    kind = client["auth_type"]
    needed = {
        "oidc": {"token_path": ""},
        "userpass": {key: client.get(key, "") for key in ("username", "password", "account")},
        "x509_proxy": {"proxy": os.environ.get("X509_USER_PROXY", ""),
                       "account": client.get("account", "")},
    }  # fmt: skip
    os.chmod(db.dir_path, 0o700)
    kept = db.get_db()
    kept.set_active_instance(name)
    kept.set_active_auth_method(kind)
    if kind in needed:
        kept.set_rucio_auth_credentials(namespace=name, auth_type=kind, params=needed[kind])


def own_client(template: str, target: Path, *, token: str, account: str) -> Path:
    """Write the rucio.cfg of one user, who has a token in a file.

    Args:
        template: A rucio.cfg without them.
        target: Where to write it.
        token: The token's file.
        account: The user's account.
    """
    parser = configparser.ConfigParser(interpolation=None)
    parser.read_string(Path(template).read_text())
    own = {"auth_type": "oidc", "auth_token_file_path": token, "account": account}
    parser["client"].update(own)
    with _private(target) as file:
        parser.write(file)
    return target


def start(lake_name: str | None, *, port: int, browser: bool) -> int:
    """Run JupyterLab on this machine until the user ends it.

    Args:
        lake_name: Of a file of config/lakes, or a path; by default that of config/config.yaml.
        port: Where it listens, on the loopback interface; the next free one if it is taken.
        browser: Whether to open one.

    Returns:
        Its exit status.

    Raises:
        NanolakeError: The configuration or the lake cannot be used.
    """
    import subprocess

    # A closed terminal, too, ends the embedded lake with the lab.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, frame: sys.exit(128 + number))
    given = configuration.load_yaml("config/config.yaml")
    lake = configuration.resolve(given | ({"lake": lake_name} if lake_name else {}))["lake"]
    with session.running(lake):
        if config_lake.has_rucio({"lake": lake}):
            log_in(str(lake["name"]), client_section(lake))
        OWN.mkdir(mode=0o700, parents=True, exist_ok=True)
        OWN.chmod(0o700)
        for name, content in (("jupyter_server_config.json", settings(lake)), (_LABS, QUIET)):
            with _private(OWN / name) as file:
                json.dump(content, file, indent=2)
        command = [
            *(sys.executable, "-m", "jupyterlab"),
            *("--ServerApp.ip=127.0.0.1", f"--ServerApp.port={port}"),
            *(f"--ServerApp.root_dir={Path.cwd()}", f"--LabApp.default_url={NOTEBOOKS}"),
            *([] if browser else ["--no-browser"]),
            *(["--allow-root"] if os.geteuid() == 0 else []),
        ]
        try:
            return subprocess.run(command, env={**os.environ, **_environment(lake)}).returncode
        except KeyboardInterrupt:  # its own way to be ended, which it has heard as well
            return 0


def _environment(lake: Mapping[str, Any]) -> dict[str, str]:
    """What a lab and its kernels know beside what the user's shell knows."""
    paths = [str(OWN.resolve()), os.environ.get("JUPYTER_CONFIG_PATH", "")]
    found = {
        "NANOLAKE_FOLDER": str(Path.cwd()),
        "JUPYTER_CONFIG_PATH": os.pathsep.join(filter(None, paths)),
    }
    if config_lake.has_rucio({"lake": lake}):
        path = config_lake.client_settings(lake)["rucio_config"]
        found |= {"RUCIO_CONFIG": os.path.abspath(path)} if path else {}
    programs = PROJECT / ".xrootd/bin"  # those of envs/setup xrootd
    if not shutil.which("xrdcp") and programs.is_dir():
        found["PATH"] = os.pathsep.join([os.environ.get("PATH", os.defpath), str(programs)])
    return found


def _private(path: Path) -> Any:
    """Open a file to write that nobody else may read."""
    with contextlib.suppress(FileNotFoundError):
        path.unlink()
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w")
