"""A source seen at one moment: its klines, tickers and streams in the exchange's words."""

from __future__ import annotations

import numpy as np

from klinecore.interval import INTERVAL_MS, INTERVALS, next_open_ms, open_time_ms
from server.exchange.minutes import MINUTE_MS, Minutes, Row, Source, Symbol, aggregate
from server.exchange.printing import decimal_text

__all__ = ["SERVED_INTERVALS", "Book", "TickerValues"]

#: ``1s`` is left out: sources keep minutes.
SERVED_INTERVALS = tuple(interval for interval in INTERVALS if interval != "1s")

_DAY_MS = 86_400_000

TickerValues = dict[str, str | int]


class Book:
    """Klines and tickers of a source as of any time. Pure: the same question, the same bytes."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.market = source.market

    # --- klines --------------------------------------------------------------------------------

    def rows(
        self,
        symbol: str,
        interval: str,
        now_ms: int,
        *,
        limit: int,
        start_ms: int | None = None,
        end_ms: int | None = None,
    ) -> list[Row]:
        """Klines as REST gives them: none or end: the newest; start: the oldest from there."""
        newest_ms = min(now_ms, end_ms) if end_ms is not None else now_ms
        first_ms = self._first(interval, newest_ms, limit, start_ms)
        # Whole klines only: the first one starts where its interval does.
        minutes = self.source.minutes(symbol, open_time_ms(interval, max(first_ms, 0)), now_ms)
        rows = aggregate(minutes, interval, now_ms)
        if start_ms is not None:
            rows = [row for row in rows if row.open_ms >= start_ms]
        if end_ms is not None:
            rows = [row for row in rows if row.open_ms <= end_ms]
        return rows[:limit] if start_ms is not None else rows[-limit:]

    def _first(self, interval: str, newest_ms: int, limit: int, start_ms: int | None) -> int:
        """Where minutes must begin so that ``limit`` klines can be made."""
        if start_ms is not None:
            return max(start_ms, self.source.first_ms)
        length = INTERVAL_MS[interval] or 31 * _DAY_MS
        # Holes in a recording cost rows, so look back twice as far; a generated market has none.
        reach = 2 if self.source.end_ms is not None else 1
        return max(newest_ms - length * (limit + 1) * reach, self.source.first_ms)

    def row_at(self, symbol: str, interval: str, open_ms: int, now_ms: int) -> Row | None:
        """The kline of that opening time as of ``now_ms``; None if the exchange has none."""
        rows = self.rows(symbol, interval, now_ms, limit=1, start_ms=open_ms, end_ms=open_ms)
        return rows[0] if rows else None

    def _texts(self, symbol: str, interval: str, row: Row) -> list[str]:
        kind = self.source.symbols[symbol]
        names = (
            "open",
            "high",
            "low",
            "close",
            "volume",
            "quote_volume",
            "taker_buy_base",
            "taker_buy_quote",
        )
        return [
            self.source.text(kind, name, getattr(row, name), row.open_ms, interval)
            for name in names
        ]

    def rest_row(self, symbol: str, interval: str, row: Row) -> str:
        """``[t,"o","h","l","c","v",T,"q",n,"V","Q","0"]``"""
        o, h, low, c, v, q, tb, tq = self._texts(symbol, interval, row)
        return (
            f'[{row.open_ms},"{o}","{h}","{low}","{c}","{v}",{row.close_ms},"{q}",{row.trades},'
            f'"{tb}","{tq}","0"]'
        )

    def kline_frame(self, symbol: str, interval: str, row: Row, event_ms: int) -> bytes:
        """The raw kline message of a row."""
        o, h, low, c, v, q, tb, tq = self._texts(symbol, interval, row)
        closed = "true" if row.closed else "false"
        return (
            f'{{"e":"kline","E":{event_ms},"s":"{symbol}","k":{{"t":{row.open_ms},'
            f'"T":{row.close_ms},"s":"{symbol}","i":"{interval}","f":{row.first_id},'
            f'"L":{row.last_id},"o":"{o}","c":"{c}","h":"{h}","l":"{low}","v":"{v}",'
            f'"n":{row.trades},"x":{closed},"q":"{q}","V":"{tb}","Q":"{tq}","B":"0"}}}}'
        ).encode()

    # --- tickers -------------------------------------------------------------------------------

    def ticker(self, symbol: str, now_ms: int) -> TickerValues | None:
        """24 h ticker in the stream's letters; None without a minute in the window."""
        first_ms = (now_ms // MINUTE_MS - 1439) * MINUTE_MS
        minutes = self.source.minutes(symbol, first_ms, now_ms)
        if not len(minutes.open_ms):
            return None
        kind = self.source.symbols[symbol]
        opened, last = int(minutes.open[0]), int(minutes.close[-1])
        volume, quote = int(minutes.volume.sum()), int(minutes.quote_volume.sum())
        values = self._prices(kind, opened, last, minutes, volume, quote)
        known = minutes.first_id[minutes.first_id >= 0]
        values |= {
            "O": int(minutes.open_ms[0]),
            "C": now_ms,
            "F": int(known[0]) if len(known) else -1,
            "L": int(minutes.last_id.max()),
            "n": int(minutes.trades.sum()),
        }
        head: TickerValues = {"E": now_ms, "s": symbol}
        return head | values

    def _prices(
        self, kind: Symbol, opened: int, last: int, minutes: Minutes, volume: int, quote: int
    ) -> TickerValues:
        spot = self.market == "spot"
        printed = 8 if spot else None

        def price(value: int) -> str:
            return decimal_text(value, kind.price_decimals, printed)

        def amount(value: int) -> str:
            return decimal_text(value, kind.volume_decimals, printed) if value or spot else "0"

        shift = kind.price_decimals + kind.volume_decimals - kind.quote_decimals
        average = quote * 10**shift // volume if volume else last
        change = (last - opened) * 100_000
        step = max(1, 10 ** (kind.volume_decimals - 1)) if kind.volume_decimals else 1
        values: TickerValues = {
            "p": price(last - opened),
            "P": decimal_text(
                (abs(change) + opened // 2) // opened * (1 if change >= 0 else -1), 3
            ),
            "w": price(average),
            "c": price(last),
            "Q": amount(step * (1 + volume % 97)),
            "o": price(opened),
            "h": price(int(np.max(minutes.high))),
            "l": price(int(np.min(minutes.low))),
            "v": amount(volume),
            "q": decimal_text(quote, kind.quote_decimals, printed) if quote or spot else "0",
        }
        if spot:
            values |= {
                "x": price(opened),
                "b": price(max(last - 1, 1)),
                "B": amount(step * (3 + volume % 31)),
                "a": price(last + 1),
                "A": amount(step * (2 + volume % 29)),
            }
        return values

    def closes_at(self, boundary_ms: int) -> list[str]:
        """Intervals that have a kline ending at this minute's start."""
        return [
            interval
            for interval in SERVED_INTERVALS
            if open_time_ms(interval, boundary_ms) == boundary_ms
        ]

    def previous_open(self, interval: str, boundary_ms: int) -> int:
        """Opening time of the kline that ends where the one at ``boundary_ms`` begins."""
        open_ms = open_time_ms(interval, boundary_ms - 1)
        assert next_open_ms(interval, open_ms) == boundary_ms
        return open_ms
