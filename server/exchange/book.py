"""A source seen at one moment: its klines, tickers and streams in the exchange's words."""

from __future__ import annotations

import numpy as np

from klinecore.interval import INTERVAL_MS, INTERVALS, next_open_ms, open_time_ms
from server.exchange.listings import Listings
from server.exchange.minutes import MINUTE_MS, Minutes, Row, Source, Symbol, aggregate, exact_sums
from server.exchange.printing import decimal_text

__all__ = ["SERVED_INTERVALS", "Book", "TickerValues"]

#: ``1s`` is left out: sources keep minutes.
SERVED_INTERVALS = tuple(interval for interval in INTERVALS if interval != "1s")

_DAY_MS = 86_400_000

#: Closed rows whose texts are kept; when there are more, all are forgotten.
_TEXTS_MAX = 50_000

TickerValues = dict[str, str | int]


class Book:
    """Klines and tickers of a source as of any time. Pure: the same question, the same bytes."""

    def __init__(self, source: Source) -> None:
        self.source = source if isinstance(source, Listings) else Listings(source)
        self.market = source.market
        self._closed_texts: dict[tuple[str, str, int], tuple[Row, list[str]]] = {}

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
        last_ms = now_ms if end_ms is None else min(now_ms, end_ms)
        first_ms = open_time_ms(interval, max(self.source.first_of(symbol), start_ms or 0))
        if start_ms is not None and first_ms < start_ms:
            first_ms = next_open_ms(interval, first_ms)
        length = INTERVAL_MS[interval] or 31 * _DAY_MS
        span_ms = length * (limit + 1)
        rows: list[Row] = []
        if start_ms is not None:
            while first_ms <= last_ms and len(rows) < limit:
                until_ms = open_time_ms(interval, first_ms + span_ms)
                rows += self._between(symbol, interval, first_ms, until_ms, now_ms)
                first_ms = until_ms
            return [row for row in rows if row.open_ms <= last_ms][:limit]
        until_ms = next_open_ms(interval, open_time_ms(interval, last_ms))
        # More than once only where a recording has holes.
        while first_ms < until_ms and len(rows) < limit:
            from_ms = max(first_ms, open_time_ms(interval, until_ms - span_ms))
            rows[:0] = self._between(symbol, interval, from_ms, until_ms, now_ms)
            until_ms = from_ms
        return rows[-limit:]

    def _between(
        self, symbol: str, interval: str, first_ms: int, until_ms: int, now_ms: int
    ) -> list[Row]:
        """Klines that open in ``[first_ms, until_ms)``, both opening times of ``interval``."""
        minutes = self.source.minutes(symbol, first_ms, min(until_ms, now_ms))
        return aggregate(minutes.between(first_ms, until_ms), interval, now_ms)

    def row_at(self, symbol: str, interval: str, open_ms: int, now_ms: int) -> Row | None:
        """The kline of that opening time as of ``now_ms``; None if the exchange has none."""
        rows = self.rows(symbol, interval, now_ms, limit=1, start_ms=open_ms, end_ms=open_ms)
        return rows[0] if rows else None

    def _texts(self, symbol: str, interval: str, row: Row) -> list[str]:
        if not row.closed:
            return self.source.texts(self.source.kind(symbol), row, interval)
        key = (symbol, interval, row.open_ms)
        known = self._closed_texts.get(key)
        if known is None or known[0] != row:  # a halt may have taken minutes of it away
            if len(self._closed_texts) >= _TEXTS_MAX:
                self._closed_texts.clear()
            texts = self.source.texts(self.source.kind(symbol), row, interval)
            known = self._closed_texts[key] = (row, texts)
        return known[1]

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
        minutes = self.source.minutes(symbol, first_ms - MINUTE_MS, now_ms)
        # The minute before the window gives the price before it.
        before = int(minutes.close[0]) if len(minutes.open_ms) else 0
        if len(minutes.open_ms) and minutes.open_ms[0] < first_ms:
            minutes = minutes.between(first_ms, now_ms + 1)
        if not len(minutes.open_ms):
            return None
        kind = self.source.symbols[symbol]
        values: TickerValues = {"E": now_ms, "s": symbol}
        values |= self._prices(kind, minutes, before)
        known = minutes.first_id[minutes.first_id >= 0]
        values |= {
            "O": int(minutes.open_ms[0]),
            "C": now_ms,
            "F": int(known[0]) if len(known) else -1,
            "L": int(minutes.last_id.max()),
            "n": int(minutes.trades.sum()),
        }
        return values

    def _prices(self, kind: Symbol, minutes: Minutes, before: int) -> TickerValues:
        """The ticker's texts in the exchange's order; ``before`` is the price before the window."""
        spot = self.market == "spot"
        opened, last = int(minutes.open[0]), int(minutes.close[-1])
        whole = np.zeros(1, np.int64)
        volume = int(exact_sums(minutes.volume, whole)[0])
        quote = int(exact_sums(minutes.quote_volume, whole)[0])
        shift = kind.price_decimals + kind.volume_decimals - kind.quote_decimals
        average = quote * 10**shift // volume if volume else last
        change = last - opened
        percent = (abs(change) * 100_000 + opened // 2) // opened
        values: TickerValues = {
            "p": self._price(kind, change),
            "P": decimal_text(percent if change >= 0 else -percent, 3),
            "w": self._price(kind, average),
        }
        if spot:
            values["x"] = self._price(kind, before)
        values["c"] = self._price(kind, last)
        values["Q"] = self._amount(kind, 1 + volume % 97)
        if spot:
            values |= self._best(kind, last, volume)
        return values | {
            "o": self._price(kind, opened),
            "h": self._price(kind, int(np.max(minutes.high))),
            "l": self._price(kind, int(np.min(minutes.low))),
            "v": self._amount(kind, volume),
            "q": decimal_text(quote, kind.quote_decimals, 8 if spot else None)
            if quote or spot
            else "0",
        }

    def best(self, symbol: str, now_ms: int) -> TickerValues | None:
        """Best bid and ask ``b B a A`` as of then: a tick apart, around the last price."""
        minutes = self.source.minutes(symbol, now_ms // MINUTE_MS * MINUTE_MS, now_ms)
        if not len(minutes.open_ms):
            return None
        last, volume = int(minutes.close[-1]), int(minutes.volume[-1])
        return self._best(self.source.symbols[symbol], last, volume)

    def _best(self, kind: Symbol, last: int, volume: int) -> TickerValues:
        return {
            "b": self._price(kind, max(last - 1, 1)),
            "B": self._amount(kind, 3 + volume % 31),
            "a": self._price(kind, last + 1),
            "A": self._amount(kind, 2 + volume % 29),
        }

    def _price(self, kind: Symbol, value: int) -> str:
        return decimal_text(value, kind.price_decimals, 8 if self.market == "spot" else None)

    def _amount(self, kind: Symbol, value: int) -> str:
        if self.market == "um":
            return decimal_text(value, kind.volume_decimals) if value else "0"
        return decimal_text(value, kind.volume_decimals, 8)
