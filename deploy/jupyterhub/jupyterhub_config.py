"""JupyterHub for nanolake: log-in at INDIGO IAM, labs as jobs of Slurm or HTCondor.

Settings are environment variables, NANOLAKE_HUB_<NAME>, which README.md explains. Secrets are files
of the folder STATE; those of the hub's own are made when they are missing.
"""

from __future__ import annotations

import asyncio
import math
import os
import pwd
import secrets
import shlex
import sys
import time
from collections import defaultdict
from pathlib import Path
from typing import Any, ClassVar

import batchspawner  # its import also registers the request with which a lab tells its port
import yaml
from oauthenticator.generic import GenericOAuthenticator
from tornado import web
from tornado.httpclient import HTTPClientError
from traitlets import default

HERE = Path(__file__).resolve().parent
PROJECT = HERE.parents[1]
# What labs have of the hub's own environment.
KEEP = "RUCIO_CONFIG X509_CERT_DIR SLURM_CONF CINECA_SCRATCH CONDOR_CONFIG"
KEYS = ("JUPYTERHUB_API_TOKEN", "JPY_API_TOKEN")


def setting(name: str, default: str | None = None) -> str:
    """Give a setting; one without a default must be there."""
    value = os.environ.get(f"NANOLAKE_HUB_{name}", default)
    if value is None:
        sys.exit(f"NANOLAKE_HUB_{name} is not set: see {HERE / 'README.md'}")
    return value


# --- the settings ---------------------------------------------------------------------------------
URL = setting("URL").rstrip("/")  # where browsers find the hub
BIND = setting("BIND", "http://127.0.0.1:8000")  # where its proxy listens
INSIDE = setting("INSIDE")  # where labs find the hub: http://HOST:PORT of the cluster's network
STATE = Path(setting("STATE"))  # folder, 0700: database, secrets
ISSUER = setting("ISSUER").rstrip("/")
CLIENT = setting("CLIENT")  # the client's id; its secret is STATE/client_secret
SCOPES = setting("SCOPES", "storage.read:/ storage.create:/ storage.modify:/").split()
AUDIENCE = setting("AUDIENCE", "")
USERS = Path(setting("USERS"))  # YAML: user of the issuer to account of the cluster
BATCH = setting("BATCH", "slurm")  # or condor
PREFIX = setting("PREFIX", "sudo -E -u {username}")  # makes a command the user's; empty: the hub's
HOME = setting("HOME", "")  # with {username}; the account's own home by default
LAB = Path(setting("LAB", sys.prefix))  # the environment of labs, on the shared file system
FOLDER = setting("FOLDER", str(PROJECT))  # what a lab shows; notebooks/ in it comes first
PROXY = setting("PROXY", "configurable-http-proxy")
RENEW = int(setting("RENEW", "1800"))  # seconds that an access token is good for, at least
LAKE = setting("LAKE", "")  # of labs; by default that of config/config.yaml in FOLDER
POLL = int(setting("POLL", "30"))  # seconds between two looks at a lab, and at its token


class IAM(GenericOAuthenticator):
    """INDIGO IAM; an access token is renewed before it ends, so that a run can begin with it."""

    _alone: ClassVar[dict[str, asyncio.Lock]] = defaultdict(asyncio.Lock)

    def user_info_to_username(self, user_info: dict) -> str:
        """Give the account of a user, and refuse who has none.

        Not `username_map`: that lets in who is called at the issuer as somebody's account is here.
        """
        name = super().user_info_to_username(user_info)
        if name not in ACCOUNTS:
            raise web.HTTPError(403, f"{name} has no account here")
        return str(ACCOUNTS[name])

    def build_auth_state_dict(self, token_info: dict, user_info: dict) -> dict:
        """Note when the token is to be renewed."""
        if "renew_at" not in token_info and "expires_in" in token_info:
            life = token_info["expires_in"]
            token_info["renew_at"] = time.time() + max(life - RENEW, life / 20)
        return super().build_auth_state_dict(token_info, user_info)

    async def refresh_user(self, user: Any, handler: Any = None, **options: Any) -> Any:
        """Renew a user's tokens once at a time, and save them: a refresh token may be good once."""
        async with self._alone[user.name]:
            found = await super().refresh_user(user, handler, **options)
            if isinstance(found, dict):
                await user.save_auth_state(found["auth_state"])
            return found

    async def token_to_user(self, token_info: dict) -> dict:
        """Refuse a token that is to be renewed, as the issuer refuses one that has ended.

        That is when `refresh_user` takes the refresh token.
        """
        if token_info.get("refresh_token") and time.time() > token_info.get("renew_at", math.inf):
            raise HTTPClientError(401, "the access token is to be renewed")
        return await super().token_to_user(token_info)


