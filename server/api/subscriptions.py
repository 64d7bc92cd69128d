"""What one connection listens to, changed by Binance's control messages."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from server.signals.channels import TICKERS, Channels
from server.signals.control import INVALID_REQUEST, ControlError, Request

__all__ = ["Applied", "Subscriptions"]

_KNOWN = (
    "streams are <symbol>@kline_<interval>, <symbol>@ticker, <symbol>@miniTicker, !ticker@arr, "
    "!miniTicker@arr, tickers, !barrier, !symbols, signals, signals@<trader> and matches@<trader>"
)

_NONE: frozenset[str] = frozenset()

#: ``find(name)``: topics of a stream of traders' signals; None if it is none, or not to be seen.
FindSignals = Callable[[str], tuple[str, ...] | None]


class Applied(NamedTuple):
    """What a control message came to."""

    result: list[str] | bool | None = None
    added: frozenset[str] = frozenset()  # topics listened to from now on
    removed: frozenset[str] = frozenset()


class Subscriptions:
    """The topics of one connection and the form in which it wants them.

    A ``silent`` one listens to all tickers until its first SUBSCRIBE.
    """

    __slots__ = (
        "_channels",
        "_find_signals",
        "_signals",
        "_silent",
        "_streams_max",
        "combined",
        "topics",
    )

    def __init__(
        self,
        channels: Channels,
        find_signals: FindSignals,
        *,
        streams_max: int,
        combined: bool = False,
        silent: bool = False,
    ) -> None:
        self._channels = channels
        self._find_signals = find_signals
        self._streams_max = streams_max
        self._silent = silent
        self._signals: dict[str, tuple[str, ...]] | None = None  # stream -> its topics
        self.combined = combined
        self.topics: frozenset[str] = frozenset({channels.topic(TICKERS)} if silent else ())

    @property
    def has_signals(self) -> bool:
        """Whether signals are listened to: all symbols may fire at one close."""
        return bool(self._signals)

    def apply(self, request: Request) -> Applied:
        """Do what is asked. Raises ControlError: nothing was done."""
        if request.method == "LIST_SUBSCRIPTIONS":
            return Applied(sorted(self._names()))
        if request.method == "GET_PROPERTY":
            return Applied(self.combined)
        if request.method == "SET_PROPERTY":
            self.combined = bool(request.value)
            return Applied()
        if request.method == "UNSUBSCRIBE":
            return self._unsubscribe(request)
        return self._subscribe(request)

    def leave_ended(self) -> tuple[tuple[str, ...], frozenset[str]]:
        """End the streams of traders that are gone, or may be seen no longer: their names, and the
        topics that are left."""
        gone = tuple(name for name in self._signals or () if self._find_signals(name) is None)
        before = self.topics
        for name in gone:
            self._leave(name)
        return gone, before - self.topics

    def _names(self) -> set[str]:
        """Streams by the names that clients know."""
        signals = self._signals or {}
        of_signals = {topic for topics in signals.values() for topic in topics}
        return {*map(self._channels.stream, self.topics - of_signals), *signals}

    def _unsubscribe(self, request: Request) -> Applied:
        before = self.topics
        for name in request.params:
            if self._signals and name in self._signals:
                self._leave(name)
            else:
                # Also of a symbol that is gone: its streams cannot be found any more.
                self.topics -= {self._channels.topic_of(name)}
        return Applied(None, frozenset(), before - self.topics)

    def _leave(self, name: str) -> None:
        assert self._signals is not None
        topics = self._signals.pop(name)
        kept = {topic for others in self._signals.values() for topic in others}
        self.topics -= set(topics) - kept

    def find(self, request: Request) -> frozenset[str]:
        """The topics that a SUBSCRIBE names. Raises ControlError: an unknown one."""
        found, signals = self._find(request)
        return frozenset(found).union(*signals.values())

    def _find(self, request: Request) -> tuple[dict[str, str], dict[str, tuple[str, ...]]]:
        """Topics of the market with their streams, and streams of signals with their topics."""
        found: dict[str, str] = {}
        signals: dict[str, tuple[str, ...]] = {}
        for name in request.params:
            topic = self._channels.find(name)
            if topic is not None:
                found[topic] = self._channels.stream(topic)
                continue
            of_traders = self._find_signals(name)
            if of_traders is None:
                raise _invalid(f"unknown stream {name[:60]!r}; {_KNOWN}", request)
            signals[name] = of_traders
        return found, signals

    def _subscribe(self, request: Request) -> Applied:
        found, signals = self._find(request)
        kept = set() if self._silent else self._names()
        if len({*found.values(), *signals} | kept) > self._streams_max:
            raise _invalid(f"too many streams, at most {self._streams_max} a connection", request)
        before = self.topics
        self.topics = (_NONE if self._silent else before).union(found, *signals.values())
        self._silent = False
        if signals:
            self._signals = (self._signals or {}) | signals
        return Applied(None, self.topics - before, before - self.topics)


def _invalid(detail: str, request: Request) -> ControlError:
    return ControlError(INVALID_REQUEST, f"Invalid request: {detail}", request.id)
