"""Momentum, over arrays and row by row; written from the catalog."""

from __future__ import annotations

from typing import Generic, Literal, NamedTuple, TypeVar

from klinecore.indicators.catalog import CATALOG
from klinecore.indicators.entry import Values
from klinecore.indicators.kernel import Stream1, Stream2, Stream3
from klinecore.indicators.kernels.momentum import KERNELS

__all__ = [
    "Ao",
    "Cci",
    "Macd",
    "MacdResult",
    "Mom",
    "Ppo",
    "Roc",
    "Rsi",
    "Stoch",
    "Stochf",
    "StochfResult",
    "StochResult",
    "Stochrsi",
    "StochrsiResult",
    "Ultosc",
    "Willr",
    "ao",
    "cci",
    "macd",
    "mom",
    "ppo",
    "roc",
    "rsi",
    "stoch",
    "stochf",
    "stochrsi",
    "ultosc",
    "willr",
]

_T = TypeVar("_T")


class MacdResult(NamedTuple, Generic[_T]):
    """What ``macd`` gives: arrays, or numbers of one row."""

    line: _T
    signal: _T
    hist: _T


class StochResult(NamedTuple, Generic[_T]):
    """What ``stoch`` gives: arrays, or numbers of one row."""

    k: _T
    d: _T


class StochfResult(NamedTuple, Generic[_T]):
    """What ``stochf`` gives: arrays, or numbers of one row."""

    k: _T
    d: _T


class StochrsiResult(NamedTuple, Generic[_T]):
    """What ``stochrsi`` gives: arrays, or numbers of one row."""

    k: _T
    d: _T


_RSI = KERNELS["rsi"].bind(CATALOG["rsi"])
_MACD = KERNELS["macd"].bind(CATALOG["macd"], MacdResult)
_STOCH = KERNELS["stoch"].bind(CATALOG["stoch"], StochResult)
_STOCHF = KERNELS["stochf"].bind(CATALOG["stochf"], StochfResult)
_STOCHRSI = KERNELS["stochrsi"].bind(CATALOG["stochrsi"], StochrsiResult)
_CCI = KERNELS["cci"].bind(CATALOG["cci"])
_ROC = KERNELS["roc"].bind(CATALOG["roc"])
_MOM = KERNELS["mom"].bind(CATALOG["mom"])
_WILLR = KERNELS["willr"].bind(CATALOG["willr"])
_AO = KERNELS["ao"].bind(CATALOG["ao"])
_PPO = KERNELS["ppo"].bind(CATALOG["ppo"])
_ULTOSC = KERNELS["ultosc"].bind(CATALOG["ultosc"])


def rsi(
    source: Values,
    period: int = 14,
    *,
    compat: Literal["talib", "tradingview"] = "talib",
    out: Values | None = None,
) -> Values:
    """Relative strength index, 0 to 100.

    Parameters
    ----------
    source : float64 array, shape (n,)
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
    Formula: 100 * gain / (gain + loss); both rma of the rises and falls.
    Start and edges: Seeded with the mean of the first `period` changes. 0 where nothing ever
    moved.
    TradingView: 100 where nothing ever moved.
    Source: J. W. Wilder, New Concepts in Technical Trading Systems, 1978, section VI.
    O(n); bit-identical to ``n`` calls of ``Rsi.update``.
    """
    result: Values = _RSI.batch((source,), (period, compat), out)
    return result


class Rsi(Stream1[float]):
    """Relative strength index, 0 to 100, row by row: ``update(source)``, ``preview`` of a forming
    row, ``value``, ``warm``; as ``rsi``.
    """

    __slots__ = ()

    def __init__(
        self, period: int = 14, *, compat: Literal["talib", "tradingview"] = "talib"
    ) -> None:
        super().__init__(_RSI, (period, compat))


