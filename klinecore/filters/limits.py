"""What a filter may be at most: each limit by name, so that a refusal can say which."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["LIMITS", "Limits"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Largest sizes of one filter; what is larger is refused, and the refusal names the limit."""

    text: int = 4_096  # characters, also of its normal form
    tokens: int = 768  # names, numbers and signs
    depth: int = 32  # brackets in brackets, operations in operations
    nodes: int = 256  # distinct operations, numbers and columns
    indicators: int = 64  # distinct ones
    window: int = 500  # klines back, alone or in a chain: what a series keeps
    windows: int = 8_000  # klines remembered, over all operations
    intervals: int = 4  # other intervals, named by @


#: What is used where nothing else is said.
LIMITS = Limits()
