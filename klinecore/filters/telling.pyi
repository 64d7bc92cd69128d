from typing import NamedTuple

from typing_extensions import disjoint_base

from klinecore.filters.gone import Gone
from klinecore.filters.runner import Runner

__all__ = ["Firing", "Teller"]

class Firing(NamedTuple):
    """A filter fired for a symbol at a close, or one that was told did not after all."""

    filter_id: int
    symbol: str
    interval: str
    open_time_ms: int  # of the kline whose close fired
    price: float  # its close
    revision: bool  # rows that came late, or were corrected, changed what had been evaluated
    complete: bool  # False: a row that it reads, or a symbol it compares, was not there
    retracted: bool = False  # it was told before, and is no more
    provisional: bool = False  # of a forming row, or (retracted, price NaN) it did not hold so long
    values: tuple[float, ...] = ()  # of ``Engine.parts``, conditions 1.0 or 0.0; () if retracted

@disjoint_base
class Teller:
    """What was told of the filters of a market."""

    def __new__(cls, runner: Runner, gone: Gone) -> Teller: ...
