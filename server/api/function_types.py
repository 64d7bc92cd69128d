"""What the functions take and answer: names and shapes of the edge functions they stand in for."""

from __future__ import annotations

import msgspec

__all__ = [
    "ExecuteTrader",
    "ExecutedTrader",
    "FieldFault",
    "FunctionError",
    "GetKlines",
    "NumberKline",
    "NumberKlines",
    "NumberTicker",
    "SymbolResult",
    "TraderRun",
    "TriggerExecutions",
    "TriggeredExecutions",
    "WhoAsked",
]


class FieldFault(msgspec.Struct):
    """What is wrong with one field of a body; an empty path is the body itself."""

    path: str
    message: str


class FunctionError(msgspec.Struct, omit_defaults=True):
    """How functions refuse: ``code`` is stable, texts are not."""

    error: str
    code: str
    details: list[FieldFault] | None = None
    tier: str | None = None  # of who asks too often
    retryAfter: int | None = None  # noqa: N815 - as clients spell it; seconds
    allowed: list[str] | None = None  # what would have been accepted, or a part of it
    id: str | None = None  # of a failure in the server's log


class GetKlines(msgspec.Struct):
    """Which klines; ``limit`` is from 1 to 500, and no more than the server keeps."""

    symbol: str
    timeframe: str
    limit: int = 100


class NumberKline(msgspec.Struct, rename="camel"):
    """One closed kline in numbers; times are ms UTC."""

    open_time: int
    open: float
    high: float
    low: float
    close: float
    volume: float
    close_time: int
    quote_asset_volume: float
    number_of_trades: int
    taker_buy_base_asset_volume: float
    taker_buy_quote_asset_volume: float


class NumberTicker(msgspec.Struct):
    """Rolling 24 hours of a symbol, in numbers."""

    symbol: str
    price: float
    volume: float
    quoteVolume: float  # noqa: N815 - as clients spell it
    priceChangePercent: float  # noqa: N815
    high24h: float
    low24h: float


class WhoAsked(msgspec.Struct):
    """As whom the caller was taken."""

    tier: str
    authenticated: bool


class NumberKlines(msgspec.Struct):
    """The newest closed klines of a series, oldest first, and its symbol's ticker."""

    klines: list[NumberKline]
    ticker: NumberTicker | None
    symbol: str
    timeframe: str
    count: int
    cached: bool
    latency: float  # ms in the server
    auth: WhoAsked


class ExecuteTrader(msgspec.Struct, rename="camel"):
    """Which trader, and for which symbols; ``[]``: all of its own."""

    trader_id: str
    symbols: list[str]


class SymbolResult(msgspec.Struct, omit_defaults=True):
    """What came out for one symbol; ``error`` also where the filter knows nothing of it."""

    symbol: str
    matched: bool
    error: str | None = None


class ExecutedTrader(msgspec.Struct, rename="camel"):
    """One evaluation of a trader."""

    trader_id: str
    timestamp: str  # ISO 8601, UTC
    total_symbols: int
    matches: list[str]
    results: list[SymbolResult]
    execution_time_ms: float


class TriggerExecutions(msgspec.Struct):
    """``trigger`` is "cron" where the database's clock asks."""

    trigger: str = ""


class TraderRun(msgspec.Struct, rename="camel", omit_defaults=True):
    """What became of one trader; ``matches`` are how many symbols matched."""

    success: bool
    trader_id: str
    execution_time_ms: float
    matches: int | None = None
    error: str | None = None


class TriggeredExecutions(msgspec.Struct, rename="camel"):
    """What became of all traders that were due."""

    timestamp: str
    symbols_checked: int
    traders_executed: int
    success_count: int
    failure_count: int
    total_execution_time_ms: float
    avg_trader_execution_time_ms: float
    message: str
    details: list[TraderRun]
