from enum import IntEnum

__all__ = ["MergeStatus"]

class MergeStatus(IntEnum):
    """What one row did to its series."""

    APPENDED = 0  # a new closed kline, newer than all others (also: the forming one closed)
    INSERTED = 1  # a closed kline in the past: filled a hole or extended the window backwards
    REVISED = 2  # replaced a different closed row of lower rank
    FORMING = 3  # new or newer forming kline
    DUPLICATE = 4  # nothing new
    STALE = 5  # an older update of a row already further on
    TOO_OLD = 6  # before the window
    BAD_TIME = 7  # open and close time do not belong to the interval
    UNREPRESENTABLE = 8  # a number that cannot be kept exactly; nothing was stored
