"""What is alike in the lives of all services: known by a file, found, listed, stopped, at fault.

A lake, a site, a pool and a cluster say themselves what is known of them, what of them is missing,
and how they are stopped.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from testbed import network, processes, unpacked
from testbed.definition import private_folder, write_json
from testbed.errors import TestbedError
from testbed.processes import Service

ALIVE = ("RUNNING", "STARTING")  # the supervisor's words; STARTING lasts four seconds
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"  # of hosts
Known = TypeVar("Known", bound=Service)


def load(folder: Path, noun: str, known: type[Known]) -> Known | None:
    """Read what is known of the service in a folder, if there is one."""
    path = folder / f"etc/{noun}.json"
    try:
        return known(**json.loads(path.read_text())) if path.exists() else None
    except (ValueError, TypeError) as error:
        raise TestbedError(f"{path} cannot be read: {error}", f"delete {folder}") from error


def check_empty(folder: Path, noun: str) -> None:
    """Refuse to make a service in a folder that holds anything."""
    if any(path.name != ".lock" for path in folder.iterdir()):
        raise TestbedError(f"{folder} is not empty and not a {noun}", "choose another folder")


def save(folder: Path, noun: str, known: NamedTuple) -> None:
    """Write what is known of a service into its folder, which others cannot enter."""
    private_folder(folder)
    private_folder(folder / "etc")
    write_json(folder / f"etc/{noun}.json", known)


def find(
    folder: Path, read: Callable[[Path], Known | None], missing: Callable[[Path, Known], Any]
) -> tuple[Path, Known, int] | None:
    """Find the service of a folder if all of it runs and answers.

    Args:
        folder: Where it keeps everything.
        read: Gives what is known of it.
        missing: Names what of it does not run or answer.

    Returns:
        Its folder, what is known of it, the pid of its supervisor.
    """
    folder = Path(folder).resolve()
    known = read(folder)
    process = processes.supervisor(folder, known) if known else None
    if known is None or process is None or missing(folder, known):
        return None
    return folder, known, process.pid


def down(
    folder: Path,
    noun: str,
    read: Callable[[Path], Known | None],
    stop: Callable[[Path, Known], None],
    *,
    delete: bool,
) -> bool:
    """Stop everything of the service in a folder; its data stay unless they are to be deleted.

    Args:
        folder: Where it keeps everything.
        noun: What it is called.
        read: Gives what is known of it.
        stop: Leaves no process of it.
        delete: Whether to delete its data.

    Returns:
        Whether anything had been running.
    """
    folder = Path(folder).resolve()
    if not folder.exists():
        return False
    with processes.alone(folder):
        known = read(folder)
        if known is None:
            raise TestbedError(f"{folder} is not a {noun}", "name the folder with --folder")
        ran = bool(processes.of_service(folder, known))
        stop(folder, known)
        if delete:
            shutil.rmtree(folder)
    return ran


def programs(folder: Path, read: Callable[[Path], Service | None]) -> list[tuple[str, str, int]]:
    """List the programs of the service in a folder: name, state, pid."""
    folder = Path(folder).resolve()
    known = read(folder)
    found = processes.states(folder, known) if known else {}
    return [(name, one["statename"], one["pid"]) for name, one in found.items()]


def pids(folder: Path, known: Service) -> dict[str, int]:
    """Give the pid of every program that runs, by its name: the supervisor's child."""
    found = processes.states(folder, known)
    return {name: one["pid"] for name, one in found.items() if one["statename"] in ALIVE}


def resume(folder: Path, known: Service) -> None:
    """Let go on what of a service hangs; till then, it does not hear that it is to end."""
    for process in processes.of_service(folder, known):
        processes.send(process, signal.SIGCONT)


def wait_for_end(folder: Path, known: Service, name: str, seconds: float) -> None:
    """Wait until a program has ended.

    Raises:
        TestbedError: It has not in time.
    """
    deadline = time.monotonic() + seconds
    while name in pids(folder, known):
        if time.monotonic() > deadline:
            raise TestbedError(f"{name} does not end", f"read {folder}/log")
        time.sleep(0.02)


def failure(folder: Path, name: str, problem: str, *logs: Path) -> TestbedError:
    """Say what is wrong with a program, with the end of its log, and what other logs there are."""
    log = folder / f"log/{name}.log"
    tail = log.read_text(errors="replace").splitlines()[-15:] if log.exists() else []
    read = " and ".join(map(str, [log, *logs]))
    return TestbedError("\n    ".join([problem, *tail]), f"read {read}")


def host_environment(folder: Path, known: Service) -> dict[str, str]:
    """Make the environment of a service's hosts: nothing of the user's gets in."""
    return {
        "PATH": PATH,
        "LANG": "C.UTF-8",
        "TZ": os.environ.get("TZ", ""),
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONPATH": str(unpacked.HOME),
        processes.MARK: processes.mark(folder, known),
    }


def on_host(pid: int, cwd: Path | None) -> list[str]:
    """Give what stands before a command that runs on a host, in a folder or in ours."""
    # Whoever enters another mount namespace begins at its root.
    inside = network.enter(pid, "net", "uts", "mount")
    return [*inside, "env", f"--chdir={cwd or Path.cwd()}"]


def resize(pid: int, scratch: Path, size: str = "") -> None:
    """Give the scratch space of a host a size; by default, it is full, which costs no memory."""
    if not size:
        seen = os.statvfs(f"/proc/{pid}/root{scratch}")
        size = str(max(1, seen.f_blocks - seen.f_bfree) * seen.f_frsize)
    command = ["mount", "-o", f"remount,size={size}", str(scratch)]
    subprocess.run([*network.enter(pid, "mount"), *command], check=True)
