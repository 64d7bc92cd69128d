"""What streams say at each moment: closes in order, then forming rows and tickers."""

from __future__ import annotations

import heapq

import msgspec

from server.exchange.book import SERVED_INTERVALS, Book, TickerValues
from server.exchange.cursor import Cursor
from server.exchange.faults import Faults
from server.exchange.minutes import MINUTE_MS, Row
from server.exchange.sockets import Streams

__all__ = ["SPEEDS", "Publisher", "Speeds"]

#: Delayed closes kept back at once; beyond it the oldest goes out early.
_LATE_MAX = 100_000


class Speeds(msgspec.Struct, frozen=True):
    """How often each kind of stream is updated, ms of the exchange's time; 0 is never."""

    kline: int
    ticker: int
    array: int = 1000
    book: int = 250  # "real time": at most so often


SPEEDS = {
    "spot": Speeds(kline=2000, ticker=1000),
    "um": Speeds(kline=250, ticker=2000),
}


class Publisher:
    """Turns a book into frames of subscribed streams, as time passes."""

    def __init__(self, book: Book, streams: Streams, faults: Faults) -> None:
        self.published_ms = 0
        self.counters = {"closes": 0, "late_closes": 0, "late_closes_early": 0}
        self._book = book
        self._streams = streams
        self._faults = faults
        self._um = book.market == "um"
        self._names: dict[str, dict[str, str]] = {}
        self._cursors: dict[str, Cursor] = {}
        for symbol in book.source.symbols:
            self.renew(symbol)
        self._sent: dict[str, tuple[int, object]] = {}  # stream -> its newest listener, last words
        self._late: list[tuple[int, int, str, bytes]] = []

    def renew(self, symbol: str) -> None:
        """A symbol was listed, stopped, resumed or delisted: forget what was read ahead of it.

        One that is gone still ends its klines; after that there is nothing to say of it.
        """
        self._names[symbol] = {iv: f"{symbol.lower()}@kline_{iv}" for iv in SERVED_INTERVALS}
        self._cursors[symbol] = Cursor(self._book.source, symbol)

    def publish(self, now_ms: int, speeds: Speeds) -> None:
        """Send what is due: every close since the last call, in order, then what is forming."""
        boundary = (self.published_ms // MINUTE_MS + 1) * MINUTE_MS
        while boundary <= now_ms:
            self._publish_late(boundary)
            self._publish_closes(boundary)
            boundary += MINUTE_MS
        earlier_ms, self.published_ms = self.published_ms, now_ms
        self._publish_late(now_ms)
        if _is_due(earlier_ms, now_ms, speeds.kline):
            self._publish_forming(now_ms)
        single = _is_due(earlier_ms, now_ms, speeds.ticker)
        array = _is_due(earlier_ms, now_ms, speeds.array)
        book = _is_due(earlier_ms, now_ms, speeds.book)
        if single or array or book:
            self._publish_tickers(now_ms, single=single, array=array, book=book)

    def next_due_ms(self, speeds: Speeds) -> int:
        """When ``publish`` has something to say again."""
        at_ms = self.published_ms
        periods = (MINUTE_MS, speeds.kline, speeds.ticker, speeds.array, speeds.book)
        due_ms = min((at_ms // period + 1) * period for period in periods if period)
        return min(due_ms, self._late[0][0]) if self._late else due_ms

    # --- klines --------------------------------------------------------------------------------

    def _wanted(self, symbol: str) -> dict[str, str]:
        """Intervals of a symbol that somebody listens to, and their streams."""
        heard = self._streams.subscribers
        if self._is_silent(symbol):
            return {}
        return {iv: name for iv, name in self._names[symbol].items() if name in heard}

    def _is_silent(self, symbol: str) -> bool:
        return symbol in self._faults.halted or symbol in self._faults.delisted

    def _publish_closes(self, boundary_ms: int) -> None:
        messages = []
        for symbol in self._names:
            wanted = self._wanted(symbol)
            if not wanted:
                continue
            for interval, row in self._cursors[symbol].close_minute(boundary_ms, wanted).items():
                if self._says(row):
                    frame = self._book.kline_frame(symbol, interval, row, boundary_ms)
                    messages.append((wanted[interval], frame))
        self.counters["closes"] += len(messages)
        if self._faults.reorder:
            messages.reverse()
        for stream, frame in messages:
            if self._faults.late_close_ms:
                self._delay(boundary_ms + self._faults.late_close_ms, stream, frame)
            else:
                self._streams.publish(stream, frame, closing=True)

    def _says(self, row: Row) -> bool:
        """USD-M sends nothing about a kline of a made-up market in which nothing was traded."""
        return row.trades > 0 or not self._um or self._book.source.end_ms is not None

    def _delay(self, due_ms: int, stream: str, frame: bytes) -> None:
        self.counters["late_closes"] += 1
        heapq.heappush(self._late, (due_ms, self.counters["late_closes"], stream, frame))
        if len(self._late) > _LATE_MAX:
            self.counters["late_closes_early"] += 1
            _, _, stream, frame = heapq.heappop(self._late)
            self._streams.publish(stream, frame, closing=True)

    def _publish_late(self, now_ms: int) -> None:
        while self._late and self._late[0][0] <= now_ms:
            _, _, stream, frame = heapq.heappop(self._late)
            self._streams.publish(stream, frame, closing=True)

    def _publish_forming(self, now_ms: int) -> None:
        for symbol in self._names:
            wanted = self._wanted(symbol)
            if not wanted:
                continue
            for interval, row in self._cursors[symbol].forming(now_ms, wanted).items():
                if self._says(row) and self._is_news(wanted[interval], row):
                    frame = self._book.kline_frame(symbol, interval, row, now_ms)
                    self._streams.publish(wanted[interval], frame)

    def _is_news(self, stream: str, said: object) -> bool:
        """True if a stream has changed, or has a new listener, since it last spoke."""
        joined = self._streams.joined.get(stream, 0)
        if self._sent.get(stream) == (joined, said):
            return False
        self._sent[stream] = (joined, said)
        return True

    # --- tickers -------------------------------------------------------------------------------

    def _publish_tickers(self, now_ms: int, *, single: bool, array: bool, book: bool) -> None:
        heard = self._streams.subscribers
        arrays = {"!miniTicker@arr", "!ticker@arr"} & heard.keys() if array else set()
        minis, fulls = [], []
        for symbol in self._names:
            if self._is_silent(symbol) or symbol not in self._book.source.symbols:
                continue
            low = symbol.lower()
            names = [f"{low}@ticker", f"{low}@miniTicker"] if single else []
            names += [f"{low}@bookTicker"] if book else []
            names = [name for name in names if name in heard]
            if not arrays and not names:
                continue
            if names and names[-1].endswith("@bookTicker"):
                self._publish_best(symbol, names.pop(), now_ms)
            if not arrays and not names:
                continue
            values = self._book.ticker(symbol, now_ms)
            if values is None:
                continue
            full, mini = self._ticker_frames(values)
            said = (values["n"], values["L"], values["v"], values["F"])
            for name in names:
                if self._is_news(name, said):
                    self._streams.publish(name, mini if name.endswith("@miniTicker") else full)
            if arrays and self._is_news(f"!{symbol}", said):
                minis.append(mini)
                fulls.append(full)
        if minis:
            self._streams.publish(
                "!miniTicker@arr", _array([*minis, *self._faults.foreign_tickers])
            )
            if self._um:
                self._streams.publish(
                    "!ticker@arr", _array([*fulls, *self._faults.foreign_tickers])
                )

    def _ticker_frames(self, values: TickerValues) -> tuple[bytes, bytes]:
        full = msgspec.json.encode({"e": "24hrTicker"} | values)
        mini = {"e": "24hrMiniTicker"} | {key: values[key] for key in "Escohlvq"}
        return full, msgspec.json.encode(mini)

    def _publish_best(self, symbol: str, stream: str, now_ms: int) -> None:
        """Best bid and ask; the message of spot has no ``e`` and no ``E``."""
        best = self._book.best(symbol, now_ms)
        if best is None or not self._is_news(stream, best):
            return
        frame: TickerValues = {"u": now_ms, "s": symbol}
        frame |= best
        if self._um:
            head: TickerValues = {"e": "bookTicker"}
            frame = head | frame | {"T": now_ms, "E": now_ms, "ps": symbol, "st": 1}
        self._streams.publish(stream, msgspec.json.encode(frame))


def _array(frames: list[bytes]) -> bytes:
    return b"[" + b",".join(frames) + b"]"


def _is_due(earlier_ms: int, now_ms: int, period_ms: int) -> bool:
    """True if a multiple of the period lies in ``(earlier_ms, now_ms]``."""
    return period_ms > 0 and earlier_ms // period_ms != now_ms // period_ms
