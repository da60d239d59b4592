"""Notebooks whose workers are jobs of a batch system of the test-bed."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pools import Coordinator, engine_that, forget
from testbed.condor import Pool
from testbed.slurm import Cluster
from workspace import SMALL, Workspace

import nanolake

SAMPLES = ("SMHiggsToZZTo4L", "ZZTo4e", "ZZTo4mu")  # of higgs4l, one unit each
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


def killed(own: Workspace, on: Pool | Cluster) -> None:
    """Kill a notebook, and with it the scheduler, in the middle of a unit; another one goes on."""
    forget(own, "higgs4l", *SAMPLES)
    hang = f'case "$TASK" in *{SAMPLES[0]}*) touch one; until [ -e go ]; do sleep 0.2; done ;; esac'
    units = own.path("higgs4l", "units")
    with engine_that(own, "higgs4l", hang) as notes:
        kernel = Kernel(own, "higgs4l", on=on, minimum=2, maximum=2)
        kernel.wait_until((notes / "one").exists, 120)
        kernel.wait_until(lambda: all(list(units.glob(f"{s}/*.json")) for s in SAMPLES[1:]))
        kernel.process.kill()
        kernel.process.wait()
        made = {path: path.stat().st_mtime_ns for path in units.glob("*/*")}
        (notes / "go").touch()
        Kernel(own, "higgs4l", on=on, minimum=1, maximum=2).end()
    assert {path: path.stat().st_mtime_ns for path in made} == made


def refused(
    user: Workspace,
    finished: Workspace,
    on: Pool | Cluster,
    expire: Callable[[], None],
    lake: str,
    **config: Any,
) -> None:
    """Let the token of a notebook expire while its unit begins: no byte is read with it."""
    user.take_inputs(finished)
    config |= {"lake": lake}
    opened = nanolake.analysis("dimuon", folder=user.folder, **SMALL | config)
    opened.prepare()
    waits = (
        'old=$(cksum <"$BEARER_TOKEN_FILE"); touch one;'
        ' until [ -e go ] && [ "$(cksum <"$BEARER_TOKEN_FILE")" != "$old" ]; do sleep 0.2; done'
    )
    with engine_that(user, "dimuon", waits) as notes:
        kernel = Kernel(user, "dimuon", on=on, config=config, minimum=1, maximum=1)
        kernel.wait_until((notes / "one").exists, 120)
        expire()
        (notes / "go").touch()
        said = kernel.end(fails=True)
    assert said.count("CredentialError: the credential of the workers: storage refuses it") == 1
    assert "remedy:  renew the credential" in said
    assert opened.missing(opened.prepare())


def same(user: Workspace, finished: Workspace, name: str) -> bool:
    """Whether an analysis has made the bytes of finished results."""
    mine = user.products()
    return bool(mine) and mine == {
        path: content for path, content in finished.products().items() if path.startswith(name)
    }
