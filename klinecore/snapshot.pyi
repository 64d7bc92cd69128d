from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

from klinecore.market import Market
from klinecore.parsers.binance import _Buffer

__all__ = [
    "CHUNK_SIZE_MAX",
    "SnapshotContents",
    "SnapshotCounts",
    "encode",
    "read_contents",
    "restore",
]

CHUNK_SIZE_MAX: Final[int]

class SnapshotCounts(NamedTuple):
    series: int  # series that took rows
    rows: int  # rows taken
    skipped: int  # rows of unknown or filled series, or older than the window
    time_ms: int  # as given to ``encode``

class SnapshotContents(NamedTuple):
    symbols: tuple[str, ...]  # with rows, in the writer's order
    intervals: tuple[str, ...]
    newest: dict[tuple[str, str], int]  # open time of each series' newest row, ms
    rows: int
    time_ms: int  # as given to ``encode``

def encode(market: Market, *, time_ms: int = 0, label: str = "") -> Iterator[bytes]:
    """Yield a snapshot of ``market`` as bytes of at most ``CHUNK_SIZE_MAX``, to be joined.

    The market may change between two chunks, also its symbols: each series is taken as it was at
    one moment, those of one snapshot at different ones. ``time_ms`` and ``label`` are kept as they
    are given; ``restore`` refuses a snapshot of another label.

    Raises ValueError: a label of more than 1,024 bytes of UTF-8.
    """

def restore(
    market: Market,
    data: _Buffer,
    *,
    label: str | None = None,
    release: Callable[[int], object] | None = None,
) -> SnapshotCounts:
    """Put a snapshot's rows into the series of ``market`` that hold none; nothing is emitted.

    All of it is verified before the first row is stored: a snapshot that is refused changes
    nothing. Of each series the newest rows that fit are taken. Rows of symbols and intervals this
    market has not, of series that hold rows already, beyond the capacity or after the horizon are
    ``skipped``.
    ``data`` is any object with a contiguous buffer. O(rows); about 0.1 s per million.
    ``release(end)`` is called as bytes before ``end`` are needed no longer: file and market need
    not both be in memory.

    Raises SnapshotError: damaged, cut, of another version or, if a ``label`` is given, of another.
    """

def read_contents(data: _Buffer, *, label: str | None = None) -> SnapshotContents:
    """Say what a snapshot holds, verified as ``restore`` does: that would not refuse it.

    ``data`` is any object with a contiguous buffer. O(rows).

    Raises SnapshotError: see ``restore``.
    """
