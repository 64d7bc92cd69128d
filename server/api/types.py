"""The shapes of ASGI, and the answers of the API: what ``/openapi.json`` is made from."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated, Any, Protocol, TypeAlias

import msgspec

from server.feeds.base import FeedStatus, SeriesState

__all__ = [
    "Application",
    "Conversation",
    "Headers",
    "Health",
    "HubStatus",
    "KlineRow",
    "Klines",
    "LatencyStatus",
    "LiveResponse",
    "MarketReadiness",
    "MarketStatus",
    "MarketSymbols",
    "Message",
    "PackedResponse",
    "Problem",
    "ProcessStatus",
    "Readiness",
    "Receive",
    "Response",
    "Scope",
    "Send",
    "SeriesCounts",
    "SeriesStatus",
    "Status",
    "StoreStatus",
    "Symbols",
    "SymbolsChange",
    "Ticker",
    "TradersStatus",
]

Scope: TypeAlias = dict[str, Any]
Message: TypeAlias = dict[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
Application: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]
Headers: TypeAlias = list[tuple[bytes, bytes]]

JSON = b"application/json"


class Response:
    """One answer, ready for ASGI: its messages are made once and sent as often as asked for."""

    __slots__ = ("body", "end", "headers", "start", "status")

    def __init__(
        self,
        body: bytes,
        *,
        status: int = 200,
        content_type: bytes = JSON,
        headers: Headers | None = None,
    ) -> None:
        """``headers`` come after the content's type and length."""
        self._make(
            status,
            [
                (b"content-type", content_type),
                (b"content-length", b"%d" % len(body)),
                (b"x-content-type-options", b"nosniff"),
                *(headers or ()),
            ],
            body,
        )

    def _make(self, status: int, headers: Headers, body: bytes) -> None:
        self.status = status
        self.headers = headers
        self.body = body
        self.start: Message = {
            "type": "http.response.start",
            "status": status,
            "headers": headers,
        }
        self.end: Message = {"type": "http.response.body", "body": body}

    @classmethod
    def bare(cls, status: int, headers: Headers, body: bytes = b"") -> Response:
        """An answer with these headers and no others."""
        response = cls.__new__(cls)
        response._make(status, headers, body)
        return response

    def with_headers(self, headers: Headers) -> Response:
        """The same answer with more headers; the body is shared."""
        return Response.bare(self.status, [*self.headers, *headers], self.body)


class PackedResponse(Response):
    """An answer that is also there compressed, for those who can read that."""

    __slots__ = ("packed",)

    def __init__(
        self, body: bytes, packed: bytes, *, content_type: bytes, headers: Headers
    ) -> None:
        """``packed`` is ``body`` by gzip."""
        headers = [*headers, (b"vary", b"accept-encoding")]
        super().__init__(body, content_type=content_type, headers=headers)
        self.packed = Response(
            packed, content_type=content_type, headers=[*headers, (b"content-encoding", b"gzip")]
        )


class Conversation(Protocol):
    """The rest of a ``LiveResponse``, once its beginning can be sent."""

    async def run(self, start: Message, receive: Receive, send: Send) -> None:
        """Send ``start`` and what follows, until somebody ends it; gives back what it holds."""
        ...


class LiveResponse(Response):
    """An answer that goes on: its body has no length, and no end that is known yet."""

    __slots__ = ("open",)

    def __init__(
        self, open: Callable[[], Conversation], *, content_type: bytes, headers: Headers
    ) -> None:
        """``open`` is called when the answer is to be sent, not for a HEAD. It may raise ApiError:
        another answer is sent then."""
        self._make(
            200,
            [
                (b"content-type", content_type),
                (b"x-content-type-options", b"nosniff"),
                *headers,
            ],
            b"",
        )
        self.open = open

    def with_headers(self, headers: Headers) -> LiveResponse:
        response = LiveResponse.__new__(LiveResponse)
        response._make(self.status, [*self.headers, *headers], b"")
        response.open = self.open
        return response


class KlineRow(msgspec.Struct):
    """One kline; numbers are the exchange's own text, times are ms UTC."""

    t: int  # open time
    o: str  # open
    h: str  # high
    l: str  # noqa: E741 - the exchange's letter for low
    c: str  # close
    v: str  # volume, base asset
    T: int
    q: str  # volume, quote asset
    n: int  # trades
    V: str
    Q: str
    x: bool  # closed


class Klines(msgspec.Struct):
    """The newest klines of a series, oldest first."""

    symbol: str
    interval: str
    klines: list[KlineRow]
    count: int


class Ticker(msgspec.Struct):
    """Rolling 24 hours of a symbol; numbers are the exchange's own text."""

    s: str  # symbol
    c: str  # last price
    v: str  # volume, base asset
    q: str  # volume, quote asset
    P: str
    h: str  # high
    l: str  # noqa: E741 - low
    t: int  # event time, ms UTC


