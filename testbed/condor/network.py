"""The network between the hosts of a pool: a bridge on the submit host, a cable to each other."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterable
from pathlib import Path

from testbed.condor.configuration import SUBMIT, Host
from testbed.errors import TestbedError

_BRIDGE = "bridge0"
_BITS = 24


def enter(pid: int, *spaces: str) -> list[str]:
    """Give what stands before a command that runs in namespaces of a host: net, uts, mount."""
    return ["nsenter", f"--target={pid}", *(f"--{space}" for space in spaces), "--"]


def lay(hosts: list[Host], pids: dict[str, int]) -> None:
    """Connect all hosts of a pool, which have networks of their own but nothing in them yet.

    Args:
        hosts: The hosts.
        pids: A process of each, by its name.
    """
    wait(pids.values())
    submit = hosts[0]
    _ip(
        pids[SUBMIT],
        "link set lo up",
        f"link add {_BRIDGE} type bridge",
        f"addr add {submit.address}/{_BITS} dev {_BRIDGE}",
        f"link set {_BRIDGE} up",
    )
    for host in hosts[1:]:
        connect(host, pids)


def connect(host: Host, pids: dict[str, int]) -> None:
    """Connect a host to the bridge; what is left of a cable that it had is removed."""
    wait([pids[host.name]])
    # Of a host that has just died: the kernel takes its end away when it finds the time.
    rest = [*enter(pids[SUBMIT], "net"), "ip", "link", "del", host.name]
    subprocess.run(rest, capture_output=True, check=False)
    _ip(
        pids[SUBMIT],
        f"link add {host.name} type veth peer name eth0 netns {pids[host.name]}",
        f"link set {host.name} master {_BRIDGE}",
        f"link set {host.name} up",
    )
    _ip(
        pids[host.name],
        "link set lo up",
        f"addr add {host.address}/{_BITS} dev eth0",
        "link set eth0 up",
    )


def set_cable(host: str, pids: dict[str, int], plugged: bool) -> None:
    """Pull a host's cable out, or put it in again: packets are lost, no connection is told."""
    _ip(pids[SUBMIT], f"link set {host} {'up' if plugged else 'down'}")


def wait(pids: Iterable[int], seconds: float = 10) -> None:
    """Wait until processes are in networks of their own: nothing is done to the machine's.

    Raises:
        TestbedError: One is not in time.
    """
    ours, deadline = Path("/proc/self/ns/net").stat(), time.monotonic() + seconds
    while any(os.path.samestat(Path(f"/proc/{pid}/ns/net").stat(), ours) for pid in pids):
        if time.monotonic() > deadline:
            raise TestbedError("a host gets no network of its own", "use a machine that lets root")
        time.sleep(0.01)


def _ip(pid: int, *commands: str) -> None:
    command = [*enter(pid, "net"), "ip", "-batch", "-"]
    text = "".join(f"{one}\n" for one in commands)
    done = subprocess.run(command, input=text, text=True, capture_output=True, check=False)
    if done.returncode != 0:
        raise TestbedError(
            f"the hosts' network cannot be made: {done.stderr.strip()}",
            "use a machine that lets root make bridges, or bring the pool up without --hosts",
        )
