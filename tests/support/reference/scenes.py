"""Klines made so that one known thing happens in them, and markets that hold them."""

from __future__ import annotations

import csv
import gzip
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from reference.prices import Klines, Values

import klinecore as kc
from klinecore.interval import INTERVAL_MS

START_MS = 1_769_904_000_000  # 2026-02-01, a midnight
FAR_MS = 2**60


@dataclass(frozen=True)
class Scene:
    """Klines by symbol, of the interval a filter is for, and the rows at which it may fire.

    ``symbols`` are those that fire, each ``times`` times.
    """

    klines: dict[str, Klines]
    rows: Sequence[int]
    symbols: tuple[str, ...] = ("AUSDT",)
    times: int = 1


def legs(*steps: tuple[int, float], start: float = 100.0) -> Values:
    """Closes that rise or fall by a step per row."""
    return start + np.cumsum(np.concatenate([np.full(count, step) for count, step in steps]))


def saw(count: int, size: float) -> Values:
    """Closes that go up and down about 100, whole sizes apart, and end at it."""
    return 100.0 + np.where(np.arange(count) % 2 == (count - 1) % 2, 0.0, size)


def then(closes: Values, *steps: tuple[int, float]) -> Values:
    return np.concatenate([closes, legs(*steps, start=float(closes[-1]))])


def klines(closes: Values, volumes: dict[int, float] | Values | None = None) -> Klines:
    """Rows that open at the close before, have no shadows, and volume 10 where none is given."""
    opened = np.concatenate([closes[:1], closes[:-1]])
    volume = np.full(len(closes), 10.0)
    if isinstance(volumes, dict):
        for row, amount in volumes.items():
            volume[row] = amount
    elif volumes is not None:
        volume = volumes
    return Klines(opened, np.maximum(opened, closes), np.minimum(opened, closes), closes, volume)


def merged(k: Klines, rows: int) -> Klines:
    """Klines of a longer interval; a last one that is not whole is left out."""
    whole = len(k.close) // rows
    o, h, lo, c, v = (
        column[: whole * rows].reshape(whole, rows)
        for column in (k.open, k.high, k.low, k.close, k.volume)
    )
    return Klines(o[:, 0], h.max(1), lo.min(1), c[:, -1], v.sum(1))


def answer(k: Klines, interval: str, start_ms: int) -> bytes:
    """A REST klines answer; half of what is traded are buys, and all of it at the close."""
    length, rows = INTERVAL_MS[interval], []
    columns = (k.open, k.high, k.low, k.close, k.volume)
    for row, (o, h, lo, c, v) in enumerate(zip(*columns, strict=True)):
        at = start_ms + row * length
        prices = ",".join(f'"{price:.6f}"' for price in (o, h, lo, c))
        rows.append(
            f'[{at},{prices},"{v:.4f}",{at + length - 1},"{v * c:.4f}",7,"{v / 2:.4f}",'
            f'"{v * c / 2:.4f}","0"]'
        )
    return f"[{','.join(rows)}]".encode()


def market_of(
    series: dict[str, Klines], interval: str, others: Iterable[str] = (), start_ms: int = START_MS
) -> kc.Market:
    """A market with these klines of ``interval``, and those of longer ones that they make."""
    rows = max(len(k.close) for k in series.values())
    market = kc.Market(series, [interval, *others], capacity=rows)
    for symbol, k in series.items():
        for name in (interval, *others):
            rows_of_it = merged(k, INTERVAL_MS[name] // INTERVAL_MS[interval])
            body = answer(rows_of_it, name, start_ms)
            market.apply_klines(symbol, name, body, closed_before_ms=FAR_MS)
    return market


def recorded(directory: Path) -> dict[str, Klines]:
    """One-minute klines of files as the exchange publishes them, by symbol."""
    found = {}
    for path in sorted(directory.glob("*.csv.gz")):
        with gzip.open(path, "rt", encoding="ascii") as file:
            rows = [[float(row[i]) for i in range(1, 6)] for row in list(csv.reader(file))[1:]]
        found[path.name.partition("-")[0]] = Klines(*np.ascontiguousarray(np.array(rows).T))
    return found


def longer(k: Klines, interval: str) -> Klines:
    """What one-minute klines make."""
    return merged(k, INTERVAL_MS[interval] // INTERVAL_MS["1m"])
