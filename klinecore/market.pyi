from collections.abc import Iterable, Iterator
from typing import NamedTuple, final

import numpy as np
from numpy.typing import NDArray

from klinecore.barrier import Barrier
from klinecore.events import EventKind
from klinecore.kline import Kline
from klinecore.merge import MergeStatus
from klinecore.parsers.binance import FrameKind, _Buffer
from klinecore.series import Series

__all__ = ["Event", "Market", "RowCounts"]

class Event(NamedTuple):
    kind: EventKind
    symbol: str  # "" for BARRIER and BARRIER_REVISED
    interval: str  # "" for TICKER
    open_time_ms: int  # 0 for TICKER; ABSENT: of the first kline that does not exist

class RowCounts(NamedTuple):
    rows: int  # rows read
    changed: int  # rows that appended, filled, revised or became the forming one
    refused: int  # rows that could not be stored (BAD_TIME, UNREPRESENTABLE)
    first_open_ms: int  # open time of the first row read; 0 without rows
    last_open_ms: int
    # Closed rows of the answer, by open time, that differ from a stored one of higher rank, which
    # stayed: either the answer is older than a correction, or what is stored is wrong.
    disputed: tuple[int, ...] = ()

@final
class Market:
    """Every series and ticker of one market, in one block of memory, fed by exchange bytes."""

    def __new__(
        cls,
        symbols: Iterable[str],
        intervals: Iterable[str],
        capacity: int = 500,
        *,
        room: int = 0,
        path: str | None = None,
    ) -> Market:
        """Reserve memory for ``len(symbols) * len(intervals)`` series of ``capacity`` closed rows.

        ``room`` reserves it for as many symbols more, which can be added later. ``path`` puts the
        memory in that file (in ``/dev/shm``: shared) instead of private memory. Symbols are
        upper-cased. Raises ValueError: no or duplicate symbols or intervals, unknown interval,
        capacity outside 1..100000, room outside 0..10000.
        """
    horizon_ms: int
    """Rows that open later, or are closed and close later, are refused (BAD_TIME) and counted as
    ``future``; so are tickers with a later event time. A row with one is taken without it, counted
    as ``event_future``. 0 for none."""

    @property
    def symbols(self) -> tuple[str, ...]:
        """Every symbol held, in the order they were added."""
    @property
    def intervals(self) -> tuple[str, ...]: ...
    @property
    def capacity(self) -> int: ...
    @property
    def size(self) -> int:
        """Bytes of the arena."""
    heartbeat_ms: int  # what processes that attach see of this one's life: set it now and then
    @property
    def pending(self) -> bool:
        """False when ``drain`` would return nothing."""
    @property
    def urgent(self) -> bool:
        """True when ``drain`` would tell of more than tickers and forming rows."""
    def __getitem__(self, key: tuple[str, str], /) -> Series:
        """Case of the symbol is folded. Raises UnknownSeriesError."""
    def __contains__(self, key: object, /) -> bool: ...
    def __iter__(self) -> Iterator[Series]: ...
    def __len__(self) -> int:
        """Series held."""
    def add_symbol(self, symbol: str) -> None:
        """Hold one more symbol, in every interval, from now on; upper-cased.

        O(symbols). Open barriers wait for it too. Raises ValueError: it is held already, has not
        1..64 bytes, or the ``room`` the market was made with is used up.
        """
    def remove_symbol(self, symbol: str) -> None:
        """Hold a symbol no longer: its rows, its ticker and what was to be told of them are gone.

        O(symbols). Its ``Series`` become empty for ever; NumPy views taken of them before show
        whatever the place holds next, so copy what must stay. No barrier waits for it. Raises
        ValueError: it is not held.
        """
    def apply(self, frame: _Buffer) -> FrameKind:
        """Read one WebSocket message and store what it says. Never raises on bad bytes."""
    def apply_klines(
        self,
        symbol: str,
        interval: str,
        body: _Buffer,
        *,
        closed_before_ms: int,
        notify: bool = True,
        told_from_ms: int = 0,
        correct: bool = False,
    ) -> RowCounts:
        """Merge a REST klines answer. Rows whose close time is before ``closed_before_ms`` are
        closed; a later one is forming. ``notify=False`` emits no events (history), but barriers
        count its rows; ``told_from_ms`` emits those of rows that closed then or later alone.
        ``correct=True`` lets its closed rows replace others of any rank.

        Raises ParseError: no array of kline tuples; rows before the fault are not stored either.
        """
    def apply_tickers(self, body: _Buffer) -> int:
        """Merge a REST ``ticker/24hr`` answer, FULL form, object or array; returns tickers stored.

        Raises ParseError.
        """
    def push(self, symbol: str, interval: str, row: Kline) -> MergeStatus:
        """Merge one row of text. Raises ValueError: text that is no plain decimal number."""
    def drain(self) -> list[Event]:
        """Take all events since the last call, in order; tickers and forming rows conflated."""
    def counters(self) -> dict[str, int]:
        """frames by kind (``frames_kline``, ...), unknown_symbol, unknown_interval, bad_time,
        future, event_future, unrepresentable, ticker_stale, events_lost."""
    def confirm_absent(self, symbol: str, interval: str, first_ms: int, last_ms: int) -> bool:
        """Note that the exchange has no klines in a stretch that ``holes`` names; tells of it.

        True if exactly this stretch was a hole. A row that comes after all takes its place.
        """
    def event_times(self) -> NDArray[np.int64]:
        """Newest event time merged of each series, 0 before the first; a new array, shape
        ``(symbols, intervals)``, rows in the order of ``symbols``."""
    def ticker_times(self) -> NDArray[np.int64]:
        """Event time of each newest ticker, 0 before the first; a new array, shape
        ``(symbols,)``. A bookTicker does not move it."""
    def last_open_times(self) -> NDArray[np.int64]:
        """Open time of each newest closed kline, 0 before the first; a new array, shape
        ``(symbols, intervals)``, rows in the order of ``symbols``."""
    def missing_closes(self, interval: str, open_time_ms: int) -> list[str]:
        """Expected symbols that hold no closed kline of that time, in the order of ``symbols``."""
    def set_expected(self, symbol: str, expected: bool) -> None:
        """Whether barriers wait for a symbol: True at first, False for one that is halted.

        Open barriers follow. One that has ended no longer names the symbol as missing, but waits
        for nobody anew. Raises UnknownSeriesError.
        """
    def begin_barrier(self, interval: str, open_time_ms: int) -> bool:
        """Wait for the closes of the klines that opened then; those held already count.

        An older barrier of the interval that is still open ends. False, and nothing happens, if
        the last one was not older. O(symbols). Raises ValueError: a time before 1970.
        """
    def end_barrier(self, interval: str) -> None:
        """Wait no longer (the deadline): tells of the open barrier of an interval, if any."""
    def barrier(self, interval: str) -> Barrier | None:
        """The newest ``Barrier`` of an interval; None before the first. O(symbols)."""
    def coherent(self, intervals: Iterable[str], boundary_ms: int) -> bool:
        """True if every one of ``intervals`` that closes at this boundary has told its barrier.

        ``boundary_ms`` is the open time of the klines that follow. Raises UnknownSeriesError.
        """
    def ticker(self, symbol: str) -> dict[str, str | int] | None:
        """Newest ticker in the exchange's letters (``s c v q P h l E`` and what else was sent).

        None before the first. Raises UnknownSeriesError.
        """
    def klines_json(
        self,
        symbol: str,
        interval: str,
        limit: int,
        *,
        forming: bool = False,
        start_ms: int | None = None,
        end_ms: int | None = None,
    ) -> bytes:
        """``{"symbol","interval","klines":[{t,o,h,l,c,v,T,q,n,V,Q,x}],"count"}``, newest rows,
        ascending. With ``start_ms`` the oldest ``limit`` rows from there."""
    def klines_array_json(
        self,
        symbol: str,
        interval: str,
        limit: int,
        *,
        forming: bool = False,
        start_ms: int | None = None,
        end_ms: int | None = None,
    ) -> bytes:
        """The same rows as Binance's REST array of 12-tuples."""
    def ticker_json(self, symbol: str) -> bytes | None:
        """``{"s","c","v","q","P","h","l","t"}``; None before the first ticker."""
    def ticker_frame(self, symbol: str, *, mini: bool = False) -> bytes | None:
        """The exchange's ``24hrTicker`` or ``24hrMiniTicker`` frame of the newest ticker.

        None if only bid and ask have come yet. Raises UnknownSeriesError.
        """
    def tickers_json(self) -> bytes:
        """``{"<SYMBOL>": <ticker>, ...}`` of every symbol that has one."""
