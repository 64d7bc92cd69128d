"""Rows of Supabase's tables: how ours are written there, and traders and tiers read from there."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated, Literal, NamedTuple

import msgspec

from server.identity import Tier
from server.signals.model import Signal
from server.store.tiers import UserTier
from server.sync.wire import DETAIL_MAX
from server.traders.model import Category, Trader

__all__ = ["TABLES", "TIER_COLUMNS", "TRADER_COLUMNS", "Table", "read_tier", "read_trader"]


class Table(NamedTuple):
    """Where one kind of rows goes."""

    name: str
    conflict: str  # columns by which a row is the same one
    shape: Callable[[bytes], bytes]  # from the outbox's JSON to the table's
    clears: str = ""  # rows name rows of this kind to delete: a trader's, up to ``last_ms``


_signals = msgspec.json.Decoder(Signal)
_encoder = msgspec.json.Encoder()


def _shape_signal(body: bytes) -> bytes:
    row = msgspec.structs.asdict(_signals.decode(body))
    row["sub_values"] = row.pop("values")
    return _encoder.encode(row)


def _as_it_is(body: bytes) -> bytes:
    return body


#: Kind of the outbox -> table.
TABLES = {
    "signals": Table("trader_signals", "id", _shape_signal),
    "executions": Table("execution_history", "trader_id,interval,open_time_ms,source", _as_it_is),
    "errors": Table("trader_errors", "trader_id,filter_hash,kind", _as_it_is),
    "cleared": Table("trader_errors", "", _as_it_is, clears="errors"),
}

# --- what is read ----------------------------------------------------------------------------

_Name = Annotated[str, msgspec.Meta(min_length=1, max_length=120)]
_Filter = Annotated[str, msgspec.Meta(min_length=1, max_length=4096)]
_Symbols = Annotated[tuple[str, ...], msgspec.Meta(max_length=1000)]
_Conditions = Annotated[tuple[str, ...], msgspec.Meta(max_length=50)]
_Indicators = Annotated[tuple[msgspec.Raw, ...], msgspec.Meta(max_length=50)]


class _TraderRow(msgspec.Struct, kw_only=True):
    """A row of traders as PostgREST writes it. Its columns are those that are asked for."""

    id: str
    user_id: str | None
    name: _Name
    filter: _Filter
    interval: str
    market: str
    symbols: _Symbols
    mode: Literal["edge", "level"]
    cooldown_bars: Annotated[int, msgspec.Meta(ge=0)]
    evaluate_on: Literal["closed", "forming"]
    enabled: bool
    paused_reason: str | None
    description: Annotated[str, msgspec.Meta(max_length=4000)]
    conditions: _Conditions
    indicators: _Indicators
    access_tier: Tier
    category: Category | None
    difficulty: Literal["beginner", "intermediate", "advanced"] | None
    created_at: datetime
    updated_at: datetime


TRADER_COLUMNS = ",".join(_TraderRow.__struct_fields__)
TIER_COLUMNS = "user_id,tier,status,expires_at"

_trader_rows = msgspec.json.Decoder(_TraderRow)


def read_trader(row: bytes | msgspec.Raw) -> Trader:
    """A trader from its row. Raises ValueError: what is wrong with the row."""
    try:
        found = _trader_rows.decode(row)
    except msgspec.DecodeError as error:
        raise ValueError(str(error)[:DETAIL_MAX]) from None
    return Trader(
        id=found.id,
        owner=found.user_id,
        name=found.name,
        filter=found.filter,
        interval=found.interval,
        market=found.market,
        symbols=found.symbols,
        mode=found.mode,
        cooldown_bars=found.cooldown_bars,
        evaluate_on=found.evaluate_on,
        enabled=found.enabled,
        paused_reason=found.paused_reason,
        description=found.description,
        conditions=found.conditions,
        # Each would keep the whole page that it was read from.
        indicators=tuple(line.copy() for line in found.indicators),
        access_tier=found.access_tier,
        category=found.category,
        difficulty=found.difficulty,
        created_ms=_milliseconds(found.created_at),
        updated_ms=_milliseconds(found.updated_at),
    )


class _TierRow(msgspec.Struct, kw_only=True):
    user_id: str
    tier: Tier
    status: str
    expires_at: datetime | None


_tier_rows = msgspec.json.Decoder(_TierRow)


def read_tier(row: bytes | msgspec.Raw) -> UserTier | None:
    """A user's tier; None for one who has none. Raises ValueError: what is wrong with the row."""
    try:
        found = _tier_rows.decode(row)
    except msgspec.DecodeError as error:
        raise ValueError(str(error)[:DETAIL_MAX]) from None
    if found.status != "active":
        return None
    expires_ms = None if found.expires_at is None else _milliseconds(found.expires_at)
    return UserTier(user_id=found.user_id, tier=found.tier, expires_ms=expires_ms)


def _milliseconds(moment: datetime) -> int:
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return int(moment.timestamp() * 1000)
