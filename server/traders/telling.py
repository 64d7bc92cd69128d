"""What traders tell, passed on: to subscribers first, then to what outlasts the process."""

from __future__ import annotations

from collections.abc import Sequence

from server.signals.hub import Hub
from server.signals.model import Signal
from server.signals.topics import (
    ALL_SIGNALS,
    SignalSink,
    group_topic,
    matches_message,
    matches_topic,
    signal_message,
    signal_topic,
)
from server.traders.book import Book
from server.traders.engine import MatchChange
from server.traders.gauges import DeskGauges

__all__ = ["Teller"]


class Teller:
    """Of one desk."""

    def __init__(self, hub: Hub, book: Book, sink: SignalSink, gauges: DeskGauges) -> None:
        self._hub = hub
        self._book = book
        self._sink = sink
        self._gauges = gauges

    def tell(self, signals: Sequence[Signal], now_ms: int) -> None:
        """Signals of an engine."""
        if signals:
            for signal in signals:
                self._publish(signal)
            self._gauges.told(signals, now_ms)
            self._sink.put(signals)

    def _publish(self, signal: Signal) -> None:
        entry = self._book.get(signal.trader_id)
        if entry is None:
            return
        trader = entry.trader
        group = group_topic(trader.owner, trader.access_tier)
        topics = (signal_topic(trader.id), group, ALL_SIGNALS)
        wanted = [topic for topic in topics if self._hub.wanted(topic)]
        if wanted:
            message = signal_message(signal)
            for topic in wanted:
                self._hub.publish(topic, message)

    def tell_change(self, change: MatchChange) -> None:
        """Symbols that entered or left a trader."""
        topic = matches_topic(change.trader_id)
        if self._hub.wanted(topic):
            self._hub.publish(topic, matches_message(change))
