"""What a lake is made of: its accounts and RSEs, its secrets, and where its files are."""

from __future__ import annotations

import json
import os
import secrets
from pathlib import Path
from typing import Any, NamedTuple

from testbed.errors import TestbedError

DATABASES = ("sqlite", "postgresql")
TERABYTE = 10**12

# Quota in bytes on every RSE; -1: without limit, 0: the account may only look.
_ACCOUNTS: dict[str, dict[str, Any]] = {
    "root": {"quota": -1, "scopes": ["user.root"]},
    "analyst": {"quota": TERABYTE, "scopes": ["cms", "user.analyst", "embargo"]},
    "guest": {"quota": 0, "scopes": ["user.guest"]},
}
_RSES: dict[str, dict[str, Any]] = {
    "LAPTOP-FAST": {"attributes": {"QOS": "FAST", "site": "LAPTOP"}},
    "LAPTOP-CHEAP": {"attributes": {"QOS": "CHEAP-ANALYSIS", "site": "LAPTOP"}},
}


class Definition(NamedTuple):
    """A lake as ``etc/lake.json`` keeps it, secrets included.

    Args:
        name: Its own.
        database: sqlite or postgresql.
        port: Of its REST interface.
        accounts: Name to quota, scopes and password.
        rses: Name to attributes and protocols (as Rucio's API takes them); without protocols its
            files are in the lake's folder.
        secret: Password of its supervisor.
        environment: More variables of its processes: what its storage asks them for.
        issuer: URL of the issuer whose tokens it takes; an account is the subject of its name.
    """

    name: str
    database: str
    port: int
    accounts: dict[str, dict[str, Any]]
    rses: dict[str, dict[str, Any]]
    secret: str
    environment: dict[str, str] | None = None
    issuer: str = ""

    @property
    def url(self) -> str:
        """Where the REST interface is."""
        return f"http://127.0.0.1:{self.port}"


def private_folder(path: Path, mode: int = 0o700) -> Path:
    """Make a folder with exactly this mode."""
    path.mkdir(parents=True, exist_ok=True)
    path.chmod(mode)
    return path


def write_private(path: Path, text: str) -> None:
    """Write a file that nobody else can read at any moment, whole or not at all."""
    partial = path.with_name(f".{path.name}.new")
    partial.unlink(missing_ok=True)
    with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    partial.replace(path)


def write_json(path: Path, content: NamedTuple) -> None:
    """Write such a file that says what a tuple holds."""
    write_private(path, json.dumps(content._asdict(), indent=2) + "\n")


def create(folder: Path, database: str) -> Definition:
    """Invent a lake's name and secrets; its folder must be empty or missing."""
    if database not in DATABASES:
        raise TestbedError(f"unknown database {database}", f"choose one of {', '.join(DATABASES)}")
    if any(path.name != ".lock" for path in folder.iterdir()):
        raise TestbedError(
            f"{folder} is not empty and not a lake", "choose another folder, or empty this one"
        )
    accounts = {
        name: {**account, "password": secrets.token_hex(20)} for name, account in _ACCOUNTS.items()
    }
    definition = Definition(
        secrets.token_hex(6), database, 0, accounts, _RSES, secrets.token_hex(20)
    )
    save(folder, definition)
    return definition


def save(folder: Path, definition: Definition) -> None:
    """Write the definition into its lake."""
    private_folder(folder / "etc")
    write_json(folder / "etc/lake.json", definition)


def load(folder: Path) -> Definition | None:
    """Read the definition of the lake in a folder, if there is one."""
    path = folder / "etc/lake.json"
    if not path.exists():
        return None
    try:
        return Definition(**json.loads(path.read_text()))
    except (ValueError, TypeError) as error:
        raise TestbedError(
            f"{path} cannot be read: {error}", f"delete the folder {folder}: a lake is made anew"
        ) from error
