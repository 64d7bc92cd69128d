"""What can go wrong at the exchange, as switches; all off by default."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import NamedTuple

__all__ = ["Faults", "RestFault"]


class RestFault(NamedTuple):
    """An answer to give instead of the right one."""

    status: int
    retry_after: str | None = None  # as it stands in the header
    body: bytes = b'{"code":-1003,"msg":"Too many requests."}'
    content_type: str = "application/json;charset=UTF-8"


@dataclass(slots=True)
class Faults:
    """Set a switch and it holds until it is set back; counts go down as they are used."""

    # streams
    mute_streams: set[str] = field(default_factory=set)  # names that deliver nothing, pings go on
    mute_all: bool = False  # no stream delivers, pings and ACKs go on
    half_open: bool = False  # not a byte leaves on open sockets, and none is closed
    no_ack: bool = False  # control messages are not answered
    ack_only: bool = False  # subscriptions are acknowledged and not made
    drop_closes: int = 0  # of the next closes, this many are not sent
    late_close_ms: int = 0  # closes are sent this much later, by the exchange's clock
    duplicates: int = 0  # every frame is sent this many times more
    reorder: bool = False  # closes of one moment are sent in reverse
    truncate: int = 0  # of the next frames, this many end in the middle of their JSON
    malformed: deque[bytes] = field(default_factory=deque)  # sent once each, before the next frame
    foreign_tickers: list[bytes] = field(default_factory=list)  # added to every ticker array
    refuse_connects: bool = False  # upgrades are answered 503

    # symbols
    halted: set[str] = field(default_factory=set)  # status HALT, streams silent
    delisted: set[str] = field(default_factory=set)  # gone from REST, streams silent

    # REST
    rest: deque[RestFault] = field(default_factory=deque)  # for the next requests, one each
    rest_delay_s: float = 0.0  # real seconds before each answer
    rest_cut: int = 0  # of the next answers, this many end in the middle of their body
    klines_lack_last: bool = False  # klines answers end one row early
    klines_lag_ms: int = 0  # klines answers are as of so long ago: the database is behind
