"""How the exchange prints integers as decimals: spot always 8, USD-M those of tick and step."""

from __future__ import annotations

from server.exchange.minutes import Symbol

__all__ = ["decimal_text", "decimals_of", "print_spot", "print_um"]

_SPOT_DECIMALS = 8


def decimal_text(value: int, decimals: int, printed: int | None = None) -> str:
    """``value / 10**decimals`` with all of its decimals, and zeros up to ``printed`` ones."""
    sign = "-" if value < 0 else ""
    digits = str(abs(value)).rjust(decimals + 1, "0")
    whole, fraction = digits[: len(digits) - decimals], digits[len(digits) - decimals :]
    if printed is not None:
        fraction = fraction.ljust(printed, "0")
    return f"{sign}{whole}.{fraction}" if fraction else sign + whole


def decimals_of(symbol: Symbol, column: str) -> int:
    """Decimals the integers of a column have."""
    if column in ("open", "high", "low", "close"):
        return symbol.price_decimals
    if column in ("volume", "taker_buy_base"):
        return symbol.volume_decimals
    return symbol.quote_decimals


def print_spot(symbol: Symbol, column: str, value: int) -> str:
    """Eight decimals, whatever the tick."""
    return decimal_text(value, decimals_of(symbol, column), _SPOT_DECIMALS)


def print_um(symbol: Symbol, column: str, value: int) -> str:
    """The decimals of tick and step; an exact zero is ``0``."""
    return decimal_text(value, decimals_of(symbol, column)) if value else "0"
