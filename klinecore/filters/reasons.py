"""Why a value is unknown."""

from __future__ import annotations

from enum import IntEnum

__all__ = ["Reason"]


class Reason(IntEnum):
    """Why a value is unknown; of several reasons the largest is told."""

    KNOWN = 0  #: it is not: there is a value
    NOT_WARM = 1  #: fewer klines in memory than it needs
    UNDEFINED = 2  #: x / 0, the logarithm of 0, and whatever else has no finite result
    NO_TICKER = 3  #: no ticker came yet, or the value would be one of the past
    HOLE = 4  #: klines are missing among those it needs
    MISSING_CLOSE = 5  #: the newest kline of another interval is due and not held
    NO_ROWS = 6  #: there is no closed kline at all
