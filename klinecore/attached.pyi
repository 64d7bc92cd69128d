from collections.abc import Iterator
from os import PathLike
from typing import Any, Final, final

import numpy as np
from numpy.typing import NDArray

from klinecore.frame import Frame, Framed
from klinecore.kline import Kline
from klinecore.series import Series

__all__ = ["ATTEMPTS_MAX", "AttachedMarket", "AttachedSeries", "attach"]

ATTEMPTS_MAX: Final[int]

def attach(path: str | PathLike[str]) -> AttachedMarket:
    """Map the live market another process keeps in ``path``, read-only.

    Costs no copy and no memory but what is read. The writer knows nothing of it and is never
    held up. The mapping lasts as long as the market or anything read from it.

    Raises
    ------
    OSError: the file cannot be opened.
    ArenaError: it is no arena this library reads, or is damaged.
    """

@final
class AttachedMarket:
    """A market of another process, as ``attach`` gives it; reads like a ``Market``.

    Symbols come and go as they do there. One object belongs to one thread.
    """

    def __new__(cls, path: str) -> AttachedMarket: ...
    @property
    def path(self) -> str: ...
    @property
    def intervals(self) -> tuple[str, ...]: ...
    @property
    def capacity(self) -> int: ...
    @property
    def retries(self) -> int:
        """Copies that were thrown away because the writer was inside, over all series."""
    @property
    def symbols(self) -> tuple[str, ...]:
        """Symbols held now, by place."""
    @property
    def heartbeat_ms(self) -> int:
        """When the writer last said that it lives, ms UTC; 0 never."""
    @property
    def replaced(self) -> bool:
        """True when the path leads elsewhere, or nowhere: the writer started anew, or ended."""
    def __getitem__(self, key: tuple[str, str], /) -> AttachedSeries:
        """Case of the symbol is folded. Raises UnknownSeriesError, TornReadError."""
    def ticker(self, symbol: str) -> dict[str, str | int] | None:
        """Newest ticker in the exchange's letters (``s c v q P h l E`` and what else was sent).

        None before the first. Raises UnknownSeriesError, TornReadError.
        """
    def __contains__(self, key: object, /) -> bool: ...
    def __iter__(self) -> Iterator[AttachedSeries]: ...
    def __len__(self) -> int:
        """Series held now."""

@final
class AttachedSeries(Framed):
    """A series of another process's market: every read is a whole copy as of one moment.

    Reads of an unchanged series share the copy; arrays are read-only and never change. Two reads
    may see two moments: ``read()`` once, where columns must fit each other.

    Every read raises TornReadError: no whole copy was to be had. UnknownSeriesError: the symbol is
    held no longer; another symbol's rows are never shown.
    """

    @property
    def symbol(self) -> str: ...
    @property
    def interval(self) -> str: ...
    @property
    def capacity(self) -> int: ...
    def read(self) -> Series:
        """All of it as of one moment: a ``Series`` nobody writes to any more.

        O(capacity), about 90 bytes a row; O(1) while nothing has changed.
        """
    @property
    def sequence(self) -> int:
        """Moves by two on every write: a read since is worth while. Copies nothing."""
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
        """The kline the exchange may still revise; None without."""
    @property
    def last(self) -> Kline | None:
        """The newest closed kline; None before the first."""
    @property
    def last_close_ms(self) -> int:
        """Close time of the newest closed kline; 0 before the first."""
    @property
    def closed_count(self) -> int:
        """Klines ever closed there, also those that left the window since."""
    @property
    def revision(self) -> int:
        """Moves when any closed row or its state changes."""
    def __len__(self) -> int:
        """Closed klines held, at most ``capacity``."""
    def columns(self) -> NDArray[np.float64]:
        """All nine columns (``klinecore.COLUMNS``); shape ``(9, n)``, read-only."""
    def snapshot(self) -> dict[str, NDArray[Any]]:
        """``open_time_ms`` (int64) and the nine columns (float64) of one moment, writable."""
    def frame(self) -> Frame:
        """Closed rows as a ``Frame``; see ``Series.frame``."""
    def klines(self, limit: int | None = None, *, forming: bool = False) -> list[Kline]:
        """The newest ``limit`` closed rows (default all), oldest first, as the exchange's text.

        ``forming=True`` appends the forming row. Raises ValueError: ``limit`` below 1.
        """
