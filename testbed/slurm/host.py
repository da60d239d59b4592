"""A host of the cluster: becomes the supervisor on the login node, slurmd on a compute node.

python host.py FILE COMMAND ...

FILE is what :class:`Start` says, as JSON. Root starts it in namespaces of its own. What the login
node mounts is in its namespace only, and in those of the compute nodes, which begin as copies.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from testbed import namespaces, network


class Start(NamedTuple):
    """What a host must know to start.

    Args:
        folder: The cluster.
        name: Its name.
        address: Its address.
        names: Lines of /etc/hosts, on the login node; none on others.
        scratch: Size of $CINECA_SCRATCH, as mount understands it, on the login node.
        hide: Folders of which it sees nothing,
        show: but these, which may be in them.
    """

    folder: str
    name: str
    address: str
    names: list[str]
    scratch: str
    hide: list[str]
    show: list[str]


def _main(path: str, command: list[str]) -> None:
    host = Start(**json.loads(Path(path).read_text()))
    socket.sethostname(host.name)
    if host.names:
        _login(host, command)
    else:
        _compute(host, command)


def _login(host: Start, command: list[str]) -> None:
    """Furnish the login node, and become its supervisor."""
    folder = Path(host.folder)
    # The gateway passes connections on to the network in which our parent is: the machine's.
    outside = folder / "run/outside"
    outside.touch()
    namespaces.mount(f"/proc/{os.getppid()}/ns/net", str(outside), flags=namespaces.BIND)
    network.bridge(host, os.getpid())
    namespaces.own_etc(folder / "run/etc", host.names)
    slurm = Path("/etc/slurm")
    shutil.rmtree(slurm, ignore_errors=True)  # the packages' own, in our copy
    slurm.symlink_to(folder / "etc/slurm")
    options = f"size={host.scratch},mode=755"
    namespaces.mount("tmpfs", str(folder / "scratch"), kind="tmpfs", options=options)
    os.execvp(command[0], command)


def _compute(host: Start, command: list[str]) -> None:
    """Furnish a compute node, and be the first process of it, which adopts orphans."""
    namespaces.mount("proc", "/proc", kind="proc")
    namespaces.wait_for(host.address)
    namespaces.hide(host.hide, host.show)
    daemon = subprocess.Popen(command, cwd="/")
    signal.signal(signal.SIGTERM, lambda number, _: daemon.send_signal(number))
    while True:
        pid, status = os.wait()
        if pid == daemon.pid:
            sys.exit(os.waitstatus_to_exitcode(status) & 0xFF)


if __name__ == "__main__":
    _main(sys.argv[1], sys.argv[2:])
