"""The lake's policy package: Rucio's generic rules, and permissions that follow quota."""

from __future__ import annotations

from typing import Any

SUPPORTED_VERSION = [">=41", "<42"]


def get_algorithms() -> dict[str, Any]:
    """Name the algorithms that this package adds: none."""
    return {}
