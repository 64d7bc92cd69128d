"""Volatility, over arrays and row by row; written from the catalog."""

from __future__ import annotations

from typing import Generic, Literal, NamedTuple, TypeVar

from klinecore.indicators.catalog import CATALOG
from klinecore.indicators.entry import Values
from klinecore.indicators.kernel import Stream1, Stream2, Stream3
from klinecore.indicators.kernels.volatility import KERNELS

__all__ = [
    "Atr",
    "Bb",
    "BbResult",
    "Chop",
    "Donchian",
    "DonchianResult",
    "Keltner",
    "KeltnerResult",
    "Natr",
    "atr",
    "bb",
    "chop",
    "donchian",
    "keltner",
    "natr",
]

_T = TypeVar("_T")


class BbResult(NamedTuple, Generic[_T]):
    """What ``bb`` gives: arrays, or numbers of one row."""

    upper: _T
    middle: _T
    lower: _T
    width: _T


class KeltnerResult(NamedTuple, Generic[_T]):
    """What ``keltner`` gives: arrays, or numbers of one row."""

    upper: _T
    middle: _T
    lower: _T


class DonchianResult(NamedTuple, Generic[_T]):
    """What ``donchian`` gives: arrays, or numbers of one row."""

    upper: _T
    middle: _T
    lower: _T


_BB = KERNELS["bb"].bind(CATALOG["bb"], BbResult)
_ATR = KERNELS["atr"].bind(CATALOG["atr"])
_NATR = KERNELS["natr"].bind(CATALOG["natr"])
_KELTNER = KERNELS["keltner"].bind(CATALOG["keltner"], KeltnerResult)
_DONCHIAN = KERNELS["donchian"].bind(CATALOG["donchian"], DonchianResult)
_CHOP = KERNELS["chop"].bind(CATALOG["chop"])


def bb(
    source: Values,
    period: int = 20,
    deviations: float = 2.0,
    *,
    out: tuple[Values, ...] | None = None,
) -> BbResult[Values]:
    """Bollinger bands.

    Parameters
    ----------
    source : float64 array, shape (n,)
        Oldest first; not modified.
    period : int, 1 to 100,000
        Klines in the window.
    deviations : float, -1,000.0 to 1,000.0
        Deviations to each side.
    out : tuple of 4 float64 arrays, shape (n,), contiguous, optional
        Where to write, instead of new memory; not the memory of an input.

    Returns
    -------
    ``(upper, middle, lower, width)``, float64 arrays, shape (n,), new unless ``out`` is given;
    all defined from row ``period - 1`` on, NaN before. A row with a number that is not finite
    gives NaN and changes nothing else.

    Raises
    ------
    ValueError: a parameter out of bounds, or an array of another type, shape or length.

    Notes
    -----
    Formula: middle = sma; upper, lower = middle +- deviations * population deviation; width =
    (upper - lower) / middle.
    Start and edges: width is NaN where middle = 0.
    TradingView: Same.
    Source: J. Bollinger.
    O(n); bit-identical to ``n`` calls of ``Bb.update``.
    """
    result: BbResult[Values] = _BB.batch((source,), (period, deviations), out)
    return result


class Bb(Stream1[BbResult[float]]):
    """Bollinger bands, row by row: ``update(source)``, ``preview`` of a forming row, ``value``,
    ``warm``; as ``bb``.
    """

    __slots__ = ()

    def __init__(self, period: int = 20, deviations: float = 2.0) -> None:
        super().__init__(_BB, (period, deviations))


