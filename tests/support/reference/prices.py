"""Klines to try indicators on: ordinary, and those on which sums lose their digits."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]


@dataclass(frozen=True)
class Klines:
    """Columns of klines, by the names the catalog gives its inputs."""

    open: Values
    high: Values
    low: Values
    close: Values
    volume: Values

    @property
    def open_time_ms(self) -> Values:
        # Minutes that start shortly before a Monday.
        return 1_770_940_000_000.0 // 60_000 * 60_000 + 60_000.0 * np.arange(len(self.close))

    def columns(self, inputs: tuple[str, ...]) -> tuple[Values, ...]:
        """The named columns; ``source`` and ``first`` are closes, ``second`` is the low."""
        other = {"source": "close", "first": "close", "second": "low"}
        return tuple(getattr(self, other.get(name, name)) for name in inputs)

    def part(self, rows: slice) -> Klines:
        return Klines(
            self.open[rows], self.high[rows], self.low[rows], self.close[rows], self.volume[rows]
        )


def walk(seed: int, rows: int, volatility: float = 1e-2, price: float = 100.0) -> Klines:
    """A geometric random walk with wicks."""
    random = np.random.default_rng(seed)
    close = price * np.exp(np.cumsum(random.normal(0, volatility, rows)))
    opened = np.concatenate([[price], close[:-1]]) * (1 + random.normal(0, volatility / 10, rows))
    high = np.maximum(opened, close) * (1 + np.abs(random.normal(0, volatility / 3, rows)))
    low = np.minimum(opened, close) * (1 - np.abs(random.normal(0, volatility / 3, rows)))
    return Klines(opened, high, low, close, random.uniform(1, 1000, rows))


def coarse(seed: int, rows: int) -> Klines:
    """A walk of whole ticks, whose klines are of every shape and often share an end."""
    random = np.random.default_rng(seed)
    close = 1000.0 + np.cumsum(random.integers(-6, 7, rows)) % 400
    opened = np.concatenate([[1000.0], close[:-1]]) + random.choice([-1, 0, 0, 0, 1], rows)
    wick = random.choice([0, 0, 1, 2, 6, 12], (2, rows))
    high, low = np.maximum(opened, close) + wick[0], np.minimum(opened, close) - wick[1]
    return Klines(opened, high, low, close, random.integers(0, 50, rows).astype(float))


def joined(*parts: Klines) -> Klines:
    """One series after the other."""
    columns = ("open", "high", "low", "close", "volume")
    return Klines(*(np.concatenate([getattr(part, c) for part in parts]) for c in columns))


def flat(rows: int) -> Klines:
    """Nothing ever moves, and the price is no binary fraction."""
    price = np.full(rows, 0.1)
    return Klines(price, price.copy(), price.copy(), price.copy(), np.full(rows, 7.3))


def still_stretches(seed: int, rows: int) -> Klines:
    """A walk that stands still for longer than any window, again and again."""
    moving = walk(seed, rows)
    held = (np.arange(rows) // 60) % 2 == 1
    last = np.maximum.accumulate(np.where(held, 0, np.arange(rows)))
    price = moving.close[last]
    return Klines(
        np.where(held, price, moving.open),
        np.where(held, price, moving.high),
        np.where(held, price, moving.low),
        np.where(held, price, moving.close),
        moving.volume,
    )


def spiked(seed: int, rows: int, factor: float = 1e6) -> Klines:
    """A walk with single rows at a million times the price."""
    moving = walk(seed, rows)
    times = np.where(np.arange(rows) % 97 == 50, factor, 1.0)
    return Klines(
        moving.open * times, moving.high * times, moving.low * times, moving.close * times,
        moving.volume,
    )  # fmt: skip


def stable(seed: int, rows: int) -> Klines:
    """A stablecoin: ticks of 0.0001 about 1, most rows like the one before."""
    random = np.random.default_rng(seed)
    ticks = np.cumsum(random.choice([-1, 0, 0, 0, 1], rows)) % 5
    close = np.round(0.9998 + 0.0001 * ticks, 4)
    opened = np.concatenate([[close[0]], close[:-1]])
    return Klines(
        opened, np.maximum(opened, close), np.minimum(opened, close), close,
        np.round(random.uniform(0, 1e6, rows)),
    )  # fmt: skip


def dust(seed: int, rows: int) -> Klines:
    """Prices of 1e-8, in eight decimals of it."""
    return walk(seed, rows, price=1e-8)


def seeded(rows: int = 700) -> dict[str, Klines]:
    """Ordinary prices."""
    return {
        "walk": walk(1, rows),
        "calm": walk(2, rows, volatility=1e-4),
        "wild": walk(3, rows, volatility=0.1),
    }


def hostile(rows: int = 700) -> dict[str, Klines]:
    """Prices on which careless sums fail."""
    return {
        "flat": flat(rows),
        "still stretches": still_stretches(4, rows),
        "spiked": spiked(5, rows),
        "stable": stable(6, rows),
        "dust": dust(7, rows),
    }
