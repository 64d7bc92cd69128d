"""Patterns, pivots, divergence and volume nodes as they are described, row by row and slow."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from math import nan

import numpy as np
from reference.prices import Klines, Values

Outputs = tuple[Values, ...]


class Shape:
    """One row of a series, seen with the rows before it."""

    def __init__(self, k: Klines, row: int, near: bool) -> None:
        self.k, self.row, self.near = k, row, near
        self.open, self.high, self.low, self.close = (
            float(column[row]) for column in (k.open, k.high, k.low, k.close)
        )
        self.top, self.bottom = max(self.open, self.close), min(self.open, self.close)
        self.body = abs(self.close - self.open)
        self.rises = self.close >= self.open
        before = slice(max(row - 10, 0), row)
        self.mean_body = float(np.mean(np.abs(k.close - k.open)[before]))
        self.tiny = 0.1 * float(np.mean((k.high - k.low)[before]))
        self.few = float(np.mean((k.high - k.low)[max(row - 5, 0) : row]))
        self.long, self.short = self.body > self.mean_body, self.body <= self.mean_body
        self.upper, self.lower = self.high - self.top, self.bottom - self.low

    def apart(self, upper: float, lower: float) -> bool:
        """Measured by this row, which is the earlier one of both."""
        return upper >= lower - 0.2 * self.few if self.near else upper > lower


def hangs(s: Shape) -> bool:
    return s.body < s.mean_body and s.lower > s.body and s.upper < s.tiny


def stands(s: Shape) -> bool:
    return s.body < s.mean_body and s.upper > s.body and s.lower < s.tiny


def morning_star(a: Shape, b: Shape, c: Shape, penetration: float) -> bool:
    shapes = a.long and not a.rises and b.short and c.long and c.rises
    return shapes and a.apart(a.bottom, b.top) and c.close > a.close + a.body * penetration


def evening_star(a: Shape, b: Shape, c: Shape, penetration: float) -> bool:
    shapes = a.long and a.rises and b.short and c.long and not c.rises
    return shapes and a.apart(b.bottom, a.top) and c.close < a.close - a.body * penetration


def piercing(a: Shape, b: Shape) -> bool:
    shapes = a.long and not a.rises and b.long and b.rises
    inside = a.close + 0.5 * a.body < b.close < a.open
    return shapes and inside and a.apart(a.low, b.open)


def dark_cloud_cover(a: Shape, b: Shape, penetration: float) -> bool:
    inside = a.open < b.close < a.close - a.body * penetration
    return a.long and a.rises and not b.rises and inside and a.apart(b.open, a.high)


def three_white_soldiers(*rows: Shape) -> bool:
    return (
        all(s.rises and s.upper < s.tiny for s in rows)
        and all(
            b.close > a.close
            and a.open < b.open <= a.close + 0.2 * a.few
            and b.body > a.body - 0.6 * a.few
            for a, b in pairwise(rows)
        )
        and rows[-1].long
    )


def three_black_crows(first: Shape, *rows: Shape) -> bool:
    return (
        first.rises
        and first.high > rows[0].close
        and all(not s.rises and s.lower < s.tiny for s in rows)
        and all(
            b.close < a.close and b.open < a.open and a.apart(b.open, a.close)
            for a, b in pairwise(rows)
        )
    )


def harami(a: Shape, b: Shape) -> float:
    side = -1.0 if a.rises else 1.0
    if not (a.long and b.short and b.top <= a.top and b.bottom >= a.bottom):
        return 0.0
    return side * (100.0 if b.top < a.top and b.bottom > a.bottom else 80.0)


def each_row(k: Klines, near: bool, rows: int, first: int, rule: Callable[..., float]) -> Outputs:
    """The rule of the newest ``rows`` rows, from the first one on that has enough before it."""
    found = np.full(len(k.close), nan)
    for row in range(first, len(found)):
        found[row] = rule(*(Shape(k, r, near) for r in range(row - rows + 1, row + 1)))
    return (found,)


def pivots(values: Values, left: int, right: int, side: float) -> Values:
    found, last = np.full(len(values), nan), nan
    values = side * values
    for row in range(left + right, len(values)):
        place = row - right
        before, after = values[place - left : place], values[place + 1 : row + 1]
        if (before < values[place]).all() and (after <= values[place]).all():
            last = side * values[place]
        found[row] = last
    return found


def divergence(first: Values, second: Values, period: int, distance: int, kind: str) -> Values:
    found = np.full(len(first), nan)
    for row in range(period - 1, len(first)):
        a, b = first[row + 1 - period : row + 1], second[row + 1 - period : row + 1]
        found[row] = 0
        for sign, meaning in ((1, -1.0), (-1, 1.0)):  # what is found last is looked for first
            turns = [
                i for i in range(1, period - 1)
                if sign * a[i] > sign * a[i - 1] and sign * a[i] > sign * a[i + 1]
            ]  # fmt: skip
            for newer in turns:
                earlier = [i for i in turns if i <= newer - distance]
                if not earlier:
                    continue
                further = [sign * (c[newer] - c[earlier[-1]]) for c in (a, b)]
                if kind == "hidden":
                    further.reverse()
                if further[0] > 0 > further[1]:
                    found[row] = meaning
    return found


def volume_nodes(
    k: Klines, period: int, bins: int, percentile: float, height: float, margin: float,
    reach: float,
) -> Outputs:  # fmt: skip
    outputs = np.full((4, len(k.close)), nan)
    for row in range(period - 1, len(k.close)):
        high, low, volume = (c[row + 1 - period : row + 1] for c in (k.high, k.low, k.volume))
        bottom, close = low.min(), k.close[row]
        size = (high.max() - bottom) / bins
        outputs[3, row] = 0
        if size <= 0:
            continue
        first = np.minimum((low - bottom) / size, bins - 1).astype(int)
        last = np.minimum((high - bottom) / size, bins - 1).astype(int)
        share = volume / (last - first + 1)
        filled = np.array([share[(first <= i) & (last >= i)].sum() for i in range(bins)])
        least = np.sort(filled)[min(int(bins * percentile / 100), bins - 1)]
        beside = np.maximum(np.append(filled[1:], -1), np.append(-1, filled[:-1]))
        nodes = bottom + size * (0.5 + np.flatnonzero(
            (filled >= max(least, height / 100 * filled.max()))
            & (filled > 0) & (filled > beside * (1 + margin / 100))
        ))  # fmt: skip
        outputs[3, row] = np.count_nonzero(np.abs(nodes - close) <= reach / 100 * close)
        above, below = nodes[nodes > close], nodes[nodes <= close]
        outputs[0, row] = above.min(initial=np.inf)
        outputs[1, row] = below.max(initial=-np.inf)
        outputs[2, row] = min(outputs[1::-1, row], key=lambda price: abs(price - close))
    outputs[~np.isfinite(outputs)] = nan
    return tuple(outputs)


#: By name: klines and all parameters in the catalog's order, to outputs in the catalog's order.
TURNS: dict[str, Callable[[Klines, tuple], Outputs]] = {
    "doji": lambda k, p: each_row(k, False, 1, 10, lambda s: s.body <= s.tiny),
    "hammer": lambda k, p: each_row(
        k, False, 2, 11, lambda a, b: hangs(b) and b.bottom <= a.low + 0.2 * a.few
    ),
    "hanging_man": lambda k, p: each_row(
        k, False, 2, 11, lambda a, b: hangs(b) and b.bottom >= a.high - 0.2 * a.few
    ),
    "inverted_hammer": lambda k, p: each_row(
        k, p[0] == "near", 2, 11, lambda a, b: stands(b) and a.apart(a.bottom, b.top)
    ),
    "shooting_star": lambda k, p: each_row(
        k, p[0] == "near", 2, 11, lambda a, b: stands(b) and a.apart(b.bottom, a.top)
    ),
    "harami": lambda k, p: each_row(k, False, 2, 11, harami),
    "morning_star": lambda k, p: each_row(
        k, p[1] == "near", 3, 12, lambda *s: morning_star(*s, p[0])
    ),
    "evening_star": lambda k, p: each_row(
        k, p[1] == "near", 3, 12, lambda *s: evening_star(*s, p[0])
    ),
    "piercing": lambda k, p: each_row(k, p[0] == "near", 2, 11, piercing),
    "dark_cloud_cover": lambda k, p: each_row(
        k, p[1] == "near", 2, 11, lambda *s: dark_cloud_cover(*s, p[0])
    ),
    "three_white_soldiers": lambda k, p: each_row(k, False, 3, 12, three_white_soldiers),
    "three_black_crows": lambda k, p: each_row(k, p[0] == "near", 4, 13, three_black_crows),
    "pivot_high": lambda k, p: (pivots(k.high, *p, 1.0),),
    "pivot_low": lambda k, p: (pivots(k.low, *p, -1.0),),
    "divergence": lambda k, p: (divergence(k.close, k.low, *p),),
    "volume_nodes": lambda k, p: volume_nodes(k, *p),
}