class Lab(batchspawner.BatchSpawnerBase):
    """A lab that is a job, with the user's access token in a file, renewed while it runs.

    The hub writes files as the user, through standard input: the access token, and the key with
    which the lab talks to the hub. Neither is in the job's description, its script or the
    environment of its submission; the lab's environment has the key, and the name of the token's
    file.
    """

    _written = ""
    _subject = ""

    @default("req_homedir")
    def _home(self) -> str:
        name = self.user.name
        return HOME.format(username=name) if HOME else pwd.getpwnam(name).pw_dir

    @property
    def token_file(self) -> str:
        """Where the token is, on the file system that the hub and the labs share."""
        return f"{self.req_homedir}/.nanolake/hub.token"

    @property
    def key_file(self) -> str:
        """Where the lab's key to the hub is."""
        return f"{self.req_homedir}/.nanolake/hub.key"

    def get_env(self) -> dict[str, str]:
        """Name the token's file, and leave the key out."""
        own = {
            "HOME": self.req_homedir,
            "BEARER_TOKEN_FILE": self.token_file,
            "RUCIO_ACCOUNT": self._subject,
            # Rucio's extension would keep what it knows of all users in /tmp.
            "RUCIO_CACHE_DIR": f"{self.req_homedir}/.nanolake/rucio",
            "NANOLAKE_FOLDER": FOLDER.format(username=self.user.name),
            "NANOLAKE_LAKE": LAKE,
        }
        found = super().get_env() | own
        return {name: value for name, value in found.items() if name not in KEYS}

    def cmd_formatted_for_batch(self) -> str:
        """Let the job read the key."""
        read = [str(HERE / "lab-job"), self.key_file]
        return f"{shlex.join(read)} {super().cmd_formatted_for_batch()}"

    async def start(self) -> Any:
        """Start a lab that has its token from the beginning."""
        state = await self.user.get_auth_state()
        self._subject = state[self.authenticator.user_auth_state_key]["preferred_username"]
        await self._put(self.key_file, content=self.api_token)
        await self._put_token(state["access_token"])
        return await super().start()

    async def poll(self) -> int | None:
        """Look after the job, and after the token: of one that runs, of one that has ended."""
        status = await super().poll()
        if self.pending:
            return status
        try:
            if status is None:
                await self._renew()
            elif self._written:
                await self._forget()
        except Exception as error:  # of network, issuer or file system: that is not the lab's end
            self.log.error("the token of %s was not looked after: %r", self.user.name, error)
        return status

    async def stop(self, now: bool = False) -> None:
        """Stop the lab; token and key go with it."""
        await super().stop(now)
        await self._forget()

    async def _forget(self) -> None:
        for path in (self.key_file, self.token_file):
            await self._put("--remove", path)
        self._written = ""

    async def _renew(self) -> None:
        found = await self.authenticator.refresh_user(self.user)
        if not found:
            self.log.error("the issuer renews no token of %s: a new log-in will", self.user.name)
            return
        state = await self.user.get_auth_state()
        if state["access_token"] != self._written:  # maybe another request has renewed it
            await self._put_token(state["access_token"])

    async def _put_token(self, token: str) -> None:
        await self._put(self.token_file, content=token)
        self._written = token

    async def _put(self, *arguments: str, content: str = "") -> None:
        """Run put-secret as the user."""
        prefix = shlex.split(self.exec_prefix.format(username=self.user.name))
        command = shlex.join([*prefix, str(HERE / "put-secret"), *arguments])
        await self.run_command(command, input=content, env={"PATH": os.environ["PATH"]})


class SlurmLab(Lab, batchspawner.SlurmSpawner):
    """A lab that is a job of Slurm."""


class CondorLab(Lab, batchspawner.CondorSpawner):
    """A lab that is a job of HTCondor."""


def secret(name: str, length: int = 32) -> Path:
    """Give a file of a secret of the hub's own, made if it is missing."""
    path = STATE / name
    if not path.exists():
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(secrets.token_hex(length))
    return path


STATE.mkdir(mode=0o700, parents=True, exist_ok=True)
ACCOUNTS = yaml.safe_load(USERS.read_text())
c = get_config()  # noqa: F821  (JupyterHub has put it here)

# --- the hub --------------------------------------------------------------------------------------
c.JupyterHub.bind_url = BIND
c.JupyterHub.hub_bind_url = INSIDE
c.JupyterHub.hub_connect_url = INSIDE
c.JupyterHub.db_url = f"sqlite:///{STATE / 'hub.sqlite'}"
c.JupyterHub.cookie_secret_file = str(secret("cookie_secret"))
c.ConfigurableHTTPProxy.command = shlex.split(PROXY)
c.ConfigurableHTTPProxy.pid_file = str(STATE / "proxy.pid")
c.ConfigurableHTTPProxy.api_url = setting("PROXY_API", "http://127.0.0.1:8001")
c.JupyterHub.cleanup_servers = False  # labs outlive a restart of the hub, as jobs do
c.CryptKeeper.keys = [secret("crypt_key").read_text()]

