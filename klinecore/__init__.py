"""Keeps the last N klines of every symbol and interval in compiled, fixed-size memory.

>>> import klinecore as kc
>>> market = kc.Market(["BTCUSDT"], ["1m"], capacity=500)
>>> series = market["BTCUSDT", "1m"]
"""

from __future__ import annotations

from klinecore.attached import AttachedMarket, AttachedSeries, attach
from klinecore.barrier import Barrier
from klinecore.errors import (
    ArenaError,
    KlineCoreError,
    ParseError,
    SnapshotError,
    TornReadError,
    UnknownSeriesError,
)
from klinecore.events import EventKind
from klinecore.interval import INTERVAL_MS, INTERVALS
from klinecore.kline import COLUMNS, Kline
from klinecore.market import Event, Market, RowCounts
from klinecore.merge import MergeStatus
from klinecore.parsers.binance import FrameKind, ParsedFrame, parse_frame
from klinecore.parsers.rest import parse_klines
from klinecore.series import Series
from klinecore.states import RowState

__all__ = [
    "COLUMNS",
    "INTERVALS",
    "INTERVAL_MS",
    "ArenaError",
    "AttachedMarket",
    "AttachedSeries",
    "Barrier",
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
    "RowState",
    "Series",
    "SnapshotError",
    "TornReadError",
    "UnknownSeriesError",
    "attach",
    "parse_frame",
    "parse_klines",
]
