"""The stream port: who is let in, who is ended, and what is counted."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable

import msgspec
from picows import WSCloseCode

from server.api.auth import SUBPROTOCOL
from server.api.binance_answers import BinanceAnswers
from server.api.door import Door
from server.api.leases import Lease
from server.api.problems import ApiError
from server.api.state import ServedMarket, ServerState
from server.api.subscriptions import Subscriptions
from server.handshake import Head
from server.identity import Principal
from server.signals.control import ControlError, Request
from server.streams.client import StreamClient
from server.streams.connection import Connection
from server.streams.door import StreamDoor, too_many
from server.streams.fanout import Fanout
from server.streams.paths import StreamPath, read_path
from server.streams.requests import RequestClient, RequestDesk
from server.traders.streams import SIGNALS, find_topics

__all__ = ["StreamPort"]

#: Seconds between two looks at all clients.
SWEEP_S = 1.0
#: Looks between two at topics that nobody listens to; those found twice are dropped.
DESERTED_SWEEPS = 60
#: Clients looked at before others get a turn.
SWEEP_CHUNK = 1000
#: Connections the kernel keeps for us until they are taken.
BACKLOG = 1024

_SUBPROTOCOL_HEADER = b"sec-websocket-protocol"


class StreamPort:
    """A picows server over the hub, on the loop that publishes."""

    def __init__(self, state: ServerState, door: Door, binance: BinanceAnswers) -> None:
        self.settings = state.settings
        self._state = state
        self._gate = state.gate
        self._door = door
        self.now = state.clock.monotonic
        self.traders = state.desk.book
        # Above what an earlier life gave: a message a microsecond is more than there ever are.
        first = state.clock.time_ms() * 1000
        self.fanout = Fanout(
            state.hub,
            self.name_of,
            log_bytes_max=self.settings.stream_log_bytes,
            first=first,
            patience_s=self.settings.stream_patience_s,
        )
        self._desk = RequestDesk(binance, state)
        self._clients: dict[Connection, None] = {}
        self._doors: dict[StreamDoor, None] = {}  # connections whose handshake is not done
        self._by_address: Counter[str] = Counter()
        self._server: asyncio.Server | None = None
        metrics = state.metrics
        self._refused = metrics.counter(
            "stream_refused_total", "Connections refused before the handshake, by status.", ["code"]
        )
        self.dropped = metrics.counter(
            "stream_clients_dropped_total",
            "Connections ended by the server, by close code.",
            ["code"],
        )
        self.dropped.begin(str(WSCloseCode.TRY_AGAIN_LATER.value))
        self._measure()

    def __len__(self) -> int:
        """Clients connected."""
        return len(self._clients)

    @property
    def port(self) -> int:
        """The port that is listened to; 0 before ``start``."""
        sockets = self._server.sockets if self._server is not None else ()
        return int(sockets[0].getsockname()[1]) if sockets else 0

    async def start(self) -> None:
        """Listen. Raises OSError: the port cannot be had."""
        frame_size_max = self.settings.ws_message_max
        self._server = await asyncio.get_running_loop().create_server(
            lambda: StreamDoor(self._admit, self._count_refusal, frame_size_max, self._doors),
            self.settings.host,
            self.settings.stream_port,
            backlog=BACKLOG,
        )

    async def stop(self) -> None:
        """Listen no longer and drop who is still there."""
        self._desk.close()
        if self._server is not None:
            self._server.close()
        for door in tuple(self._doors):
            door.turn_away("The server is shutting down.")
        for client in tuple(self._clients):
            client.drop()
        if self._server is not None:
            await self._server.wait_closed()

    def close_all(self) -> None:
        """Tell every client that the server goes away."""
        if self._server is not None:
            self._server.close()
        now_ms = self._state.clock.time_ms()
        for client in tuple(self._clients):
            client.say_goodbye(now_ms)
            client.end(WSCloseCode.GOING_AWAY, "the server is shutting down")

    async def sweep(self) -> None:
        """Look at every client, once a second: is it there, and does it take what it is sent?"""
        looks = 0
        while True:
            await self._state.clock.sleep(SWEEP_S)
            for place, client in enumerate(tuple(self._clients)):
                self._look_at(client)
                # One that is gone, or going, must not come back to the fan-out.
                if client.principal is not None and not client.closing:
                    client.leave_deleted()
                if place % SWEEP_CHUNK == SWEEP_CHUNK - 1:
                    await asyncio.sleep(0)
            looks += 1
            if looks % DESERTED_SWEEPS == 0:
                self.fanout.detach_deserted()

    def _look_at(self, client: Connection) -> None:
        if client.closing or client.transport is None:
            return
        settings, now = self.settings, self.now()
        if client.full_since is not None:
            if now - client.full_since > settings.subscriber_stall_s:
                waited = now - client.full_since
                client.end(
                    WSCloseCode.TRY_AGAIN_LATER, f"too slow: nothing taken for {waited:.0f} s"
                )
            elif now - client.full_since > SWEEP_S:
                client.end_if_behind()
        elif now - client.heard > settings.stream_ping_s:
            if client.pinged_at is None:
                client.pinged_at = now
                client.transport.send_ping()
            elif now - client.pinged_at > settings.stream_ping_s:
                client.end(WSCloseCode.POLICY_VIOLATION, "a ping was not answered")

    # --- who is let in -------------------------------------------------------------------------

    async def _admit(self, head: Head, address: str) -> tuple[Connection, str | None]:
        path_and_query = head.target.partition(b"?")
        headers = dict(head.headers)
        scope = {
            "raw_path": path_and_query[0],
            "query_string": path_and_query[2],
            "headers": head.headers,
            "http_version": head.version,
        }
        self._door.check(scope, headers)
        if headers.get(b"upgrade", b"").lower() != b"websocket":
            raise ApiError(
                426,
                "upgrade_required",
                "This port speaks WebSocket only.",
                headers=[(b"upgrade", b"websocket")],
            )
        offered = headers.get(_SUBPROTOCOL_HEADER, b"").decode("latin-1")
        subprotocols = [name.strip() for name in offered.split(",") if name.strip()]
        address = self._gate.proxies.client(head.headers, address)
        principal = await self._who(head, subprotocols, address)
        self._door.check_origin(headers)
        path = read_path(head.target)
        self._check_room(address)
        chosen = SUBPROTOCOL if SUBPROTOCOL in subprotocols else None
        if path.requests:
            return RequestClient(self, self._desk, path, principal, address), chosen
        served = self._state.served(path.market)
        if path.names:
            self._check_names(served, path, principal)
        return StreamClient(self, served, path, principal, address), chosen

    async def _who(self, head: Head, subprotocols: list[str], address: str) -> Principal | None:
        """Who comes; None if it shows no key and may still do so in its first message."""
        if self._gate.shows_nothing(head.headers, subprotocols) and not self._gate.open:
            return None
        found = self._gate.check(head.headers, address, subprotocols)
        return found if isinstance(found, Principal) else await found

    async def authenticate(self, text: str, address: str) -> tuple[Principal, int | str | None]:
        """Who an AUTH message is from, and its id. Raises ApiError, ControlError."""
        try:
            message = msgspec.json.decode(text, type=_Auth)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise ControlError(
                2, f"Invalid request: send {_AUTH_EXAMPLE} first ({error})"
            ) from None
        if message.method != "AUTH" or len(message.params) != 1:
            raise ControlError(2, f"Invalid request: send {_AUTH_EXAMPLE} first", message.id)
        found = self._gate.check([(b"x-api-key", message.params[0].encode())], address)
        return (found if isinstance(found, Principal) else await found), message.id

    def lease(self, principal: Principal, end: Callable[[str], object]) -> Lease:
        """Enter a connection that ends with its key. Raises ApiError: it has or makes too many."""
        self._gate.limit(principal, "streams")
        return self._gate.leases.take(principal, end)

    def _check_room(self, address: str) -> None:
        settings = self.settings
        if len(self._clients) >= settings.stream_clients_max:
            raise too_many(f"All {settings.stream_clients_max} connections are taken.")
        if self._by_address[address] >= settings.stream_clients_per_address_max:
            most = settings.stream_clients_per_address_max
            raise too_many(f"Your address has {most} connections, which is as many as it may.")

    def _check_names(
        self, served: ServedMarket, path: StreamPath, principal: Principal | None
    ) -> None:
        """Refuse unknown streams before the handshake, where the reason can still be told."""
        trial = Subscriptions(
            served.channels,
            lambda name: find_topics(self.traders, principal, name) if principal else (),
            streams_max=self.settings.ws_subscriptions_max,
        )
        try:
            trial.apply(Request("SUBSCRIBE", path.names, None))
        except ControlError as error:
            raise ApiError(400, "unknown_stream", str(error)) from None

    def _count_refusal(self, status: int) -> None:
        self._refused.inc(str(status))

    def welcome(self, client: Connection) -> None:
        """A client's handshake is done."""
        self._clients[client] = None
        self._by_address[client.address] += 1

    def farewell(self, client: Connection) -> None:
        """A client's connection is gone."""
        if client in self._clients:
            del self._clients[client]
            self._by_address[client.address] -= 1
            if not self._by_address[client.address]:
                del self._by_address[client.address]

    def name_of(self, topic: str) -> str:
        """The name of a topic's stream, as clients know it."""
        if topic.startswith("signals:"):  # of an owner, of a tier, of all
            return SIGNALS
        market, colon, stream = topic.partition(":")
        return stream if colon else market

    def _measure(self) -> None:
        gauge, counter = self._state.metrics.gauge, self._state.metrics.counter
        fanout = self.fanout
        gauge("stream_clients", "Clients connected.").read(lambda: len(self._clients))
        gauge("stream_handshakes", "Connections whose handshake is not done.").read(
            lambda: len(self._doors)
        )
        gauge("stream_clients_lagging", "Clients whose sockets are full.").read(
            lambda: fanout.lagging
        )
        counter("stream_messages_sent_total", "Messages handed to a socket.").read(
            lambda: fanout.sent
        )
        counter("stream_bytes_sent_total", "Bytes of those.").read(lambda: fanout.size)
        counter("stream_messages_conflated_total", "Messages replaced by newer ones.").read(
            lambda: fanout.conflated
        )
        counter("stream_sockets_full_total", "Times a socket took nothing more.").read(
            lambda: fanout.lagged
        )


class _Auth(msgspec.Struct):
    method: str
    params: tuple[str, ...] = ()
    id: int | str | None = None


_AUTH_EXAMPLE = '{"method":"AUTH","params":["<key>"],"id":1}'
