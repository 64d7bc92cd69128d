from enum import IntEnum

__all__ = ["RowState"]

class RowState(IntEnum):
    """What is known of one kline."""

    FORMING = 0  # the exchange may still revise it
    STREAM = 1  # closed: the stream said so
    REST = 2  # closed: read over REST after its end
    PUSHED = 3  # closed: pushed by the owner of the market
    NO_TRADES = 4  # closed by stream or REST, and nothing was traded in it
    HOLE = 5  # missing between two rows, and nobody knows why
    ABSENT = 6  # missing between two rows: the exchange has confirmed that it has none
    NONE = 7  # outside the rows held, or no opening time of the calendar
