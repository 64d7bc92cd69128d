"""The table that leads from a symbol's bytes to its index; used through ``Market``."""

from typing import final

__all__ = ["SymbolTable"]

@final
class SymbolTable:
    """Open addressing over the UTF-8 bytes of a fixed tuple of distinct symbols."""

    def __new__(cls, symbols: tuple[str, ...]) -> SymbolTable: ...
