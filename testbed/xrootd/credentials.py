"""The credentials of the site's users: tokens, proxies, and what makes a process one of them.

credentials/<user>.token, <user>.proxy    0600
env/<user>.sh                             to be sourced; prints nothing
"""

from __future__ import annotations

import os
import shlex
import time
from pathlib import Path
from typing import Any

from testbed.definition import private_folder, write_private
from testbed.xrootd import issuer, members, proxies
from testbed.xrootd.configuration import AUDIENCE, EMBARGOED, PUBLIC

_DAY = 24 * 3600.0
_PATHS = (f"/{PUBLIC}", f"/{EMBARGOED}", "/user/analyst")
_SCOPES = {
    "analyst": [f"storage.{verb}:{p}" for verb in ("read", "modify", "create") for p in _PATHS],
    "guest": [f"storage.read:/{PUBLIC}"],
}
# The VO whose attributes a user's proxy has.
_VOS = {"analyst": "escape", "guest": "", "stranger": "other", "xcache": ""}


def create(folder: Path, port: int) -> None:
    """Make every user's token and proxy, good for two days; the caches' proxy for a year."""
    members.create(folder / "issuer", _SCOPES)
    place = private_folder(folder / "credentials")
    for user, scopes in _SCOPES.items():
        made = token(folder, port, scope=" ".join(scopes), lifetime=2 * _DAY, subject=user)
        write_private(place / f"{user}.token", made)
    for user, vo in _VOS.items():
        hours = 365 * 24 if user == "xcache" else 48
        proxies.create(folder / "authority", user, place / f"{user}.proxy", vo=vo, hours=hours)
    scripts = private_folder(folder / "env")
    for user in _SCOPES:
        lines = ["unset BEARER_TOKEN"]
        for name, value in _variables(folder, user, "any").items():
            lines.append(f"export {name}={shlex.quote(value)}")
        write_private(scripts / f"{user}.sh", "\n".join(lines) + "\n")


def renew(folder: Path, port: int) -> None:
    """Make the credentials anew if they are older than a day."""
    if time.time() - (folder / "credentials/analyst.token").stat().st_mtime > _DAY:
        create(folder, port)


def token(folder: Path, port: int, *, audience: str = AUDIENCE, **options: Any) -> str:
    """Mint a token of the site: see :func:`testbed.xrootd.issuer.mint`."""
    return issuer.mint(folder / "issuer", port, audience=audience, **options)


def environment(folder: Path, user: str, *, kind: str = "any") -> dict[str, str]:
    """Give this process's environment with the credentials of a user in place of its own."""
    own = ("X509_", "BEARER_TOKEN")
    found = {name: value for name, value in os.environ.items() if not name.startswith(own)}
    return found | _variables(folder, user, kind)


def _variables(folder: Path, user: str, kind: str) -> dict[str, str]:
    place = folder / "credentials"
    found = {
        "X509_CERT_DIR": str(folder / "authority/certificates"),
        "X509_VOMS_DIR": str(folder / "authority/vomsdir"),
    }
    if user in _VOS and kind in ("any", "x509"):
        found["X509_USER_PROXY"] = str(place / f"{user}.proxy")
    if user in _SCOPES and kind in ("any", "token"):
        found["BEARER_TOKEN_FILE"] = str(place / f"{user}.token")
    return found
