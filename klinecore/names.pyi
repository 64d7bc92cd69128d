"""The table that leads from a symbol's bytes to its place; used through ``Market``."""

from typing import final

__all__ = ["SymbolTable", "symbol_bytes"]

def symbol_bytes(symbol: str) -> bytes:
    """UTF-8 of a symbol. Raises ValueError: it has not 1..64 bytes."""

@final
class SymbolTable:
    """Open addressing over the UTF-8 bytes of at most ``place_count`` distinct symbols."""

    def __new__(cls, place_count: int) -> SymbolTable: ...
