"""What TradingView computes differently, written out as Pine's reference has it."""

from __future__ import annotations

from collections.abc import Callable
from math import nan

import numpy as np
from reference.prices import Klines, Values

Outputs = tuple[Values, ...]


def rma(values: Values, length: int, weight: float | None = None) -> Values:
    """``ta.rma``: the mean of the first ``length`` values that are there, then smoothed."""
    share = 1 / length if weight is None else weight
    result, seen, last = np.full(len(values), nan), [], nan
    for row, value in enumerate(values):
        if np.isnan(value):
            continue
        seen.append(value)
        if len(seen) == length:
            last = sum(seen) / length
        elif len(seen) > length:
            last = share * value + (1 - share) * last
        result[row] = last
    return result


def ema(values: Values, length: int) -> Values:
    return rma(values, length, 2 / (length + 1))


def sma(values: Values, length: int) -> Values:
    result = np.full(len(values), nan)
    for row in range(length - 1, len(values)):
        result[row] = sum(values[row + 1 - length : row + 1]) / length
    return result


def rsi(source: Values, length: int) -> Values:
    change = np.concatenate([[nan], np.diff(source)])
    up, down = rma(np.maximum(change, 0), length), rma(np.maximum(-change, 0), length)
    result = np.full(len(source), nan)
    for row in range(length, len(source)):
        if down[row] == 0:
            result[row] = 100
        else:
            result[row] = 0 if up[row] == 0 else 100 - 100 / (1 + up[row] / down[row])
    return result


def true_range(k: Klines, first: bool) -> Values:
    """``ta.tr(first)``."""
    result = np.full(len(k.close), nan)
    if first:
        result[0] = k.high[0] - k.low[0]
    for row in range(1, len(result)):
        high, low, before = k.high[row], k.low[row], k.close[row - 1]
        result[row] = max(high - low, abs(high - before), abs(low - before))
    return result


def atr(k: Klines, length: int) -> Values:
    return rma(true_range(k, True), length)


def macd(source: Values, fast: int, slow: int, signal: int) -> Outputs:
    line = ema(source, fast) - ema(source, slow)
    average = ema(line, signal)
    return line, average, line - average


def direction(k: Klines, length: int) -> Outputs:
    """``ta.dmi``: plus, minus and adx."""
    up = np.concatenate([[nan], np.diff(k.high)])
    down = np.concatenate([[nan], -np.diff(k.low)])
    with np.errstate(invalid="ignore"):
        rises = np.where(np.isnan(up), nan, np.where((up > down) & (up > 0), up, 0))
        falls = np.where(np.isnan(down), nan, np.where((down > up) & (down > 0), down, 0))
    size = rma(true_range(k, False), length)
    plus, minus = 100 * rma(rises, length) / size, 100 * rma(falls, length) / size
    total = plus + minus
    share = np.abs(plus - minus) / np.where(total == 0, 1, total)
    return plus, minus, 100 * rma(share, length)


def supertrend(k: Klines, length: int, factor: float) -> Outputs:
    """``ta.supertrend``; its direction is -1 while prices rise."""
    middle, reach = (k.high + k.low) / 2, factor * atr(k, length)
    line, side = np.full(len(middle), nan), np.full(len(middle), nan)
    upper_before = lower_before = 0.0
    for row in range(len(middle)):
        if np.isnan(reach[row]):
            continue
        upper, lower = middle[row] + reach[row], middle[row] - reach[row]
        before = k.close[row - 1]
        lower = lower if lower > lower_before or before < lower_before else lower_before
        upper = upper if upper < upper_before or before > upper_before else upper_before
        if row == 0 or np.isnan(reach[row - 1]):
            side[row] = 1
        elif line[row - 1] == upper_before:
            side[row] = -1 if k.close[row] > upper else 1
        else:
            side[row] = 1 if k.close[row] < lower else -1
        line[row] = lower if side[row] == -1 else upper
        upper_before, lower_before = upper, lower
    return line, side


def stochrsi(source: Values, length: int, window: int, smooth: int, d: int) -> Outputs:
    index = rsi(source, length)
    raw = np.full(len(index), nan)
    for row in range(length + window - 1, len(index)):
        part = index[row + 1 - window : row + 1]
        raw[row] = 100 * (index[row] - min(part)) / (max(part) - min(part))
    k = sma(raw, smooth)
    return k, sma(k, d)


def obv(k: Klines) -> Values:
    change = np.concatenate([[0.0], np.diff(k.close)])
    return np.cumsum(np.sign(change) * k.volume)


def keltner(k: Klines, length: int, atr_length: int, factor: float) -> Outputs:
    middle, reach = ema(k.close, length), factor * atr(k, atr_length)
    return middle + reach, np.where(np.isnan(reach), nan, middle), middle - reach


def _one(output: Values) -> Outputs:
    return (output,)


#: By name: klines and the parameters without ``compat``, to outputs in the catalog's order.
TRADINGVIEW: dict[str, Callable[[Klines, tuple], Outputs]] = {
    "rsi": lambda k, p: _one(rsi(k.close, *p)),
    "macd": lambda k, p: macd(k.close, *p),
    "atr": lambda k, p: _one(atr(k, *p)),
    "natr": lambda k, p: _one(100 * atr(k, *p) / k.close),
    "adx": lambda k, p: _one(direction(k, *p)[2]),
    "plus_di": lambda k, p: _one(direction(k, *p)[0]),
    "minus_di": lambda k, p: _one(direction(k, *p)[1]),
    "supertrend": lambda k, p: supertrend(k, *p),
    "stochrsi": lambda k, p: stochrsi(k.close, *p),
    "obv": lambda k, p: _one(obv(k)),
    "keltner": lambda k, p: keltner(k, *p),
}
