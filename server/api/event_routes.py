"""``/events``: the streams of ``/ws`` for whoever reads server-sent events."""

from __future__ import annotations

from server.api.events import EventServer
from server.api.market_events import Sessions
from server.api.parameters import MARKET
from server.api.problems import ApiError
from server.api.router import Access, Parameter, Request, Route
from server.api.state import ServerState
from server.api.types import Response
from server.traders.streams import find_topics

__all__ = ["EventRoutes", "last_event_id"]

_STREAMS = Parameter(
    "streams",
    "Streams as on /ws, with / between them: btcusdt@kline_1m/!barrier/signals.",
    {"type": "string"},
    required=True,
)
#: Characters of a Last-Event-ID.
_ID_LENGTH_MAX = 200


class EventRoutes:
    """Handlers over one ``ServerState``; ``table`` says which path leads to which."""

    def __init__(self, state: ServerState, server: EventServer) -> None:
        self._state = state
        self._server = server
        self._sessions = Sessions(state.hub, state.settings.signals_queue_max)
        metrics, sessions = state.metrics, self._sessions
        metrics.gauge("sse_sessions", "Event streams open or kept for a while.").read(
            lambda: len(sessions)
        )
        metrics.counter("sse_resumed_total", "Event streams taken up again.").read(
            lambda: sessions.resumed
        )
        metrics.counter("sse_missed_total", "Those of which events were not held any more.").read(
            lambda: sessions.missed
        )
        self.table = (
            Route(
                "/events",
                self._events,
                "Streams as server-sent events; Last-Event-ID takes them up again for a while",
                Access.READ,
                "text/event-stream",
                (_STREAMS, MARKET),
                (400, 401, 429, 503),
                personal=True,
            ),
        )

    def _events(self, request: Request) -> Response:
        principal = request.principal
        topics = self._topics(request)
        last_id = last_event_id(request)
        return self._server.answer(
            principal, lambda: self._sessions.open(principal, topics, last_id)
        )

    def _topics(self, request: Request) -> tuple[str, ...]:
        served = self._state.served(request.query.get("market"))
        names = [name for name in request.query.get("streams", "").split("/") if name]
        most = self._state.settings.ws_subscriptions_max
        if not 0 < len(names) <= most:
            raise ApiError(
                400, "invalid_streams", f"streams names 1..{most} streams, with / between them."
            )
        topics: dict[str, None] = {}
        for name in names:
            found = find_topics(self._state.desk.book, request.principal, name)
            if found is None:
                topic = served.channels.find(name)
                if topic is None:
                    raise ApiError(400, "unknown_stream", f"There is no stream {name[:60]!r}.")
                found = (topic,)
            topics.update(dict.fromkeys(found))
        return tuple(topics)


def last_event_id(request: Request) -> str | None:
    """The last event that a client got, when it comes back. Raises ApiError 400."""
    raw = request.headers.get(b"last-event-id", b"")
    if len(raw) > _ID_LENGTH_MAX or not raw.isascii():
        raise ApiError(400, "invalid_event_id", "Last-Event-ID is none of this server's.")
    return raw.decode() or None
