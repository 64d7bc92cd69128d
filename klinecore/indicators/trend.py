"""Trend, over arrays and row by row; written from the catalog."""

from __future__ import annotations

from typing import Generic, Literal, NamedTuple, TypeVar

from klinecore.indicators.catalog import CATALOG
from klinecore.indicators.entry import Values
from klinecore.indicators.kernel import Stream2, Stream3, Stream4
from klinecore.indicators.kernels.trend import KERNELS

__all__ = [
    "Adx",
    "Aroon",
    "AroonResult",
    "HeikinAshi",
    "HeikinAshiResult",
    "Ichimoku",
    "IchimokuResult",
    "MinusDi",
    "PlusDi",
    "Sar",
    "Supertrend",
    "SupertrendResult",
    "adx",
    "aroon",
    "heikin_ashi",
    "ichimoku",
    "minus_di",
    "plus_di",
    "sar",
    "supertrend",
]

_T = TypeVar("_T")


class SupertrendResult(NamedTuple, Generic[_T]):
    """What ``supertrend`` gives: arrays, or numbers of one row."""

    line: _T
    trend: _T


class HeikinAshiResult(NamedTuple, Generic[_T]):
    """What ``heikin_ashi`` gives: arrays, or numbers of one row."""

    open: _T
    high: _T
    low: _T
    close: _T


class AroonResult(NamedTuple, Generic[_T]):
    """What ``aroon`` gives: arrays, or numbers of one row."""

    up: _T
    down: _T
    oscillator: _T


class IchimokuResult(NamedTuple, Generic[_T]):
    """What ``ichimoku`` gives: arrays, or numbers of one row."""

    conversion: _T
    base: _T
    span_a: _T
    span_b: _T


_ADX = KERNELS["adx"].bind(CATALOG["adx"])
_PLUS_DI = KERNELS["plus_di"].bind(CATALOG["plus_di"])
_MINUS_DI = KERNELS["minus_di"].bind(CATALOG["minus_di"])
_SUPERTREND = KERNELS["supertrend"].bind(CATALOG["supertrend"], SupertrendResult)
_SAR = KERNELS["sar"].bind(CATALOG["sar"])
_HEIKIN_ASHI = KERNELS["heikin_ashi"].bind(CATALOG["heikin_ashi"], HeikinAshiResult)
_AROON = KERNELS["aroon"].bind(CATALOG["aroon"], AroonResult)
_ICHIMOKU = KERNELS["ichimoku"].bind(CATALOG["ichimoku"], IchimokuResult)


def adx(
    high: Values,
    low: Values,
    close: Values,
    period: int = 14,
    *,
    compat: Literal["talib", "tradingview"] = "talib",
    out: Values | None = None,
) -> Values:
    """Average directional movement index, 0 to 100.

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
    A float64 array, shape (n,), new unless ``out`` is given; all defined from row ``2 * period
    - 1`` on, NaN before. A row with a number that is not finite gives NaN and changes nothing
    else.

    Raises
    ------
    ValueError: a parameter out of bounds, or an array of another type, shape or length.

    Notes
    -----
    Formula: rma(100 * |plus_di - minus_di| / (plus_di + minus_di), period).
    Start and edges: Wilder's sums start from `period - 1` rows, then take each row smoothed.
    TradingView: The sums start from `period` rows; differs by up to 2 points at first.
    Source: J. W. Wilder, New Concepts in Technical Trading Systems, 1978, section IV.
    O(n); bit-identical to ``n`` calls of ``Adx.update``.
    """
    result: Values = _ADX.batch((high, low, close), (period, compat), out)
    return result


class Adx(Stream3[float]):
    """Average directional movement index, 0 to 100, row by row: ``update(high, low, close)``,
    ``preview`` of a forming row, ``value``, ``warm``; as ``adx``.
    """

    __slots__ = ()

    def __init__(
        self, period: int = 14, *, compat: Literal["talib", "tradingview"] = "talib"
    ) -> None:
        super().__init__(_ADX, (period, compat))


