from typing import NamedTuple, final

__all__ = ["Barrier", "Barriers"]

class Barrier(NamedTuple):
    """What an interval's newest barrier waits for, and what came."""

    interval: str
    open_time_ms: int  # of the klines that close here
    close_time_ms: int
    expected: int  # symbols whose close is or was waited for
    closed: int  # of those, the ones whose close is in
    late: int  # of those, the ones whose close came after the event
    complete: bool  # all are in
    ended: bool  # the event BARRIER is out: all were in, or the deadline passed
    missing: tuple[str, ...]  # symbols still not in, in the market's order

@final
class Barriers:
    """One barrier per interval; used through ``Market``, whose series it looks at."""

    def __new__(cls, interval_count: int, place_count: int) -> Barriers: ...
