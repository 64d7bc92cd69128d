"""A market made of seeded trades: any day can be computed without the days before it.

Each day of a symbol is drawn from (seed, symbol, day) alone. Prices run as a Brownian bridge
between the days' anchors, so that days join without a jump; every trade is a whole number of
ticks at a whole number of steps, and klines are sums over trades.
"""

from __future__ import annotations

import zlib
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from server.exchange.minutes import MINUTE_MS, Integers, Minutes, Row, Symbol
from server.exchange.printing import SPOT_DECIMALS, row_printer

__all__ = ["DEMO_SYMBOLS", "GeneratedMarket"]

_DAY_MS = 86_400_000
_MINUTES = 1440

#: Trade ids of a day start here times its number; a day has fewer trades.
_IDS_A_DAY = 1_000_000

#: Days of minutes kept, of all symbols; each is 135 kB. Of trades: the present day of each symbol.
_MINUTE_DAYS_MAX = 600
_TRADE_DAYS_A_SYMBOL = 2


class _Kind(NamedTuple):
    """What a symbol's market is like."""

    symbol: Symbol
    price: float  # around which it moves
    quantity: float  # of a usual trade, base asset
    rate: float  # trades a minute
    volatility: float  # of a day


def _kind(
    name: str, quote: str, price: float, tick: int, step: int, quantity: float, rate: float
) -> _Kind:
    base = name.removesuffix(quote)
    return _Kind(Symbol(name, base, quote, tick, step, tick + step), price, quantity, rate, 0.03)


_KINDS = {
    kind.symbol.name: kind
    for kind in (
        _kind("BTCUSDT", "USDT", 64_000.0, 2, 5, 1.5, 24.0),
        _kind("ETHUSDT", "USDT", 3_100.0, 2, 4, 12.0, 22.0),
        _kind("BNBUSDT", "USDT", 580.0, 2, 3, 9.0, 14.0),
        _kind("SOLUSDT", "USDT", 142.0, 2, 3, 60.0, 18.0),
        _kind("XRPUSDT", "USDT", 0.52, 4, 0, 5_000.0, 16.0),
        _kind("DOGEUSDT", "USDT", 0.123, 5, 0, 20_000.0, 14.0),
        _kind("ADAUSDT", "USDT", 0.39, 4, 1, 6_000.0, 10.0),
        _kind("PEPEUSDT", "USDT", 0.00000912, 8, 0, 900_000_000.0, 12.0),
        _kind("ETHBTC", "BTC", 0.04843, 5, 3, 4.0, 4.0),
        _kind("LTCUSDT", "USDT", 71.0, 2, 3, 25.0, 3.0),
        _kind("FDUSDUSDT", "USDT", 0.9991, 4, 2, 50_000.0, 1.0),
        _kind("QTUMUSDT", "USDT", 2.41, 3, 1, 150.0, 0.6),  # minutes without a trade are common
    )
}

#: Symbols of the demo, busiest first.
DEMO_SYMBOLS = tuple(_KINDS)


class _Trades(NamedTuple):
    time_ms: Integers
    price: Integers
    quantity: Integers
    taker_buys: NDArray[np.bool_]
    first_id: int


