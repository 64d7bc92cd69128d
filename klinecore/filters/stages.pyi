from typing import Any

from typing_extensions import disjoint_base

from klinecore.filters.cells import Cell

__all__ = ["Root", "Stage"]

@disjoint_base
class Root:
    """The condition of one filter, and at which rows it fires."""

    def __new__(cls, number: int, step: Any, cell: Cell, *, edge: bool, cooldown: int) -> Root: ...
    cell: Cell
    forming: bool
    part_names: tuple[str, ...]
    part_cells: tuple[Cell, ...]
    @property
    def number(self) -> int: ...
    @property
    def step(self) -> Any: ...
    @property
    def edge(self) -> bool: ...
    @property
    def cooldown(self) -> int: ...
    @property
    def size(self) -> int: ...
    @property
    def rows(self) -> int: ...
    @property
    def others(self) -> dict[Any, int]: ...
    @property
    def endless(self) -> bool: ...

@disjoint_base
class Stage:
    """Steps that advance together, and the row at which each lane stands."""

    def __new__(cls, key: Any, places: int, interval: int) -> Stage: ...
    cells: list[Cell]
    roots: list[Root]
    @property
    def key(self) -> Any: ...
    @property
    def places(self) -> int: ...
    @property
    def size(self) -> int: ...
    @property
    def across(self) -> bool: ...
    @property
    def endless(self) -> bool: ...