def macd(
    source: Values,
    fast: int = 12,
    slow: int = 26,
    signal: int = 9,
    *,
    compat: Literal["talib", "tradingview"] = "talib",
    out: tuple[Values, ...] | None = None,
) -> MacdResult[Values]:
    """Moving average convergence and divergence.

    Parameters
    ----------
    source : float64 array, shape (n,)
        Oldest first; not modified.
    fast : int, 1 to 100,000
        Klines of the fast average.
    slow : int, 1 to 100,000
        Klines of the slow one; the two are swapped if it is the faster.
    signal : int, 1 to 100,000
        Klines of the signal.
    compat : "talib" or "tradingview"
        Whose seeding and edge cases: TA-Lib's or TradingView's.
    out : tuple of 3 float64 arrays, shape (n,), contiguous, optional
        Where to write, instead of new memory; not the memory of an input.

    Returns
    -------
    ``(line, signal, hist)``, float64 arrays, shape (n,), new unless ``out`` is given; all
    defined from row ``max(fast, slow) + signal - 2`` on, NaN before. A row with a number that
    is not finite gives NaN and changes nothing else.

    Raises
    ------
    ValueError: a parameter out of bounds, or an array of another type, shape or length.

    Notes
    -----
    Formula: line = ema(fast) - ema(slow); signal = ema(line); hist = line - signal.
    Start and edges: The fast average is seeded on the `fast` values that end where the slow
    one's seed ends. All three outputs start together.
    TradingView: The fast average is seeded on the first `fast` values; the line starts as soon
    as it exists, at row `slow - 1`.
    Source: G. Appel, 1979.
    O(n); bit-identical to ``n`` calls of ``Macd.update``.
    """
    result: MacdResult[Values] = _MACD.batch((source,), (fast, slow, signal, compat), out)
    return result


class Macd(Stream1[MacdResult[float]]):
    """Moving average convergence and divergence, row by row: ``update(source)``, ``preview`` of a
    forming row, ``value``, ``warm``; as ``macd``.
    """

    __slots__ = ()

    def __init__(
        self,
        fast: int = 12,
        slow: int = 26,
        signal: int = 9,
        *,
        compat: Literal["talib", "tradingview"] = "talib",
    ) -> None:
        super().__init__(_MACD, (fast, slow, signal, compat))


def stoch(
    high: Values,
    low: Values,
    close: Values,
    period: int = 14,
    smooth: int = 3,
    d: int = 3,
    *,
    out: tuple[Values, ...] | None = None,
) -> StochResult[Values]:
    """Slow stochastic, 0 to 100.

    Parameters
    ----------
    high, low, close : float64 arrays, shape (n,)
        Oldest first; not modified.
    period : int, 1 to 100,000
        Klines in the window.
    smooth : int, 1 to 100,000
        Klines that smooth k.
    d : int, 1 to 100,000
        Klines of k's average d.
    out : tuple of 2 float64 arrays, shape (n,), contiguous, optional
        Where to write, instead of new memory; not the memory of an input.

    Returns
    -------
    ``(k, d)``, float64 arrays, shape (n,), new unless ``out`` is given; all defined from row
    ``period + smooth + d - 3`` on, NaN before. A row with a number that is not finite gives NaN
    and changes nothing else.

    Raises
    ------
    ValueError: a parameter out of bounds, or an array of another type, shape or length.

    Notes
    -----
    Formula: k = sma(100 * (close - lowest) / (highest - lowest), smooth); d = sma(k, d).
    Start and edges: k is withheld until d exists; 0 where highest = lowest.
    TradingView: Same values; k starts before d.
    Source: G. Lane.
    O(n); bit-identical to ``n`` calls of ``Stoch.update``.
    """
    result: StochResult[Values] = _STOCH.batch((high, low, close), (period, smooth, d), out)
    return result


class Stoch(Stream3[StochResult[float]]):
    """Slow stochastic, 0 to 100, row by row: ``update(high, low, close)``, ``preview`` of a forming
    row, ``value``, ``warm``; as ``stoch``.
    """

    __slots__ = ()

    def __init__(self, period: int = 14, smooth: int = 3, d: int = 3) -> None:
        super().__init__(_STOCH, (period, smooth, d))


