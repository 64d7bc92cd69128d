"""A market replayed from kline files as the exchange publishes them: CSV, gzipped or not.

Files hold 1m klines; every longer interval is summed from them. The text of each number is kept:
where a row prints other decimals than its column usually does, that row's own are remembered.
"""

from __future__ import annotations

import csv
import gzip
import io
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np

from server.exchange.minutes import MINUTE_MS, Minutes, Row, Symbol, aggregate
from server.exchange.printing import decimal_text, decimals_of, row_printer

__all__ = ["RecordedMarket"]

_QUOTES = ("USDT", "USDC", "FDUSD", "BUSD", "TUSD", "BTC", "ETH", "BNB", "EUR", "TRY", "USD")

#: Column of the file for each of ours.
_PLACES = {
    "open": 1,
    "high": 2,
    "low": 3,
    "close": 4,
    "volume": 5,
    "quote_volume": 7,
    "taker_buy_base": 9,
    "taker_buy_quote": 10,
}

#: Times beyond this are microseconds, as the archive has them from 2025 on for spot.
_MICROSECONDS_FROM = 100_000_000_000_000

_INT64_MAX = 2**63 - 1


class RecordedMarket:
    """Klines of files named like ``BTCUSDT-1m-2026-02.csv.gz``; several files may make one symbol.

    ``forming`` rows between two recorded closes are scaled from the row to come: its shape, not
    the path the market took.

    Raises ValueError: a file whose name or content is not of that form; the message names the line.
    """

    def __init__(self, paths: Iterable[str | Path], *, market: str = "um") -> None:
        self.market = market
        rows: dict[str, dict[int, Sequence[str]]] = {}
        for path in paths:
            name = _symbol_of(Path(path))
            rows.setdefault(name, {}).update(_read(Path(path)))
        if not rows:
            raise ValueError("a recorded market needs at least one file")
        self.symbols: dict[str, Symbol] = {}
        self._minutes: dict[str, Minutes] = {}
        self._odd: dict[tuple[str, str, int], int] = {}  # printed decimals that differ
        self._odd_rows: set[tuple[str, int]] = set()  # rows with any of those
        self._printers: dict[str, Callable[[Row], list[str]]] = {}
        for name in sorted(rows):
            self._take(name, [rows[name][open_ms] for open_ms in sorted(rows[name])])
        self.first_ms = min(int(minutes.open_ms[0]) for minutes in self._minutes.values())
        self.end_ms: int | None = MINUTE_MS + max(
            int(minutes.open_ms[-1]) for minutes in self._minutes.values()
        )

    def _take(self, name: str, rows: list[Sequence[str]]) -> None:
        columns = list(zip(*rows, strict=True))
        decimals = {
            column: max(map(_decimals, columns[place])) for column, place in _PLACES.items()
        }
        symbol = Symbol(
            name,
            *_assets(name),
            max(decimals[column] for column in ("open", "high", "low", "close")),
            max(decimals["volume"], decimals["taker_buy_base"]),
            max(decimals["quote_volume"], decimals["taker_buy_quote"]),
        )
        open_ms = np.array([_milliseconds(text) for text in columns[0]], np.int64)
        values = {}
        for column, place in _PLACES.items():
            scale = decimals_of(symbol, column)
            integers = [_integer(text, scale) for text in columns[place]]
            if max(integers) > _INT64_MAX:
                raise ValueError(f"{name}: {column} {max(columns[place], key=len)} is too long")
            values[column] = np.array(integers, np.int64)
            self._note_odd(symbol, column, columns[place], open_ms)
        trades = np.array(list(map(int, columns[8])), np.int64)
        ids = np.cumsum(trades)
        self.symbols[name] = symbol
        zero = "0" if self.market == "um" else None
        self._printers[name] = row_printer(symbol, zero=zero)
        self._minutes[name] = Minutes(
            open_ms,
            values["open"],
            values["high"],
            values["low"],
            values["close"],
            values["volume"],
            values["quote_volume"],
            trades,
            values["taker_buy_base"],
            values["taker_buy_quote"],
            np.where(trades > 0, ids - trades, -1),
            np.where(trades > 0, ids - 1, -1),
        )

    def _note_odd(
        self, symbol: Symbol, column: str, texts: Sequence[str], open_ms: np.ndarray
    ) -> None:
        usual = decimals_of(symbol, column)
        for text, time_ms in zip(texts, open_ms.tolist(), strict=True):
            decimals = _decimals(text)
            if decimals != usual and text != "0":
                self._odd[symbol.name, column, time_ms] = decimals
                self._odd_rows.add((symbol.name, time_ms))
            elif text != "0" and not text.strip("0."):
                self._odd[symbol.name, column, time_ms] = decimals  # a zero with its decimals
                self._odd_rows.add((symbol.name, time_ms))

    def minutes(self, symbol: str, first_ms: int, now_ms: int) -> Minutes:
        """Minutes from ``first_ms`` up to and including the one ``now_ms`` is in, so far."""
        minutes = self._minutes[symbol].between(first_ms, now_ms + 1)
        if len(minutes.open_ms) and minutes.open_ms[-1] + MINUTE_MS > now_ms:
            share = (now_ms - int(minutes.open_ms[-1])) / MINUTE_MS
            return _partial(minutes, share)
        return minutes

    def present(self, symbol: str, now_ms: int) -> Row | None:
        """The minute ``now_ms`` is in, so far; None if there is none."""
        rows = aggregate(
            self.minutes(symbol, now_ms // MINUTE_MS * MINUTE_MS, now_ms), "1m", now_ms
        )
        return rows[0] if rows else None

    def texts(self, symbol: Symbol, row: Row, interval: str) -> list[str]:
        """How the exchange printed open, high, low, close, volume, quote volume and taker buys."""
        if interval != "1m" or (symbol.name, row.open_ms) not in self._odd_rows:
            return self._printers[symbol.name](row)
        return [
            self._odd_text(symbol, column, getattr(row, column), row.open_ms) for column in _PLACES
        ]

    def _odd_text(self, symbol: Symbol, column: str, value: int, open_ms: int) -> str:
        decimals = decimals_of(symbol, column)
        odd = self._odd.get((symbol.name, column, open_ms))
        if odd is not None:
            return decimal_text(value // 10 ** (decimals - odd), odd)
        if not value:
            return "0" if self.market == "um" else decimal_text(0, decimals)
        return decimal_text(value, decimals)


def _partial(minutes: Minutes, share: float) -> Minutes:
    """The last minute as it may have looked when ``share`` of it was over."""
    columns = [column.copy() for column in minutes]
    last = Minutes(*columns)
    opened, closed = int(last.open[-1]), int(last.close[-1])
    price = opened + round((closed - opened) * share)
    last.close[-1] = price
    last.high[-1] = max(opened, price)
    last.low[-1] = min(opened, price)
    for column in (last.volume, last.quote_volume, last.trades):
        column[-1] = int(int(column[-1]) * share)
    last.taker_buy_base[-1] = int(int(last.taker_buy_base[-1]) * share)
    last.taker_buy_quote[-1] = int(int(last.taker_buy_quote[-1]) * share)
    if not last.trades[-1]:
        last.first_id[-1] = last.last_id[-1] = -1
    else:
        last.last_id[-1] = last.first_id[-1] + last.trades[-1] - 1
    return last


def _symbol_of(path: Path) -> str:
    parts = path.name.split("-")
    if len(parts) < 2 or parts[1] != "1m":
        raise ValueError(f"expected a file named like BTCUSDT-1m-2026-02.csv, not {path.name}")
    return parts[0].upper()


def _read(path: Path) -> dict[int, Sequence[str]]:
    data = path.read_bytes()
    if data[:2] == b"\x1f\x8b":
        data = gzip.decompress(data)
    rows: dict[int, Sequence[str]] = {}
    for line, row in enumerate(csv.reader(io.StringIO(data.decode("ascii"))), 1):
        if line == 1 and row and not row[0].isdigit():
            continue  # the header, which older files lack
        if len(row) < 11 or not row[0].isdigit() or not row[8].isdigit():
            raise ValueError(f"{path.name}, line {line}: expected a kline, found {','.join(row)!r}")
        for place in _PLACES.values():
            whole, _, fraction = row[place].partition(".")
            if not (whole + fraction).isdigit():
                raise ValueError(f"{path.name}, line {line}: {row[place]!r} is no decimal")
        rows[_milliseconds(row[0])] = row
    if not rows:
        raise ValueError(f"{path.name} holds no kline")
    return rows


def _milliseconds(text: str) -> int:
    value = int(text)
    return value // 1000 if value >= _MICROSECONDS_FROM else value


def _decimals(text: str) -> int:
    return len(text.partition(".")[2])


def _integer(text: str, scale: int) -> int:
    whole, _, fraction = text.partition(".")
    return int(whole + fraction.ljust(scale, "0"))


def _assets(name: str) -> tuple[str, str]:
    for quote in _QUOTES:
        if name.endswith(quote) and name != quote:
            return name.removesuffix(quote), quote
    return name, ""