def plus_di(
    high: Values,
    low: Values,
    close: Values,
    period: int = 14,
    *,
    compat: Literal["talib", "tradingview"] = "talib",
    out: Values | None = None,
) -> Values:
    """Plus directional indicator, 0 to 100.

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
    A float64 array, shape (n,), new unless ``out`` is given; all defined from row ``period``
    on, NaN before. A row with a number that is not finite gives NaN and changes nothing else.

    Raises
    ------
    ValueError: a parameter out of bounds, or an array of another type, shape or length.

    Notes
    -----
    Formula: 100 * sum(rises of the high that exceed the low's falls) / sum(true range).
    Start and edges: Wilder's sums start from `period - 1` rows, then take each row smoothed.
    TradingView: The sums start from `period` rows; differs by up to 2 points at first.
    Source: J. W. Wilder, New Concepts in Technical Trading Systems, 1978, section IV.
    O(n); bit-identical to ``n`` calls of ``PlusDi.update``.
    """
    result: Values = _PLUS_DI.batch((high, low, close), (period, compat), out)
    return result


class PlusDi(Stream3[float]):
    """Plus directional indicator, 0 to 100, row by row: ``update(high, low, close)``, ``preview``
    of a forming row, ``value``, ``warm``; as ``plus_di``.
    """

    __slots__ = ()

    def __init__(
        self, period: int = 14, *, compat: Literal["talib", "tradingview"] = "talib"
    ) -> None:
        super().__init__(_PLUS_DI, (period, compat))


def minus_di(
    high: Values,
    low: Values,
    close: Values,
    period: int = 14,
    *,
    compat: Literal["talib", "tradingview"] = "talib",
    out: Values | None = None,
) -> Values:
    """Minus directional indicator, 0 to 100.

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
    A float64 array, shape (n,), new unless ``out`` is given; all defined from row ``period``
    on, NaN before. A row with a number that is not finite gives NaN and changes nothing else.

    Raises
    ------
    ValueError: a parameter out of bounds, or an array of another type, shape or length.

    Notes
    -----
    Formula: 100 * sum(falls of the low that exceed the high's rises) / sum(true range).
    Start and edges: Wilder's sums start from `period - 1` rows, then take each row smoothed.
    TradingView: The sums start from `period` rows; differs by up to 2 points at first.
    Source: J. W. Wilder, New Concepts in Technical Trading Systems, 1978, section IV.
    O(n); bit-identical to ``n`` calls of ``MinusDi.update``.
    """
    result: Values = _MINUS_DI.batch((high, low, close), (period, compat), out)
    return result


class MinusDi(Stream3[float]):
    """Minus directional indicator, 0 to 100, row by row: ``update(high, low, close)``, ``preview``
    of a forming row, ``value``, ``warm``; as ``minus_di``.
    """

    __slots__ = ()

    def __init__(
        self, period: int = 14, *, compat: Literal["talib", "tradingview"] = "talib"
    ) -> None:
        super().__init__(_MINUS_DI, (period, compat))


