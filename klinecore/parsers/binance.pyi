from enum import IntEnum
from typing import NamedTuple, TypeAlias

from klinecore.kline import Kline

__all__ = ["FrameKind", "ParsedFrame", "parse_frame"]

_Buffer: TypeAlias = bytes | bytearray | memoryview

class FrameKind(IntEnum):
    """What one WebSocket message is."""

    MALFORMED = 0  # not JSON, cut off, or a known message with a field missing or ill-typed
    UNREPRESENTABLE = 1  # well-formed, but a number has more digits than can be kept exactly
    KLINE = 2
    TICKER = 3  # 24hrTicker
    MINI_TICKER = 4  # 24hrMiniTicker
    BOOK_TICKER = 5  # spot sends it without "e"
    TICKER_ARRAY = 6  # array of TICKER or MINI_TICKER
    SHUTDOWN = 7  # serverShutdown
    REPLY = 8  # {"result":..,"id":..}
    ERROR_REPLY = 9  # {"error":{..}} or {"code":..,"msg":..}
    OTHER = 10  # a stream we classify and do not store (aggTrade, depthUpdate, ...)

class ParsedFrame(NamedTuple):
    """One parsed message, for inspection and tests; the hot path makes no such object."""

    kind: FrameKind
    symbol: str | None  # KLINE and the tickers
    interval: str | None  # KLINE
    event_time_ms: int | None  # E, where the exchange sends one
    kline: Kline | None  # KLINE
    ticker: dict[str, str | int] | None  # TICKER, MINI_TICKER, BOOK_TICKER: exchange's letters

def parse_frame(frame: _Buffer) -> ParsedFrame:
    """Parse one combined or raw stream message; never raises on bad bytes, see ``kind``."""
