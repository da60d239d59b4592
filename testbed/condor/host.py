"""A host of the pool: becomes condor_master, where root starts it in namespaces of its own.

python host.py FILE

FILE is what :class:`Start` says, as JSON. Root gets a private /etc, in which the user of the pool
is known, becomes this user in a user namespace, and has scratch space of a size of its own: jobs
are never root, and files stay root's and private. A host of a pool of several has a network and a
name of its own as well; one that only executes sees nothing of the project's, the user's and the
pool's folders, and is one process tree (a PID namespace): when its first process is killed, all of
it is gone at once, as in a power cut.
"""

from __future__ import annotations

import json
import os
import socket
import sys
from pathlib import Path
from typing import NamedTuple

from testbed import namespaces

_INSIDE = "--inside"
_UID = 2000  # of the user inside of a host


class Start(NamedTuple):
    """What a host must know to start.

    Args:
        folder: Where it keeps everything.
        master: The program condor_master.
        user: Name of the user of the pool.
        name: Its name with its domain; empty if it has that of the machine.
        address: Its address in a network of its own; empty if it is in the machine's.
        names: Lines of /etc/hosts.
        ports: Ports of the machine's loopback that are on its loopback, too.
        hide: Folders of which it sees nothing,
        show: but these, which may be in them.
        scratch: Size of the scratch space, as mount understands it.
        alone: Whether it is a process tree of its own.
    """

    folder: str
    master: str
    user: str
    name: str
    address: str
    names: list[str]
    ports: list[int]
    hide: list[str]
    show: list[str]
    scratch: str
    alone: bool


def _main(path: str, inside: bool, control: int = -1) -> None:
    host = Start(**json.loads(Path(path).read_text()))
    if inside:
        _furnish(host, control)
    elif os.geteuid() == 0:
        _separate(host, path)
    else:
        _serve(host, [])


def _separate(host: Start, path: str) -> None:
    """Go on in namespaces of its own; what lets it reach the machine's ports stays outside."""
    spaces = ["--mount", "--propagation", "private"]
    control = -1
    if host.address:
        spaces += ["--net", "--uts"]
        control = _relay()
    if host.alone:
        spaces += ["--pid", "--fork", "--kill-child"]
    again = [sys.executable, "-P", __file__, path, _INSIDE, str(control)]
    os.execvp("unshare", ["unshare", *spaces, "--", *again])


def _relay() -> int:
    """Start the process that passes connections on to the machine, and give the way to tell it."""
    mine, other = socket.socketpair()
    for end in (mine, other):
        end.set_inheritable(True)
    if os.fork() == 0:
        mine.close()
        relay = Path(__file__).parents[1] / "relay.py"
        command = [sys.executable, "-P", str(relay), str(other.detach())]
        os.execv(sys.executable, command)
    other.close()
    return mine.detach()


def _furnish(host: Start, control: int) -> None:
    """Make the host what it is to be, inside of its namespaces."""
    if host.alone:
        namespaces.mount("proc", "/proc", kind="proc")
    if host.address:
        socket.sethostname(host.name)
        namespaces.wait_for(host.address)
        listeners = [socket.create_server(("127.0.0.1", port), backlog=64) for port in host.ports]
        # Kept open: when this end is closed, the host is gone, and so goes the relay.
        with socket.socket(fileno=os.dup(control)) as relay:
            socket.send_fds(relay, [json.dumps(host.ports).encode()],
                            [one.fileno() for one in listeners])  # fmt: skip
        for one in listeners:
            one.close()
        os.set_inheritable(control, True)
    scratch = Path(host.folder, "execute")
    namespaces.mount("tmpfs", str(scratch), kind="tmpfs", options=f"size={host.scratch},mode=755")
    _own_etc(host)
    namespaces.hide(host.hide, host.show)
    _serve(host, ["unshare", "--user", f"--map-user={_UID}", f"--map-group={_UID}", "--"])


def _own_etc(host: Start) -> None:
    """Put a copy of /etc in its place that knows the user and the hosts, in memory only.

    The folder, and not passwd in it: whoever adds a user renames a new file over that.
    """
    namespaces.own_etc(Path(host.folder, "etc"), host.names)
    home = Path(host.folder, "home")
    for name, line in (("passwd", f"{host.user}:x:{_UID}:{_UID}::{home}:/bin/sh"),
                       ("group", f"{host.user}:x:{_UID}:")):  # fmt: skip
        path = Path("/etc", name)
        lines = path.read_text().splitlines()
        others = [one for one in lines if one.split(":")[0] != host.user and f":{_UID}:" not in one]
        path.write_text("\n".join([*others, line]) + "\n")


def _serve(host: Start, prefix: list[str]) -> None:
    """Become condor_master."""
    home = Path(host.folder, "home")
    environment = {**os.environ, "HOME": str(home), "USER": host.user, "LOGNAME": host.user,
                   "CONDOR_CONFIG": str(Path(host.folder, "condor_config"))}  # fmt: skip
    os.chdir(home)
    command = [*prefix, host.master, "-f"]
    os.execvpe(command[0], command, environment)


if __name__ == "__main__":
    _main(sys.argv[1], _INSIDE in sys.argv, int(sys.argv[3]) if _INSIDE in sys.argv else -1)