def supertrend(
    high: Values,
    low: Values,
    close: Values,
    period: int = 10,
    multiplier: float = 3.0,
    *,
    compat: Literal["talib", "tradingview"] = "talib",
    out: tuple[Values, ...] | None = None,
) -> SupertrendResult[Values]:
    """Supertrend.

    Parameters
    ----------
    high, low, close : float64 arrays, shape (n,)
        Oldest first; not modified.
    period : int, 1 to 100,000
        Klines of the true range's average.
    multiplier : float, 0.0 to 1,000.0
        Ranges to each side.
    compat : "talib" or "tradingview"
        Whose seeding and edge cases: TA-Lib's or TradingView's.
    out : tuple of 2 float64 arrays, shape (n,), contiguous, optional
        Where to write, instead of new memory; not the memory of an input.

    Returns
    -------
    ``(line, trend)``, float64 arrays, shape (n,), new unless ``out`` is given; all defined from
    row ``period - (compat == 'tradingview')`` on, NaN before. A row with a number that is not
    finite gives NaN and changes nothing else.

    Raises
    ------
    ValueError: a parameter out of bounds, or an array of another type, shape or length.

    Notes
    -----
    Formula: hl2 +- multiplier * atr, each only moved towards price until a close is beyond it;
    line is the band on the trend's far side.
    Start and edges: Starts up. trend is 1 up, -1 down.
    TradingView: ATR as there; starts down; trend is **-1 up**, 1 down.
    Source: O. Seban.
    O(n); bit-identical to ``n`` calls of ``Supertrend.update``.
    """
    result: SupertrendResult[Values] = _SUPERTREND.batch(
        (high, low, close), (period, multiplier, compat), out
    )
    return result


class Supertrend(Stream3[SupertrendResult[float]]):
    """Supertrend, row by row: ``update(high, low, close)``, ``preview`` of a forming row,
    ``value``, ``warm``; as ``supertrend``.
    """

    __slots__ = ()

    def __init__(
        self,
        period: int = 10,
        multiplier: float = 3.0,
        *,
        compat: Literal["talib", "tradingview"] = "talib",
    ) -> None:
        super().__init__(_SUPERTREND, (period, multiplier, compat))


def sar(
    high: Values,
    low: Values,
    acceleration: float = 0.02,
    maximum: float = 0.2,
    *,
    out: Values | None = None,
) -> Values:
    """Parabolic stop and reverse.

    Parameters
    ----------
    high, low : float64 arrays, shape (n,)
        Oldest first; not modified.
    acceleration : float, 0.0 to 1,000.0
        Step of the acceleration.
    maximum : float, 0.0 to 1,000.0
        Its largest value.
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
    Formula: stop + acceleration * (extreme - stop), within two rows' range.
    Start and edges: The first row's low (or high) is the first stop; down only if the low fell
    more than the high rose.
    TradingView: Takes its first direction from the closes.
    Source: J. W. Wilder, New Concepts in Technical Trading Systems, 1978, section II.
    O(n); bit-identical to ``n`` calls of ``Sar.update``.
    """
    result: Values = _SAR.batch((high, low), (acceleration, maximum), out)
    return result


class Sar(Stream2[float]):
    """Parabolic stop and reverse, row by row: ``update(high, low)``, ``preview`` of a forming row,
    ``value``, ``warm``; as ``sar``.
    """

    __slots__ = ()

    def __init__(self, acceleration: float = 0.02, maximum: float = 0.2) -> None:
        super().__init__(_SAR, (acceleration, maximum))


def heikin_ashi(
    open: Values, high: Values, low: Values, close: Values, *, out: tuple[Values, ...] | None = None
) -> HeikinAshiResult[Values]:
    """Heikin-Ashi klines.

    Parameters
    ----------
    open, high, low, close : float64 arrays, shape (n,)
        Oldest first; not modified.
    out : tuple of 4 float64 arrays, shape (n,), contiguous, optional
        Where to write, instead of new memory; not the memory of an input.

    Returns
    -------
    ``(open, high, low, close)``, float64 arrays, shape (n,), new unless ``out`` is given; all
    defined from row ``0`` on, NaN before. A row with a number that is not finite gives NaN and
    changes nothing else.

    Raises
    ------
    ValueError: a parameter out of bounds, or an array of another type, shape or length.

    Notes
    -----
    Formula: close = ohlc4; open = mean of the last Heikin-Ashi open and close; high and low
    include both.
    Start and edges: The first open is (open + close) / 2.
    TradingView: Same.
    Source: D. Valcu, Stocks & Commodities 22:2, 2004.
    O(n); bit-identical to ``n`` calls of ``HeikinAshi.update``.
    """
    result: HeikinAshiResult[Values] = _HEIKIN_ASHI.batch((open, high, low, close), (), out)
    return result


