"""How the exchange prints integers as decimals: spot always 8, USD-M those of tick and step."""

from __future__ import annotations

from collections.abc import Callable

from server.exchange.minutes import Row, Symbol

__all__ = ["SPOT_DECIMALS", "decimal_text", "decimals_of", "row_printer"]

#: Decimals of every number on spot.
SPOT_DECIMALS = 8


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


def row_printer(
    symbol: Symbol, *, width: int = 0, zero: str | None = None
) -> Callable[[Row], list[str]]:
    """What prints rows of ``symbol``: open, high, low, close, volume, quote volume, taker buys.

    ``width``: decimals there are at least; ``zero``: how an exact zero is printed, None as others.
    Spot has eight decimals, whatever the tick; USD-M those of tick and step, and ``0``.
    """
    price, amount = (
        _printer(decimals, max(decimals, width), zero)
        for decimals in (symbol.price_decimals, symbol.volume_decimals)
    )
    quote = _printer(symbol.quote_decimals, max(symbol.quote_decimals, width), zero)

    def texts(row: Row) -> list[str]:
        return [
            price(row.open),
            price(row.high),
            price(row.low),
            price(row.close),
            amount(row.volume),
            quote(row.quote_volume),
            amount(row.taker_buy_base),
            quote(row.taker_buy_quote),
        ]

    return texts


def _printer(decimals: int, width: int, zero: str | None) -> Callable[[int], str]:
    """As ``decimal_text`` of what is not negative, several times as fast."""
    if not width:
        return str
    scale = 10 ** (width - decimals)

    def text(value: int) -> str:
        if not value and zero is not None:
            return zero
        digits = str(value * scale).rjust(width + 1, "0")
        return f"{digits[:-width]}.{digits[-width:]}"

    return text
