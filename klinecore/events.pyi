from enum import IntEnum
from typing import final

__all__ = ["EventKind", "EventQueue"]

class EventKind(IntEnum):
    """What an event tells."""

    TICKER = 0  # a ticker changed (conflated until drained)
    FORMING = 1  # a forming kline changed (conflated until drained)
    CLOSED = 2  # a kline closed; one event per (series, open time)
    REVISED = 3  # a closed kline was corrected
    FILLED = 4  # a closed kline in the past filled its place
    ABSENT = 5  # a hole is explained: the exchange has no klines there; its first open time
    BARRIER = 6  # the closes of a boundary are in, or were given up; one per (interval, open time)
    BARRIER_REVISED = 7  # and then more came in, or less is waited for (conflated until drained)

@final
class EventQueue:
    """For ``series_count`` series and ``symbol_count`` tickers; when full, ``lost`` counts."""

    def __new__(cls, series_count: int, symbol_count: int) -> EventQueue: ...