def atr(
    high: Values,
    low: Values,
    close: Values,
    period: int = 14,
    *,
    compat: Literal["talib", "tradingview"] = "talib",
    out: Values | None = None,
) -> Values:
    """Average true range.

    Parameters
    ----------
    high, low, close : float64 arrays, shape (n,)
        Oldest first; not modified.
    period : int, 1 to 100,000
        Klines in Wilder's smoothing.
    compat : "talib" or "tradingview"
        Whose seeding and edge cases: TA-Lib's or TradingView's.
    out : float64 array, shape (n,), contiguous, optional
        Where to write, instead of new memory; not the memory of an input.

    Returns
    -------
    A float64 array, shape (n,), new unless ``out`` is given; all defined from row ``period -
    (compat == 'tradingview')`` on, NaN before. A row with a number that is not finite gives NaN
    and changes nothing else.

    Raises
    ------
    ValueError: a parameter out of bounds, or an array of another type, shape or length.

    Notes
    -----
    Formula: rma(max(high - low, |high - close[1]|, |low - close[1]|), period).
    Start and edges: The first row has no range; seeded with the mean of the next `period`.
    TradingView: The first row's range is high - low and counts.
    Source: J. W. Wilder, New Concepts in Technical Trading Systems, 1978, section III.
    O(n); bit-identical to ``n`` calls of ``Atr.update``.
    """
    result: Values = _ATR.batch((high, low, close), (period, compat), out)
    return result


class Atr(Stream3[float]):
    """Average true range, row by row: ``update(high, low, close)``, ``preview`` of a forming row,
    ``value``, ``warm``; as ``atr``.
    """

    __slots__ = ()

    def __init__(
        self, period: int = 14, *, compat: Literal["talib", "tradingview"] = "talib"
    ) -> None:
        super().__init__(_ATR, (period, compat))


def natr(
    high: Values,
    low: Values,
    close: Values,
    period: int = 14,
    *,
    compat: Literal["talib", "tradingview"] = "talib",
    out: Values | None = None,
) -> Values:
    """Average true range, percent of the close.

    Parameters
    ----------
    high, low, close : float64 arrays, shape (n,)
        Oldest first; not modified.
    period : int, 1 to 100,000
        Klines in Wilder's smoothing.
    compat : "talib" or "tradingview"
        Whose seeding and edge cases: TA-Lib's or TradingView's.
    out : float64 array, shape (n,), contiguous, optional
        Where to write, instead of new memory; not the memory of an input.

    Returns
    -------
    A float64 array, shape (n,), new unless ``out`` is given; all defined from row ``period -
    (compat == 'tradingview')`` on, NaN before. A row with a number that is not finite gives NaN
    and changes nothing else.

    Raises
    ------
    ValueError: a parameter out of bounds, or an array of another type, shape or length.

    Notes
    -----
    Formula: 100 * atr / close.
    Start and edges: As atr. 0 where close = 0.
    TradingView: As atr.
    Source: J. Forman, Stocks & Commodities, 2006.
    O(n); bit-identical to ``n`` calls of ``Natr.update``.
    """
    result: Values = _NATR.batch((high, low, close), (period, compat), out)
    return result


class Natr(Stream3[float]):
    """Average true range, percent of the close, row by row: ``update(high, low, close)``,
    ``preview`` of a forming row, ``value``, ``warm``; as ``natr``.
    """

    __slots__ = ()

    def __init__(
        self, period: int = 14, *, compat: Literal["talib", "tradingview"] = "talib"
    ) -> None:
        super().__init__(_NATR, (period, compat))


def keltner(
    high: Values,
    low: Values,
    close: Values,
    period: int = 20,
    atr_period: int = 10,
    multiplier: float = 2.0,
    *,
    compat: Literal["talib", "tradingview"] = "talib",
    out: tuple[Values, ...] | None = None,
) -> KeltnerResult[Values]:
    """Keltner channel.

    Parameters
    ----------
    high, low, close : float64 arrays, shape (n,)
        Oldest first; not modified.
    period : int, 1 to 100,000
        Klines of the middle average.
    atr_period : int, 1 to 100,000
        Klines of the true range's average.
    multiplier : float, -1,000.0 to 1,000.0
        Ranges to each side.
    compat : "talib" or "tradingview"
        Whose seeding and edge cases: TA-Lib's or TradingView's.
    out : tuple of 3 float64 arrays, shape (n,), contiguous, optional
        Where to write, instead of new memory; not the memory of an input.

    Returns
    -------
    ``(upper, middle, lower)``, float64 arrays, shape (n,), new unless ``out`` is given; all
    defined from row ``max(period - 1, atr_period - (compat == 'tradingview'))`` on, NaN before.
    A row with a number that is not finite gives NaN and changes nothing else.

    Raises
    ------
    ValueError: a parameter out of bounds, or an array of another type, shape or length.

    Notes
    -----
    Formula: middle = ema(hlc3, period); upper, lower = middle +- multiplier * atr.
    Start and edges: Both seeds end at the first row that has values.
    TradingView: The middle averages closes, and each average is seeded on its first rows.
    Source: C. Keltner, 1960; L. Raschke's form.
    O(n); bit-identical to ``n`` calls of ``Keltner.update``.
    """
    result: KeltnerResult[Values] = _KELTNER.batch(
        (high, low, close), (period, atr_period, multiplier, compat), out
    )
    return result