def stochf(
    high: Values,
    low: Values,
    close: Values,
    period: int = 14,
    d: int = 3,
    *,
    out: tuple[Values, ...] | None = None,
) -> StochfResult[Values]:
    """Fast stochastic, 0 to 100.

    Parameters
    ----------
    high, low, close : float64 arrays, shape (n,)
        Oldest first; not modified.
    period : int, 1 to 100,000
        Klines in the window.
    d : int, 1 to 100,000
        Klines of k's average d.
    out : tuple of 2 float64 arrays, shape (n,), contiguous, optional
        Where to write, instead of new memory; not the memory of an input.

    Returns
    -------
    ``(k, d)``, float64 arrays, shape (n,), new unless ``out`` is given; all defined from row
    ``period + d - 2`` on, NaN before. A row with a number that is not finite gives NaN and
    changes nothing else.

    Raises
    ------
    ValueError: a parameter out of bounds, or an array of another type, shape or length.

    Notes
    -----
    Formula: k = 100 * (close - lowest) / (highest - lowest); d = sma(k, d).
    Start and edges: k is withheld until d exists; 0 where highest = lowest.
    TradingView: Same values; k starts before d.
    Source: G. Lane.
    O(n); bit-identical to ``n`` calls of ``Stochf.update``.
    """
    result: StochfResult[Values] = _STOCHF.batch((high, low, close), (period, d), out)
    return result


class Stochf(Stream3[StochfResult[float]]):
    """Fast stochastic, 0 to 100, row by row: ``update(high, low, close)``, ``preview`` of a forming
    row, ``value``, ``warm``; as ``stochf``.
    """

    __slots__ = ()

    def __init__(self, period: int = 14, d: int = 3) -> None:
        super().__init__(_STOCHF, (period, d))


def stochrsi(
    source: Values,
    period: int = 14,
    length: int = 14,
    smooth: int = 3,
    d: int = 3,
    *,
    compat: Literal["talib", "tradingview"] = "talib",
    out: tuple[Values, ...] | None = None,
) -> StochrsiResult[Values]:
    """Stochastic of the RSI, 0 to 100.

    Parameters
    ----------
    source : float64 array, shape (n,)
        Oldest first; not modified.
    period : int, 1 to 100,000
        Klines of the RSI.
    length : int, 1 to 100,000
        Klines of the stochastic; TA-Lib's default is 5.
    smooth : int, 1 to 100,000
        Klines that smooth k; TA-Lib has no such smoothing: 1.
    d : int, 1 to 100,000
        Klines of k's average d.
    compat : "talib" or "tradingview"
        Whose seeding and edge cases: TA-Lib's or TradingView's.
    out : tuple of 2 float64 arrays, shape (n,), contiguous, optional
        Where to write, instead of new memory; not the memory of an input.

    Returns
    -------
    ``(k, d)``, float64 arrays, shape (n,), new unless ``out`` is given; all defined from row
    ``period + length + smooth + d - 3`` on, NaN before. A row with a number that is not finite
    gives NaN and changes nothing else.

    Raises
    ------
    ValueError: a parameter out of bounds, or an array of another type, shape or length.

    Notes
    -----
    Formula: r = rsi(source, period); k = sma(100 * (r - lowest) / (highest - lowest), smooth);
    d = sma(k, d), extremes over length.
    Start and edges: k is withheld until d exists; 0 where highest = lowest, or nearly (1e-10).
    TradingView: The RSI's own difference, and k starts before d.
    Source: T. Chande and S. Kroll, The New Technical Trader, 1994.
    O(n); bit-identical to ``n`` calls of ``Stochrsi.update``.
    """
    result: StochrsiResult[Values] = _STOCHRSI.batch(
        (source,), (period, length, smooth, d, compat), out
    )
    return result


class Stochrsi(Stream1[StochrsiResult[float]]):
    """Stochastic of the RSI, 0 to 100, row by row: ``update(source)``, ``preview`` of a forming
    row, ``value``, ``warm``; as ``stochrsi``.
    """

    __slots__ = ()

    def __init__(
        self,
        period: int = 14,
        length: int = 14,
        smooth: int = 3,
        d: int = 3,
        *,
        compat: Literal["talib", "tradingview"] = "talib",
    ) -> None:
        super().__init__(_STOCHRSI, (period, length, smooth, d, compat))


