"""The site of the test-bed for runs of the workflow: real XRootD servers with a Rucio lake."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from testbed import xrootd
from testbed.errors import TestbedError
from workspace import REPOSITORY, Workspace

from nanolake import embargo

_FOREIGN = ("BEARER_TOKEN", "BEARER_TOKEN_FILE", "X509_USER_PROXY", "X509_CERT_DIR")


def require(check: Callable[..., object], *arguments: Any) -> None:
    """Skip the test where this machine lacks what a service of the test-bed needs."""
    try:
        check(*arguments)
    except TestbedError as error:
        pytest.skip(str(error))


def bring_up(folder: Path) -> xrootd.Site:
    """The site of a folder with its lake; the test is skipped where XRootD is not installed."""
    require(xrootd.install.folder)
    require(xrootd.install.unprivileged)
    try:
        site = xrootd.up(folder)
        xrootd.lake.up(site)
    except BaseException:
        xrootd.down(folder, delete=True)  # what has started
        raise
    return site


def become(monkeypatch: pytest.MonkeyPatch, site: xrootd.Site, user: str, **more: str) -> None:
    """This process and its children are a user of the site, and nobody else."""
    for name in _FOREIGN:
        monkeypatch.delenv(name, raising=False)
    for name, value in {**site.environment(user), **more}.items():
        monkeypatch.setenv(name, value)


def lake_file(site: xrootd.Site, name: str, target: Path, **change: Any) -> str:
    """A lake file of the site, with some of its keys changed; its path."""
    content = yaml.safe_load((site.folder / "lakes" / f"{name}.yaml").read_text())
    for key, value in change.items():
        known = content.get(key)
        content[key] = known | value if isinstance(known, dict) else value
    target.write_text(yaml.safe_dump(content))
    return str(target)


def embargoed_datasets(folder: Path, *samples: str) -> str:
    """A datasets.yaml in which some samples are embargoed; its path."""
    content = yaml.safe_load((REPOSITORY / "config/datasets.yaml").read_text())
    for analysis in content["analyses"].values():
        for sample in samples:
            if sample in analysis["datasets"]:
                analysis["datasets"][sample]["embargoed"] = True
    path = folder / "datasets.yaml"
    path.write_text(yaml.safe_dump(content))
    return str(path)


def embargo_all(workspace: Workspace, finished: Workspace) -> dict[str, Any]:
    """Embargo the inputs of a folder: all samples of finished results; the configuration of it."""
    embargo.keep_private([workspace.folder / "resources"])
    samples = [path.stem for path in finished.path().glob("*/ntuples/*.root")]
    return {"datasets": embargoed_datasets(workspace.folder, *samples)}


def units(workspace: Workspace) -> dict[str, bytes]:
    """The bytes of the events of all units."""
    found = sorted(workspace.path().glob("*/units/*/*.root"))
    return {str(path.relative_to(workspace.path())): path.read_bytes() for path in found}
