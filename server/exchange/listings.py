"""Symbols come and go: what of a source is listed, traded and to be seen at each moment."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from server.exchange.minutes import MINUTE_MS, Minutes, Row, Source, Symbol

__all__ = ["Listings"]

_NEVER_MS = 1 << 62

Span = tuple[int, int]  # of opening times of minutes: first, end


class Listings:
    """A source whose symbols can be listed, delisted, renamed, halted and resumed.

    Minutes in which a symbol was not traded do not exist, in REST as in streams: a kline that lies
    wholly in such a span does not exist either, one that lies partly in it is made of the rest.
    What happens within a minute takes effect on its status at once, on its trades at the end of
    that minute; a minute in which trading begins is whole.
    """

    def __init__(self, source: Source, *, unlisted: Iterable[str] = ()) -> None:
        """``unlisted``: symbols of ``source`` that are to be listed later."""
        self.market = source.market
        self.first_ms = source.first_ms
        self.end_ms = source.end_ms
        self.symbols = dict(source.symbols)  # those listed now
        #: Status where it is not TRADING.
        self.statuses: dict[str, str] = {}
        #: Moves when a symbol comes, goes, stops or resumes.
        self.version = 0
        self._source = source
        self._kinds = dict(source.symbols)
        self._origins: dict[str, str] = {}  # renamed symbol -> its name in the source
        self._hidden: dict[str, list[Span]] = {}  # the last one may be open
        for name in unlisted:
            del self.symbols[name]
            self._hidden[name] = [(0, _NEVER_MS)]

    # --- what happens --------------------------------------------------------------------------

    def list_symbol(self, name: str, now_ms: int) -> None:
        """Begin to trade a symbol that is not listed. Raises ValueError."""
        if name in self.symbols or name not in self._kinds:
            raise ValueError(f"{name} is listed already, or unknown to the source")
        self.symbols[name] = self._kinds[name]
        self._show(name, now_ms)

    def delist(self, name: str, now_ms: int) -> None:
        """Take a symbol out of everything. Raises KeyError: it is not listed."""
        del self.symbols[name]
        self.statuses.pop(name, None)
        self._hide(name, now_ms)

    def rename(self, old: str, new: str, now_ms: int) -> None:
        """Delist ``old``, and list ``new`` with its trades from now on and no history."""
        kind = self.symbols[old]
        self.delist(old, now_ms)
        self._kinds[new] = kind._replace(name=new, base=new.removesuffix(kind.quote))
        self._origins[new] = self._origins.get(old, old)
        self._hidden[new] = [(0, _NEVER_MS)]
        self.list_symbol(new, now_ms)

    def set_status(self, name: str, status: str, now_ms: int) -> None:
        """Any status but TRADING stops the symbol's trades. Raises KeyError: it is not listed."""
        if name not in self.symbols:
            raise KeyError(name)
        if status == "TRADING":
            self.statuses.pop(name, None)
            self._show(name, now_ms)
        else:
            self.statuses[name] = status
            self._hide(name, now_ms)

    def _hide(self, name: str, now_ms: int) -> None:
        spans = self._hidden.setdefault(name, [])
        if not spans or spans[-1][1] != _NEVER_MS:
            spans.append((-(-now_ms // MINUTE_MS) * MINUTE_MS, _NEVER_MS))
        self.version += 1

    def _show(self, name: str, now_ms: int) -> None:
        spans = self._hidden.get(name)
        if spans and spans[-1][1] == _NEVER_MS:
            start_ms = spans.pop()[0]
            end_ms = now_ms // MINUTE_MS * MINUTE_MS
            if start_ms < end_ms:
                spans.append((start_ms, end_ms))
        self.version += 1

    def kind(self, name: str) -> Symbol:
        """A symbol as it is, or was before it was delisted."""
        return self._kinds[name]

    def hidden(self, name: str) -> tuple[Span, ...]:
        """When a symbol was not traded: opening times of minutes, the first and behind the last."""
        return tuple(self._hidden.get(name, ()))

    # --- what is to be seen --------------------------------------------------------------------

    def first_of(self, name: str) -> int:
        """Opening time of the oldest minute a symbol can have."""
        spans = self._hidden.get(name)
        if spans and not spans[0][0] and spans[0][1] != _NEVER_MS:
            return max(self.first_ms, spans[0][1])
        return self.first_ms

    def minutes(self, symbol: str, first_ms: int, now_ms: int) -> Minutes:
        """Minutes from ``first_ms`` up to and including the one ``now_ms`` is in, so far."""
        minutes = self._source.minutes(self._origins.get(symbol, symbol), first_ms, now_ms)
        for start_ms, end_ms in self._hidden.get(symbol, ()):
            low, high = np.searchsorted(minutes.open_ms, [start_ms, end_ms])
            if low < high:
                minutes = Minutes(*(np.delete(column, slice(low, high)) for column in minutes))
        return minutes

    def present(self, symbol: str, now_ms: int) -> Row | None:
        """The minute ``now_ms`` is in, so far; None if it is not traded."""
        opened_ms = now_ms // MINUTE_MS * MINUTE_MS
        for start_ms, end_ms in self._hidden.get(symbol, ()):
            if start_ms <= opened_ms < end_ms:
                return None
        return self._source.present(self._origins.get(symbol, symbol), now_ms)

    def texts(self, symbol: Symbol, row: Row, interval: str) -> list[str]:
        """How the exchange prints open, high, low, close, volume, quote volume and taker buys."""
        origin = self._origins.get(symbol.name)
        if origin is not None:
            symbol = symbol._replace(name=origin)
        return self._source.texts(symbol, row, interval)