class GeneratedMarket:
    """An endless market of the given symbols from one seed.

    Names beyond ``DEMO_SYMBOLS`` get properties drawn from their name; they must end in USDT, USDC
    or BTC. The market is ``spot`` (8 decimals everywhere) or ``um`` (tick decimals, zero as ``0``).
    """

    def __init__(
        self,
        seed: int = 1,
        symbols: Sequence[str] = DEMO_SYMBOLS,
        *,
        market: str = "spot",
        first_ms: int = 1_577_836_800_000,
    ) -> None:
        self.market = market
        self.seed = seed
        self.first_ms = first_ms  # 2020-01-01
        self.end_ms: int | None = None
        self._kinds = {name: _KINDS.get(name) or _drawn_kind(name) for name in symbols}
        self.symbols = {name: kind.symbol for name, kind in self._kinds.items()}
        self._printers: dict[Symbol, Callable[[Row], list[str]]] = {}
        self._trade_days: OrderedDict[tuple[str, int], _Trades] = OrderedDict()
        self._minute_days: OrderedDict[tuple[str, int], Minutes] = OrderedDict()

    def minutes(self, symbol: str, first_ms: int, now_ms: int) -> Minutes:
        """Minutes from ``first_ms`` up to and including the one ``now_ms`` is in, so far."""
        first_ms = max(first_ms, self.first_ms)
        opened_ms = now_ms // MINUTE_MS * MINUTE_MS
        row = self.present(symbol, now_ms) if first_ms <= opened_ms else None
        parts = [] if row is None else [_minutes_of(row)]
        if first_ms < opened_ms:
            # Whole days are summed once; what of them lies ahead is cut off.
            days = range(first_ms // _DAY_MS, (opened_ms - 1) // _DAY_MS + 1)
            past = [self._day(symbol, day) for day in days]
            past[0] = past[0].between(first_ms, opened_ms)
            past[-1] = past[-1].between(first_ms, opened_ms)
            parts[:0] = past
        return Minutes.concatenate(parts) if len(parts) > 1 else parts[0] if parts else _NOTHING

    def texts(self, symbol: Symbol, row: Row, interval: str) -> list[str]:
        """How the exchange prints open, high, low, close, volume, quote volume and taker buys."""
        printer = self._printers.get(symbol)
        if printer is None:
            spot = self.market == "spot"
            printer = self._printers[symbol] = (
                row_printer(symbol, width=SPOT_DECIMALS) if spot else row_printer(symbol, zero="0")
            )
        return printer(row)

    # --- days ----------------------------------------------------------------------------------

    def _anchor(self, kind: _Kind, day: int) -> float:
        """Price at the start of a day; smooth over weeks, rough from day to day."""
        phase = zlib.crc32(f"{self.seed}:{kind.symbol.name}".encode()) / 2**32 * 2 * np.pi
        slow = 0.18 * np.sin(day / 47.0 + phase) + 0.07 * np.sin(day / 11.0 + 3 * phase)
        rough = np.random.default_rng([self.seed, _number(kind.symbol.name), day, 1])
        return float(kind.price * np.exp(slow + kind.volatility * rough.standard_normal()))

    def _trades(self, symbol: str, day: int) -> _Trades:
        key = (symbol, day)
        trades = self._trade_days.get(key)
        if trades is None:
            trades = self._trade_days[key] = self._draw(self._kinds[symbol], day)
            if len(self._trade_days) > _TRADE_DAYS_A_SYMBOL * len(self.symbols):
                self._trade_days.popitem(last=False)
        return trades

    def _draw(self, kind: _Kind, day: int) -> _Trades:
        rng = np.random.default_rng([self.seed, _number(kind.symbol.name), day])
        # Busier and calmer hours, never the same two days.
        shape = 1.0 + 0.6 * np.sin(np.arange(_MINUTES) / 1440 * 2 * np.pi + rng.uniform(0, 6.3))
        counts = rng.poisson(kind.rate * shape)
        total = int(counts.sum())
        minute = np.repeat(np.arange(_MINUTES, dtype=np.int64), counts)
        time_ms = np.sort(minute * MINUTE_MS + rng.integers(0, MINUTE_MS, total))
        walk = np.cumsum(rng.standard_normal(total))
        at = np.arange(1, total + 1) / max(total, 1)
        bridge = (walk - at * (walk[-1] if total else 0.0)) / np.sqrt(max(total, 1))
        start, end = self._anchor(kind, day), self._anchor(kind, day + 1)
        path = start * (end / start) ** at * np.exp(kind.volatility * 0.7 * bridge)
        scale = 10**kind.symbol.price_decimals
        price = np.maximum(np.rint(path * scale).astype(np.int64), 1)
        steps = kind.quantity * 10**kind.symbol.volume_decimals
        quantity = np.maximum(np.rint(steps * rng.exponential(1.0, total)).astype(np.int64), 1)
        taker_buys = rng.random(total) < 0.5
        return _Trades(time_ms + day * _DAY_MS, price, quantity, taker_buys, day * _IDS_A_DAY)

    def _day(self, symbol: str, day: int) -> Minutes:
        key = (symbol, day)
        minutes = self._minute_days.get(key)
        if minutes is None:
            trades = self._trade_days.get(key) or self._draw(self._kinds[symbol], day)
            minutes = self._sum(symbol, day, trades, _MINUTES)
            self._minute_days[key] = minutes
            if len(self._minute_days) > _MINUTE_DAYS_MAX:
                self._minute_days.popitem(last=False)
        return minutes

    def present(self, symbol: str, now_ms: int) -> Row | None:
        """The minute ``now_ms`` is in, so far: from its trades alone, without summing the day."""
        day, opened_ms = now_ms // _DAY_MS, now_ms // MINUTE_MS * MINUTE_MS
        if opened_ms < self.first_ms:
            return None
        trades = self._trades(symbol, day)
        low = int(trades.time_ms.searchsorted(opened_ms))
        high = int(trades.time_ms.searchsorted(now_ms, "right"))
        closed_ms = opened_ms + MINUTE_MS - 1
        if low == high:
            last = int(trades.price[low - 1]) if low else self._opening(self._kinds[symbol], day)
            return Row(
                opened_ms, closed_ms, last, last, last, last, 0, 0, 0, 0, 0, -1, -1, closed=False
            )
        price = trades.price[low:high]
        quantity = trades.quantity[low:high]
        quote = price * quantity
        buys = trades.taker_buys[low:high]
        return Row(
            opened_ms,
            closed_ms,
            int(price[0]),
            int(price.max()),
            int(price.min()),
            int(price[-1]),
            int(quantity.sum()),
            int(quote.sum()),
            high - low,
            int(quantity[buys].sum()),
            int(quote[buys].sum()),
            trades.first_id + low,
            trades.first_id + high - 1,
            closed=False,
        )

    def _opening(self, kind: _Kind, day: int) -> int:
        """The price a day begins with, as an integer."""
        return int(max(round(self._anchor(kind, day) * 10**kind.symbol.price_decimals), 1))

    def _sum(self, symbol: str, day: int, trades: _Trades, count: int) -> Minutes:
        """``count`` minutes of a day from its trades; without trades the price stands still."""
        price, quantity = trades.price, trades.quantity
        minute = (trades.time_ms - day * _DAY_MS) // MINUTE_MS
        starts = np.searchsorted(minute, np.arange(count + 1, dtype=np.int64))
        first, end = starts[:-1], starts[1:]
        traded = end > first
        kind = self._kinds[symbol]
        before = self._opening(kind, day)
        # The price before each minute: that of the last trade so far, or the day's anchor.
        standing = np.concatenate(([before], price))[first]
        result = [np.arange(count, dtype=np.int64) * MINUTE_MS + day * _DAY_MS]
        result += [standing.copy() for _ in range(4)]
        result += [np.zeros(count, np.int64) for _ in range(5)]
        result += [np.full(count, -1, np.int64) for _ in range(2)]
        if traded.any():
            at, last = first[traded], end[traded] - 1
            quote = price * quantity
            result[1][traded] = price[at]
            result[2][traded] = np.maximum.reduceat(price, at)
            result[3][traded] = np.minimum.reduceat(price, at)
            result[4][traded] = price[last]
            result[5][traded] = np.add.reduceat(quantity, at)
            result[6][traded] = np.add.reduceat(quote, at)
            result[7] = (end - first).astype(np.int64)
            result[8][traded] = np.add.reduceat(np.where(trades.taker_buys, quantity, 0), at)
            result[9][traded] = np.add.reduceat(np.where(trades.taker_buys, quote, 0), at)
            result[10][traded] = trades.first_id + at
            result[11][traded] = trades.first_id + last
        return Minutes(*result)


_NOTHING = Minutes(*(np.empty(0, np.int64) for _ in Minutes._fields))


def _minutes_of(row: Row) -> Minutes:
    return Minutes(*(np.array([getattr(row, name)], np.int64) for name in Minutes._fields))


def _number(name: str) -> int:
    return zlib.crc32(name.encode())


def _drawn_kind(name: str) -> _Kind:
    """Properties for a name that is not in the table."""
    if not name.isalnum():
        raise ValueError(f"{name!r} is no symbol: name them, as in BTCUSDT,ETHUSDT")
    quote = next((asset for asset in ("USDT", "USDC", "BTC") if name.endswith(asset)), None)
    if quote is None or name == quote:
        raise ValueError(f"a generated symbol ends in USDT, USDC or BTC, unlike {name!r}")
    rng = np.random.default_rng(_number(name))
    price = float(10 ** rng.uniform(-2, 2.5))
    tick = 2 if price >= 10 else 4 if price >= 0.1 else 6
    return _kind(
        name, quote, price, tick, int(rng.integers(0, 3)), 2000.0 / price, float(rng.uniform(1, 8))
    )