class Health(msgspec.Struct):
    """The process and its event loop are alive; says nothing of the data, see ``/ready``."""

    status: str
    time: int  # s UTC
    uptime_s: float
    loop_lag_ms: float


class SeriesCounts(msgspec.Struct):
    """How many series are how far."""

    total: int = 0
    complete: int = 0  # backfilled, following the stream
    stale: int = 0  # the next close is overdue
    empty: int = 0


class MarketReadiness(msgspec.Struct):
    """One market: what its feed says and what its rows show."""

    phase: str
    ready: bool
    data_age_ms: int | None  # since the last message of the exchange
    stale: bool
    backfill_done: int
    backfill_total: int
    streams_desired: int
    streams_delivering: int
    unknown_symbols: list[str]
    series: SeriesCounts
    symbols_not_trading: list[str] = []  # halted or gone: their klines are not waited for
    symbols_without_room: list[str] = []


class Readiness(msgspec.Struct):
    """Whether the data can be relied on; ``reasons`` say why not."""

    ready: bool
    reasons: list[str]
    markets: dict[str, MarketReadiness]


SymbolName: TypeAlias = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]


class MarketSymbols(msgspec.Struct):
    """What one market holds."""

    symbols: list[str]
    intervals: list[str]
    capacity: int
    unknown_symbols: list[str]
    #: The exchange's word for each symbol; ``GONE``: it lists it no more.
    statuses: dict[str, str] = {}
    without_room: list[str] = []  # symbols that should be held and do not fit
    room: int = 0  # symbols that can be added


class SymbolsChange(msgspec.Struct, forbid_unknown_fields=True):
    """Symbols to hold from now on, and to hold no longer; all of it is done, or nothing."""

    add: list[SymbolName] = []
    remove: list[SymbolName] = []


class Symbols(msgspec.Struct):
    """What this server holds, by market."""

    markets: dict[str, MarketSymbols]


class SeriesStatus(msgspec.Struct):
    """One series; times are ms UTC, 0 for never."""

    symbol: str
    interval: str
    feed: SeriesState
    rows: int
    first_open_ms: int
    last_close_ms: int
    last_event_ms: int
    holes: list[tuple[int, int]]  # first and last missing open time, inclusive; nobody knows why
    absences: list[tuple[int, int]]  # the same where the exchange has confirmed that it has none
    states: dict[str, int]  # closed rows by how they are known, see klinecore.RowState
    revision: int
    closed_count: int
    counters: dict[str, int]


class MarketStatus(msgspec.Struct):
    """One market: its feed, its memory, its series."""

    feed: FeedStatus
    capacity: int
    arena_bytes: int
    counters: dict[str, int]
    closes_lost: int
    series: list[SeriesStatus]


class HubStatus(msgspec.Struct):
    """Subscribers of ``/ws`` and what happened to their messages."""

    subscribers: int
    subscriptions: int
    waiting: int
    published: int
    delivered: int
    conflated: int
    overflowed: int


class ProcessStatus(msgspec.Struct):
    """The process that serves; memory is null where the system does not tell."""

    version: str
    uptime_s: float
    loop_lag_ms: float
    rss_bytes: int | None
    pss_bytes: int | None  # pages shared with others count in part


class StoreStatus(msgspec.Struct):
    """What is kept of traders and signals; ``fault`` says why nothing can be written."""

    up: bool
    fault: str | None
    file_bytes: int
    waiting: int  # rows for the disk
    outbox: int  # rows for Supabase


class TradersStatus(msgspec.Struct):
    """All traders, and what their filters remember."""

    held: int
    running: int
    state_bytes: int
    state_bytes_max: int  # of each market
    errors: int


class LatencyStatus(msgspec.Struct):
    """How often it took how long: ``counts[i]`` at most ``bounds_s[i]``, the last one longer."""

    bounds_s: list[float]
    counts: list[int]
    sum_s: float


class Status(msgspec.Struct):
    """Everything at once."""

    readiness: Readiness
    hub: HubStatus
    markets: dict[str, MarketStatus]
    process: ProcessStatus
    store: StoreStatus | None  # null: nothing outlasts the process
    traders: TradersStatus
    #: From a kline's end to its close (``close``) and its signals (``signal``) told; and of a
    #: group of rows written (``commit``).
    latencies: dict[str, LatencyStatus]


class Problem(msgspec.Struct, omit_defaults=True):
    """RFC 9457 problem details; ``code`` is stable, texts are not."""

    title: str
    status: int
    detail: str
    code: str
    instance: str
    type: str = "about:blank"
    allowed: list[str] | None = None  # what would have been accepted, or a part of it
    allowed_count: int | None = None  # of how many, where ``allowed`` is a part
    reasons: list[str] | None = None
    line: int | None = None  # where a filter is wrong, and the column; both from 1
    column: int | None = None
    hint: str | None = None  # how a filter may be mended
    id: str | None = None  # of this failure in the server's log
