"""Indicators as their definitions say, window by window, slow and without running sums."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import fsum, isqrt, log10, nan, sqrt

import numpy as np
from reference.prices import Klines, Values

Outputs = tuple[Values, ...]


def windows(values: Values, period: int) -> Iterator[tuple[int, Values]]:
    """Row number and window of every row that has one; windows with a NaN in them have none."""
    for row in range(period - 1, len(values)):
        window = values[row + 1 - period : row + 1]
        if not np.isnan(window).any():
            yield row, window


def over(values: Values, period: int, function: Callable[[Values], float]) -> Values:
    result = np.full(len(values), nan)
    for row, window in windows(values, period):
        result[row] = function(window)
    return result


def mean(window: Values) -> float:
    return fsum(window) / len(window)


def offsets(window: Values) -> Values:
    """Deviations from the mean, exact where the mean itself cannot be: all values alike give 0."""
    off = window - window[-1]
    return np.asarray(off - fsum(off) / len(off))


def sma(values: Values, period: int) -> Values:
    return over(values, period, mean)


def wma(values: Values, period: int) -> Values:
    weights = range(1, period + 1)
    return over(
        values,
        period,
        lambda w: fsum(x * k for x, k in zip(w, weights, strict=True)) / sum(weights),
    )


def hma(values: Values, period: int) -> Values:
    return wma(2 * wma(values, max(period // 2, 1)) - wma(values, period), isqrt(period))


def deviation(window: Values) -> float:
    return sqrt(fsum(offsets(window) ** 2) / len(window))


def bb(values: Values, period: int, deviations: float) -> Outputs:
    middle = sma(values, period)
    reach = deviations * over(values, period, deviation)
    return middle + reach, middle, middle - reach, 2 * reach / middle


def highest(values: Values, period: int) -> Values:
    return over(values, period, np.max)


def lowest(values: Values, period: int) -> Values:
    return over(values, period, np.min)


def stochf(k: Klines, period: int, d: int) -> Outputs:
    return stoch(k, period, 1, d)


def stoch(k: Klines, period: int, smooth: int, d: int) -> Outputs:
    top, bottom = highest(k.high, period), lowest(k.low, period)
    with np.errstate(divide="ignore", invalid="ignore"):
        raw = np.where(top == bottom, 0.0, 100 * ((k.close - bottom) / (top - bottom)))
    slow = sma(raw, smooth)
    average = sma(slow, d)
    return np.where(np.isnan(average), nan, slow), average


def cci(k: Klines, period: int) -> Values:
    def index(window: Values) -> float:
        off = offsets(window)
        average = fsum(np.abs(off)) / period
        return off[-1] / (0.015 * average) if average > 1e-14 * abs(window[-1]) else 0.0

    return over((k.high + k.low + k.close) / 3, period, index)


def mfi(k: Klines, period: int) -> Values:
    typical = (k.high + k.low + k.close) / 3
    change = np.diff(typical)
    change[np.abs(change) <= 1e-14 * (typical[1:] + typical[:-1])] = 0
    flow = np.concatenate([[nan], np.sign(change) * (typical * k.volume)[1:]])

    def index(window: Values) -> float:
        inflow, all_flow = fsum(window[window > 0]), fsum(np.abs(window))
        return 100 * inflow / all_flow if all_flow else 0.0

    return over(flow, period, index)


def ao(k: Klines, fast: int, slow: int) -> Values:
    median = (k.high + k.low) / 2
    return sma(median, fast) - sma(median, slow)


def correl(first: Values, second: Values, period: int) -> Values:
    result = np.full(len(first), nan)
    for row, x in windows(first, period):
        y = second[row + 1 - period : row + 1]
        a, b = offsets(x), offsets(y)
        below = sqrt(fsum(a * a)) * sqrt(fsum(b * b))
        result[row] = fsum(a * b) / below if np.ptp(x) and np.ptp(y) else 0.0
    return result


def true_range(k: Klines) -> Values:
    before = np.concatenate([[nan], k.close[:-1]])
    reach = np.maximum(np.abs(k.high - before), np.abs(k.low - before))
    return np.asarray(np.maximum(k.high - k.low, reach))


def chop(k: Klines, period: int) -> Values:
    with np.errstate(divide="ignore", invalid="ignore"):
        total = over(true_range(k), period, fsum)
        ratio = total / (highest(k.high, period) - lowest(k.low, period))
    ratio[~np.isfinite(ratio)] = nan
    return 100 * np.log10(ratio) / log10(period)


def crosses_above(first: Values, second: Values) -> Values:
    crossed = (first[:-1] <= second[:-1]) & (first[1:] > second[1:])
    return np.concatenate([[nan], crossed.astype(float)])


def crosses_below(first: Values, second: Values) -> Values:
    return crosses_above(second, first)


def change(values: Values, period: int) -> Values:
    return over(values, period + 1, lambda w: 100 * (w[-1] / w[0] - 1) if w[0] else nan)


def inside_bar(k: Klines) -> Values:
    inside = (k.high[1:] < k.high[:-1]) & (k.low[1:] > k.low[:-1])
    return np.concatenate([[nan], inside.astype(float)])


def line(window: Values) -> tuple[float, float]:
    """End and slope of the line of least squares."""
    rows = np.arange(len(window)) - (len(window) - 1) / 2
    slope = fsum(rows * (window - window[-1])) / fsum(rows**2)
    return window[-1] + fsum(window - window[-1]) / len(window) + slope * rows[-1], slope


def kama(values: Values, period: int) -> Values:
    result, average = np.full(len(values), nan), values[period - 1]
    for row in range(period, len(values)):
        change = values[row] - values[row - period]
        way = fsum(np.abs(np.diff(values[row - period : row + 1])))
        share = abs(change) / way if way else 1.0
        average += (values[row] - average) * (share * (2 / 3 - 2 / 31) + 2 / 31) ** 2
        result[row] = average
    return result


def aroon(k: Klines, period: int) -> Outputs:
    up, down = (
        over(values, period + 1, lambda w: 100 * int(period - np.argmax(w[::-1])) / period)
        for values in (k.high, -k.low)
    )
    return up, down, up - down


def ichimoku(k: Klines, fast: int, slow: int, span: int) -> Outputs:
    a, b, c = ((highest(k.high, n) + lowest(k.low, n)) / 2 for n in (fast, slow, span))
    return a, b, (a + b) / 2, c


def cmf(k: Klines, period: int) -> Values:
    reach = k.high - k.low
    share = ((k.close - k.low) - (k.high - k.close)) / np.where(reach > 0, reach, 1)
    flow = over(np.where(reach > 0, share, 0) * k.volume, period, fsum)
    volume = over(k.volume, period, fsum)
    return np.asarray(np.where(volume == 0, 0, flow) / np.where(volume == 0, 1, volume))


def ultosc(k: Klines, *periods: int) -> Values:
    before = np.concatenate([[nan], k.close[:-1]])
    pressure, reach = k.close - np.minimum(k.low, before), true_range(k)
    total = np.zeros(len(before))
    for weight, period in zip((4, 2, 1), sorted(periods), strict=True):
        moved = over(reach, period, fsum)
        ratio = over(pressure, period, fsum) / np.where(moved == 0, 1, moved)
        total += weight * np.where(moved == 0, 0, ratio)
    return 100 * total / 7


def vwap(k: Klines, anchor: str, deviations: float) -> Outputs:
    typical = (k.high + k.low + k.close) / 3
    # Days since the epoch, a Thursday: weeks start four days later.
    day = (k.open_time_ms // 86_400_000).astype(int)
    stretch = {"none": day * 0, "day": day, "week": (day - 4) // 7}[anchor]
    outputs = np.full((3, len(typical)), nan)
    for row in range(len(typical)):
        first = int(np.argmax(stretch == stretch[row]))
        price, volume = typical[first : row + 1], k.volume[first : row + 1]
        total = fsum(volume)
        if total:
            middle = fsum(price * volume) / total
            reach = deviations * sqrt(fsum(volume * (price - middle) ** 2) / total)
            outputs[:, row] = middle, middle + reach, middle - reach
    return tuple(outputs)


def _one(output: Values) -> Outputs:
    return (output,)


#: By name: klines and all parameters in the catalog's order, to outputs in the catalog's order.
ORACLES: dict[str, Callable[[Klines, tuple], Outputs]] = {
    "sma": lambda k, p: _one(sma(k.close, *p)),
    "wma": lambda k, p: _one(wma(k.close, *p)),
    "hma": lambda k, p: _one(hma(k.close, *p)),
    "bb": lambda k, p: bb(k.close, *p),
    "highest": lambda k, p: _one(highest(k.close, *p)),
    "lowest": lambda k, p: _one(lowest(k.close, *p)),
    "stoch": lambda k, p: stoch(k, *p),
    "stochf": lambda k, p: stochf(k, *p),
    "cci": lambda k, p: _one(cci(k, *p)),
    "mfi": lambda k, p: _one(mfi(k, *p)),
    "ao": lambda k, p: _one(ao(k, *p)),
    "correl": lambda k, p: _one(correl(k.close, k.low, *p)),
    "chop": lambda k, p: _one(chop(k, *p)),
    "crosses_above": lambda k, p: _one(crosses_above(k.close, k.low)),
    "crosses_below": lambda k, p: _one(crosses_below(k.close, k.low)),
    "vwap": lambda k, p: vwap(k, *p),
    "kama": lambda k, p: _one(kama(k.close, *p)),
    "ichimoku": lambda k, p: ichimoku(k, *p),
    "aroon": lambda k, p: aroon(k, *p),
    "cmf": lambda k, p: _one(cmf(k, *p)),
    "ultosc": lambda k, p: _one(ultosc(k, *p)),
    "linreg": lambda k, p: _one(over(k.close, p[0], lambda w: line(w)[0])),
    "linreg_slope": lambda k, p: _one(over(k.close, p[0], lambda w: line(w)[1])),
    "change": lambda k, p: _one(change(k.close, *p)),
    "inside_bar": lambda k, p: _one(inside_bar(k)),
}
