"""A wide-area network on this machine: a TCP proxy that delays what passes.

python wan.py [--delay MS] [--rate BYTES_PER_S] [--source ADDRESS] PORT TO_PORT [PORT TO_PORT ...]
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib


async def _pump(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, delay: float, rate: float
) -> None:
    """Pass on what is read `delay` seconds after it was read, at most `rate` bytes a second."""
    loop = asyncio.get_running_loop()
    waiting: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(4096)

    async def send() -> None:
        free = 0.0
        while True:
            due, data = await waiting.get()
            if not data:
                with contextlib.suppress(OSError):
                    writer.write_eof()
                return
            if rate:
                free = max(free, loop.time()) + len(data) / rate
            if (pause := max(due, free) - loop.time()) > 0:
                await asyncio.sleep(pause)
            writer.write(data)
            await writer.drain()

    async with asyncio.TaskGroup() as group:
        group.create_task(send())
        data = b"-"
        while data:
            data = await reader.read(1 << 18)
            await waiting.put((loop.time() + delay, data))


async def serve(port: int, to_port: int, delay: float, source: str, rate: float) -> None:
    """Listen on a port of loopback and pass everything on to another.

    Args:
        port: Where to listen.
        to_port: Where the server is.
        delay: Seconds one way.
        source: Address from which the server is called; empty for any.
        rate: Bytes a second in each direction of each connection; 0 for no limit.
    """

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far: asyncio.StreamWriter | None = None
        try:
            local = (source, 0) if source else None
            answers, far = await asyncio.open_connection(
                "127.0.0.1", to_port, local_addr=local, limit=1 << 20
            )
            await asyncio.gather(
                _pump(reader, far, delay, rate), _pump(answers, writer, delay, rate)
            )
        except (OSError, ExceptionGroup):
            pass  # one side has gone: so does the other
        finally:
            for one in (writer, far):
                if one:
                    one.close()

    server = await asyncio.start_server(handle, "127.0.0.1", port, limit=1 << 20)
    async with server:
        await server.serve_forever()


async def _main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("ports", type=int, nargs="+", metavar="PORT TO_PORT")
    parser.add_argument("--delay", type=float, default=10, help="milliseconds one way")
    parser.add_argument("--rate", type=float, default=0, help="bytes a second; 0: no limit")
    parser.add_argument("--source", default="", help="address from which servers are called")
    given = parser.parse_args()
    pairs = zip(given.ports[::2], given.ports[1::2], strict=True)
    await asyncio.gather(
        *(serve(*pair, given.delay / 1000, given.source, given.rate) for pair in pairs)
    )


if __name__ == "__main__":
    asyncio.run(_main())
