"""Keeps the last N klines of every symbol and interval in compiled, fixed-size memory.

    >>> import klinecore as kc
    >>> market = kc.Market(["BTCUSDT"], ["1m"], capacity=500)
    >>> series = market["BTCUSDT", "1m"]
"""

from __future__ import annotations

from klinecore.errors import KlineCoreError, ParseError, UnknownSeriesError
from klinecore.interval import INTERVAL_MS, INTERVALS
from klinecore.kline import COLUMNS, Kline
from klinecore.market import Event, EventKind, Market, RowCounts
from klinecore.parsers.binance import FrameKind, ParsedFrame, parse_frame, parse_klines
from klinecore.series import MergeStatus, Series

__all__ = [
    "COLUMNS",
    "INTERVALS",
    "INTERVAL_MS",
    "Event",
    "EventKind",
    "FrameKind",
    "Kline",
    "KlineCoreError",
    "Market",
    "MergeStatus",
    "ParseError",
    "ParsedFrame",
    "RowCounts",
    "Series",
    "UnknownSeriesError",
    "parse_frame",
    "parse_klines",
]