class HeikinAshi(Stream4[HeikinAshiResult[float]]):
    """Heikin-Ashi klines, row by row: ``update(open, high, low, close)``, ``preview`` of a forming
    row, ``value``, ``warm``; as ``heikin_ashi``.
    """

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__(_HEIKIN_ASHI, ())


def aroon(
    high: Values, low: Values, period: int = 14, *, out: tuple[Values, ...] | None = None
) -> AroonResult[Values]:
    """Aroon: how new the window's extremes are, 0 to 100.

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
    ``(up, down, oscillator)``, float64 arrays, shape (n,), new unless ``out`` is given; all
    defined from row ``period`` on, NaN before. A row with a number that is not finite gives NaN
    and changes nothing else.

    Raises
    ------
    ValueError: a parameter out of bounds, or an array of another type, shape or length.

    Notes
    -----
    Formula: up = 100 * (period - rows since the highest high) / period; down of the lowest low;
    oscillator = up - down; extremes over period + 1 klines.
    Start and edges: Of equal extremes the newest counts.
    TradingView: Same.
    Source: T. Chande, 1995.
    O(n); bit-identical to ``n`` calls of ``Aroon.update``.
    """
    result: AroonResult[Values] = _AROON.batch((high, low), (period,), out)
    return result


class Aroon(Stream2[AroonResult[float]]):
    """Aroon: how new the window's extremes are, 0 to 100, row by row: ``update(high, low)``,
    ``preview`` of a forming row, ``value``, ``warm``; as ``aroon``.
    """

    __slots__ = ()

    def __init__(self, period: int = 14) -> None:
        super().__init__(_AROON, (period,))


def ichimoku(
    high: Values,
    low: Values,
    fast: int = 9,
    slow: int = 26,
    span: int = 52,
    *,
    out: tuple[Values, ...] | None = None,
) -> IchimokuResult[Values]:
    """Ichimoku lines.

    Parameters
    ----------
    high, low : float64 arrays, shape (n,)
        Oldest first; not modified.
    fast : int, 1 to 100,000
        Klines of the conversion line.
    slow : int, 1 to 100,000
        Klines of the base line.
    span : int, 1 to 100,000
        Klines of the second span.
    out : tuple of 4 float64 arrays, shape (n,), contiguous, optional
        Where to write, instead of new memory; not the memory of an input.

    Returns
    -------
    ``(conversion, base, span_a, span_b)``, float64 arrays, shape (n,), new unless ``out`` is
    given; all defined from row ``max(fast, slow, span) - 1`` on, NaN before. A row with a
    number that is not finite gives NaN and changes nothing else.

    Raises
    ------
    ValueError: a parameter out of bounds, or an array of another type, shape or length.

    Notes
    -----
    Formula: middle of highest(high) and lowest(low) over each window; span_a = (conversion +
    base) / 2.
    Start and edges: Spans are not moved ahead: the cloud over a kline is that of `slow - 1`
    ago, `ichimoku().span_a[25]`.
    TradingView: Draws the spans `slow - 1` klines ahead; same values.
    Source: G. Hosoda, 1969.
    O(n); bit-identical to ``n`` calls of ``Ichimoku.update``.
    """
    result: IchimokuResult[Values] = _ICHIMOKU.batch((high, low), (fast, slow, span), out)
    return result


class Ichimoku(Stream2[IchimokuResult[float]]):
    """Ichimoku lines, row by row: ``update(high, low)``, ``preview`` of a forming row, ``value``,
    ``warm``; as ``ichimoku``.
    """

    __slots__ = ()

    def __init__(self, fast: int = 9, slow: int = 26, span: int = 52) -> None:
        super().__init__(_ICHIMOKU, (fast, slow, span))
