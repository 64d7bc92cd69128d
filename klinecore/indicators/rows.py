"""Prices and crosses, over arrays and row by row; written from the catalog."""

from __future__ import annotations

from klinecore.indicators.catalog import CATALOG
from klinecore.indicators.entry import Values
from klinecore.indicators.kernel import Stream2, Stream3, Stream4
from klinecore.indicators.kernels.rows import KERNELS

__all__ = [
    "CrossesAbove",
    "CrossesBelow",
    "Hl2",
    "Hlc3",
    "Ohlc4",
    "crosses_above",
    "crosses_below",
    "hl2",
    "hlc3",
    "ohlc4",
]


_HL2 = KERNELS["hl2"].bind(CATALOG["hl2"])
_HLC3 = KERNELS["hlc3"].bind(CATALOG["hlc3"])
_OHLC4 = KERNELS["ohlc4"].bind(CATALOG["ohlc4"])
_CROSSES_ABOVE = KERNELS["crosses_above"].bind(CATALOG["crosses_above"])
_CROSSES_BELOW = KERNELS["crosses_below"].bind(CATALOG["crosses_below"])


def hl2(high: Values, low: Values, *, out: Values | None = None) -> Values:
    """Median price.

    Parameters
    ----------
    high, low : float64 arrays, shape (n,)
        Oldest first; not modified.
    out : float64 array, shape (n,), contiguous, optional
        Where to write, instead of new memory; not the memory of an input.

    Returns
    -------
    A float64 array, shape (n,), new unless ``out`` is given; all defined from row ``0`` on, NaN
    before. A row with a number that is not finite gives NaN and changes nothing else.

    Raises
    ------
    ValueError: a parameter out of bounds, or an array of another type, shape or length.

    Notes
    -----
    Formula: (high + low) / 2.
    TradingView: Same.
    Source: the definition.
    O(n); bit-identical to ``n`` calls of ``Hl2.update``.
    """
    result: Values = _HL2.batch((high, low), (), out)
    return result


class Hl2(Stream2[float]):
    """Median price, row by row: ``update(high, low)``, ``preview`` of a forming row, ``value``,
    ``warm``; as ``hl2``.
    """

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__(_HL2, ())


def hlc3(high: Values, low: Values, close: Values, *, out: Values | None = None) -> Values:
    """Typical price.

    Parameters
    ----------
    high, low, close : float64 arrays, shape (n,)
        Oldest first; not modified.
    out : float64 array, shape (n,), contiguous, optional
        Where to write, instead of new memory; not the memory of an input.

    Returns
    -------
    A float64 array, shape (n,), new unless ``out`` is given; all defined from row ``0`` on, NaN
    before. A row with a number that is not finite gives NaN and changes nothing else.

    Raises
    ------
    ValueError: a parameter out of bounds, or an array of another type, shape or length.

    Notes
    -----
    Formula: (high + low + close) / 3.
    TradingView: Same.
    Source: the definition.
    O(n); bit-identical to ``n`` calls of ``Hlc3.update``.
    """
    result: Values = _HLC3.batch((high, low, close), (), out)
    return result


class Hlc3(Stream3[float]):
    """Typical price, row by row: ``update(high, low, close)``, ``preview`` of a forming row,
    ``value``, ``warm``; as ``hlc3``.
    """

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__(_HLC3, ())


def ohlc4(
    open: Values, high: Values, low: Values, close: Values, *, out: Values | None = None
) -> Values:
    """Average price.

    Parameters
    ----------
    open, high, low, close : float64 arrays, shape (n,)
        Oldest first; not modified.
    out : float64 array, shape (n,), contiguous, optional
        Where to write, instead of new memory; not the memory of an input.

    Returns
    -------
    A float64 array, shape (n,), new unless ``out`` is given; all defined from row ``0`` on, NaN
    before. A row with a number that is not finite gives NaN and changes nothing else.

    Raises
    ------
    ValueError: a parameter out of bounds, or an array of another type, shape or length.

    Notes
    -----
    Formula: (open + high + low + close) / 4.
    TradingView: Same.
    Source: the definition.
    O(n); bit-identical to ``n`` calls of ``Ohlc4.update``.
    """
    result: Values = _OHLC4.batch((open, high, low, close), (), out)
    return result


class Ohlc4(Stream4[float]):
    """Average price, row by row: ``update(open, high, low, close)``, ``preview`` of a forming row,
    ``value``, ``warm``; as ``ohlc4``.
    """

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__(_OHLC4, ())


def crosses_above(first: Values, second: Values, *, out: Values | None = None) -> Values:
    """1 where the first series crosses above the second, else 0.

    Parameters
    ----------
    first, second : float64 arrays, shape (n,)
        Oldest first; not modified.
    out : float64 array, shape (n,), contiguous, optional
        Where to write, instead of new memory; not the memory of an input.

    Returns
    -------
    A float64 array, shape (n,), new unless ``out`` is given; all defined from row ``1`` on, NaN
    before. A row with a number that is not finite gives NaN and changes nothing else.

    Raises
    ------
    ValueError: a parameter out of bounds, or an array of another type, shape or length.

    Notes
    -----
    Formula: first[1] <= second[1] and first > second.
    TradingView: Same.
    Source: Pine's ta.crossover.
    O(n); bit-identical to ``n`` calls of ``CrossesAbove.update``.
    """
    result: Values = _CROSSES_ABOVE.batch((first, second), (), out)
    return result


class CrossesAbove(Stream2[float]):
    """1 where the first series crosses above the second, else 0, row by row: ``update(first,
    second)``, ``preview`` of a forming row, ``value``, ``warm``; as ``crosses_above``.
    """

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__(_CROSSES_ABOVE, ())


def crosses_below(first: Values, second: Values, *, out: Values | None = None) -> Values:
    """1 where the first series crosses below the second, else 0.

    Parameters
    ----------
    first, second : float64 arrays, shape (n,)
        Oldest first; not modified.
    out : float64 array, shape (n,), contiguous, optional
        Where to write, instead of new memory; not the memory of an input.

    Returns
    -------
    A float64 array, shape (n,), new unless ``out`` is given; all defined from row ``1`` on, NaN
    before. A row with a number that is not finite gives NaN and changes nothing else.

    Raises
    ------
    ValueError: a parameter out of bounds, or an array of another type, shape or length.

    Notes
    -----
    Formula: first[1] >= second[1] and first < second.
    TradingView: Same.
    Source: Pine's ta.crossunder.
    O(n); bit-identical to ``n`` calls of ``CrossesBelow.update``.
    """
    result: Values = _CROSSES_BELOW.batch((first, second), (), out)
    return result


class CrossesBelow(Stream2[float]):
    """1 where the first series crosses below the second, else 0, row by row: ``update(first,
    second)``, ``preview`` of a forming row, ``value``, ``warm``; as ``crosses_below``.
    """

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__(_CROSSES_BELOW, ())
