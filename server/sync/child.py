"""The sync process: uploads the outbox, reads traders, and talks to its parent in JSON lines."""

from __future__ import annotations

import asyncio
import logging
import os
import random as random_module
import signal
import sys
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import msgspec

from server import logs
from server.clock import Clock, SystemClock
from server.errors import SettingsError
from server.store.outbox import OutboxFile
from server.sync.hint import Hint, Wanting
from server.sync.options import OPTIONS_VARIABLE, SECRET_VARIABLE, Options
from server.sync.reader import Reader
from server.sync.rest import HttpRest, Rest
from server.sync.tables import TABLES
from server.sync.uploader import Lane, Outbox
from server.sync.wire import (
    LINE_BYTES_MAX,
    Alive,
    FromChild,
    decode_to_child,
    encode,
)

__all__ = ["ALIVE_S", "Process", "configure_logs", "load", "main"]

log = logging.getLogger(__name__)

#: Seconds between two signs of life.
ALIVE_S = 2.0
#: Messages that may wait for the parent to read them before the process waits for it too.
_WAITING_MAX = 256


class CountingRest(Rest, Protocol):
    """Tables, and how many requests had which answer."""

    counts: Counter[str]


class Process:
    """Everything that runs in the sync process."""

    def __init__(
        self,
        outbox: Outbox,
        rest: CountingRest,
        *,
        open_hint: Callable[[Wanting], Hint] | None,
        clock: Clock,
        random: random_module.Random,
    ) -> None:
        """Without ``open_hint`` changes of traders are found by looking alone."""
        self._clock = clock
        self._rest = rest
        self._reader = Reader(rest, self._tell, clock=clock, random=random)
        self._hint = open_hint(self._reader) if open_hint is not None else None
        self._lanes = [
            Lane(kind, table, outbox, rest, self._reader, self._tell, clock=clock, random=random)
            for kind, table in TABLES.items()
        ]
        self._said: asyncio.Queue[FromChild] = asyncio.Queue(_WAITING_MAX)

    async def run(self, read: asyncio.StreamReader, write: asyncio.StreamWriter) -> None:
        """Until the parent says so, or is gone. Raises whatever a part fails with."""
        lanes = asyncio.gather(*(lane.run() for lane in self._lanes))
        writing = asyncio.ensure_future(self._write(write))
        listening = asyncio.ensure_future(self._listen(read))
        others = [self._reader.run(), self._live()]
        if self._hint is not None:
            others.append(self._hint.run())
        tasks: list[asyncio.Future[Any]] = [lanes, writing, listening]
        tasks += [asyncio.ensure_future(work) for work in others]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
            if lanes in done:  # drained: what was done is still to be said
                await asyncio.wait(
                    [asyncio.ensure_future(self._said.join()), writing],
                    return_when=asyncio.FIRST_COMPLETED,
                )
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _tell(self, message: FromChild) -> None:
        await self._said.put(message)

    async def _write(self, write: asyncio.StreamWriter) -> None:
        while True:
            message = await self._said.get()
            write.write(encode(message))
            await write.drain()
            self._said.task_done()

    async def _live(self) -> None:
        while True:
            requests = dict(self._rest.counts)
            self._rest.counts.clear()
            await self._tell(
                Alive(
                    requests=requests,
                    realtime="off" if self._hint is None else self._hint.state,
                    read_age_ms=self._reader.age_ms,
                    blocked={lane.kind: lane.blocked for lane in self._lanes if lane.blocked}
                    | ({"traders": self._reader.fault} if self._reader.fault else {}),
                )
            )
            await self._clock.sleep(ALIVE_S)

    async def _listen(self, read: asyncio.StreamReader) -> None:
        """Hear the parent; its end of the pipe is closed when it is gone, however it went."""
        while line := await read.readline():
            decode_to_child(line)  # Drain: there is nothing else to say
            for lane in self._lanes:
                lane.drain()


class _Masking(logging.Formatter):
    """Another formatter's lines, in which the key does not stand, whoever wrote it there."""

    def __init__(self, inner: logging.Formatter, key: str) -> None:
        super().__init__()
        self._inner = inner
        self._key = key

    def format(self, record: logging.LogRecord) -> str:
        return self._inner.format(record).replace(self._key, "***")


def configure_logs(options: Options, key: str) -> None:
    """As the server's, without the key and without the clients' chatter."""
    logs.configure(options.log_level, options.log_format)
    for handler in logging.getLogger().handlers:
        if handler.formatter is not None:
            handler.setFormatter(_Masking(handler.formatter, key))
    # Clients' own words name URLs, and that of Realtime holds the key.
    for name, level in (("httpx", 30), ("httpcore", 30), ("websockets", 50), ("realtime", 50)):
        logging.getLogger(name).setLevel(level)


async def _run(options: Options, key: str) -> None:
    loop = asyncio.get_running_loop()
    read = asyncio.StreamReader(limit=LINE_BYTES_MAX)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(read), sys.stdin)
    transport, protocol = await loop.connect_write_pipe(
        asyncio.streams.FlowControlMixin, sys.stdout
    )
    write = asyncio.StreamWriter(transport, protocol, None, loop)
    clock, random = SystemClock(), random_module.Random()
    outbox = OutboxFile(options.outbox)
    rest = HttpRest(options.url, key)

    def open_hint(reader: Wanting) -> Hint:
        return Hint(options.url, key, reader, clock=clock, random=random)

    process = Process(
        outbox,
        rest,
        open_hint=open_hint if options.realtime else None,
        clock=clock,
        random=random,
    )
    try:
        await process.run(read, write)
    finally:
        await rest.close()
        outbox.close()


def load(environ: Mapping[str, str]) -> tuple[Options, str]:
    """Options and key. Raises SettingsError: they are not there."""
    try:
        options = msgspec.json.decode(environ[OPTIONS_VARIABLE], type=Options)
        return options, environ[SECRET_VARIABLE]
    except (KeyError, msgspec.DecodeError) as error:
        raise SettingsError(f"the sync process is started by the server alone: {error}") from None


def main() -> int:
    """What the process runs; its exit code."""
    options, key = load(os.environ)
    # Ctrl-C on a terminal is meant for the server, which then tells us to end.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    configure_logs(options, key)
    try:
        asyncio.run(_run(options, key))
    except Exception:
        log.critical("the sync process failed", exc_info=True)
        return 1
    return 0
