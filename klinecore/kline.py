"""One kline as text: what the exchange printed, field by field."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["COLUMNS", "Kline"]

#: Column names of a series in the order they are stored; ``trades`` last.
COLUMNS = (
    "open",
    "high",
    "low",
    "close",
    "volume",
    "quote_volume",
    "taker_buy_base",
    "taker_buy_quote",
    "trades",
)


class Kline(NamedTuple):
    """One OHLCV row. Prices and volumes are the exchange's own decimal text, times are ms UTC.

    Fields are in the order of Binance's REST tuple, so ``Kline(*row[:11])`` reads one.
    """

    open_time_ms: int
    open: str
    high: str
    low: str
    close: str
    volume: str
    close_time_ms: int
    quote_volume: str
    trades: int
    taker_buy_base: str
    taker_buy_quote: str
    closed: bool = True
