"""Collects what the caches say of the files they served (pfc's g-stream) as JSON lines.

python monitoring.py PORT FILE

Each line is one file that was closed: what XRootD says (lfn, size, b_hit, b_miss, b_bypass, ...)
and `cache`, the name of the server.
"""

from __future__ import annotations

import json
import os
import socket
import sys
from pathlib import Path
from typing import Any


def records(datagram: bytes) -> list[dict[str, Any]]:
    """Read a datagram of a g-stream in JSON: a header with the server's name, records behind it."""
    lines = datagram.decode(errors="replace").strip("\0\n ").split("\n")
    header = json.loads(lines[0])
    cache = header.get("src", {}).get("inst", "")
    return [{"cache": cache, **json.loads(line)} for line in lines[1:] if line.strip("\0 ")]


def _collect(port: int, path: Path) -> None:
    listener = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    listener.bind(("127.0.0.1", port))
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    while True:
        datagram = listener.recv(65536)
        try:
            found = records(datagram)
        except ValueError as error:  # anybody can send to a port
            print(f"not a g-stream: {error}", flush=True)
            continue
        text = "".join(json.dumps(record) + "\n" for record in found)
        os.write(descriptor, text.encode())  # one call: readers see whole lines


if __name__ == "__main__":
    _collect(int(sys.argv[1]), Path(sys.argv[2]))
