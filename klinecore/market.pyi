from collections.abc import Iterable, Iterator
from typing import NamedTuple, final

from klinecore.events import EventKind
from klinecore.kline import Kline
from klinecore.merge import MergeStatus
from klinecore.parsers.binance import FrameKind, _Buffer
from klinecore.series import Series

__all__ = ["Event", "Market", "RowCounts"]

class Event(NamedTuple):
    kind: EventKind
    symbol: str
    interval: str  # "" for TICKER
    open_time_ms: int  # 0 for TICKER

class RowCounts(NamedTuple):
    rows: int  # rows read
    changed: int  # rows that appended, filled, revised or became the forming one
    refused: int  # rows that could not be stored (BAD_TIME, UNREPRESENTABLE)
    first_open_ms: int  # open time of the first row read; 0 without rows
    last_open_ms: int

@final
class Market:
    """Every series and ticker of one market, in one block of memory, fed by exchange bytes."""

    def __new__(
        cls,
        symbols: Iterable[str],
        intervals: Iterable[str],
        capacity: int = 500,
        *,
        path: str | None = None,
    ) -> Market:
        """Reserve memory for ``len(symbols) * len(intervals)`` series of ``capacity`` closed rows.

        ``path`` puts the memory in that file (in ``/dev/shm``: shared) instead of private memory.
        Symbols are upper-cased. Raises ValueError: no or duplicate symbols or intervals, unknown
        interval, capacity outside 1..100000.
        """
    @property
    def symbols(self) -> tuple[str, ...]: ...
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
    def __getitem__(self, key: tuple[str, str], /) -> Series:
        """Case of the symbol is folded. Raises UnknownSeriesError."""
    def __contains__(self, key: object, /) -> bool: ...
    def __iter__(self) -> Iterator[Series]: ...
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
    ) -> RowCounts:
        """Merge a REST klines answer. Rows whose close time is before ``closed_before_ms`` are
        closed; a later one is forming. ``notify=False`` emits no events (history).

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
        unrepresentable, ticker_stale, events_lost."""
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
    def tickers_json(self) -> bytes:
        """``{"<SYMBOL>": <ticker>, ...}`` of every symbol that has one."""
