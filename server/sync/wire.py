"""What the sync process and its parent say to each other: one JSON object a line, bounded."""

from __future__ import annotations

from typing import Literal

import msgspec

from server.store.tiers import UserTier
from server.traders.model import Trader

__all__ = [
    "DETAIL_MAX",
    "LINE_BYTES_MAX",
    "Alive",
    "Acknowledged",
    "BrokenRow",
    "Dead",
    "DeadLetter",
    "Drain",
    "FromChild",
    "TradersChanged",
    "decode_from_child",
    "decode_to_child",
    "encode",
]

#: A longer line is a fault of the process that wrote it.
LINE_BYTES_MAX = 1 << 20
#: Characters of what Supabase says about a row, or of what is wrong with one.
DETAIL_MAX = 400


class Acknowledged(msgspec.Struct, tag="acknowledged", frozen=True, kw_only=True):
    """Rows of the outbox that are in Supabase, or need not get there: to be deleted."""

    kind: str
    stored: list[int]  # by seq
    skipped: list[int]  # of traders that Supabase does not have (any more)
    lag_ms: int  # age of the oldest one when it was stored


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True):
    """A row that Supabase will never take, and why."""

    seq: int
    code: str  # SQLSTATE, PGRSTnnn or an HTTP status
    detail: str


class Dead(msgspec.Struct, tag="dead", frozen=True, kw_only=True):
    """Rows to be kept as dead letters, and deleted from the outbox."""

    letters: list[DeadLetter]


class BrokenRow(msgspec.Struct, frozen=True, kw_only=True):
    """A trader's row that cannot be read as one."""

    trader_id: str
    detail: str


class TradersChanged(msgspec.Struct, tag="traders", frozen=True, kw_only=True):
    """Part of a change of traders and tiers; it takes place with the part that is the ``last``."""

    first: bool  # forget parts of a change that never ended
    whole: bool  # what is not named is gone: the process just started
    last: bool
    traders: list[Trader] = []
    broken: list[BrokenRow] = []
    gone: list[str] = []  # traders, by id
    tiers: list[UserTier] = []
    free: list[str] = []  # users who have no tier any more


class Alive(msgspec.Struct, tag="alive", frozen=True, kw_only=True):
    """Said every few seconds, changed or not; counts are those since the last one."""

    requests: dict[str, int]  # HTTP status, or "transport" -> requests
    realtime: Literal["off", "joining", "joined"]
    read_age_ms: int | None  # since traders were last read or seen unchanged; None: never
    blocked: dict[str, str]  # kind -> why none of its rows is taken at the moment


class Drain(msgspec.Struct, tag="drain", frozen=True, kw_only=True):
    """Send what there is, then end."""


FromChild = Acknowledged | Dead | TradersChanged | Alive

_encoder = msgspec.json.Encoder()
_from_child: msgspec.json.Decoder[FromChild] = msgspec.json.Decoder(FromChild)
_to_child = msgspec.json.Decoder(Drain)


def encode(message: FromChild | Drain) -> bytes:
    """One line."""
    return _encoder.encode(message) + b"\n"


def decode_from_child(line: bytes) -> FromChild:
    """Raises msgspec.DecodeError: no such message."""
    return _from_child.decode(line)


def decode_to_child(line: bytes) -> Drain:
    """Raises msgspec.DecodeError: no such message."""
    return _to_child.decode(line)
