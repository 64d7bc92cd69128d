"""Moving averages, over arrays and row by row; written from the catalog."""

from __future__ import annotations

from typing import Literal

from klinecore.indicators.catalog import CATALOG
from klinecore.indicators.entry import Values
from klinecore.indicators.kernel import Stream1
from klinecore.indicators.kernels.averages import KERNELS

__all__ = [
    "T3",
    "Dema",
    "Ema",
    "Hma",
    "Kama",
    "Linreg",
    "LinregSlope",
    "Rma",
    "Sma",
    "Tema",
    "Wma",
    "dema",
    "ema",
    "hma",
    "kama",
    "linreg",
    "linreg_slope",
    "rma",
    "sma",
    "t3",
    "tema",
    "wma",
]


_SMA = KERNELS["sma"].bind(CATALOG["sma"])
_EMA = KERNELS["ema"].bind(CATALOG["ema"])
_RMA = KERNELS["rma"].bind(CATALOG["rma"])
_WMA = KERNELS["wma"].bind(CATALOG["wma"])
_HMA = KERNELS["hma"].bind(CATALOG["hma"])
_DEMA = KERNELS["dema"].bind(CATALOG["dema"])
_TEMA = KERNELS["tema"].bind(CATALOG["tema"])
_T3 = KERNELS["t3"].bind(CATALOG["t3"])
_KAMA = KERNELS["kama"].bind(CATALOG["kama"])
_LINREG = KERNELS["linreg"].bind(CATALOG["linreg"])
_LINREG_SLOPE = KERNELS["linreg_slope"].bind(CATALOG["linreg_slope"])


def sma(source: Values, period: int, *, out: Values | None = None) -> Values:
    """Simple moving average.

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
    Formula: sum(source, period) / period.
    TradingView: Same.
    Source: the definition.
    O(n); bit-identical to ``n`` calls of ``Sma.update``.
    """
    result: Values = _SMA.batch((source,), (period,), out)
    return result


class Sma(Stream1[float]):
    """Simple moving average, row by row: ``update(source)``, ``preview`` of a forming row,
    ``value``, ``warm``; as ``sma``.
    """

    __slots__ = ()

    def __init__(self, period: int) -> None:
        super().__init__(_SMA, (period,))


def ema(
    source: Values, period: int, *, seed: Literal["sma", "first"] = "sma", out: Values | None = None
) -> Values:
    """Exponential moving average.

    Parameters
    ----------
    source : float64 array, shape (n,)
        Oldest first; not modified.
    period : int, 1 to 100,000
        Klines in the window.
    seed : "sma" or "first"
        The mean of the first `period` values, or the first.
    out : float64 array, shape (n,), contiguous, optional
        Where to write, instead of new memory; not the memory of an input.

    Returns
    -------
    A float64 array, shape (n,), new unless ``out`` is given; all defined from row ``0 if seed
    == 'first' else period - 1`` on, NaN before. A row with a number that is not finite gives
    NaN and changes nothing else.

    Raises
    ------
    ValueError: a parameter out of bounds, or an array of another type, shape or length.

    Notes
    -----
    Formula: e + (source - e) * 2 / (period + 1).
    Start and edges: Seeded with the mean of the first `period` values.
    TradingView: Sources disagree on the seed: `seed="first"` is the other one.
    Source: TA-Lib.
    O(n); bit-identical to ``n`` calls of ``Ema.update``.
    """
    result: Values = _EMA.batch((source,), (period, seed), out)
    return result


class Ema(Stream1[float]):
    """Exponential moving average, row by row: ``update(source)``, ``preview`` of a forming row,
    ``value``, ``warm``; as ``ema``.
    """

    __slots__ = ()

    def __init__(self, period: int, *, seed: Literal["sma", "first"] = "sma") -> None:
        super().__init__(_EMA, (period, seed))


def rma(source: Values, period: int, *, out: Values | None = None) -> Values:
    """Wilder's moving average.

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
    Formula: e + (source - e) / period.
    Start and edges: Seeded with the mean of the first `period` values.
    TradingView: Same.
    Source: J. W. Wilder, New Concepts in Technical Trading Systems, 1978.
    O(n); bit-identical to ``n`` calls of ``Rma.update``.
    """
    result: Values = _RMA.batch((source,), (period,), out)
    return result


