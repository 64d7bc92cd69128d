"""Under which names the hub carries signals, and what a message of one looks like."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec

from server.identity import Tier
from server.signals.model import Signal

__all__ = [
    "ALL_SIGNALS",
    "EachSink",
    "SignalSink",
    "builtin_topic",
    "group_topic",
    "matches_message",
    "matches_topic",
    "owner_topic",
    "signal_message",
    "signal_topic",
    "stream_ended",
]


#: Signals of all traders, for whoever may see every owner's.
ALL_SIGNALS = "signals:all"


class SignalSink(Protocol):
    """Where signals go beside the hub: the store, the outbox, alerts. Never waits."""

    def put(self, signals: Sequence[Signal]) -> None:
        """Take signals in their order. One that comes again, by id and revision, is the same."""


class EachSink:
    """Several sinks, as one."""

    def __init__(self, sinks: Sequence[SignalSink]) -> None:
        self._sinks = tuple(sinks)

    def put(self, signals: Sequence[Signal]) -> None:
        """Give them to each, in the order of the sinks."""
        for sink in self._sinks:
            sink.put(signals)


def signal_topic(trader_id: str) -> str:
    """Signals of one trader."""
    return f"signals@{trader_id}"


def matches_topic(trader_id: str) -> str:
    """Symbols that enter and leave what one trader matches, close by close."""
    return f"matches@{trader_id}"


def owner_topic(owner: str) -> str:
    """Signals of all traders of somebody."""
    return f"signals:owner:{owner}"


def builtin_topic(tier: Tier) -> str:
    """Signals of the built-in traders that ask for this tier, not for a lower one."""
    return f"signals:builtin:{tier}"


def group_topic(owner: str | None, access_tier: Tier) -> str:
    """The topic a trader's signals share with those of others: its owner's, or its tier's."""
    return builtin_topic(access_tier) if owner is None else owner_topic(owner)


def signal_message(signal: Signal) -> bytes:
    """The one form of a signal on every stream."""
    return msgspec.json.encode({"type": "signal", "data": signal})


def matches_message(data: object) -> bytes:
    """Likewise of the symbols that entered and left."""
    return msgspec.json.encode({"type": "matches", "data": data})


def stream_ended(stream: str) -> bytes:
    """What a client is told of a stream that is no more."""
    return msgspec.json.encode({"type": "stream_ended", "data": {"stream": stream}})
