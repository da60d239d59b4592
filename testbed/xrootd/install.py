"""Where the programs of XRootD 5.8.1 are that `envs/setup xrootd` has unpacked."""

from __future__ import annotations

import os
import subprocess
from functools import cache
from pathlib import Path

from testbed import unpacked
from testbed.errors import TestbedError


def folder() -> Path:
    """Find the folder of the installation: see :func:`testbed.unpacked.folder`."""
    return unpacked.folder("xrootd")


def program(name: str) -> Path:
    """Find a program: xrootd, xrdcp, xrdfs, xrdadler32, voms-proxy-fake, openssl.

    Raises:
        TestbedError: It is not installed.
    """
    path = folder() / "bin" / name
    if not path.exists():
        raise TestbedError(f"no {name} in {path.parent}", "envs/setup xrootd")
    return path


def plugins() -> Path:
    """Give the folder that tells XRootD's client which plug-in speaks HTTP."""
    return folder() / "tree/etc/xrootd/client.plugins.d"


@cache
def unprivileged() -> list[str]:
    """Give what stands before a command that refuses to be root: nothing for other users.

    Root becomes another user in a namespace of its own, so that files stay root's and private.

    Raises:
        TestbedError: Root may not do so here.
    """
    if os.geteuid() != 0:
        return []
    prefix = ["unshare", "--user", "--map-user=1000", "--map-group=1000", "--"]
    try:
        subprocess.run([*prefix, "true"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        problem = f"xrootd refuses to be root, and root cannot be another user: {error}"
        raise TestbedError(problem, "do not run as root, or allow user namespaces") from error
    return prefix
