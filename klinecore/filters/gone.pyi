from typing import Any

from typing_extensions import disjoint_base

from klinecore.filters.runner import Doubts, Runner
from klinecore.filters.stages import Stage

__all__ = ["Gone", "Reach"]

@disjoint_base
class Reach:
    """How far back one step looks, and from which row on it is whole, lane by lane."""

    def __new__(cls, step: Any, args: list[Reach], stage: Stage) -> Reach: ...
    @property
    def args(self) -> list[Reach]: ...

@disjoint_base
class Gone(Doubts):
    """Looks at each row that is taken again, and notes where its filters cannot be decided."""

    def __new__(cls, runner: Runner) -> Gone: ...
    @property
    def told(self) -> dict[int, Any]: ...
    @property
    def undecided(self) -> set[tuple[Any, int, int]]: ...
