"""What a trader is: a filter, where it is evaluated, how it fires, and whose it is."""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

import msgspec

from server.identity import Tier

__all__ = ["Category", "Execution", "RunSource", "Trader", "TraderError", "fire_alike"]

Category = Literal["momentum", "reversal", "trend", "volume", "volatility", "pattern"]


class Trader(msgspec.Struct, frozen=True, kw_only=True):
    """One trader. ``owner`` None is a built-in one, which everybody of ``access_tier`` sees."""

    id: str  # a UUID
    owner: str | None
    name: str  # 1..120 characters
    filter: str  # 1..4,096 characters
    interval: str
    market: str = "spot"
    symbols: tuple[str, ...] = ()  # none: every symbol of the market
    mode: Literal["edge", "level"] = "edge"
    cooldown_bars: int = 0
    evaluate_on: Literal["closed", "forming"] = "closed"
    enabled: bool = True
    paused_reason: str | None = None  # why it does not run although it is enabled
    description: str = ""
    conditions: tuple[str, ...] = ()  # the filter in words, line by line
    indicators: tuple[msgspec.Raw, ...] = ()  # lines for a chart; kept as they came
    access_tier: Tier = Tier.ANONYMOUS
    category: Category | None = None
    difficulty: Literal["beginner", "intermediate", "advanced"] | None = None
    created_ms: int
    updated_ms: int


#: What else than its market and filter decides when a trader fires.
_TERMS = ("interval", "mode", "cooldown_bars", "evaluate_on")


def fire_alike(one: Trader, other: Trader) -> bool:
    """Whether two traders of a market that have the same filter fire at the same klines."""
    return all(getattr(one, name) == getattr(other, name) for name in _TERMS)


class RunSource(StrEnum):
    """Who wanted a trader evaluated."""

    ENGINE = "engine"  # a kline closed
    REQUEST = "request"  # somebody asked for it
    CRON = "cron"  # the database's clock did


class Execution(msgspec.Struct, frozen=True, kw_only=True):
    """One evaluation of a trader over its symbols; once for (trader, interval, kline, source)."""

    trader_id: str
    filter_hash: str
    interval: str
    open_time_ms: int
    source: RunSource
    started_ms: int
    duration_us: int
    symbols_checked: int
    symbols_matched: int
    symbols_unknown: int
    incomplete: bool
    error: str | None = None


class TraderError(msgspec.Struct, frozen=True, kw_only=True):
    """What is wrong with a trader; once for (trader, filter, kind), counted."""

    trader_id: str
    filter_hash: str
    kind: str  # "refused", "unknown_symbol", ...
    message: str
    first_ms: int
    last_ms: int
    count: int = 1
