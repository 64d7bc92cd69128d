"""Turns the changes of a market into the messages of its streams, if anybody listens."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from klinecore.barrier import Barrier
from klinecore.events import EventKind
from klinecore.kline import Kline
from klinecore.market import Event, Market
from klinecore.series import Series
from server.clock import Clock
from server.signals.hub import Hub

__all__ = ["ARRAYS", "BARRIER", "SYMBOLS", "TICKERS", "Channels"]

#: Every ticker of the market, in the short form of ``/ticker``: what a silent client receives.
TICKERS = "tickers"

#: The moments at which the closes of a boundary are in, or were given up.
BARRIER = "!barrier"

#: What happens to symbols: listed, halted, gone.
SYMBOLS = "!symbols"

#: Tickers that have changed within a second, in one message: the exchange's frames, in full and
#: without bid, ask and change.
ARRAYS = ("!ticker@arr", "!miniTicker@arr")

#: python-binance asks for arrays with a period behind the name. There is one period.
_PERIODS = ("@1000ms", "@3000ms")

#: Events of one closed row each.
ROWS = frozenset({EventKind.CLOSED, EventKind.FILLED, EventKind.REVISED})


class Channels:
    """The streams of one market and the publisher behind them.

    Streams are named as on the exchange: ``btcusdt@kline_1m``, ``btcusdt@ticker``,
    ``btcusdt@miniTicker`` and ``ARRAYS``, with its frames; ``tickers``,
    ``{"type":"ticker","data":{..}}`` of every symbol; and ``!barrier``,
    ``{"type":"barrier","data":{..}}`` of every boundary; ``!symbols``,
    ``{"type":"symbol","data":{..}}`` of whatever happens to a symbol. A topic of the hub is the
    market's name, a colon and the stream's, so that two markets never mix.
    """

    def __init__(self, name: str, market: Market, hub: Hub, clock: Clock) -> None:
        """``name`` is ``"spot"`` or ``"um"``."""
        self._market = market
        self._hub = hub
        self._clock = clock
        self._prefix = name + ":"
        self._tickers = self._prefix + TICKERS
        self._barriers = self._prefix + BARRIER
        self._symbol_changes = self._prefix + SYMBOLS
        self._symbols: tuple[str, ...] = ()  # those whose topics are known
        self._series_topics: dict[tuple[str, str], str] = {}
        self._ticker_topics: dict[str, str] = {}
        self._mini_topics: dict[str, str] = {}
        self._arrays = {self.topic(name): name for name in ARRAYS}
        self._changed: dict[str, None] = {}  # symbols whose tickers are news to arrays
        self._known: set[str] = set()
        self.closes_lost = 0  # a kline left its window before its close could be published

    def _follow_symbols(self) -> None:
        """The market makes a new tuple whenever its symbols change."""
        market = self._market
        if self._symbols is market.symbols:
            return
        self._symbols = market.symbols
        self._series_topics = {
            (symbol, interval): self.topic(f"{symbol.lower()}@kline_{interval}")
            for symbol in market.symbols
            for interval in market.intervals
        }
        self._ticker_topics = {s: self.topic(f"{s.lower()}@ticker") for s in market.symbols}
        self._mini_topics = {s: self.topic(f"{s.lower()}@miniTicker") for s in market.symbols}
        topics = [
            *self._series_topics.values(),
            *self._ticker_topics.values(),
            *self._mini_topics.values(),
        ]
        self._known = {TICKERS, BARRIER, SYMBOLS, *ARRAYS, *map(self.stream, topics)}

    def topic(self, stream: str) -> str:
        """The hub's topic of a stream."""
        return self._prefix + stream

    def stream(self, topic: str) -> str:
        """The stream's name of a topic of this market."""
        return topic[len(self._prefix) :]

    def find(self, stream: str) -> str | None:
        """The topic of a stream in any case of its symbol; None if there is no such stream.

        The interval's case counts, as on the exchange: ``1m`` is a minute, ``1M`` a month.
        """
        self._follow_symbols()
        name = _folded(stream)
        return self._prefix + name if name in self._known else None

    def topic_of(self, stream: str) -> str:
        """The topic a stream has, or had before its symbol was dropped."""
        return self._prefix + _folded(stream)

    def publish(self, events: Iterable[Event]) -> None:
        """Publish what the market's ``drain`` told of. Never waits."""
        self._follow_symbols()
        forming: dict[tuple[str, str], None] = {}  # in the order of the events
        for event in events:
            if event.kind is EventKind.TICKER:
                self._publish_ticker(event.symbol)
            elif event.kind is EventKind.FORMING:
                forming[event.symbol, event.interval] = None
            elif event.kind in ROWS:
                self._publish_closed(event)
            elif event.kind in (EventKind.BARRIER, EventKind.BARRIER_REVISED):
                self._publish_barrier(event)
        # After the closes: a forming row is always newer than every closed one.
        for key in forming:
            self._publish_forming(key)

    def publish_symbol(self, change: object) -> None:
        """Tell what happened to a symbol; ``change`` is a message."""
        if self._hub.wanted(self._symbol_changes):
            message = msgspec.json.encode({"type": "symbol", "data": change})
            self._hub.publish(self._symbol_changes, message)

    def publish_arrays(self) -> None:
        """Publish the tickers that have changed since the last call; to be called each second."""
        changed, self._changed = self._changed, {}
        if not changed:
            return
        self._follow_symbols()
        symbols = [symbol for symbol in changed if symbol in self._ticker_topics]
        for topic, name in self._arrays.items():
            if self._hub.wanted(topic):
                mini = name != ARRAYS[0]
                told = [self._market.ticker_frame(symbol, mini=mini) for symbol in symbols]
                frames = [frame for frame in told if frame is not None]
                if frames:
                    # Each tells of other symbols: a newer one must not take its place.
                    self._hub.publish(topic, b"[" + b",".join(frames) + b"]")

    def _publish_ticker(self, symbol: str) -> None:
        if self._hub.wanted(self._tickers):
            body = self._market.ticker_json(symbol)
            if body is not None:
                message = b'{"type":"ticker","data":' + body + b"}"
                self._hub.publish(self._tickers, message, conflate_key="!" + symbol)
        if any(map(self._hub.wanted, self._arrays)):
            self._changed[symbol] = None
        full, mini = self._ticker_topics[symbol], self._mini_topics[symbol]
        for topic in (full, mini):
            if self._hub.wanted(topic):
                frame = self._market.ticker_frame(symbol, mini=topic is mini)
                if frame is not None:
                    self._hub.publish(topic, frame, conflate_key=topic)

    def _publish_barrier(self, event: Event) -> None:
        """After the closes it tells of: they were stored, and their events came, before."""
        if not self._hub.wanted(self._barriers):
            return
        barrier = self._market.barrier(event.interval)
        if barrier is None or barrier.open_time_ms != event.open_time_ms:
            return  # a revision of one that is history by now
        revised = event.kind is EventKind.BARRIER_REVISED
        # The newest revision of a boundary is enough; the boundary itself is never dropped.
        key = f"{self._barriers}:{event.interval}:{event.open_time_ms}" if revised else None
        self._hub.publish(self._barriers, _barrier_message(barrier, revised), conflate_key=key)

    def _publish_forming(self, key: tuple[str, str]) -> None:
        topic = self._series_topics[key]
        if self._hub.wanted(topic):
            series = self._market[key]
            row = series.forming
            if row is not None:  # None: it closed since, and that close was published
                frame = _kline_frame(series, row, self._event_ms(series))
                self._hub.publish(topic, frame, conflate_key=topic)

    def _publish_closed(self, event: Event) -> None:
        topic = self._series_topics[event.symbol, event.interval]
        if not self._hub.wanted(topic):
            return
        series = self._market[event.symbol, event.interval]
        row = _closed_row(series, event.open_time_ms)
        if row is None:
            self.closes_lost += 1
            return
        revised = event.kind is EventKind.REVISED
        frame = _kline_frame(series, row, self._event_ms(series), revised=revised)
        # Only the close of the newest kline outdates a waiting update of the forming one.
        newest = event.kind is EventKind.CLOSED
        self._hub.publish(topic, frame, conflate_key=topic if newest else None, final=newest)

    def _event_ms(self, series: Series) -> int:
        return series.last_event_ms or self._clock.time_ms()


