from typing import Any

from typing_extensions import disjoint_base

from klinecore.filters.runner import Doubts, Runner

__all__ = ["Gone"]

@disjoint_base
class Gone(Doubts):
    """Looks at each row that is taken again, and notes where its filters cannot be decided."""

    def __new__(cls, runner: Runner) -> Gone: ...
    @property
    def told(self) -> dict[int, Any]: ...
    @property
    def undecided(self) -> set[tuple[Any, int, int]]: ...
