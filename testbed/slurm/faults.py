"""What can go wrong in a cluster, done to a real one.

cluster.faults.power_cut(cluster.nodes[0])
"""

from __future__ import annotations

import signal
import time
from pathlib import Path
from typing import NamedTuple

import psutil

from testbed import network, processes, service
from testbed.errors import TestbedError
from testbed.slurm import launch, state
from testbed.slurm.state import Host, Known


class Faults(NamedTuple):
    """The faults of a cluster.

    Args:
        folder: The cluster.
        known: Its name, its nodes.
    """

    folder: Path
    known: Known

    def off(self, daemon: str) -> None:
        """Stop a program of the login node in order: slurmctld, slurmdbd, mariadb, gateway."""
        self._end(daemon, signal.SIGTERM, 20)

    def kill(self, daemon: str) -> None:
        """Kill a program of the login node with -9; it stays dead."""
        self._end(daemon, signal.SIGKILL, 5)

    def on(self, daemon: str) -> None:
        """Start a program that was stopped or killed, and wait until it listens."""
        launch.start_program(self.folder, self.known, daemon, time.monotonic() + 20)

    def power_cut(self, node: str) -> None:
        """End everything on a compute node at once; it stays dead."""
        pid = service.pids(self.folder, self.known)[self._host(node).name]
        # The first of a PID namespace: with it, the kernel ends all others.
        for process in psutil.Process(pid).children():
            processes.send(process, signal.SIGKILL)
        service.wait_for_end(self.folder, self.known, node, 10)

    def power_on(self, node: str) -> None:
        """Start a compute node again, and wait until it takes jobs."""
        launch.power_on(self.folder, self.known, self._host(node))
        launch.wait(self.folder, self.known, time.monotonic() + 30)

    def cut(self, node: str) -> None:
        """Pull a compute node's cable out: its jobs go on, and nobody is told."""
        network.set_cable(self._host(node).name, self._hub(), plugged=False)

    def restore(self, node: str) -> None:
        """Put a compute node's cable in again."""
        network.set_cable(self._host(node).name, self._hub(), plugged=True)

    def drain(self, node: str) -> None:
        """Give no more jobs to a compute node; those that run may end."""
        self._update(node, "State=DRAIN", "Reason=maintenance")

    def resume(self, node: str) -> None:
        """Give jobs to a node that was drained."""
        self._update(node, "State=RESUME")

    def _update(self, node: str, *what: str) -> None:
        state.checked(self.folder, self.known, "scontrol", "update", f"NodeName={node}", *what)

    def preempt(self, node: str) -> str:
        """Submit a job that wants a whole node: those of m100_usr_preempt there must go.

        Returns:
            The job, to be cancelled when it has done its work.
        """
        job = ["--partition=m100_usr_prod", "--exclusive", f"--nodelist={node}", "--time=10"]
        where = f"--output={self.folder}/log/preempt.log"
        command = ["sbatch", "--parsable", *job, where, "--wrap=sleep 600"]
        return state.checked(self.folder, self.known, *command).strip()

    def fill(self) -> None:
        """Let $CINECA_SCRATCH be full, on all hosts."""
        service.resize(self._hub(), state.scratch(self.folder))

    def empty(self) -> None:
        """Let $CINECA_SCRATCH be as large as it was."""
        service.resize(self._hub(), state.scratch(self.folder), launch.SCRATCH)

    def _host(self, node: str) -> Host:
        found = [one for one in self.known.computes if one.name == node]
        if not found:
            names = ", ".join(one.name for one in self.known.computes)
            raise TestbedError(f"there is no compute node {node}", f"choose one of {names}")
        return found[0]

    def _hub(self) -> int:
        return launch.login_pid(self.folder, self.known)

    def _end(self, daemon: str, number: signal.Signals, seconds: float) -> None:
        process = psutil.Process(service.pids(self.folder, self.known)[daemon])
        processes.send(process, number)
        service.wait_for_end(self.folder, self.known, daemon, seconds)
