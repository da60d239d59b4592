"""Where the programs are that `envs/setup xrootd` and `envs/setup condor` have unpacked."""

from __future__ import annotations

import os
from pathlib import Path

from testbed.errors import TestbedError

HOME = Path(__file__).resolve().parents[1]


def folder(service: str) -> Path:
    """Find the folder of an installation: TESTBED_<SERVICE>, or .<service> of the project.

    Args:
        service: xrootd or condor.

    Raises:
        TestbedError: It is not installed.
    """
    found = Path(os.environ.get(f"TESTBED_{service.upper()}", HOME / f".{service}")).resolve()
    if not (found / ".installed").exists():
        raise TestbedError(f"no {service} in {found}", f"envs/setup {service}")
    return found
