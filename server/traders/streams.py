"""Streams of what traders tell: their names, who may hear them, and the hub's topics of each."""

from __future__ import annotations

from typing import Protocol

from server.identity import Principal, Scope, Tier
from server.signals.topics import (
    ALL_SIGNALS,
    builtin_topic,
    matches_topic,
    owner_topic,
    signal_topic,
)

__all__ = ["SIGNALS", "Sight", "find_topics", "group_topics", "trader_of"]

#: Signals of every trader that whoever asks may see.
SIGNALS = "signals"

_OF_ONE = {"signals": signal_topic, "matches": matches_topic}


class Sight(Protocol):
    """Who sees which trader."""

    def find(self, principal: Principal, trader_id: str) -> object | None:
        """A trader, or None: there is none, or none that ``principal`` may know of."""
        ...


def find_topics(sight: Sight, principal: Principal, stream: str) -> tuple[str, ...] | None:
    """The topics of ``signals``, ``signals@<trader>`` or ``matches@<trader>``.

    None: no such stream. Another owner's trader is none either.
    """
    if stream == SIGNALS:
        return group_topics(principal)
    kind, at, trader_id = stream.partition("@")
    topic = _OF_ONE.get(kind)
    if topic is None or not at or sight.find(principal, trader_id) is None:
        return None
    return (topic(trader_id),)


def group_topics(principal: Principal) -> tuple[str, ...]:
    """The topics that carry every signal ``principal`` may see, each signal once."""
    if principal.scope.includes(Scope.ADMIN):
        return (ALL_SIGNALS,)
    own = () if principal.owner is None else (owner_topic(principal.owner),)
    return (*own, *(builtin_topic(tier) for tier in Tier if principal.tier.includes(tier)))


def trader_of(stream: str) -> str | None:
    """The trader a stream is of; None where it is of no single one."""
    kind, _, trader_id = stream.partition("@")
    return (trader_id or None) if kind in _OF_ONE else None
