"""A PostgreSQL of the lake's own: in its folder, reachable through a UNIX socket only."""

from __future__ import annotations

import os
import pwd
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

from testbed.definition import Definition, private_folder, write_private
from testbed.errors import TestbedError

# A test-bed's data need not survive a power cut, so nothing waits for the disk.
_SETTINGS = {
    "listen_addresses": "",
    "fsync": "off",
    "full_page_writes": "off",
    "synchronous_commit": "off",
    "max_connections": "60",
    "shared_buffers": "32MB",
    "min_wal_size": "32MB",
    "max_wal_size": "128MB",
}


def prepare(folder: Path, known: Definition, sockets: Path) -> dict[str, str]:
    """Make the database cluster if it is missing.

    Returns:
        The supervisor's program: its name, command, signal to stop it and user.
    """
    binaries = _binaries(folder)
    user = _user()
    own = _socket_folder(sockets)
    own.mkdir()
    for path in (own, folder / "db"):
        private_folder(path)
        if user:
            shutil.chown(path, user, pwd.getpwnam(user).pw_gid)
    if user:
        _check_reach(folder / "db", user)
    write_private(folder / "etc/pgpass", f"*:*:*:lake:{known.secret}\n")
    data = folder / "db/data"
    if not data.exists():
        _initialise(binaries, data, known, user)
    command = [str(binaries / "postgres"), "-D", str(data), "-k", str(own)]
    for name, value in _SETTINGS.items():
        command += ["-c", f"{name}={value}"]
    # SIGINT: end now, in order, without waiting for clients to leave.
    return {"name": "database", "command": shlex.join(command), "signal": "INT", "user": user}


def client_environment(folder: Path, sockets: Path) -> dict[str, str]:
    """Tell PostgreSQL's client library where the database is, without a password in sight."""
    return {"PGHOST": str(_socket_folder(sockets)), "PGPASSFILE": str(folder / "etc/pgpass")}


def _socket_folder(sockets: Path) -> Path:
    return sockets / "pg"


def _binaries(folder: Path) -> Path:
    """Find the server's programs: the version of an existing cluster, else the newest."""
    note = folder / "db/data/PG_VERSION"
    version = note.read_text().strip() if note.exists() else "*"
    found = sorted(
        Path("/usr/lib/postgresql").glob(f"{version}/bin/initdb"),
        key=lambda path: float(path.parts[-3]),
    )
    if found:
        return found[-1].parent
    if version == "*" and (initdb := shutil.which("initdb")):
        return Path(initdb).resolve().parent
    package = "postgresql" if version == "*" else f"postgresql-{version}"
    raise TestbedError(
        f"PostgreSQL {version.strip('*')} is not installed".replace("  ", " "),
        f"sudo apt-get install --no-install-recommends {package}, or take --database sqlite",
    )


def _user() -> str:
    """Name the user that runs the server: PostgreSQL refuses to run as root."""
    if os.geteuid() != 0:
        return ""
    names = {user.pw_name for user in pwd.getpwall()}
    return "postgres" if "postgres" in names else "nobody"


def _as(user: str) -> dict[str, Any]:
    if not user:
        return {}
    entry = pwd.getpwnam(user)
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}


def _check_reach(path: Path, user: str) -> None:
    reached = subprocess.run(["test", "-w", str(path)], cwd="/", check=False, **_as(user))
    if reached.returncode != 0:
        raise TestbedError(
            f"user {user}, who runs PostgreSQL for root, cannot enter {path}",
            "choose a folder that others may enter (chmod o+x its parents), or do not run as root",
        )


def _initialise(binaries: Path, data: Path, known: Definition, user: str) -> None:
    fresh, password = data.with_name("data.new"), data.with_name("password")
    shutil.rmtree(fresh, ignore_errors=True)  # of a start that was interrupted
    write_private(password, f"{known.secret}\n")
    if user:
        shutil.chown(password, user)
    command = [str(binaries / "initdb"), "-D", str(fresh), "-U", "lake", f"--pwfile={password}",
               "--auth=scram-sha-256", "--encoding=UTF8", "--no-locale", "--no-sync"]  # fmt: skip
    made = subprocess.run(
        command, cwd=data.parent, stdin=subprocess.DEVNULL, text=True, check=False,
        capture_output=True, env={"PATH": os.defpath, "LC_ALL": "C"}, **_as(user),
    )  # fmt: skip
    password.unlink()
    if made.returncode != 0:
        raise TestbedError(
            f"initdb failed: {made.stderr.strip()[-800:]}", "free disk space, or another folder"
        )
    fresh.rename(data)
