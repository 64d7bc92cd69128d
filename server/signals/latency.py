"""How soon closes are told, measured from the end of their klines."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from klinecore.events import EventKind
from klinecore.interval import next_open_ms
from klinecore.market import Event
from server.metrics import Registry

__all__ = ["CloseLatency"]

_BUCKETS_S = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class CloseLatency:
    """Of one market, since this was made: klines that ended before are no news."""

    def __init__(self, name: str, now_ms: Callable[[], int], metrics: Registry) -> None:
        """``now_ms`` is the exchange's time."""
        self._name = name
        self._now_ms = now_ms
        self._since_ms = now_ms()
        self._seconds = metrics.histogram(
            "kline_close_told_seconds",
            "From the end of a kline to its close told to whoever listens.",
            ["market"],
            _BUCKETS_S,
        )

    def note(self, events: Iterable[Event]) -> None:
        """These have been told just now."""
        closes: dict[tuple[str, int], int] = {}
        for event in events:
            if event.kind is EventKind.CLOSED:
                key = (event.interval, event.open_time_ms)
                closes[key] = closes.get(key, 0) + 1
        if not closes:
            return
        now_ms = self._now_ms()
        for (interval, open_ms), count in closes.items():
            ended_ms = next_open_ms(interval, open_ms)
            if ended_ms > self._since_ms:
                self._seconds.observe(max(0, now_ms - ended_ms) / 1000, self._name, count=count)
