"""Takes rows from the outbox to Supabase: in order, each until it is there or will never be."""

from __future__ import annotations

import asyncio
import logging
import random as random_module
from collections.abc import Awaitable, Callable, Collection, Sequence
from enum import Enum, auto
from typing import Protocol

import msgspec

from server.clock import Clock, wait_event
from server.store.outbox import OutboxRow
from server.sync.answers import Answer, Verdict, judge
from server.sync.rest import Rest
from server.sync.tables import Table
from server.sync.wire import Acknowledged, Dead, DeadLetter

__all__ = ["BATCH_MAX", "Lane", "Outbox", "Traders", "retry_delay"]

log = logging.getLogger(__name__)

#: Rows of one request, and bytes of them.
BATCH_MAX = 500
BATCH_BYTES_MAX = 4 << 20
#: Seconds between two looks into an outbox that was empty.
LOOK_S = 0.2
#: Retries wait at most so many seconds, at first around half a second.
RETRY_MAX_S = 30.0
_RETRY_FIRST_S = 0.5
#: Times that rows are sent over which the server itself fails, before one of them is blamed.
_STRANGE_MAX = 5
#: Times that many rows are sent in vain together before fewer are.
_HEAVY_MAX = 2
#: Dead letters of one message, which has to fit a line.
_LETTERS_MAX = 200


class Outbox(Protocol):
    """Rows that wait, in a file that others write."""

    def read(self, kind: str, after: int, limit: int) -> list[OutboxRow]:
        """The next rows of a kind behind ``after``, by seq. It returns at once."""
        ...


class Traders(Protocol):
    """Which traders Supabase has."""

    @property
    def ids(self) -> Collection[str] | None:
        """None: not read yet."""
        ...

    async def look(self) -> bool:
        """Read again what may have changed. False: that was not possible."""
        ...


class _Cleared(msgspec.Struct):
    """Errors of a trader that are none any more."""

    trader_id: str
    last_ms: int


class _Result(Enum):
    STORED = auto()
    SPLIT = auto()  # fewer at once
    POISON = auto()


def retry_delay(failures: int, random: random_module.Random) -> float:
    """Seconds to wait after so many failures in a row: anything up to a bound that doubles."""
    return random.uniform(0.0, min(RETRY_MAX_S, _RETRY_FIRST_S * 2.0 ** min(failures, 16)))


