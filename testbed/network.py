"""The network between the hosts of a service: a bridge on one of them, a cable to each other."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

import psutil

from testbed.errors import TestbedError

_BRIDGE = "bridge0"
_BITS = 24


class Host(Protocol):
    """What a network must know of a host: its name, its address."""

    @property
    def name(self) -> str:
        """Name, also of its end of the cable on the bridge."""

    @property
    def address(self) -> str:
        """Address."""


def enter(pid: int, *spaces: str) -> list[str]:
    """Give what stands before a command that runs in namespaces of a host: net, uts, mount."""
    return ["nsenter", f"--target={pid}", *(f"--{space}" for space in spaces), "--"]


def bridge(host: Host, pid: int) -> None:
    """Make the bridge on a host, which is one end of all cables.

    Args:
        host: The host.
        pid: A process of it.
    """
    _ip(
        pid,
        "link set lo up",
        f"link add {_BRIDGE} type bridge",
        f"addr add {host.address}/{_BITS} dev {_BRIDGE}",
        f"link set {_BRIDGE} up",
    )


def connect(host: Host, pid: int, hub: int) -> None:
    """Connect a host to the bridge; what is left of a cable that it had is removed.

    Args:
        host: The host, which has a network of its own but nothing in it yet.
        pid: A process of it.
        hub: A process of the host that has the bridge.
    """
    wait([pid])
    # Of a host that has just died: the kernel takes its end away when it finds the time.
    rest = [*enter(hub, "net"), "ip", "link", "del", host.name]
    subprocess.run(rest, capture_output=True, check=False)
    _ip(
        hub,
        f"link add {host.name} type veth peer name eth0 netns {pid}",
        f"link set {host.name} master {_BRIDGE}",
        f"link set {host.name} up",
    )
    _ip(
        pid,
        "link set lo up",
        f"addr add {host.address}/{_BITS} dev eth0",
        "link set eth0 up",
    )


def set_cable(host: str, hub: int, plugged: bool) -> None:
    """Pull a host's cable out, or put it in again: packets are lost, no connection is told."""
    _ip(hub, f"link set {host} {'up' if plugged else 'down'}")


def wait(pids: Iterable[int], seconds: float = 10) -> None:
    """Wait until processes are in networks of their own: nothing is done to their parents'.

    Raises:
        TestbedError: One is not in time.
    """
    deadline = time.monotonic() + seconds
    while any(_network(pid) == _network(psutil.Process(pid).ppid()) for pid in pids):
        if time.monotonic() > deadline:
            raise TestbedError("a host gets no network of its own", "use a machine that lets root")
        time.sleep(0.01)


def _network(pid: int) -> tuple[int, int]:
    found = Path(f"/proc/{pid}/ns/net").stat()
    return found.st_dev, found.st_ino


def _ip(pid: int, *commands: str) -> None:
    command = [*enter(pid, "net"), "ip", "-batch", "-"]
    text = "".join(f"{one}\n" for one in commands)
    done = subprocess.run(command, input=text, text=True, capture_output=True, check=False)
    if done.returncode != 0:
        raise TestbedError(
            f"the hosts' network cannot be made: {done.stderr.strip()}",
            "use a machine that lets root make bridges",
        )
