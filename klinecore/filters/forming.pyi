from collections.abc import Iterable
from typing import Any, final

from klinecore.filters.runner import Runner
from klinecore.filters.stages import Root

__all__ = ["Forming"]

@final
class Forming:
    """What some filters of one interval would say if the forming row closed as it is."""

    def __new__(cls, runner: Runner, roots: Iterable[Root], **kwargs: Any) -> Forming: ...
    @property
    def roots(self) -> list[Root]: ...