class Rma(Stream1[float]):
    """Wilder's moving average, row by row: ``update(source)``, ``preview`` of a forming row,
    ``value``, ``warm``; as ``rma``.
    """

    __slots__ = ()

    def __init__(self, period: int) -> None:
        super().__init__(_RMA, (period,))


def wma(source: Values, period: int, *, out: Values | None = None) -> Values:
    """Weighted moving average.

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
    Formula: sum(weight * source) / sum(weight), weight 1 for the oldest to period.
    TradingView: Same.
    Source: the definition.
    O(n); bit-identical to ``n`` calls of ``Wma.update``.
    """
    result: Values = _WMA.batch((source,), (period,), out)
    return result


class Wma(Stream1[float]):
    """Weighted moving average, row by row: ``update(source)``, ``preview`` of a forming row,
    ``value``, ``warm``; as ``wma``.
    """

    __slots__ = ()

    def __init__(self, period: int) -> None:
        super().__init__(_WMA, (period,))


def hma(source: Values, period: int, *, out: Values | None = None) -> Values:
    """Hull moving average.

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
    A float64 array, shape (n,), new unless ``out`` is given; all defined from row ``period - 1
    + isqrt(period) - 1`` on, NaN before. A row with a number that is not finite gives NaN and
    changes nothing else.

    Raises
    ------
    ValueError: a parameter out of bounds, or an array of another type, shape or length.

    Notes
    -----
    Formula: wma(2 * wma(source, period // 2) - wma(source, period), isqrt(period)).
    TradingView: Same.
    Source: A. Hull, 2005.
    O(n); bit-identical to ``n`` calls of ``Hma.update``.
    """
    result: Values = _HMA.batch((source,), (period,), out)
    return result


class Hma(Stream1[float]):
    """Hull moving average, row by row: ``update(source)``, ``preview`` of a forming row, ``value``,
    ``warm``; as ``hma``.
    """

    __slots__ = ()

    def __init__(self, period: int) -> None:
        super().__init__(_HMA, (period,))


def dema(source: Values, period: int, *, out: Values | None = None) -> Values:
    """Double exponential moving average.

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
    A float64 array, shape (n,), new unless ``out`` is given; all defined from row ``2 * (period
    - 1)`` on, NaN before. A row with a number that is not finite gives NaN and changes nothing
    else.

    Raises
    ------
    ValueError: a parameter out of bounds, or an array of another type, shape or length.

    Notes
    -----
    Formula: 2 * e1 - e2; e1 = ema(source, period), e2 = ema(e1, period).
    Start and edges: Seeded with the mean of the first `period` values.
    TradingView: Same.
    Source: P. Mulloy, Stocks & Commodities 12:1, 1994.
    O(n); bit-identical to ``n`` calls of ``Dema.update``.
    """
    result: Values = _DEMA.batch((source,), (period,), out)
    return result


class Dema(Stream1[float]):
    """Double exponential moving average, row by row: ``update(source)``, ``preview`` of a forming
    row, ``value``, ``warm``; as ``dema``.
    """

    __slots__ = ()

    def __init__(self, period: int) -> None:
        super().__init__(_DEMA, (period,))


def tema(source: Values, period: int, *, out: Values | None = None) -> Values:
    """Triple exponential moving average.

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
    A float64 array, shape (n,), new unless ``out`` is given; all defined from row ``3 * (period
    - 1)`` on, NaN before. A row with a number that is not finite gives NaN and changes nothing
    else.

    Raises
    ------
    ValueError: a parameter out of bounds, or an array of another type, shape or length.

    Notes
    -----
    Formula: 3 * e1 - 3 * e2 + e3; each the ema of the one before.
    Start and edges: Seeded with the mean of the first `period` values.
    TradingView: Same.
    Source: P. Mulloy, Stocks & Commodities 12:1, 1994.
    O(n); bit-identical to ``n`` calls of ``Tema.update``.
    """
    result: Values = _TEMA.batch((source,), (period,), out)
    return result


class Tema(Stream1[float]):
    """Triple exponential moving average, row by row: ``update(source)``, ``preview`` of a forming
    row, ``value``, ``warm``; as ``tema``.
    """

    __slots__ = ()

    def __init__(self, period: int) -> None:
        super().__init__(_TEMA, (period,))


