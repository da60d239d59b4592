"""Passes connections on from a host's loopback to the machine's, on the same ports.

python relay.py DESCRIPTOR

So `localhost:PORT` is the same server on every host, and its URLs and its certificate are right
everywhere. The process stays in the machine's network; its listening sockets are the host's, who
sends them through the descriptor and closes it when it is gone.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import sys
from functools import partial

_MOST = 250  # ports, what the system sends at once
_CHUNK = 1 << 18


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(_CHUNK):
        writer.write(data)
        await writer.drain()
    writer.write_eof()


async def _pass_on(port: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):  # one side has gone: so does the other
        answers, far = await asyncio.open_connection("127.0.0.1", port, limit=_CHUNK)
        try:
            await asyncio.gather(_pump(reader, far), _pump(answers, writer))
        finally:
            far.close()
    writer.close()


async def _serve(control: socket.socket) -> None:
    said, descriptors, _, _ = socket.recv_fds(control, 65536, _MOST)
    servers = []
    for port, descriptor in zip(json.loads(said or b"[]"), descriptors, strict=True):
        listener, handle = socket.socket(fileno=descriptor), partial(_pass_on, port)
        servers.append(await asyncio.start_server(handle, sock=listener, limit=_CHUNK))
    control.setblocking(False)
    await asyncio.get_running_loop().sock_recv(control, 1)  # nothing ever comes but the end


if __name__ == "__main__":
    asyncio.run(_serve(socket.socket(fileno=int(sys.argv[1]))))
