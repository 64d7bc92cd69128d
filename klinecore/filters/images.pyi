from typing import final

from typing_extensions import disjoint_base

from klinecore.filters.runner import Rewinder, Runner

__all__ = ["Checkpoints", "Layout"]

@disjoint_base
class Layout:
    """Stages, cells and roots in an order that depends on the filters only."""

    def __new__(cls, runner: Runner) -> Layout: ...

@final
class Checkpoints(Rewinder):
    """What a symbol's filters remembered some rows ago, so that a late change of newer rows does
    not move their anchor."""

    def __new__(cls, runner: Runner) -> Checkpoints: ...
    @property
    def size(self) -> int: ...
    @property
    def left_out(self) -> int: ...
