"""Who is registered with the issuer `wlcg`: its users, and the clients that act for them.

issuer/users.json      user to password and scopes
issuer/clients.json    client to secret, redirect URIs, seconds that its access tokens are good
"""

from __future__ import annotations

import json
import secrets
from pathlib import Path
from typing import Any, NamedTuple

from testbed.definition import write_private

IDENTITY = ("openid", "profile", "email", "offline_access")  # scopes of every user


class Client(NamedTuple):
    """A client that is registered with the issuer."""

    client_id: str
    secret: str
    redirect_uris: list[str]
    lifetime: float


def create(folder: Path, scopes: dict[str, list[str]]) -> None:
    """Write down the users, with the storage scopes of each; invent passwords that are missing."""
    known = _read(folder / "users.json")
    made = {
        name: {"password": known.get(name, {}).get("password") or secrets.token_hex(12),
               "scopes": [*IDENTITY, *storage]}
        for name, storage in scopes.items()
    }  # fmt: skip
    write_private(folder / "users.json", json.dumps(made, indent=2))


def password(folder: Path, user: str) -> str:
    """Give the password of a user."""
    return str(users(folder)[user]["password"])


def register(folder: Path, client: str, redirect_uri: str, *, lifetime: float = 3600) -> str:
    """Register a client, or register it anew.

    Args:
        folder: issuer/ of the site.
        client: Its name.
        redirect_uri: Where users who have logged in are sent back to.
        lifetime: Seconds that its access tokens are good.

    Returns:
        Its secret.
    """
    path = folder / "clients.json"
    known = _read(path)
    made = Client(client, secrets.token_urlsafe(24), [redirect_uri], lifetime)
    write_private(path, json.dumps(known | {client: made._asdict()}, indent=2))
    return made.secret


def users(folder: Path) -> dict[str, dict[str, Any]]:
    """Give all users: name to password and scopes."""
    return _read(folder / "users.json")


def clients(folder: Path) -> dict[str, Client]:
    """Give all clients, by name."""
    return {name: Client(**one) for name, one in _read(folder / "clients.json").items()}


def _read(path: Path) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = json.loads(path.read_text()) if path.exists() else {}
    return found
