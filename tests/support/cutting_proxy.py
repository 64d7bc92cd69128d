"""A TCP proxy that cuts connections wherever it is told, even within a frame."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

__all__ = ["CuttingProxy", "cutting_proxy"]


class CuttingProxy:
    """Passes on to ``target``, which may change; ``limits`` are the bytes towards the client after
    which the next connections are cut, and whatever follows them lasts."""

    def __init__(self, target: int) -> None:
        self.target = target
        self.limits: deque[int] = deque()
        self.cuts = 0
        self.port = 0
        self._open: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    def cut(self) -> None:
        """End every connection at once."""
        for writer in tuple(self._open):
            writer.transport.abort()
            self.cuts += 1

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        limit = self.limits.popleft() if self.limits else None
        try:
            behind, ahead = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            writer.transport.abort()
            return
        self._open.add(writer)
        there = asyncio.create_task(_pump(reader, ahead, None))
        back = asyncio.create_task(_pump(behind, writer, limit))
        for task in (there, back):
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        await asyncio.wait((there, back), return_when=asyncio.FIRST_COMPLETED)
        if writer in self._open and limit is not None and back.done():
            self.cuts += 1
        self._open.discard(writer)
        for task in (there, back):
            task.cancel()
        ahead.transport.abort()
        writer.transport.abort()


async def _pump(
    source: asyncio.StreamReader, sink: asyncio.StreamWriter, limit: int | None
) -> None:
    passed = 0
    try:
        while data := await source.read(65536):
            if limit is not None and passed + len(data) >= limit:
                sink.write(data[: limit - passed])
                await sink.drain()
                return
            passed += len(data)
            sink.write(data)
            await sink.drain()
    except OSError:
        pass


@asynccontextmanager
async def cutting_proxy(target: int) -> AsyncIterator[CuttingProxy]:
    proxy = CuttingProxy(target)
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
        proxy.cut()
        await asyncio.gather(*proxy._tasks, return_exceptions=True)
        await asyncio.sleep(0)
