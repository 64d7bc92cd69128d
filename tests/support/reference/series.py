"""The merge rule as a dict: what a series must hold after any rows in any order."""

from __future__ import annotations

import itertools
from decimal import Decimal

from klinecore import INTERVAL_MS, Kline, RowState
from klinecore.interval import close_time_ms, next_open_ms

DAY_MS = INTERVAL_MS["1d"]
NUMBERS = (
    "open",
    "high",
    "low",
    "close",
    "volume",
    "quote_volume",
    "taker_buy_base",
    "taker_buy_quote",
)


def rank(row: Kline) -> tuple[object, ...]:
    """What decides between two rows of one open time: the greater one stays.

    Numbers are compared as floats first and exactly where those agree: any total order would do.
    """
    texts = [getattr(row, name) for name in NUMBERS]
    printed = [len(text.partition(".")[2]) for text in texts]
    floats = [float(text) for text in texts]
    return (row.closed, row.trades, floats, [Decimal(text) for text in texts], printed)


def due_close_ms(interval: str, open_ms: int) -> int:
    """The close time a row must have: the grid's up to a day, beyond that its open time's own."""
    length = INTERVAL_MS[interval]
    if length and length <= DAY_MS:
        return open_ms - open_ms % length + length - 1
    return close_time_ms(interval, open_ms)


class SeriesModel:
    """Closed rows by open time, at most one forming row, and counters; no memory layout at all."""

    def __init__(self, interval: str, capacity: int) -> None:
        self.interval = interval
        self.capacity = capacity
        self.closed: dict[int, Kline] = {}
        self.forming: Kline | None = None
        self.sources: dict[int, RowState] = {}
        self.absent: set[tuple[int, int]] = set()  # held neighbours, nothing in between for sure
        self.closed_count = 0
        self.counters = dict.fromkeys(
            ("duplicates", "stale", "revisions", "mismatches", "inserted", "too_old"), 0
        )

    def push(self, row: Kline, source: RowState = RowState.PUSHED, *, correct: bool = False) -> str:
        """Merge a row; the name of its ``MergeStatus``."""
        if row.close_time_ms != due_close_ms(self.interval, row.open_time_ms):
            return "BAD_TIME"
        status = self._push_closed(row, source, correct) if row.closed else self._push_forming(row)
        self.absent &= set(self._neighbours())
        counter = {
            "DUPLICATE": "duplicates",
            "STALE": "stale",
            "REVISED": "revisions",
            "INSERTED": "inserted",
            "TOO_OLD": "too_old",
        }.get(status)
        if counter:
            self.counters[counter] += 1
        return status

    def _push_closed(self, row: Kline, source: RowState, correct: bool) -> str:
        stored = self.closed.get(row.open_time_ms)
        if stored is not None:
            if rank(row) == rank(stored):
                self.sources[row.open_time_ms] = min(source, self.sources[row.open_time_ms])
                return "DUPLICATE"
            self.counters["mismatches"] += row.trades == stored.trades
            if rank(row) < rank(stored) and not correct:
                return "STALE"
            self.closed[row.open_time_ms] = row
            self.sources[row.open_time_ms] = source
            return "REVISED"
        newest = max(self.closed, default=-1)
        if row.open_time_ms < min(self.closed, default=0) and len(self.closed) == self.capacity:
            return "TOO_OLD"
        self.closed[row.open_time_ms] = row
        self.sources[row.open_time_ms] = source
        self.closed_count += 1
        if len(self.closed) > self.capacity:
            del self.closed[min(self.closed)]
        if self.forming is not None and self.forming.open_time_ms <= max(self.closed):
            self.forming = None
        return "APPENDED" if row.open_time_ms > newest else "INSERTED"

    def _push_forming(self, row: Kline) -> str:
        if row.open_time_ms <= max(self.closed, default=-1):
            return "STALE"
        if self.forming is not None:
            if row.open_time_ms < self.forming.open_time_ms:
                return "STALE"
            if row.open_time_ms == self.forming.open_time_ms:
                if rank(row) == rank(self.forming):
                    return "DUPLICATE"
                if rank(row) < rank(self.forming):
                    return "STALE"
        self.forming = row
        return "FORMING"

    def rows(
        self,
        limit: int | None = None,
        *,
        start_ms: int | None = None,
        end_ms: int | None = None,
        forming: bool = False,
    ) -> list[Kline]:
        """What a reader gets: newest ``limit`` closed rows, oldest ones from ``start_ms`` on.

        The forming row comes behind them, beyond the limit, if it lies in the range and no closed
        row between it and the others was cut off.
        """
        rows = [self.closed[key] for key in sorted(self.closed)]
        inside = [
            row
            for row in rows
            if (start_ms is None or row.open_time_ms >= start_ms)
            and (end_ms is None or row.open_time_ms <= end_ms)
        ]
        taken = inside
        if limit is not None:
            taken = inside[-limit:] if start_ms is None else inside[:limit]
        live = self.forming
        if (
            forming
            and live is not None
            and (start_ms is None or live.open_time_ms >= start_ms)
            and (end_ms is None or live.open_time_ms <= end_ms)
            and (not inside or taken[-1] is inside[-1])
        ):
            return [*taken, live]
        return taken

    def _neighbours(self) -> list[tuple[int, int]]:
        """Open times of each two rows that stand side by side, the forming one included."""
        held = sorted(self.closed) + ([self.forming.open_time_ms] if self.forming else [])
        return list(itertools.pairwise(held))

    def _missing(self, before: int, after: int) -> list[int]:
        missing = []
        slot = next_open_ms(self.interval, before)
        while slot < after:
            missing.append(slot)
            slot = next_open_ms(self.interval, slot)
        return missing

    def stretches(self) -> dict[tuple[int, int], tuple[int, int]]:
        """First and last missing open time between held neighbours, by those neighbours."""
        return {
            pair: (missing[0], missing[-1])
            for pair in self._neighbours()
            if (missing := self._missing(*pair))
        }

    def gaps(self) -> list[tuple[int, int]]:
        """Missing stretches between the rows held, the forming one included, slot by slot."""
        return list(self.stretches().values())

    def holes(self) -> list[tuple[int, int]]:
        """Those of them that are not confirmed."""
        return [gap for pair, gap in self.stretches().items() if pair not in self.absent]

    def absences(self) -> list[tuple[int, int]]:
        """Those that are."""
        return [gap for pair, gap in self.stretches().items() if pair in self.absent]

    def confirm_absent(self, first_ms: int, last_ms: int) -> bool:
        """True if exactly this stretch was a hole; then it is one no longer."""
        for pair, gap in self.stretches().items():
            if gap == (first_ms, last_ms) and pair not in self.absent:
                self.absent.add(pair)
                return True
        return False

    def _closed_state(self, open_ms: int) -> RowState:
        source = self.sources[open_ms]
        if source != RowState.PUSHED and self.closed[open_ms].trades == 0:
            return RowState.NO_TRADES
        return source

    def states(self) -> list[RowState]:
        """The state of each closed row, oldest first."""
        return [self._closed_state(open_ms) for open_ms in sorted(self.closed)]

    def state_at(self, open_ms: int) -> RowState:
        """What is known of the kline that opens then."""
        if open_ms in self.closed:
            return self._closed_state(open_ms)
        if self.forming is not None and self.forming.open_time_ms == open_ms:
            return RowState.FORMING
        for pair in self._neighbours():
            if open_ms in self._missing(*pair):
                return RowState.ABSENT if pair in self.absent else RowState.HOLE
        return RowState.NONE