def cci(
    high: Values, low: Values, close: Values, period: int = 20, *, out: Values | None = None
) -> Values:
    """Commodity channel index.

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
    A float64 array, shape (n,), new unless ``out`` is given; all defined from row ``period -
    1`` on, NaN before. A row with a number that is not finite gives NaN and changes nothing
    else.

    Raises
    ------
    ValueError: a parameter out of bounds, or an array of another type, shape or length.

    Notes
    -----
    Formula: (hlc3 - mean) / (0.015 * mean absolute deviation).
    Start and edges: 0 where hlc3 does not move by more than rounding.
    TradingView: Same.
    Source: D. Lambert, 1980.
    O(n); bit-identical to ``n`` calls of ``Cci.update``.
    """
    result: Values = _CCI.batch((high, low, close), (period,), out)
    return result


class Cci(Stream3[float]):
    """Commodity channel index, row by row: ``update(high, low, close)``, ``preview`` of a forming
    row, ``value``, ``warm``; as ``cci``.
    """

    __slots__ = ()

    def __init__(self, period: int = 20) -> None:
        super().__init__(_CCI, (period,))


def roc(source: Values, period: int = 10, *, out: Values | None = None) -> Values:
    """Rate of change, percent.

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
    Start and edges: 0 where the value to compare with is 0.
    TradingView: Same.
    Source: the definition.
    O(n); bit-identical to ``n`` calls of ``Roc.update``.
    """
    result: Values = _ROC.batch((source,), (period,), out)
    return result


class Roc(Stream1[float]):
    """Rate of change, percent, row by row: ``update(source)``, ``preview`` of a forming row,
    ``value``, ``warm``; as ``roc``.
    """

    __slots__ = ()

    def __init__(self, period: int = 10) -> None:
        super().__init__(_ROC, (period,))


def mom(source: Values, period: int = 10, *, out: Values | None = None) -> Values:
    """Momentum.

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
    Formula: source - source[period].
    TradingView: Same.
    Source: the definition.
    O(n); bit-identical to ``n`` calls of ``Mom.update``.
    """
    result: Values = _MOM.batch((source,), (period,), out)
    return result


class Mom(Stream1[float]):
    """Momentum, row by row: ``update(source)``, ``preview`` of a forming row, ``value``, ``warm``;
    as ``mom``.
    """

    __slots__ = ()

    def __init__(self, period: int = 10) -> None:
        super().__init__(_MOM, (period,))


def willr(
    high: Values, low: Values, close: Values, period: int = 14, *, out: Values | None = None
) -> Values:
    """Williams %R, -100 to 0.

    Parameters
    ----------
    high, low, close : float64 arrays, shape (n,)
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
    Formula: -100 * (highest - close) / (highest - lowest).
    Start and edges: 0 where highest = lowest.
    TradingView: Same.
    Source: L. Williams.
    O(n); bit-identical to ``n`` calls of ``Willr.update``.
    """
    result: Values = _WILLR.batch((high, low, close), (period,), out)
    return result


class Willr(Stream3[float]):
    """Williams %R, -100 to 0, row by row: ``update(high, low, close)``, ``preview`` of a forming
    row, ``value``, ``warm``; as ``willr``.
    """

    __slots__ = ()

    def __init__(self, period: int = 14) -> None:
        super().__init__(_WILLR, (period,))


def ao(
    high: Values, low: Values, fast: int = 5, slow: int = 34, *, out: Values | None = None
) -> Values:
    """Awesome oscillator.

    Parameters
    ----------
    high, low : float64 arrays, shape (n,)
        Oldest first; not modified.
    fast : int, 1 to 100,000
        Klines of the fast average.
    slow : int, 1 to 100,000
        Klines of the slow average.
    out : float64 array, shape (n,), contiguous, optional
        Where to write, instead of new memory; not the memory of an input.

    Returns
    -------
    A float64 array, shape (n,), new unless ``out`` is given; all defined from row ``max(fast,
    slow) - 1`` on, NaN before. A row with a number that is not finite gives NaN and changes
    nothing else.

    Raises
    ------
    ValueError: a parameter out of bounds, or an array of another type, shape or length.

    Notes
    -----
    Formula: sma(hl2, fast) - sma(hl2, slow).
    TradingView: Same.
    Source: B. Williams, Trading Chaos, 1995.
    O(n); bit-identical to ``n`` calls of ``Ao.update``.
    """
    result: Values = _AO.batch((high, low), (fast, slow), out)
    return result


