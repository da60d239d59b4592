"""The credentials of the site's users: tokens, proxies, and what makes a process one of them.

credentials/<user>.token, <user>.proxy    0600
env/<user>.sh                             to be sourced; prints nothing
"""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

from testbed.definition import private_folder, write_private
from testbed.xrootd import issuer, proxies
from testbed.xrootd.configuration import AUDIENCE, EMBARGOED, PUBLIC

_DAY = 24 * 3600.0
_OWN = "/user/analyst"
_WRITES = ("modify", "create")
_SCOPES = {
    "analyst": [
        *(f"storage.read:{path}" for path in (f"/{PUBLIC}", f"/{EMBARGOED}", _OWN)),
        *(f"storage.{verb}:{path}" for verb in _WRITES
          for path in (f"/{PUBLIC}", f"/{EMBARGOED}", _OWN)),
    ],
    "guest": [f"storage.read:/{PUBLIC}"],
}  # fmt: skip
# Whose certificate has the attributes of which VO.
_VOS = {"analyst": "escape", "guest": "", "stranger": "other", "xcache": ""}


def create(folder: Path, port: int) -> None:
    """Make every user's token and proxy, good for two days; the caches' proxy for a year."""
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
        for name, value in environment(folder, user).items():
            lines.append(f"export {name}={shlex.quote(value)}")
        write_private(scripts / f"{user}.sh", "\n".join(lines) + "\n")


def token(folder: Path, port: int, *, audience: str = AUDIENCE, **options: Any) -> str:
    """Mint a token of the site: see :func:`testbed.xrootd.issuer.mint`."""
    return issuer.mint(folder / "issuer", port, audience=audience, **options)


def environment(folder: Path, user: str) -> dict[str, str]:
    """Give the variables that make a process a user: authorities, token and proxy."""
    found = {
        "X509_CERT_DIR": str(folder / "authority/certificates"),
        "X509_VOMS_DIR": str(folder / "authority/vomsdir"),
        "X509_USER_PROXY": str(folder / "credentials" / f"{user}.proxy"),
    }
    if user in _SCOPES:
        found["BEARER_TOKEN_FILE"] = str(folder / "credentials" / f"{user}.token")
    return found
