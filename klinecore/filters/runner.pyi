from typing import Any

from typing_extensions import disjoint_base

from klinecore.filters.cells import Cell
from klinecore.filters.stages import Stage
from klinecore.market import Market

__all__ = ["Doubts", "Rewinder", "Runner"]

@disjoint_base
class Rewinder:
    """Where a lane goes back to that has to start anew: nowhere, but for ``Checkpoints``."""

@disjoint_base
class Doubts:
    """What rows taken again cannot tell, for others have left memory: nothing, but for ``Gone``."""

@disjoint_base
class Runner:
    """All stages over one market."""

    def __new__(cls, market: Market, *, records: bool) -> Runner: ...
    @property
    def market(self) -> Market: ...
    @property
    def places(self) -> int: ...
    @property
    def cells(self) -> dict[Any, Cell]: ...
    @property
    def stages(self) -> dict[Any, Stage]: ...
    @property
    def rerun(self) -> set[int]: ...
    @property
    def rerun_count(self) -> int: ...
    @property
    def size(self) -> int:
        """Bytes of all steps and stages."""
