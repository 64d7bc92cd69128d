"""What a REST answer proves: which of its rows are closed, which stored ones are wrong.

The exchange answers from a database that may lag: a row read just after its close may be
incomplete. So a row counts as closed only if its close time plus grace was past, by the
exchange's clock, when it was asked for, and either a later row stands behind it in the answer or
two reads agree. A database that stands still agrees with itself: two reads count only if another
series' answer shows that it has passed the close, or if they are far apart, and the row is read
again once there should be a later one.

A row that differs from a stored closed one of higher rank is disputed; two reads that agree, well
after the close, correct what is stored.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Collection
from typing import NamedTuple

from klinecore.interval import INTERVAL_MS, close_time_ms
from klinecore.market import Market, RowCounts
from server.feeds.binance import TIME_LIMIT_MS, Answer, Api
from server.feeds.budget import Priority
from server.settings import Settings

__all__ = ["Answers", "Key", "count_rows"]

log = logging.getLogger(__name__)

Key = tuple[str, str]  # symbol, interval

#: Two reads of a last row prove its close only if they are so far apart, ms; and so far where no
#: other series shows that the database has passed the close: it may be a minute behind.
SECOND_READ_MS = 1_000
ALONE_READ_MS = 120_000

#: A disputed row is read again so long after the first read, and after its close, ms.
REREAD_MS = 10_000
REREAD_AFTER_CLOSE_MS = 30_000

#: Disputed rows remembered, and rows that only two reads told; beyond it the oldest is given up,
#: and counted.
DISPUTES_MAX = 1_000

#: A row that differs at each read, or never comes with a later one: given up after so many.
REREADS_MAX = 6


class _Read(NamedTuple):
    """A row of an answer, as its text, and when it was asked for by the exchange's clock."""

    row: bytes
    asked_ms: int


class _Unproven(NamedTuple):
    """A stored closed row that two reads told, without a later one behind it."""

    due_ms: int
    wait_ms: int


class _Dispute(NamedTuple):
    """A stored closed row that the exchange tells otherwise."""

    read: _Read
    due_ms: int  # when the next read can prove something
    reads: int


