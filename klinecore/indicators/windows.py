"""Windows, over arrays and row by row; written from the catalog."""

from __future__ import annotations

from klinecore.indicators.catalog import CATALOG
from klinecore.indicators.entry import Values
from klinecore.indicators.kernel import Stream1, Stream2
from klinecore.indicators.kernels.windows import KERNELS

__all__ = [
    "Change",
    "Correl",
    "Highest",
    "Lowest",
    "change",
    "correl",
    "highest",
    "lowest",
]


_HIGHEST = KERNELS["highest"].bind(CATALOG["highest"])
_LOWEST = KERNELS["lowest"].bind(CATALOG["lowest"])
_CHANGE = KERNELS["change"].bind(CATALOG["change"])
_CORREL = KERNELS["correl"].bind(CATALOG["correl"])


def highest(source: Values, period: int, *, out: Values | None = None) -> Values:
    """Largest value of a window.

    Parameters
    ----------
    source : float64 array, shape (n,)
        Oldest first; not modified.
    period : int, 1 to 100,000
        Klines in the window.
    out : float64 array, shape (n,), contiguous, optional
        Where to write, instead of new memory; not the memory of an input.

    Returns
    -------
    A float64 array, shape (n,), new unless ``out`` is given; all defined from row ``period -
    1`` on, NaN before. A row with a number that is not finite gives NaN and changes nothing
    else.

    Raises
    ------
    ValueError: a parameter out of bounds, or an array of another type, shape or length.

    Notes
    -----
    Formula: max(source, period).
    TradingView: Same.
    Source: van Herk, 1992, for the method.
    O(n); bit-identical to ``n`` calls of ``Highest.update``.
    """
    result: Values = _HIGHEST.batch((source,), (period,), out)
    return result


class Highest(Stream1[float]):
    """Largest value of a window, row by row: ``update(source)``, ``preview`` of a forming row,
    ``value``, ``warm``; as ``highest``.
    """

    __slots__ = ()

    def __init__(self, period: int) -> None:
        super().__init__(_HIGHEST, (period,))


def lowest(source: Values, period: int, *, out: Values | None = None) -> Values:
    """Smallest value of a window.

    Parameters
    ----------
    source : float64 array, shape (n,)
        Oldest first; not modified.
    period : int, 1 to 100,000
        Klines in the window.
    out : float64 array, shape (n,), contiguous, optional
        Where to write, instead of new memory; not the memory of an input.

    Returns
    -------
    A float64 array, shape (n,), new unless ``out`` is given; all defined from row ``period -
    1`` on, NaN before. A row with a number that is not finite gives NaN and changes nothing
    else.

    Raises
    ------
    ValueError: a parameter out of bounds, or an array of another type, shape or length.

    Notes
    -----
    Formula: min(source, period).
    TradingView: Same.
    Source: van Herk, 1992, for the method.
    O(n); bit-identical to ``n`` calls of ``Lowest.update``.
    """
    result: Values = _LOWEST.batch((source,), (period,), out)
    return result


class Lowest(Stream1[float]):
    """Smallest value of a window, row by row: ``update(source)``, ``preview`` of a forming row,
    ``value``, ``warm``; as ``lowest``.
    """

    __slots__ = ()

    def __init__(self, period: int) -> None:
        super().__init__(_LOWEST, (period,))


def change(source: Values, period: int = 1, *, out: Values | None = None) -> Values:
    """Change over some klines, percent.

    Parameters
    ----------
    source : float64 array, shape (n,)
        Oldest first; not modified.
    period : int, 1 to 100,000
        Klines back.
    out : float64 array, shape (n,), contiguous, optional
        Where to write, instead of new memory; not the memory of an input.

    Returns
    -------
    A float64 array, shape (n,), new unless ``out`` is given; all defined from row ``period``
    on, NaN before. A row with a number that is not finite gives NaN and changes nothing else.

    Raises
    ------
    ValueError: a parameter out of bounds, or an array of another type, shape or length.

    Notes
    -----
    Formula: 100 * (source / source[period] - 1).
    Start and edges: NaN where the value to compare with is 0; else as roc.
    TradingView: Its ta.change is the difference: mom.
    Source: the definition.
    O(n); bit-identical to ``n`` calls of ``Change.update``.
    """
    result: Values = _CHANGE.batch((source,), (period,), out)
    return result


class Change(Stream1[float]):
    """Change over some klines, percent, row by row: ``update(source)``, ``preview`` of a forming
    row, ``value``, ``warm``; as ``change``.
    """

    __slots__ = ()

    def __init__(self, period: int = 1) -> None:
        super().__init__(_CHANGE, (period,))


def correl(first: Values, second: Values, period: int = 30, *, out: Values | None = None) -> Values:
    """Pearson's correlation, -1 to 1.

    Parameters
    ----------
    first, second : float64 arrays, shape (n,)
        Oldest first; not modified.
    period : int, 2 to 100,000
        Klines in the window.
    out : float64 array, shape (n,), contiguous, optional
        Where to write, instead of new memory; not the memory of an input.

    Returns
    -------
    A float64 array, shape (n,), new unless ``out`` is given; all defined from row ``period -
    1`` on, NaN before. A row with a number that is not finite gives NaN and changes nothing
    else.

    Raises
    ------
    ValueError: a parameter out of bounds, or an array of another type, shape or length.

    Notes
    -----
    Formula: covariance / (deviation of first * deviation of second).
    Start and edges: 0 where one of them does not move.
    TradingView: NaN where one of them does not move.
    Source: the definition; with row numbers as second it is J. Ehlers' CTI.
    O(n); bit-identical to ``n`` calls of ``Correl.update``.
    """
    result: Values = _CORREL.batch((first, second), (period,), out)
    return result


class Correl(Stream2[float]):
    """Pearson's correlation, -1 to 1, row by row: ``update(first, second)``, ``preview`` of a
    forming row, ``value``, ``warm``; as ``correl``.
    """

    __slots__ = ()

    def __init__(self, period: int = 30) -> None:
        super().__init__(_CORREL, (period,))
