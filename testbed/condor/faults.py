"""What can go wrong in a pool, done to a real one.

pool.faults.power_cut("execute1")
"""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import NamedTuple

import psutil

from testbed import network, processes, service
from testbed.condor import launch, state
from testbed.condor.configuration import SUBMIT, Host, place
from testbed.condor.state import Known
from testbed.errors import TestbedError


class Faults(NamedTuple):
    """The faults of a pool.

    Args:
        folder: The pool.
        known: Its name, its hosts.
    """

    folder: Path
    known: Known

    def off(self, daemon: str) -> None:
        """Stop a daemon of the submit host in order: schedd, negotiator, collector."""
        self._administer("condor_off", "-fast", "-daemon", daemon)

    def on(self, daemon: str) -> None:
        """Start a daemon that was stopped."""
        self._administer("condor_on", "-daemon", daemon)

    def _administer(self, *command: str) -> None:
        who = {
            "CONDOR_CONFIG": str(place(self.folder, SUBMIT) / "condor_config"),
            "CONDOR_IDS": f"{os.geteuid()}.{os.getegid()}",  # without, root would be "condor"
        }
        state.checked(self.folder, self.known, command, **who)

    def kill(self, daemon: str, host: str = "") -> int:
        """Kill the processes of a daemon with -9; a master starts again what is its own.

        Args:
            daemon: schedd, negotiator, collector, startd, starter, shadow.
            host: Only those of this host.

        Returns:
            How many there were.
        """
        found = state.daemons(self.folder, self.known, daemon, host)
        for process in found:
            processes.send(process, signal.SIGKILL)
        return len(found)

    def power_cut(self, host: str, *, silent: bool = False) -> None:
        """End everything on a host at once; it stays dead.

        Args:
            host: The host.
            silent: Whether nobody is told, as when the power is really gone; else its kernel closes
                the connections that there are.
        """
        self._far(host)
        relays, pid = self._relays(host), service.pids(self.folder, self.known)[host]
        if silent:
            self.cut(host)
        # The first of a PID namespace: with it, the kernel ends all others.
        for process in set(psutil.Process(pid).children()) - set(relays):
            processes.send(process, signal.SIGKILL)
        for process in relays:
            processes.send(process, signal.SIGCONT)  # to see that nobody is there any more
        service.wait_for_end(self.folder, self.known, host, 10)

    def power_on(self, host: str) -> None:
        """Start a host again, and wait until it executes jobs."""
        since = {host: time.time()}
        launch.power_on(self.folder, self.known, self._far(host))
        launch.wait(self.folder, self.known, 30, since)

    def cut(self, host: str) -> None:
        """Cut a host off: nothing reaches it or leaves it, and nobody is told."""
        self._far(host)
        for process in self._relays(host):
            process.suspend()
        network.set_cable(host, service.pids(self.folder, self.known)[SUBMIT], plugged=False)

    def restore(self, host: str) -> None:
        """Connect a host again that was cut off."""
        network.set_cable(host, service.pids(self.folder, self.known)[SUBMIT], plugged=True)
        for process in self._relays(host):
            process.resume()

    def _relays(self, host: str) -> list[psutil.Process]:
        pid = service.pids(self.folder, self.known)[host]
        return [one for one in psutil.Process(pid).children() if _is_relay(one)]

    def _far(self, host: str) -> Host:
        found = [one for one in self.known.members if one.name == host and host != SUBMIT]
        if not found:
            raise TestbedError(f"{host} has no network of its own", "bring a pool up with --hosts")
        return found[0]

    def evict(self, job: str) -> None:
        """Let a running job be evicted; it runs again later."""
        state.checked(self.folder, self.known, ["condor_vacate_job", "-fast", job])

    def fill(self, host: str = SUBMIT) -> None:
        """Let the scratch space of a host be full."""
        self._resize(host)

    def empty(self, host: str = SUBMIT) -> None:
        """Let the scratch space of a host be as large as it was."""
        self._resize(host, launch.SCRATCH)

    def _resize(self, host: str, size: str = "") -> None:
        if os.geteuid() != 0:
            raise TestbedError("the scratch space is the machine's own", "be root for a small one")
        pid = service.pids(self.folder, self.known)[host]
        service.resize(pid, place(self.folder, host) / "execute", size)


def _is_relay(process: psutil.Process) -> bool:
    return any(part.endswith("/relay.py") for part in process.cmdline()[:4])