class Ao(Stream2[float]):
    """Awesome oscillator, row by row: ``update(high, low)``, ``preview`` of a forming row,
    ``value``, ``warm``; as ``ao``.
    """

    __slots__ = ()

    def __init__(self, fast: int = 5, slow: int = 34) -> None:
        super().__init__(_AO, (fast, slow))


def ppo(source: Values, fast: int = 12, slow: int = 26, *, out: Values | None = None) -> Values:
    """Percentage price oscillator.

    Parameters
    ----------
    source : float64 array, shape (n,)
        Oldest first; not modified.
    fast : int, 1 to 100,000
        Klines of the fast average.
    slow : int, 1 to 100,000
        Klines of the slow one; the two are swapped if it is the faster.
    out : float64 array, shape (n,), contiguous, optional
        Where to write, instead of new memory; not the memory of an input.

    Returns
    -------
    A float64 array, shape (n,), new unless ``out`` is given; all defined from row ``max(fast,
    slow) - 1`` on, NaN before. A row with a number that is not finite gives NaN and changes
    nothing else.

    Raises
    ------
    ValueError: a parameter out of bounds, or an array of another type, shape or length.

    Notes
    -----
    Formula: 100 * (ema(fast) - ema(slow)) / ema(slow).
    Start and edges: Unlike macd's, each average is seeded on its own first values. 0 where the
    slow one is 0. Its signal is ema(ppo(), 9).
    TradingView: Same.
    Source: G. Appel.
    O(n); bit-identical to ``n`` calls of ``Ppo.update``.
    """
    result: Values = _PPO.batch((source,), (fast, slow), out)
    return result


class Ppo(Stream1[float]):
    """Percentage price oscillator, row by row: ``update(source)``, ``preview`` of a forming row,
    ``value``, ``warm``; as ``ppo``.
    """

    __slots__ = ()

    def __init__(self, fast: int = 12, slow: int = 26) -> None:
        super().__init__(_PPO, (fast, slow))


def ultosc(
    high: Values,
    low: Values,
    close: Values,
    short: int = 7,
    middle: int = 14,
    long: int = 28,
    *,
    out: Values | None = None,
) -> Values:
    """Ultimate oscillator, 0 to 100.

    Parameters
    ----------
    high, low, close : float64 arrays, shape (n,)
        Oldest first; not modified.
    short : int, 1 to 100,000
        Klines of the short window, which weighs 4.
    middle : int, 1 to 100,000
        Klines of the middle one, which weighs 2.
    long : int, 1 to 100,000
        Klines of the long one, which weighs 1.
    out : float64 array, shape (n,), contiguous, optional
        Where to write, instead of new memory; not the memory of an input.

    Returns
    -------
    A float64 array, shape (n,), new unless ``out`` is given; all defined from row ``max(short,
    middle, long)`` on, NaN before. A row with a number that is not finite gives NaN and changes
    nothing else.

    Raises
    ------
    ValueError: a parameter out of bounds, or an array of another type, shape or length.

    Notes
    -----
    Formula: weighted mean of 100 * sum(close - min(low, close[1])) / sum(true range).
    Start and edges: A window in which nothing moved counts as 0.
    TradingView: Same.
    Source: L. Williams, Stocks & Commodities, 1985.
    O(n); bit-identical to ``n`` calls of ``Ultosc.update``.
    """
    result: Values = _ULTOSC.batch((high, low, close), (short, middle, long), out)
    return result


class Ultosc(Stream3[float]):
    """Ultimate oscillator, 0 to 100, row by row: ``update(high, low, close)``, ``preview`` of a
    forming row, ``value``, ``warm``; as ``ultosc``.
    """

    __slots__ = ()

    def __init__(self, short: int = 7, middle: int = 14, long: int = 28) -> None:
        super().__init__(_ULTOSC, (short, middle, long))
