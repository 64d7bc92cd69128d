"""What a filter may be at most: each limit by name, so that a refusal can say which."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["LIMITS", "LIMIT_MEANINGS", "Limits"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Largest sizes of one filter; what is larger is refused, and the refusal names the limit."""

    text: int = 4_096
    tokens: int = 768
    depth: int = 32
    nodes: int = 256
    indicators: int = 64
    window: int = 500
    windows: int = 8_000
    intervals: int = 4
    cost_ns: int = 20_000


LIMIT_MEANINGS = {
    "text": "characters, also of its normal form",
    "tokens": "names, numbers, texts and signs",
    "depth": "brackets in brackets, operations in operations",
    "nodes": "distinct operations, numbers and columns",
    "indicators": "distinct indicators",
    "window": "klines back, of one part or of parts in parts: what a series keeps",
    "windows": "klines remembered, over all parts",
    "intervals": "other intervals, named by @",
    "cost_ns": "nanoseconds, about, per symbol and close, if nothing is shared",
}

#: What is used where nothing else is said.
LIMITS = Limits()
