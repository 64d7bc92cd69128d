"""A signal: a trader's condition held at one kline."""

from __future__ import annotations

from enum import StrEnum
from hashlib import sha1
from uuid import UUID

import msgspec

__all__ = ["Signal", "SignalStatus", "signal_id"]

#: Namespace of the ids; it must never change, or old signals would come again under new ids.
_NAMESPACE = UUID("6f0d3c0e-8a53-5c0f-9c7e-2f6a1f0b7d51")


class SignalStatus(StrEnum):
    """What is known of a signal."""

    FIRED = "fired"  # at a closed kline
    PROVISIONAL = "provisional"  # at a forming kline: confirmed or retracted at its close
    CONFIRMED = "confirmed"  # was provisional, and held at the close
    RETRACTED = "retracted"  # was told, and does not hold after all


class Signal(msgspec.Struct, frozen=True, kw_only=True):
    """One signal, in the one form that it has in streams, answers, webhooks and tables.

    Times are ms since 1970 UTC. ``price`` is the kline's close as the exchange wrote it.
    """

    id: str  # see ``signal_id``: the same signal always has the same
    trader_id: str
    filter_hash: str
    market: str
    symbol: str
    interval: str
    open_time_ms: int
    price: str
    status: SignalStatus
    revision: int  # 1, and one more with each change of this signal
    data_revision: int  # the series' revision counter when it was evaluated
    complete: bool  # False: a row that the filter reads, or a symbol it compares, was not there
    values: dict[str, float | None]  # normal form of each part of the filter -> its value
    anchors: dict[str, int]  # interval -> open time of the first row the filter was fed
    at_ms: int  # when it was made
    historical: bool = False  # found in rows from before the trader was there


def signal_id(
    trader_id: str, filter_hash: str, market: str, symbol: str, interval: str, open_time_ms: int
) -> str:
    """The same text for the same signal: after a restart, on a replica, in a second run."""
    name = "\n".join((trader_id, filter_hash, market, symbol, interval, str(open_time_ms)))
    # As ``uuid.uuid5``, in a third of the time: hundreds are made at a close.
    digest = bytearray(sha1(_NAMESPACE.bytes + name.encode(), usedforsecurity=False).digest()[:16])
    digest[6] = (digest[6] & 0x0F) | 0x50
    digest[8] = (digest[8] & 0x3F) | 0x80
    text = digest.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