def _folded(stream: str) -> str:
    symbol, at, kind = stream.partition("@")
    if symbol.startswith("!") and kind.endswith(_PERIODS):
        kind = kind[: -len(_PERIODS[0])]
    return (symbol if symbol.startswith("!") else symbol.lower()) + at + kind


def _closed_row(series: Series, open_time_ms: int) -> Kline | None:
    last = series.last
    if last is not None and last.open_time_ms == open_time_ms:
        return last
    first, end = series.index_range(open_time_ms, open_time_ms)
    if first == end:
        return None
    return series.klines(len(series) - first)[0]


def _kline_frame(series: Series, row: Kline, event_ms: int, *, revised: bool = False) -> bytes:
    """The exchange's kline frame. Trade ids are not kept: -1, as it prints when there are none.

    A correction of a kline that was published closed before carries ``"revised":true``.
    """
    symbol = series.symbol
    kline = {
        "t": row.open_time_ms,
        "T": row.close_time_ms,
        "s": symbol,
        "i": series.interval,
        "f": -1,
        "L": -1,
        "o": row.open,
        "c": row.close,
        "h": row.high,
        "l": row.low,
        "v": row.volume,
        "n": row.trades,
        "x": row.closed,
        "q": row.quote_volume,
        "V": row.taker_buy_base,
        "Q": row.taker_buy_quote,
        "B": "0",
    }
    frame: dict[str, object] = {"e": "kline", "E": event_ms, "s": symbol, "k": kline}
    if revised:
        frame["revised"] = True
    return msgspec.json.encode(frame)


def _barrier_message(barrier: Barrier, revised: bool) -> bytes:
    data = {
        "interval": barrier.interval,
        "openTime": barrier.open_time_ms,
        "closeTime": barrier.close_time_ms,
        "expected": barrier.expected,
        "closed": barrier.closed,
        "late": barrier.late,
        "complete": barrier.complete,
        "missing": barrier.missing,
        "revised": revised,
    }
    return msgspec.json.encode({"type": "barrier", "data": data})