class Answers:
    """Fetches klines and merges them into one market.

    ``on_change`` is called after rows that tell of something new.
    """

    def __init__(
        self, market: Market, api: Api, *, settings: Settings, on_change: Callable[[], None]
    ) -> None:
        self.api = api
        self.busy: set[Key] = set()  # series that somebody fetches rows of
        self.touched: dict[Key, None] = {}  # series that were given rows; ``Backfill`` clears it
        self.repaired = 0  # closed rows that repairs brought
        self.rows_requested = 0
        self.rows_received = 0
        self.mismatches = 0  # rows that differed from a stored closed one of higher rank
        self.corrections = 0  # of those, the ones two reads agreed on
        self.disputes_dropped = 0
        self.shown_ms = 0  # newest open time of any answer: the database has got so far
        self._market = market
        self._grace_ms = int(settings.grace_s * 1000)
        self._on_change = on_change
        self._last_reads: dict[Key, _Read] = {}
        self._disputes: dict[tuple[Key, int], _Dispute] = {}
        self._unproven: dict[tuple[Key, int], _Unproven] = {}

    def forget(self, symbol: str) -> None:
        """Drop what is remembered of a symbol that is held no longer."""
        self._last_reads = {k: read for k, read in self._last_reads.items() if k[0] != symbol}
        self._disputes = {k: d for k, d in self._disputes.items() if k[0][0] != symbol}
        self._unproven = {k: u for k, u in self._unproven.items() if k[0][0] != symbol}

    async def fetch(
        self,
        key: Key,
        limit: int,
        *,
        start_ms: int | None = None,
        end_ms: int | None = None,
        priority: Priority = Priority.REPAIR,
        followed: bool = False,
        repair: bool = False,
        silent_before_ms: int = 0,
    ) -> RowCounts:
        """Ask for at most ``limit`` rows and merge them.

        ``followed``: later rows than the answer's are known to exist. Rows that closed before
        ``silent_before_ms`` are no news and told to nobody; those of a ``repair`` are counted.
        Raises
        RestError, ParseError, UnknownSeriesError: the series is held no longer.
        """
        self.rows_requested += limit
        answer = await self.api.klines(
            *key, limit, start_ms=start_ms, end_ms=end_ms, priority=priority
        )
        series = self._market[key]
        before = series.closed_count
        counts = self.merge(key, answer, followed=followed, silent_before_ms=silent_before_ms)
        self.rows_received += counts.rows
        if repair:
            self.repaired += series.closed_count - before
        return counts

    def merge(
        self, key: Key, answer: Answer, *, followed: bool = False, silent_before_ms: int = 0
    ) -> RowCounts:
        """Merge an answer; see ``fetch``."""
        market = self._market
        self.touched[key] = None
        closed_before_ms, unproven_ms = self._judge(key, answer, followed=followed)
        if unproven_ms and market[key].last_close_ms < unproven_ms:
            self._recheck(key, unproven_ms, _Unproven(0, REREAD_AFTER_CLOSE_MS))
        counts = market.apply_klines(
            *key, answer.body, closed_before_ms=closed_before_ms, told_from_ms=silent_before_ms
        )
        if counts.last_open_ms <= answer.asked_ms:
            self.shown_ms = max(self.shown_ms, counts.last_open_ms)
        if counts.refused:
            log.warning("%s %s: %d rows of an answer refused", *key, counts.refused)
        if counts.disputed:
            for open_ms, row in _rows_at(answer.body, counts.disputed).items():
                self._dispute(key, open_ms, _Read(row, answer.asked_ms))
        if market.pending:
            self._on_change()
        return counts

    def _judge(self, key: Key, answer: Answer, *, followed: bool) -> tuple[int, int]:
        """Rows whose close time is before the first are closed, as far as the answer proves.

        The second is the open time of the last row if only its agreement with an earlier read
        proves it, else 0.
        """
        settled_ms = answer.asked_ms - self._grace_ms
        row = _last_row(answer.body)
        open_ms = _open_ms(row)
        if followed or not open_ms or close_time_ms(key[1], open_ms) >= settled_ms:
            return settled_ms, 0  # a read from before the close proves nothing
        before = self._last_reads.get(key)
        passed = self.shown_ms > close_time_ms(key[1], open_ms)
        apart_ms = SECOND_READ_MS if passed else ALONE_READ_MS
        if before is None or before.row != row:
            self._last_reads[key] = _Read(row, answer.asked_ms)
        elif answer.asked_ms - before.asked_ms >= apart_ms:
            return settled_ms, open_ms
        return min(settled_ms, open_ms), 0

    # --- rows that are read again --------------------------------------------------------------

    def _recheck(self, key: Key, open_ms: int, unproven: _Unproven) -> None:
        """Read a row again later, whose close only two reads told."""
        if len(self._unproven) >= DISPUTES_MAX:
            self.disputes_dropped += 1
            self._unproven.pop(next(iter(self._unproven)))
        due_ms = self.api.time.now_ms() + unproven.wait_ms
        self._unproven[key, open_ms] = _Unproven(due_ms, 2 * unproven.wait_ms)

    def _dispute(self, key: Key, open_ms: int, read: _Read) -> None:
        """Note that a closed row of an answer is not the stored one, or correct that one."""
        close_ms = close_time_ms(key[1], open_ms)
        dispute = self._disputes.get((key, open_ms))
        if dispute is not None and dispute.read.row == read.row:
            if read.asked_ms >= dispute.due_ms:
                del self._disputes[key, open_ms]
                self._correct(key, open_ms, read.row)
            return  # else the same once more, only too early: the first read still counts
        reads = 1
        if dispute is not None:
            del self._disputes[key, open_ms]
            reads = dispute.reads + 1
        else:
            self.mismatches += 1
            log.warning(
                "the exchange tells a closed kline otherwise",
                extra={"fields": {"series": " ".join(key), "open_ms": open_ms}},
            )
        if reads > REREADS_MAX:
            self.disputes_dropped += 1
            return
        if len(self._disputes) >= DISPUTES_MAX:
            self.disputes_dropped += 1
            self._disputes.pop(next(iter(self._disputes)))
        due_ms = max(read.asked_ms + REREAD_MS, close_ms + REREAD_AFTER_CLOSE_MS)
        self._disputes[key, open_ms] = _Dispute(read, due_ms, reads)

    def _postpone(self, place: tuple[Key, int], dispute: _Dispute) -> None:
        """The answer does not show the row closed: read it again later, a few times at most."""
        del self._disputes[place]
        if dispute.reads >= REREADS_MAX:
            self.disputes_dropped += 1
            return
        due_ms = self.api.time.now_ms() + REREAD_MS
        self._disputes[place] = dispute._replace(due_ms=due_ms, reads=dispute.reads + 1)

    def _correct(self, key: Key, open_ms: int, row: bytes) -> None:
        """Two reads agree: put the row in the place of the stored one, whatever its rank."""
        counts = self._market.apply_klines(
            *key,
            b"[" + row + b"]",
            closed_before_ms=close_time_ms(key[1], open_ms) + 1,
            correct=True,
        )
        self.corrections += counts.changed
        log.warning(
            "a closed kline was corrected by two reads that agree",
            extra={"fields": {"series": " ".join(key), "open_ms": open_ms}},
        )
        if self._market.pending:
            self._on_change()

    def due_rereads(self) -> list[tuple[Key, int]]:
        """Series and open time of rows that should be read again now."""
        now_ms = self.api.time.now_ms()
        due = [place for place, row in self._disputes.items() if row.due_ms <= now_ms]
        due += [place for place, row in self._unproven.items() if row.due_ms <= now_ms]
        return list(dict.fromkeys(due))

    async def reread(self, key: Key, open_ms: int) -> None:
        """Read one of them again; a disputed one is corrected if that read agrees with the first.

        Raises RestError, ParseError, UnknownSeriesError.
        """
        place = (key, open_ms)
        dispute = self._disputes.get(place)
        # One row more: what stands behind it proves that it is closed.
        counts = await self.fetch(key, 2, start_ms=open_ms, repair=True)
        disputed = open_ms in counts.disputed
        if dispute is not None and self._disputes.get(place) is dispute and not disputed:
            if counts.first_open_ms == open_ms < counts.last_open_ms:
                del self._disputes[place]  # the exchange has come round
            else:
                self._postpone(place, dispute)
        unproven = self._unproven.pop(place, None)
        if unproven is None or counts.last_open_ms > open_ms:
            return
        if unproven.wait_ms < REREAD_AFTER_CLOSE_MS << REREADS_MAX:
            self._recheck(key, open_ms, unproven)


def count_rows(interval: str, first_ms: int, last_ms: int) -> int:
    """Klines that may open in ``[first_ms, last_ms]``, at least 1."""
    length = INTERVAL_MS[interval] or 28 * INTERVAL_MS["1d"]
    return max(0, last_ms - first_ms) // length + 1


def _last_row(body: bytes) -> bytes:
    """The last tuple of a klines answer, as text up to its end; empty without one."""
    start = body.rfind(b"[")
    return body[start:] if start > 0 else b""


def _open_ms(row: bytes) -> int:
    """Open time of a tuple; 0 if it is none."""
    text = row[1:].partition(b",")[0].strip()
    open_ms = int(text) if text.isdigit() and len(text) < 19 else 0
    return open_ms if open_ms < TIME_LIMIT_MS else 0


def _rows_at(body: bytes, opens_ms: Collection[int]) -> dict[int, bytes]:
    """The tuples that open then, as text without spaces."""
    # The standard library reads all the market does, half a surrogate in an unused field included.
    rows = [row for row in json.loads(body) if row[0] in opens_ms]
    return {row[0]: json.dumps(row, separators=(",", ":")).encode() for row in rows}
