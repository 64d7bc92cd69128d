"""Klines that memory does not hold, for clients: fetched once, within a share of the weight, kept.

Whatever is asked for, whole blocks are fetched, each once however many clients wait for it. A block
that is over is kept on disk, and some are in memory.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_left
from collections import OrderedDict
from functools import partial
from typing import Final

from klinecore.errors import ParseError
from klinecore.interval import INTERVAL_MS, open_time_ms
from server.clock import Clock
from server.errors import RestError, SpentError
from server.feeds.answers import Key, count_rows
from server.feeds.binance import Answer, Api, kline_weight
from server.feeds.block_files import BlockFiles
from server.feeds.blocks import Block, Stretch, read_rows, stretch_at
from server.feeds.budget import Priority, for_client
from server.metrics import Registry

__all__ = ["History", "Rows"]

#: Klines of a block; with one more, what a request brings that is cheap for its weight.
BLOCK_ROWS: Final = {"spot": 960, "um": 480}
_LIMITS: Final = {"spot": 1000, "um": 499}

#: A row is kept if it closed so long before it was asked for: the exchange's database may be a
#: minute behind. Where no later row shows that it is not, a block has to be much older.
SETTLED_MS = 120_000
SETTLED_ALONE_MS = 86_400_000

#: Rows up to now are asked for again after so long, s.
LIVE_S = 2.0

#: Bytes of blocks in memory; beyond it the least recently used one goes.
MEMORY_BYTES = 16 << 20

#: Blocks that are fetched or read at a time; beyond it a client is told to come back.
FLIGHTS_MAX = 64

#: Seconds a client waits for a block at most; it comes for the next one all the same.
ANSWER_S = 10.0

#: Blocks of one answer; only a series with years of holes has its rows so far apart.
_BLOCKS_MAX = 16

#: Series whose empty stretches are remembered, and how many of each; the oldest are forgotten.
_GAP_SERIES_MAX = 10_000
_GAPS_MAX = 16

Rows = list[bytes]  # as the exchange's tuples


class History:
    """Older rows of one market's series."""

    def __init__(
        self,
        api: Api,
        *,
        base: str,
        files: BlockFiles | None,
        clock: Clock,
        metrics: Registry,
    ) -> None:
        """``base`` says whose klines these are; without ``files`` they are in memory only."""
        name = api.venue.name
        self._api = api
        self._label = f"{name} {base}"
        self._files = files
        self._clock = clock
        self._block_rows = BLOCK_ROWS[name]
        self._limit = _LIMITS[name]
        self._kept: OrderedDict[Stretch, Block] = OrderedDict()
        self._kept_bytes = 0
        self._flights: dict[Stretch, asyncio.Task[Block]] = {}
        self._saves: set[asyncio.Task[bool]] = set()
        self._gaps: OrderedDict[Key, list[tuple[int, int]]] = OrderedDict()
        blocks = metrics.counter(
            "kline_history_blocks_total",
            "Blocks of old klines that clients needed, by where they came from.",
            ("market", "source"),
        )
        self._counts = dict.fromkeys(("memory", "disk", "exchange", "shared", "refused"), 0)
        for source in self._counts:
            blocks.read(partial(self._counts.__getitem__, source), name, source)
        metrics.gauge(
            "kline_history_memory_bytes", "Bytes of old klines in memory.", ("market",)
        ).read(lambda: float(self._kept_bytes), name)

    async def close(self) -> None:
        """Ask for nothing more; what is being written is."""
        for task in self._flights.values():
            task.cancel()
        await asyncio.gather(*self._flights.values(), *self._saves, return_exceptions=True)

    async def before(self, key: Key, end_ms: int, limit: int, *, live: bool = False) -> Rows:
        """The newest ``limit`` rows that open before ``end_ms``.

        They must be closed, unless the answer may be as old as of ``live``. Raises SpentError,
        FeedError.
        """
        rows: Rows = []
        for _ in range(_BLOCKS_MAX):
            end_ms = self._skip_back(key, end_ms)
            if len(rows) >= limit or end_ms <= 0:
                return rows
            block = await self._block(key, end_ms - 1, end_ms, live=live)
            first_ms = block.stretch.first_ms
            if first_ms >= end_ms:
                return rows
            rows[:0] = block.between(first_ms, end_ms)[len(rows) - limit :]
            if not block.rows:
                await self._look_back(key, block)
            end_ms = first_ms
        raise RestError("the klines asked for lie too far apart")

    async def after(
        self, key: Key, start_ms: int, end_ms: int, limit: int, *, live: bool = False
    ) -> Rows:
        """The oldest ``limit`` rows that open in ``[start_ms, end_ms)``; else as ``before``."""
        rows: Rows = []
        for _ in range(_BLOCKS_MAX):
            start_ms = self._skip_on(key, start_ms)
            if len(rows) >= limit or start_ms >= end_ms:
                return rows
            block = await self._block(key, start_ms, end_ms, live=live)
            rows += block.between(start_ms, end_ms)[: limit - len(rows)]
            start_ms = block.stretch.end_ms
            if not block.rows and start_ms < end_ms:
                await self._look_on(key, block.stretch.first_ms)
        raise RestError("the klines asked for lie too far apart")

    async def live(
        self, key: Key, limit: int, *, start_ms: int | None = None, end_ms: int | None = None
    ) -> Rows:
        """Rows as the exchange told them ``LIVE_S`` ago at most, with the forming one."""
        now_ms = self._api.time.now_ms()
        end_ms = (now_ms if end_ms is None else min(now_ms, end_ms)) + 1
        if start_ms is None:
            return await self.before(key, end_ms, limit, live=True)
        return await self.after(key, start_ms, end_ms, limit, live=True)

    # --- blocks --------------------------------------------------------------------------------

    async def _block(self, key: Key, time_ms: int, known_ms: int, *, live: bool) -> Block:
        """The block of a moment, its rows before ``known_ms`` complete."""
        stretch = stretch_at(*key, time_ms, self._block_rows)
        known_ms = min(known_ms, stretch.end_ms)
        since_s = self._clock.monotonic()
        source = "memory"
        block = self._kept.get(stretch)
        if live:
            since_s -= LIVE_S
        while block is None or (block.known_ms < known_ms and block.read_s < since_s):
            block, source = await self._fly(stretch), ""
        if stretch in self._kept:
            self._kept.move_to_end(stretch)
        if source:
            self._counts[source] += 1
        return block

    async def _fly(self, stretch: Stretch) -> Block:
        """Get a block; of several who want it at a time one does."""
        task = self._flights.get(stretch)
        if task is None:
            if len(self._flights) >= FLIGHTS_MAX:
                self._counts["refused"] += 1
                raise SpentError("too many old klines are asked for at a time", 1.0)
            task = self._flights[stretch] = asyncio.create_task(self._obtain(stretch))
            task.add_done_callback(lambda done: self._landed(stretch, done))
        else:
            self._counts["shared"] += 1
        try:
            async with asyncio.timeout(ANSWER_S):
                # Others wait for it as well, or will ask again.
                return await asyncio.shield(task)
        except TimeoutError:
            raise RestError(f"no answer within {ANSWER_S:g} s") from None

    def _landed(self, stretch: Stretch, task: asyncio.Task[Block]) -> None:
        del self._flights[stretch]
        if not task.cancelled():
            task.exception()  # seen, also if nobody waits any more

    async def _obtain(self, stretch: Stretch) -> Block:
        """From disk, or else from the exchange."""
        label = f"{self._label} {' '.join(map(str, stretch))}"
        over = stretch.end_ms + SETTLED_MS <= self._api.time.now_ms()
        block = None
        if self._files is not None and over:
            block = await self._files.load(stretch, label)
        if block is not None:
            self._counts["disk"] += 1
        else:
            block = await self._fetch(stretch)
            self._counts["exchange"] += 1
            if self._files is not None and block.whole and block.rows:
                save = asyncio.create_task(self._files.save(block, label))
                self._saves.add(save)
                save.add_done_callback(self._saves.discard)
        self._keep(block)
        return block

    def _keep(self, block: Block) -> None:
        former = self._kept.pop(block.stretch, None)
        self._kept[block.stretch] = block
        self._kept_bytes += block.size - (former.size if former is not None else 0)
        while self._kept_bytes > MEMORY_BYTES:
            self._kept_bytes -= self._kept.popitem(last=False)[1].size

    async def _fetch(self, stretch: Stretch) -> Block:
        """All rows of a stretch, and one more, which shows that those before it are all.

        What is known of it already is not asked for again.
        """
        symbol, interval, first_ms, end_ms = stretch
        later_ms = end_ms + (INTERVAL_MS[interval] or 28 * INTERVAL_MS["1d"])
        read_s = self._clock.monotonic()
        former = self._kept.get(stretch) or Block(stretch, [], [], first_ms)
        limit = min(count_rows(interval, former.known_ms, later_ms), self._limit)
        answer = await self._ask(
            symbol, interval, limit, start_ms=former.known_ms, end_ms=later_ms - 1
        )
        opens_ms, rows = _read(answer, former.known_ms, later_ms)
        known = bisect_left(former.opens_ms, former.known_ms)
        opens_ms, rows = former.opens_ms[:known] + opens_ms, former.rows[:known] + rows
        count = sum(open_ms < end_ms for open_ms in opens_ms)
        followed = count < len(rows)
        settled_ms = answer.asked_ms - SETTLED_MS
        if not followed and end_ms > answer.asked_ms - SETTLED_ALONE_MS:
            settled_ms = min(settled_ms, opens_ms[-1] if opens_ms else first_ms)
        known_ms = min(open_time_ms(interval, max(settled_ms, 0)), end_ms)
        for open_ms, row in zip(opens_ms[:count], rows, strict=False):
            if _close_ms(row) >= settled_ms:
                known_ms = min(known_ms, open_ms)
                break
        return Block(stretch, opens_ms[:count], rows[:count], known_ms, read_s)

    async def _ask(
        self,
        symbol: str,
        interval: str,
        limit: int,
        *,
        start_ms: int | None = None,
        end_ms: int | None = None,
    ) -> Answer:
        """One request, if there is weight for it. Raises SpentError, RestError."""
        try:
            with for_client(self._api.budget, kline_weight(self._api.venue, limit)):
                return await self._api.klines(
                    symbol,
                    interval,
                    limit,
                    start_ms=start_ms,
                    end_ms=end_ms,
                    priority=Priority.CLIENT,
                )
        except SpentError:
            self._counts["refused"] += 1
            raise

    # --- stretches without rows ----------------------------------------------------------------

    async def _look_back(self, key: Key, block: Block) -> None:
        """Find the last row before a block without any, and remember that none is between."""
        first_ms = block.stretch.first_ms
        opens_ms: list[int] = []
        if first_ms > 0:
            opens_ms, _ = _read(await self._ask(*key, 1, end_ms=first_ms - 1), 0, first_ms)
        gap_ms = opens_ms[0] + 1 if opens_ms else -1
        self._note_gap(key, gap_ms, max(first_ms, block.known_ms))

    async def _look_on(self, key: Key, first_ms: int) -> None:
        """Find the first row after a block without any; without one there is nothing to note."""
        opens_ms, _ = _read(await self._ask(*key, 1, start_ms=first_ms), first_ms, 1 << 62)
        if opens_ms:
            self._note_gap(key, first_ms, opens_ms[0])

    def _note_gap(self, key: Key, first_ms: int, end_ms: int) -> None:
        gaps = self._gaps.setdefault(key, [])
        self._gaps.move_to_end(key)
        gaps.append((first_ms, end_ms))
        del gaps[:-_GAPS_MAX]
        if len(self._gaps) > _GAP_SERIES_MAX:
            self._gaps.popitem(last=False)

    def _skip_back(self, key: Key, end_ms: int) -> int:
        """``end_ms``, or where the rows before it end."""
        for first_ms, gap_end_ms in reversed(self._gaps.get(key, ())):
            if first_ms < end_ms <= gap_end_ms:
                return self._skip_back(key, first_ms)
        return end_ms

    def _skip_on(self, key: Key, start_ms: int) -> int:
        """``start_ms``, or where the rows after it begin."""
        for first_ms, gap_end_ms in reversed(self._gaps.get(key, ())):
            if first_ms <= start_ms < gap_end_ms:
                return self._skip_on(key, gap_end_ms)
        return start_ms


def _read(answer: Answer, first_ms: int, end_ms: int) -> tuple[list[int], Rows]:
    """Raises RestError: not what was asked for."""
    try:
        return read_rows(answer.body, first_ms, end_ms)
    except ParseError as error:
        raise RestError(f"klines: the answer is not what was expected: {error}") from None


def _close_ms(row: bytes) -> int:
    return int(row.split(b",", 7)[6])
