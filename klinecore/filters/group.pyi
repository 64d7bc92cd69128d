from typing import final

from klinecore.filters.plan import Key, Step
from klinecore.filters.stages import Root
from klinecore.market import Market

__all__ = ["Group"]

@final
class Group:
    """Filters that share their steps, and what is known of the rows they stand at."""

    def __new__(cls, market: Market) -> Group: ...
    @property
    def market(self) -> Market: ...
    @property
    def roots(self) -> dict[int, Root]: ...
    @property
    def steps(self) -> dict[Key, Step]: ...
