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

import ctypes
import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

_MS_BIND, _MS_MOVE, _MS_REC = 0x1000, 0x2000, 0x4000
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
        relay = Path(__file__).with_name("relay.py")
        command = [sys.executable, "-P", str(relay), str(other.detach())]
        os.execv(sys.executable, command)
    other.close()
    return mine.detach()


def _furnish(host: Start, control: int) -> None:
    """Make the host what it is to be, inside of its namespaces."""
    if host.alone:
        _mount("proc", "/proc", kind="proc")
    if host.address:
        socket.sethostname(host.name)
        _wait_for(host.address)
        listeners = [socket.create_server(("127.0.0.1", port), backlog=64) for port in host.ports]
        # Kept open: when this end is closed, the host is gone, and so goes the relay.
        with socket.socket(fileno=os.dup(control)) as relay:
            socket.send_fds(relay, [json.dumps(host.ports).encode()],
                            [one.fileno() for one in listeners])  # fmt: skip
        for one in listeners:
            one.close()
        os.set_inheritable(control, True)
    scratch = Path(host.folder, "execute")
    _mount("tmpfs", str(scratch), kind="tmpfs", options=f"size={host.scratch},mode=755")
    _own_etc(host)
    _hide(host.hide, host.show)
    _serve(host, ["unshare", "--user", f"--map-user={_UID}", f"--map-group={_UID}", "--"])


def _wait_for(address: str, seconds: float = 15) -> None:
    """Wait until the network is there: without any address, every one can be bound."""
    deadline = time.monotonic() + seconds
    while not subprocess.check_output(["ip", "-oneline", "addr", "show", "to", address]):
        if time.monotonic() > deadline:
            raise OSError(f"nobody has connected {address}")
        time.sleep(0.02)


def _own_etc(host: Start) -> None:
    """Put a copy of /etc in its place that knows the user and the hosts, in memory only.

    The folder, and not passwd in it: whoever adds a user renames a new file over that.
    """
    copy = Path(host.folder, "etc")
    copy.mkdir(exist_ok=True)
    _mount("tmpfs", str(copy), kind="tmpfs", options="size=64m,mode=755")
    subprocess.run(["cp", "-a", "/etc/.", str(copy)], check=True)
    home = Path(host.folder, "home")
    for name, line in (("passwd", f"{host.user}:x:{_UID}:{_UID}::{home}:/bin/sh"),
                       ("group", f"{host.user}:x:{_UID}:")):  # fmt: skip
        lines = (copy / name).read_text().splitlines()
        others = [one for one in lines if one.split(":")[0] != host.user and f":{_UID}:" not in one]
        (copy / name).write_text("\n".join([*others, line]) + "\n")
    (copy / "hosts").write_text("\n".join(["127.0.0.1 localhost", *host.names]) + "\n")
    _mount(str(copy), "/etc", flags=_MS_MOVE)


def _hide(hidden: list[str], shown: list[str]) -> None:
    """Put an empty folder in the place of each that is hidden, and back what is shown in it."""
    hidden = [one for one in hidden if one not in shown]
    below = [one for one in shown if any(Path(one).is_relative_to(other) for other in hidden)]
    kept = {one: os.open(one, os.O_PATH) for one in below}
    for one in hidden:
        _mount("tmpfs", one, kind="tmpfs", options="mode=1777")
    for one, descriptor in kept.items():
        Path(one).mkdir(parents=True, exist_ok=True)
        _mount(f"/proc/self/fd/{descriptor}", one, flags=_MS_BIND | _MS_REC)
        os.close(descriptor)


def _mount(source: str, target: str, *, kind: str = "", flags: int = 0, options: str = "") -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    given: list[Any] = [one.encode() or None for one in (source, target, kind, options)]
    if libc.mount(given[0], given[1], given[2], ctypes.c_ulong(flags), given[3]) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), target)


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
