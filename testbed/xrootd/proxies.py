"""Proxy certificates, with and without the attributes of a VO."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from testbed.errors import TestbedError
from testbed.xrootd import install


def create(
    authority: Path, user: str, path: Path, *, vo: str = "", hours: float = 24, past: float = 0
) -> Path:
    """Make a proxy certificate of a user, readable by nobody else.

    Args:
        authority: authority/ of the site.
        user: Whose certificate signs it.
        path: Where it is put.
        vo: VO whose attributes it has; none if empty.
        hours: How long it is valid.
        past: Hours ago that its validity began; more than `hours` make an expired one.
    """
    partial = path.with_name(f".{path.name}.new")
    partial.unlink(missing_ok=True)
    seconds = f"{int(past * 3600)}"
    command = [
        str(install.program("voms-proxy-fake")), "-quiet", "-rfc", "-newformat",
        "-cert", str(authority / f"{user}.pem"), "-key", str(authority / f"{user}.key"),
        "-certdir", str(authority / "certificates"), "-out", str(partial),
        "-hours", f"{max(1, round(hours))}", "-pastproxy", seconds,
    ]  # fmt: skip
    if vo:
        command += [
            "-voms", vo, "-fqan", f"/{vo}/Role=NULL/Capability=NULL", "-uri", "voms.testbed:15000",
            "-hostcert", str(authority / "voms.pem"), "-hostkey", str(authority / "voms.key"),
            "-vomslife", f"{max(1, round(hours))}", "-pastac", seconds,
        ]  # fmt: skip
    environment = {
        "PATH": os.defpath,
        "HOME": str(path.parent),
        "X509_CERT_DIR": str(authority / "certificates"),
        "X509_VOMS_DIR": str(authority / "vomsdir"),
    }
    made = subprocess.run(command, env=environment, text=True, capture_output=True, check=False)
    if not partial.exists() or made.returncode != 0:
        said = (made.stdout + made.stderr).strip()
        raise TestbedError(f"no proxy of {user}: {said}", "envs/setup xrootd; a new site folder")
    partial.chmod(0o600)
    return partial.replace(path)
