"""JSON bytes of rows and tickers; used through ``Market``."""

from typing import final

__all__ = ["Scratch"]

@final
class Scratch:
    """A reusable piece of memory to write a body in; grows to what was asked, up to a limit."""
