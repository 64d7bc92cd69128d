"""How the exchange prints integers as decimals: spot always 8, USD-M those of tick and step."""

from __future__ import annotations

from collections.abc import Callable
from operator import attrgetter

from server.exchange.minutes import Row, Symbol

__all__ = ["SPOT_DECIMALS", "decimal_text", "decimals_of", "row_printer"]

#: Decimals of every number on spot.
SPOT_DECIMALS = 8

_printed = attrgetter(
    "open", "high", "low", "close", "volume", "quote_volume", "taker_buy_base", "taker_buy_quote"
)


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
    quote = symbol.quote_decimals
    decimals = [symbol.price_decimals] * 4
    decimals += [symbol.volume_decimals, quote, symbol.volume_decimals, quote]
    shapes = [(count, "0" * (width - count)) for count in decimals]

    def texts(row: Row) -> list[str]:
        # As `decimal_text` of each, which are not negative; several times as fast.
        printed = []
        for value, (count, zeros) in zip(_printed(row), shapes, strict=True):
            if not value and zero is not None:
                printed.append(zero)
                continue
            digits = str(value)
            if count:
                if len(digits) <= count:
                    digits = digits.rjust(count + 1, "0")
                digits = f"{digits[:-count]}.{digits[-count:]}{zeros}"
            elif zeros:
                digits = f"{digits}.{zeros}"
            printed.append(digits)
        return printed

    return texts
