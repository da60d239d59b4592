"""A PostgreSQL of the lake's own: in its folder, on a UNIX socket only."""

from pathlib import Path
from testbed.definition import Definition


def prepare(folder: Path, known: Definition, sockets: Path) -> dict[str, str]:
    raise NotImplementedError


def client_environment(folder: Path, sockets: Path) -> dict[str, str]:
    raise NotImplementedError
