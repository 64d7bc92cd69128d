from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from klinecore.frame import Frame, Framed
from klinecore.kline import Kline
from klinecore.states import RowState

__all__ = ["Series"]

@final
class Series(Framed):
    """The last ``capacity`` closed klines of one symbol and interval, and the forming one.

    Columns are read-only views of live memory: float64, shape ``(n,)``, oldest first, contiguous,
    closed rows only. A view shows other rows after the market has applied more data, and another
    symbol's after its own was removed and the place given away; copy what must stay
    (``numpy.array(view)``) or take a ``snapshot``. A removed symbol's series is empty for ever.
    """

    @property
    def symbol(self) -> str: ...
    @property
    def interval(self) -> str: ...
    @property
    def capacity(self) -> int: ...
    @property
    def open_time_ms(self) -> NDArray[np.int64]: ...
    @property
    def open(self) -> NDArray[np.float64]: ...
    @property
    def high(self) -> NDArray[np.float64]: ...
    @property
    def low(self) -> NDArray[np.float64]: ...
    @property
    def close(self) -> NDArray[np.float64]: ...
    @property
    def volume(self) -> NDArray[np.float64]: ...
    @property
    def quote_volume(self) -> NDArray[np.float64]: ...
    @property
    def taker_buy_base(self) -> NDArray[np.float64]: ...
    @property
    def taker_buy_quote(self) -> NDArray[np.float64]: ...
    @property
    def trades(self) -> NDArray[np.float64]: ...
    @property
    def forming(self) -> Kline | None:
        """The kline the exchange may still revise, newer than every closed one; None without."""
    @property
    def last(self) -> Kline | None:
        """The newest closed kline; None before the first."""
    @property
    def last_close_ms(self) -> int:
        """Close time of the newest closed kline; 0 before the first."""
    @property
    def sequence(self) -> int:
        """Moves by two on every write; odd while one is going on."""
    @property
    def revision(self) -> int:
        """Moves when any closed row or its state changes: what caches of closed rows key on."""
    @property
    def states(self) -> NDArray[np.uint8]:
        """``RowState`` of every closed row; a new array, shape ``(n,)``, oldest first."""
    def state_at(self, open_time_ms: int) -> RowState:
        """What is known of the kline that opens then, held or not; O(log n)."""
    @property
    def closed_count(self) -> int:
        """Klines ever closed here, also those that left the window since."""
    @property
    def last_event_ms(self) -> int:
        """Newest event time merged, ms UTC; 0 before the first stream frame."""
    @property
    def counters(self) -> dict[str, int]:
        """duplicates, stale, revisions, mismatches, inserted, too_old, last_event_ms."""
    def __len__(self) -> int:
        """Closed klines held, at most ``capacity``."""
    def columns(self) -> NDArray[np.float64]:
        """All nine columns (``klinecore.COLUMNS``) as one read-only view, shape ``(9, n)``."""
    def snapshot(self) -> dict[str, NDArray[Any]]:
        """Copies of ``open_time_ms`` (int64) and the nine columns (float64), shape ``(n,)``."""
    def frame(self) -> Frame:
        """Closed rows of this moment as a ``Frame``; later data does not change it.

        ``open_time`` (timestamp[ms, UTC], the index), float64 prices and volumes, int64 ``trades``.
        One copy, 80 bytes a row: the series' own memory moves.
        """
    def klines(self, limit: int | None = None, *, forming: bool = False) -> list[Kline]:
        """The newest ``limit`` closed rows (default all), oldest first, as the exchange's text."""
    def gaps(self) -> list[tuple[int, int]]:
        """Missing stretches between held rows: ``(first, last)`` missing open times, inclusive.

        Runs up to the forming row, so that a close still awaited after its kline is over shows.
        """
    def holes(self) -> list[tuple[int, int]]:
        """The gaps nobody has explained: what is left to fetch."""
    def absences(self) -> list[tuple[int, int]]:
        """The gaps in which the exchange has confirmed that it has no klines."""
    def index_range(self, start_ms: int | None, end_ms: int | None) -> tuple[int, int]:
        """Rows ``first <= i < last`` whose open time lies in ``[start_ms, end_ms]``."""