class Lane:
    """One kind of rows, on its way to one table. Kinds do not wait for each other, save that what
    clears rows waits for those it may clear.
    """

    def __init__(
        self,
        kind: str,
        table: Table,
        outbox: Outbox,
        rest: Rest,
        traders: Traders,
        tell: Callable[[Acknowledged | Dead], Awaitable[None]],
        *,
        clock: Clock,
        random: random_module.Random,
    ) -> None:
        self.kind = kind
        #: Why nothing is taken at the moment; empty while it is.
        self.blocked = ""
        self._table = table
        self._outbox = outbox
        self._rest = rest
        self._traders = traders
        self._tell = tell
        self._clock = clock
        self._random = random
        self._after = 0
        self._draining = asyncio.Event()

    def drain(self) -> None:
        """Take what there is, then end."""
        self._draining.set()

    async def run(self) -> None:
        """Until drained."""
        while not self._draining.is_set() or self._traders.ids is not None:
            # Until it is known which traders there are, it is not known whose rows may go.
            rows = []
            if self._traders.ids is not None:
                rows = self._outbox.read(self.kind, self._after, BATCH_MAX)
            ripe = self._ripe(rows)
            if ripe:
                await self._take(ripe)
                self._after = ripe[-1].seq
            elif rows:
                await self._clock.sleep(LOOK_S)
            elif self._draining.is_set():
                return
            else:
                await wait_event(self._draining, self._clock, LOOK_S)

    def _ripe(self, rows: Sequence[OutboxRow]) -> Sequence[OutboxRow]:
        """Those that may go: what they clear must not arrive after them, and stay for ever."""
        if not rows or not self._table.clears:
            return rows
        before = self._outbox.read(self._table.clears, 0, 1)
        return [row for row in rows if not before or row.seq < before[0].seq]

    async def _take(self, rows: Sequence[OutboxRow]) -> None:
        """Store rows, or find out which of them cannot be."""
        parts = self._parts(await self._sift(rows))
        parts.reverse()
        refreshed = False
        dead: list[tuple[OutboxRow, Answer]] = []
        while parts:
            part = parts.pop()
            result, answer = await self._send(part)
            if result is _Result.STORED:
                await self._acknowledge(stored=part)
                continue
            if answer.code == "23503" and not refreshed:
                # Its trader went since we looked.
                refreshed = True
                await self._look()
                sifted = [await self._sift(piece) for piece in (*parts, part)]
                parts = [piece for piece in sifted if piece]
                continue
            if len(part) > 1:
                half = len(part) // 2
                parts += [part[half:], part[:half]]  # the first half is taken next
                continue
            dead.append((part[0], answer))
        if dead:
            await self._bury(dead)

    async def _look(self) -> None:
        failures = 0
        while not await self._traders.look():
            await self._clock.sleep(retry_delay(failures, self._random))
            failures += 1

    async def _sift(self, rows: Sequence[OutboxRow]) -> list[OutboxRow]:
        """Those of traders that Supabase has; the others are done with."""
        ids = self._traders.ids
        if ids is None:
            return list(rows)
        kept = [row for row in rows if row.trader_id in ids]
        if len(kept) < len(rows):
            await self._acknowledge(skipped=[row for row in rows if row.trader_id not in ids])
        return kept

    def _parts(self, rows: Sequence[OutboxRow]) -> list[list[OutboxRow]]:
        """Pieces that one request may carry."""
        parts: list[list[OutboxRow]] = []
        size = BATCH_BYTES_MAX
        for row in rows:
            size += len(row.body)
            if size > BATCH_BYTES_MAX:
                parts.append([])
                size = len(row.body)
            parts[-1].append(row)
        return parts

    async def _send(self, part: Sequence[OutboxRow]) -> tuple[_Result, Answer]:
        """Send rows until they are stored, or it is clear that together they will not be."""
        # Of each key the newest: a request with one twice is refused whole.
        newest = {row.key: self._table.shape(row.body) for row in part}
        failures = strange = heavy = 0
        while True:
            answer = await self._request(list(newest.values()))
            verdict = judge(answer)
            if verdict is Verdict.DONE:
                self.blocked = ""
                return _Result.STORED, answer
            strange += verdict is Verdict.STRANGE
            heavy += verdict is Verdict.HEAVY
            if verdict is Verdict.POISON or strange >= _STRANGE_MAX:
                return _Result.POISON, answer
            if heavy >= _HEAVY_MAX and len(part) > 1:
                return _Result.SPLIT, answer
            if answer.status == 413 and len(part) == 1:
                return _Result.POISON, answer
            self._say(answer)
            wait_s = max(retry_delay(failures, self._random), answer.retry_after_s)
            failures += 1
            await self._clock.sleep(wait_s)

    async def _request(self, rows: Sequence[bytes]) -> Answer:
        table = self._table
        if not table.clears:
            return await self._rest.upsert(table.name, table.conflict, rows)
        answer = Answer(status=204)
        for row in rows:
            cleared = msgspec.json.decode(row, type=_Cleared)
            chosen = {
                "trader_id": f"eq.{cleared.trader_id}",
                "last_ms": f"lte.{cleared.last_ms}",
            }
            answer = await self._rest.delete(table.name, chosen)
            if judge(answer) is not Verdict.DONE:
                break
        return answer

    def _say(self, answer: Answer) -> None:
        """Log a failure once, until it is another one."""
        reason = answer.reason
        if reason != self.blocked:
            log.warning("%s wait: Supabase answers %s %s", self._table.name, reason, answer.detail)
        self.blocked = reason

    async def _acknowledge(
        self, stored: Sequence[OutboxRow] = (), skipped: Sequence[OutboxRow] = ()
    ) -> None:
        oldest_ms = min((row.at_ms for row in stored), default=self._clock.time_ms())
        await self._tell(
            Acknowledged(
                kind=self.kind,
                stored=[row.seq for row in stored],
                skipped=[row.seq for row in skipped],
                lag_ms=max(0, self._clock.time_ms() - oldest_ms),
            )
        )

    async def _bury(self, dead: Sequence[tuple[OutboxRow, Answer]]) -> None:
        letters = [
            DeadLetter(seq=row.seq, code=answer.reason, detail=answer.detail)
            for row, answer in dead
        ]
        for start in range(0, len(letters), _LETTERS_MAX):
            await self._tell(Dead(letters=letters[start : start + _LETTERS_MAX]))
        log.warning(
            "%d rows for %s are dead letters; the first, %s: %s %s",
            len(dead),
            self._table.name,
            dead[0][0].key,
            letters[0].code,
            letters[0].detail,
        )
