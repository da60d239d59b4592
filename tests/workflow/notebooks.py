"""Notebooks whose workers are jobs of a batch system of the test-bed."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from pools import Coordinator
from testbed.condor import Pool
from testbed.slurm import Cluster
from workspace import SMALL, Workspace

KERNEL = Path(__file__).with_name("kernel.py")


class Kernel(Coordinator):
    """The cells of a notebook, on the submit host of a pool or the login node of a cluster."""

    def __init__(
        self,
        workspace: Workspace,
        *analyses: str,
        on: Pool | Cluster,
        config: dict[str, Any] | None = None,
        **options: Any,
    ) -> None:
        given = {"config": SMALL | {"lake": "local"} | (config or {}), "cluster": options}
        (workspace.folder / "given.json").write_text(json.dumps(given))
        engine = "condor" if isinstance(on, Pool) else "marconi100"
        command = [sys.executable, str(KERNEL), engine, "given.json", *analyses]
        enter = on.on_submit_host if isinstance(on, Pool) else on.on_login_node
        self._start(workspace, enter(command, cwd=workspace.folder), on.environment())

    def seen(self) -> list[dict[str, Any]]:
        """What it has printed of each analysis."""
        return [json.loads(line) for line in self.said.splitlines() if line.startswith("{")]
