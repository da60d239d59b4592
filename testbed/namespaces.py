"""What root does inside of a host's namespaces, so that the machine does not see it.

Programs that become a host of a service use it.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

BIND, MOVE, RECURSIVE = 0x1000, 0x2000, 0x4000


def mount(source: str, target: str, *, kind: str = "", flags: int = 0, options: str = "") -> None:
    """Call mount(2).

    Args:
        source: What is mounted.
        target: Where.
        kind: Of the file system; empty with BIND and MOVE.
        flags: BIND, MOVE, RECURSIVE.
        options: Of the file system.

    Raises:
        OSError: It cannot be mounted.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    given: list[Any] = [one.encode() or None for one in (source, target, kind, options)]
    if libc.mount(given[0], given[1], given[2], ctypes.c_ulong(flags), given[3]) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), target)


def own_etc(copy: Path, names: Iterable[str]) -> None:
    """Put a copy of /etc that knows the hosts in its place, in memory only: it may be changed.

    Args:
        copy: Where it is made, a folder that stays empty.
        names: Lines of its hosts.
    """
    copy.mkdir(exist_ok=True)
    mount("tmpfs", str(copy), kind="tmpfs", options="size=64m,mode=755")
    subprocess.run(["cp", "-a", "/etc/.", str(copy)], check=True)
    (copy / "hosts").write_text("\n".join(["127.0.0.1 localhost", *names]) + "\n")
    mount(str(copy), "/etc", flags=MOVE)


def hide(hidden: Sequence[str], shown: Sequence[str]) -> None:
    """Put an empty folder in the place of each that is hidden, and back what is shown in it."""
    hidden = [one for one in hidden if one not in shown]
    below = [one for one in shown if any(Path(one).is_relative_to(other) for other in hidden)]
    kept = {one: os.open(one, os.O_PATH) for one in below}
    for one in hidden:
        mount("tmpfs", one, kind="tmpfs", options="mode=1777")
    for one, descriptor in kept.items():
        Path(one).mkdir(parents=True, exist_ok=True)
        mount(f"/proc/self/fd/{descriptor}", one, flags=BIND | RECURSIVE)
        os.close(descriptor)


def wait_for(address: str, seconds: float = 15) -> None:
    """Wait until the network is there: without any address, every one can be bound.

    Raises:
        OSError: It is not there in time.
    """
    deadline = time.monotonic() + seconds
    while not subprocess.check_output(["ip", "-oneline", "addr", "show", "to", address]):
        if time.monotonic() > deadline:
            raise OSError(f"nobody has connected {address}")
        time.sleep(0.02)
