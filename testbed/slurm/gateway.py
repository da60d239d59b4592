"""The gateway of the cluster: ports of the machine on the login node, some for compute nodes, too.

python gateway.py FILE

FILE is what :class:`Offer` says, as JSON. It listens on the login node, and becomes the relay that
passes connections on in the network outside.
"""

from __future__ import annotations

import json
import os
import socket
import sys
from pathlib import Path
from typing import NamedTuple


class Offer(NamedTuple):
    """What the gateway offers.

    Args:
        outside: File that is the network outside.
        address: Address of the login node in the cluster.
        ports: Ports of the machine's loopback that are on the login node's, too,
        offered: and those that compute nodes reach at `address`.
    """

    outside: str
    address: str
    ports: list[int]
    offered: list[int]


def _main(path: str) -> None:
    offer = Offer(**json.loads(Path(path).read_text()))
    places = [("127.0.0.1", port) for port in offer.ports]
    places += [(offer.address, port) for port in offer.offered]
    listeners = [socket.create_server(place, backlog=64) for place in places]
    # Our end stays open in the relay itself, which so ends when it is told to by a signal.
    mine, other = socket.socketpair()
    ports = [port for _, port in places]
    socket.send_fds(mine, [json.dumps(ports).encode()], [one.fileno() for one in listeners])
    for end in (mine, other):
        end.set_inheritable(True)
    relay = Path(__file__).parents[1] / "relay.py"
    command = [sys.executable, "-P", str(relay), str(other.fileno())]
    os.execvp("nsenter", ["nsenter", f"--net={offer.outside}", "--", *command])


if __name__ == "__main__":
    _main(sys.argv[1])