def t3(
    source: Values, period: int = 5, factor: float = 0.7, *, out: Values | None = None
) -> Values:
    """Tillson's T3 moving average.

    Parameters
    ----------
    source : float64 array, shape (n,)
        Oldest first; not modified.
    period : int, 1 to 100,000
        Klines in the window.
    factor : float, 0.0 to 1.0
        Volume factor: 0 is an EMA of EMAs, 1 a DEMA.
    out : float64 array, shape (n,), contiguous, optional
        Where to write, instead of new memory; not the memory of an input.

    Returns
    -------
    A float64 array, shape (n,), new unless ``out`` is given; all defined from row ``6 * (period
    - 1)`` on, NaN before. A row with a number that is not finite gives NaN and changes nothing
    else.

    Raises
    ------
    ValueError: a parameter out of bounds, or an array of another type, shape or length.

    Notes
    -----
    Formula: c1 e6 + c2 e5 + c3 e4 + c4 e3 of six EMAs in a chain; v = factor, c1 = -v^3, c2 = 3
    v^2 + 3 v^3, c3 = -6 v^2 - 3 v - 3 v^3, c4 = 1 + 3 v + v^3 + 3 v^2.
    Start and edges: Seeded with the mean of the first `period` values.
    TradingView: Same.
    Source: T. Tillson, Stocks & Commodities 16:1, 1998.
    O(n); bit-identical to ``n`` calls of ``T3.update``.
    """
    result: Values = _T3.batch((source,), (period, factor), out)
    return result


class T3(Stream1[float]):
    """Tillson's T3 moving average, row by row: ``update(source)``, ``preview`` of a forming row,
    ``value``, ``warm``; as ``t3``.
    """

    __slots__ = ()

    def __init__(self, period: int = 5, factor: float = 0.7) -> None:
        super().__init__(_T3, (period, factor))


def kama(source: Values, period: int = 10, *, out: Values | None = None) -> Values:
    """Kaufman's adaptive moving average.

    Parameters
    ----------
    source : float64 array, shape (n,)
        Oldest first; not modified.
    period : int, 1 to 100,000
        Klines whose way is compared; TA-Lib's default is 30.
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
    Formula: e + (source - e) * s^2, s = 2/31 + (2/3 - 2/31) * |source - source[period]| /
    sum(|source - source[1]|, period).
    Start and edges: Starts from the value before the first row that has one. s = 2/3 where
    nothing moved.
    TradingView: Starts from the first value.
    Source: P. Kaufman, Smarter Trading, 1995.
    O(n); bit-identical to ``n`` calls of ``Kama.update``.
    """
    result: Values = _KAMA.batch((source,), (period,), out)
    return result


class Kama(Stream1[float]):
    """Kaufman's adaptive moving average, row by row: ``update(source)``, ``preview`` of a forming
    row, ``value``, ``warm``; as ``kama``.
    """

    __slots__ = ()

    def __init__(self, period: int = 10) -> None:
        super().__init__(_KAMA, (period,))


def linreg(source: Values, period: int = 14, *, out: Values | None = None) -> Values:
    """End of the straight line through a window.

    Parameters
    ----------
    source : float64 array, shape (n,)
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
    Formula: the line of least squares, at its newest value.
    TradingView: Same, with offset 0.
    Source: the definition.
    O(n); bit-identical to ``n`` calls of ``Linreg.update``.
    """
    result: Values = _LINREG.batch((source,), (period,), out)
    return result


class Linreg(Stream1[float]):
    """End of the straight line through a window, row by row: ``update(source)``, ``preview`` of a
    forming row, ``value``, ``warm``; as ``linreg``.
    """

    __slots__ = ()

    def __init__(self, period: int = 14) -> None:
        super().__init__(_LINREG, (period,))


def linreg_slope(source: Values, period: int = 14, *, out: Values | None = None) -> Values:
    """Slope of the straight line through a window, per kline.

    Parameters
    ----------
    source : float64 array, shape (n,)
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
    Formula: rise of the line of least squares from one value to the next.
    TradingView: linreg(0) - linreg(1) there.
    Source: the definition.
    O(n); bit-identical to ``n`` calls of ``LinregSlope.update``.
    """
    result: Values = _LINREG_SLOPE.batch((source,), (period,), out)
    return result


class LinregSlope(Stream1[float]):
    """Slope of the straight line through a window, per kline, row by row: ``update(source)``,
    ``preview`` of a forming row, ``value``, ``warm``; as ``linreg_slope``.
    """

    __slots__ = ()

    def __init__(self, period: int = 14) -> None:
        super().__init__(_LINREG_SLOPE, (period,))
