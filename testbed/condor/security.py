"""The secrets of a pool: its signing key and tokens, and what it takes over from a site of XRootD.

A host that executes jobs has its own token and not the key: it can prove to be of the pool, and
nobody can make other tokens from what is on it.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from testbed import unpacked
from testbed.condor import configuration
from testbed.condor.configuration import DOMAIN, Host, place
from testbed.definition import private_folder, write_private
from testbed.errors import TestbedError
from testbed.xrootd import Site, issuer

SERVICE = "scitokens"  # what a job names in OAuthServicesNeeded
# Of the tokens of jobs, unless the credential monitor is told otherwise.
SCOPE = " ".join(
    ["storage.read:/cms", "storage.read:/embargo"]
    + [f"storage.{verb}:/user/analyst" for verb in ("read", "modify", "create")]
)
LIFETIME = 1200.0
_YEARS = 10 * 365 * 86400


def create(folder: Path, members: list[Host]) -> None:
    """Make the pool's key and everybody's token, if they are not there.

    Args:
        folder: The pool; its configuration is there already.
        members: Its hosts, the one that manages it first.
    """
    submit = place(folder, members[0].name)
    key = private_folder(submit / "passwords.d") / "POOL"
    if not key.exists():
        write_private(key, secrets.token_hex(32))
    daemons = _token(submit, "condor")
    for host in members:
        tokens = private_folder(place(folder, host.name) / "tokens.d")
        write_private(tokens / "condor", daemons)
    client = private_folder(folder / "client")
    private_folder(client / "passwords.d")  # none: the user cannot make tokens
    tokens = private_folder(client / "tokens.d")
    write_private(tokens / configuration.user(), _token(submit, configuration.user()))


def _token(submit: Path, name: str) -> str:
    """Let the pool sign a token."""
    program = unpacked.folder("condor") / "bin/condor_token_create"
    made = subprocess.run(
        [str(program), "-identity", f"{name}@{DOMAIN}", "-key", "POOL"],
        env={"PATH": os.defpath, "CONDOR_CONFIG": str(submit / "condor_config")},
        text=True, capture_output=True, check=False,
    )  # fmt: skip
    if made.returncode != 0:
        raise TestbedError(f"no token of {name}: {made.stderr.strip()}", f"delete {submit.parent}")
    return made.stdout


def trust(folder: Path, members: list[Host], site: Site) -> None:
    """Let the pool take tokens of a site's issuer for submission, and give such tokens to jobs.

    Args:
        folder: The pool.
        members: Its hosts, the one that manages it first.
        site: The site; its authorities are on every host, its issuer's key on the first.
    """
    authority = site.folder / "authority"
    for host in members:
        for name in ("certificates", "vomsdir"):
            target = place(folder, host.name) / "grid-security" / name
            shutil.rmtree(target, ignore_errors=True)
            shutil.copytree(authority / name, target)
    submit = place(folder, members[0].name)
    for suffix in ("pem", "key"):
        write_private(submit / f"host.{suffix}", (authority / f"host.{suffix}").read_text())
    url = issuer.address(site.port("issuer"), "wlcg")
    escaped = url.replace("/", r"\/").replace(".", r"\.")
    user = configuration.user()
    write_private(submit / "mapfile", f"SCITOKENS /^{escaped},analyst$/ {user}@{DOMAIN}\n")
    _remember_keys(private_folder(submit / "issuers/scitokens"), site, url)
    credentials = private_folder(submit / "credentials")
    (credentials / "CREDMON_COMPLETE").unlink(missing_ok=True)
    # What condor_store_cred would leave there: the user wants such tokens.
    write_private(private_folder(credentials / configuration.user()) / f"{SERVICE}.top", "{}\n")
    known = {"folder": str(credentials), "issuer": str(site.folder / "issuer"),
             "port": site.port("issuer")}  # fmt: skip
    if not (submit / "tokens.json").exists():
        set_tokens(folder)
    write_private(submit / "credmon.json", json.dumps(known))
    # A script: the master would give Python another name, by which it does not find its libraries.
    module = ["-P", "-m", "testbed.condor.credmon"]
    run = configuration.quote([sys.executable, *module, submit / "credmon.json"])
    log = configuration.quote([submit / "log/CredmonLog"])
    write_private(submit / "credmon", f"#!/bin/sh\nexec {run} >>{log} 2>&1\n")
    (submit / "credmon").chmod(0o700)


def set_tokens(folder: Path, *, scope: str = SCOPE, lifetime: float = LIFETIME) -> None:
    """Say what the credential monitor gives to jobs from now on.

    Args:
        folder: The pool.
        scope: Capabilities, e.g. ``storage.read:/cms``.
        lifetime: Seconds; a token is replaced when half of them are over.
    """
    path = place(folder, configuration.SUBMIT) / "tokens.json"
    write_private(path, json.dumps({"scope": scope, "lifetime": lifetime}))


def ready(folder: Path) -> bool:
    """Say whether the credential monitor has looked through what jobs want."""
    return (place(folder, configuration.SUBMIT) / "credentials/CREDMON_COMPLETE").exists()


def given(folder: Path, **wanted: Any) -> bool:
    """Say whether jobs already get what :func:`set_tokens` was told."""
    own = place(folder, configuration.SUBMIT) / "credentials" / configuration.user()
    note = own / f"{SERVICE}.note"
    return note.exists() and json.loads(note.read_text()) == wanted


def _remember_keys(cache: Path, site: Site, url: str) -> None:
    """Put the issuer's keys where the schedd keeps those that it has fetched.

    It would fetch them over https with the system's authorities only, of which ours is none.
    """
    keys = json.loads((site.folder / "issuer/public/wlcg/jwks").read_text())
    later = int(time.time()) + _YEARS
    known = {"jwks": keys, "expires": later, "next_update": later}
    path = cache / "scitokens_cpp.sqllite"
    path.unlink(missing_ok=True)
    path.touch(0o600)
    with sqlite3.connect(path) as database:
        database.execute(
            "CREATE TABLE keycache (issuer text UNIQUE PRIMARY KEY NOT NULL, keys text NOT NULL)"
        )
        database.execute("INSERT INTO keycache VALUES (?, ?)", (url, json.dumps(known)))
    database.close()