# --- log-in ---------------------------------------------------------------------------------------
c.JupyterHub.authenticator_class = IAM
c.OAuthenticator.login_service = "INDIGO IAM"
c.OAuthenticator.client_id = CLIENT
c.OAuthenticator.client_secret = (STATE / "client_secret").read_text().strip()
c.OAuthenticator.oauth_callback_url = f"{URL}/hub/oauth_callback"
c.OAuthenticator.authorize_url = f"{ISSUER}/authorize"
c.OAuthenticator.token_url = f"{ISSUER}/token"
c.OAuthenticator.userdata_url = f"{ISSUER}/userinfo"
c.OAuthenticator.username_claim = "preferred_username"
c.OAuthenticator.scope = ["openid", "profile", "offline_access", *SCOPES]
c.OAuthenticator.extra_authorize_params = {"audience": AUDIENCE} if AUDIENCE else {}
c.OAuthenticator.basic_auth = True
c.Authenticator.allowed_users = set(ACCOUNTS.values())
c.Authenticator.enable_auth_state = True  # encrypted in the database with crypt_key
c.Authenticator.auth_refresh_age = 300  # seconds after which the issuer is asked about a user again
c.Authenticator.auto_login = True

# --- labs -----------------------------------------------------------------------------------------
c.JupyterHub.spawner_class = {"slurm": SlurmLab, "condor": CondorLab}[BATCH]
c.Spawner.cmd = [str(LAB / "bin/jupyterhub-singleuser")]
c.Spawner.args = shlex.split(setting("ARGUMENTS", ""))
c.Spawner.notebook_dir = FOLDER
c.Spawner.default_url = "/lab/tree/notebooks"
c.Spawner.poll_interval = POLL
c.Spawner.start_timeout = 600
c.Spawner.http_timeout = 120
c.Spawner.env_keep = ["LANG", "TZ", *setting("KEEP", KEEP).split()]
c.Spawner.environment = {
    "PATH": f"{LAB / 'bin'}:{os.environ['PATH']}",
    "JUPYTER_CONFIG_PATH": str(HERE / "lab"),
    # Dashboards of Dask's clusters, through the lab's own address.
    "DASK_DISTRIBUTED__DASHBOARD__LINK": "{JUPYTERHUB_SERVICE_PREFIX}proxy/{port}/status",
}
c.BatchSpawnerBase.exec_prefix = PREFIX
c.BatchSpawnerRegexStates.state_exechost_exp = setting("HOST", "")
c.BatchSpawnerBase.batchspawner_singleuser_cmd = str(LAB / "bin/batchspawner-singleuser")
c.BatchSpawnerBase.req_memory = setting("MEMORY", "4000")  # MB
c.BatchSpawnerBase.req_nprocs = setting("CORES", "2")
c.BatchSpawnerBase.req_runtime = setting("RUNTIME", "04:00:00")
c.BatchSpawnerBase.req_partition = setting("PARTITION", "")
c.BatchSpawnerBase.req_account = setting("ACCOUNT", "")
c.BatchSpawnerBase.req_options = setting("OPTIONS", "")
# As batchspawner's own, without the log-in shell that --get-user-env starts on the hub's host.
c.SlurmSpawner.batch_script = """#!/bin/bash
#SBATCH --job-name=lab
#SBATCH --output={{homedir}}/.nanolake/lab_%j.log
#SBATCH --chdir={{homedir}}
#SBATCH --export={{keepvars}}
#SBATCH --mem={{memory}}
#SBATCH --cpus-per-task={{nprocs}}
#SBATCH --time={{runtime}}
{% if partition %}#SBATCH --partition={{partition}}
{% endif %}{% if account %}#SBATCH --account={{account}}
{% endif %}{% if options %}#SBATCH {{options}}
{% endif %}
set -eu
umask 077
exec srun {{cmd}}
"""
# As batchspawner's own; its files are where only the user looks.
c.CondorSpawner.batch_script = """
Executable = /bin/sh
Arguments = "-c 'exec {{cmd}}'"
Request_Memory = {{memory}}
Request_Cpus = {{nprocs}}
Initialdir = {{homedir}}
Output = {{homedir}}/.nanolake/lab.out
Error = {{homedir}}/.nanolake/lab.log
Should_Transfer_Files = No
GetEnv = True
{{options}}
Queue
"""