class Keltner(Stream3[KeltnerResult[float]]):
    """Keltner channel, row by row: ``update(high, low, close)``, ``preview`` of a forming row,
    ``value``, ``warm``; as ``keltner``.
    """

    __slots__ = ()

    def __init__(
        self,
        period: int = 20,
        atr_period: int = 10,
        multiplier: float = 2.0,
        *,
        compat: Literal["talib", "tradingview"] = "talib",
    ) -> None:
        super().__init__(_KELTNER, (period, atr_period, multiplier, compat))


def donchian(
    high: Values, low: Values, period: int = 20, *, out: tuple[Values, ...] | None = None
) -> DonchianResult[Values]:
    """Donchian channel.

    Parameters
    ----------
    high, low : float64 arrays, shape (n,)
        Oldest first; not modified.
    period : int, 1 to 100,000
        Klines in the window.
    out : tuple of 3 float64 arrays, shape (n,), contiguous, optional
        Where to write, instead of new memory; not the memory of an input.

    Returns
    -------
    ``(upper, middle, lower)``, float64 arrays, shape (n,), new unless ``out`` is given; all
    defined from row ``period - 1`` on, NaN before. A row with a number that is not finite gives
    NaN and changes nothing else.

    Raises
    ------
    ValueError: a parameter out of bounds, or an array of another type, shape or length.

    Notes
    -----
    Formula: upper = highest(high); lower = lowest(low); middle = (upper + lower) / 2.
    TradingView: Same.
    Source: R. Donchian.
    O(n); bit-identical to ``n`` calls of ``Donchian.update``.
    """
    result: DonchianResult[Values] = _DONCHIAN.batch((high, low), (period,), out)
    return result


class Donchian(Stream2[DonchianResult[float]]):
    """Donchian channel, row by row: ``update(high, low)``, ``preview`` of a forming row, ``value``,
    ``warm``; as ``donchian``.
    """

    __slots__ = ()

    def __init__(self, period: int = 20) -> None:
        super().__init__(_DONCHIAN, (period,))


def chop(
    high: Values, low: Values, close: Values, period: int = 14, *, out: Values | None = None
) -> Values:
    """Choppiness index, 0 to 100.

    Parameters
    ----------
    high, low, close : float64 arrays, shape (n,)
        Oldest first; not modified.
    period : int, 2 to 100,000
        Klines in the window.
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
    Formula: 100 * log10(sum(true range) / (highest - lowest)) / log10(period).
    Start and edges: The first row has no range; NaN where highest = lowest.
    TradingView: The first row's range is high - low and counts: one value more.
    Source: E. W. Dreiss.
    O(n); bit-identical to ``n`` calls of ``Chop.update``.
    """
    result: Values = _CHOP.batch((high, low, close), (period,), out)
    return result


class Chop(Stream3[float]):
    """Choppiness index, 0 to 100, row by row: ``update(high, low, close)``, ``preview`` of a
    forming row, ``value``, ``warm``; as ``chop``.
    """

    __slots__ = ()

    def __init__(self, period: int = 14) -> None:
        super().__init__(_CHOP, (period,))
