"""What the streams of one connection have brought, read off the market instead of each frame."""

from __future__ import annotations

from collections.abc import Sequence

from klinecore.market import Market

__all__ = ["Arrivals"]


class Arrivals:
    """Event times of ``streams``; a ticker that REST brought before ``since_ms`` does not count."""

    def __init__(self, market: Market, streams: Sequence[str]) -> None:
        self.since_ms = 0
        self._market = market
        pairs = [stream.split("@", 1) for stream in streams]
        self._series = [
            market[symbol, kind.removeprefix("kline_")]
            for symbol, kind in pairs
            if kind != "ticker"
        ]
        self._symbols = [symbol.upper() for symbol, kind in pairs if kind == "ticker"]
        self._newest_ms = 0
        self._count = len(streams)
        # Streams that have brought nothing since a moment; only these need another look.
        self._moment_ms: int | None = None
        self._quiet_series = self._series
        self._quiet_symbols = self._symbols

    def newest_ms(self) -> int:
        """Newest event time any of the streams has brought so far, ms; 0 before the first."""
        newest_ms = max((series.last_event_ms for series in self._series), default=0)
        if newest_ms <= self._newest_ms:  # reading a ticker costs more
            newest_ms = max(map(self._ticker_ms, self._symbols), default=0)
        self._newest_ms = max(self._newest_ms, newest_ms)
        return self._newest_ms

    def count_since(self, moment_ms: int) -> int:
        """Streams that have brought something since ``moment_ms``, exchange time."""
        if moment_ms != self._moment_ms:
            self._moment_ms = moment_ms
            self._quiet_series, self._quiet_symbols = self._series, self._symbols
        self._quiet_series = [s for s in self._quiet_series if s.last_event_ms < moment_ms]
        self._quiet_symbols = [s for s in self._quiet_symbols if self._ticker_ms(s) < moment_ms]
        return self._count - len(self._quiet_series) - len(self._quiet_symbols)

    def _ticker_ms(self, symbol: str) -> int:
        ticker = self._market.ticker(symbol)
        event_ms = int(ticker["E"]) if ticker is not None else 0
        return event_ms if event_ms > self.since_ms else 0
