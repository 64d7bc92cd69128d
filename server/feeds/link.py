"""One socket to the exchange: connect, subscribe, and tell whether it is alive."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Iterator, Sequence

import msgspec
from picows import WSError, WSHandshakeError, WSMsgType, ws_connect

from klinecore.market import Market
from klinecore.parsers.binance import FrameKind, parse_frame
from server.clock import Clock, wait_event
from server.errors import FeedError
from server.feeds.listener import ChangeNotifier, FeedListener
from server.feeds.liveness import Base
from server.settings import Settings
from server.tls import client_context

__all__ = ["SUBSCRIBE_SIZE_MAX", "Link", "pack_subscriptions"]

#: Longer SUBSCRIBE messages are never answered; the exchange cuts at 4,096 bytes on the wire.
SUBSCRIBE_SIZE_MAX = 3900

#: A connection without data for so many seconds is asked for a sign of life: a half-open one is
#: noticed within 10 s, the time an answer has included.
PROBE_AFTER_S = 3.0

#: Seconds a closing handshake may take before the socket is reset.
_CLOSE_S = 1.0

#: Id of the message that asks for a sign of life; subscriptions count up from 1.
_PROBE_ID = 0

#: Characters of the exchange's own words that an error of ours repeats.
_QUOTE_MAX = 200


class Link:
    """One connection.

    ``watermark()`` is the newest event time its streams have brought, ms.

    A connection is alive while it answers (ping, data or reply), and fresh while the watermark
    moves: a server that repeats itself or only acknowledges delivers nothing.
    """

    def __init__(
        self,
        market: Market,
        changes: ChangeNotifier,
        *,
        settings: Settings,
        clock: Clock,
        watermark: Callable[[], int],
        base: Base,
        on_closed: Callable[[Link], None] = lambda link: None,
    ) -> None:
        """``base``: newest event times of all streams before this connection."""
        self.listener = FeedListener(
            market, changes, self._on_control, self._on_closed, settings.frame_size_max
        )
        self.closed = asyncio.Event()
        self.url = ""  # asked for
        self.stirred = asyncio.Event()  # something happened that a watcher wants to see at once
        self.shutdown = False  # the exchange said that it will close
        self.opened_s = clock.monotonic()
        self.names: dict[str, None] = {}  # streams asked for
        self.base = base
        self.lost: tuple[str, ...] = ()  # of these, what the exchange does not list as ours
        self.brought: dict[str, float] = {}  # streams heard since ``listen``, and when first
        self._settings = settings
        self._clock = clock
        self._watermark = watermark
        self._tell_closed = on_closed
        self._request = _PROBE_ID  # id of the newest message
        self._next_send_s = self.opened_s
        self._probed: tuple[str, ...] = ()  # what the exchange should list
        self._waiting: dict[int, float] = {}  # id of a message -> until when it must be answered
        self._refusal: str | None = None
        self._counts = (0, 0)
        self._newest_ms = watermark()
        self._heard_s = self._fresh_s = self.opened_s

    # --- beginning and end ---------------------------------------------------------------------

    async def connect(self, url: str) -> None:
        """Raises FeedError."""
        self.url = url
        timeout_s = self._settings.connect_timeout_s
        try:
            # picows bounds the handshake only, not the name look-up and the TCP connect before it.
            async with asyncio.timeout(timeout_s):
                await ws_connect(
                    lambda: self.listener,
                    url,
                    ssl_context=client_context() if url.startswith("wss:") else None,
                    websocket_handshake_timeout=timeout_s,
                    max_frame_size=self._settings.frame_size_max,
                    enable_auto_pong=False,  # the listener answers, and so knows of pings
                    max_redirects=0,
                )
        except TimeoutError:
            self.close(graceful=False)
            raise FeedError(f"{url} did not answer within {timeout_s:g} s") from None
        except WSHandshakeError as error:
            status = f" with HTTP {error.response.status}" if error.response else ""
            raise FeedError(f"{url} refused the connection{status}") from None
        except (WSError, OSError) as error:
            raise FeedError(f"cannot connect to {url}: {error}") from None
        except BaseException:
            self.close(graceful=False)
            raise
        self.opened_s = self._heard_s = self._fresh_s = self._clock.monotonic()

    async def subscribe(self, streams: Sequence[str]) -> None:
        """Subscribe to all of them and wait for every ACK. Raises FeedError."""
        await self.change(streams)
        while self._waiting:
            self.stirred.clear()
            self._check()
            left_s = min(self._waiting.values()) - self._clock.monotonic()
            await wait_event(self.stirred, self._clock, max(left_s, 0.0) + 0.01)
        self._check()

    async def change(self, add: Sequence[str], remove: Sequence[str] = ()) -> None:
        """Unsubscribe and subscribe, no faster than the exchange allows; ACKs are not waited for.

        A stream in both is subscribed anew. Raises FeedError: the connection has failed.
        """
        for name in remove:
            self.names.pop(name, None)
        for names in pack_subscriptions(remove):
            await self._say("UNSUBSCRIBE", names)
        for names in pack_subscriptions(add):
            await self._say("SUBSCRIBE", names)
            self.names.update(dict.fromkeys(names))

    async def _say(self, method: str, names: Sequence[str]) -> None:
        await self._stay(self._next_send_s - self._clock.monotonic())
        self._request += 1
        self._send(method, self._request, names)

    async def _stay(self, seconds: float) -> None:
        """Wait that long. Raises FeedError: the connection has failed meanwhile."""
        self._check()
        until_s = self._clock.monotonic() + seconds
        while (left_s := until_s - self._clock.monotonic()) > 0:
            self.stirred.clear()
            self._check()
            await wait_event(self.stirred, self._clock, left_s)

    def _check(self) -> None:
        if self.closed.is_set():
            raise FeedError("the exchange closed the connection while we subscribed")
        if self._refusal is not None:
            raise FeedError(f"the exchange refused to subscribe: {self._refusal}")
        if self.overdue:
            raise FeedError(
                f"{len(self._waiting)} subscriptions not acknowledged within "
                f"{self._settings.ack_timeout_s:g} s"
            )

    def close(self, *, graceful: bool = True) -> None:
        """End it; safe at any time."""
        with contextlib.suppress(OSError):
            self.listener.close(graceful=graceful)

    async def wait_closed(self) -> None:
        """Return when the socket is gone; one that does not end politely is reset."""
        if self.listener.transport is None:
            return
        if not await wait_event(self.closed, self._clock, _CLOSE_S):
            self.close(graceful=False)
            await self.closed.wait()

    # --- messages ------------------------------------------------------------------------------

    def _send(self, method: str, request: int, names: Sequence[str] | None = None) -> None:
        now = self._clock.monotonic()
        self._next_send_s = now + 1.0 / self._settings.subscribe_rate_per_s
        self._waiting[request] = now + self._settings.ack_timeout_s
        transport = self.listener.transport
        if transport is not None:
            transport.send(WSMsgType.TEXT, _message(method, request, names))

    def _on_closed(self) -> None:
        self.closed.set()
        self.stirred.set()
        self._tell_closed(self)

    def _on_control(self, kind: int, message: bytes) -> None:
        if kind == FrameKind.SHUTDOWN:
            self.shutdown = True
            self.stirred.set()
            return
        try:
            reply = msgspec.json.decode(message)
        except msgspec.DecodeError:
            return
        if not isinstance(reply, dict):
            return
        request = reply.get("id")
        ours = isinstance(request, int) and self._waiting.pop(request, None) is not None
        if ours and kind == FrameKind.ERROR_REPLY:
            self._refusal = message[:_QUOTE_MAX].decode(errors="replace")
        if request == _PROBE_ID and isinstance(reply.get("result"), list):
            listed = {name for name in reply["result"] if isinstance(name, str)}
            # What was unsubscribed since is no loss.
            self.lost = tuple(n for n in self._probed if n in self.names and n not in listed)
        self.stirred.set()

    def listen(self) -> None:
        """Begin to note which streams this very connection brings."""
        self.brought.clear()
        self.listener.tap = self._note

    def listen_no_more(self) -> None:
        self.listener.tap = None

    def _note(self, message: bytes) -> None:
        frame = parse_frame(message)
        if frame.symbol is None:
            return
        kind = "ticker" if frame.interval is None else f"kline_{frame.interval}"
        self.brought.setdefault(f"{frame.symbol.lower()}@{kind}", self._clock.monotonic())

    # --- signs of life -------------------------------------------------------------------------

    def look(self) -> None:
        """Note what came since the last look, and ask for a sign of life when nothing did."""
        now = self._note_signs()
        quiet = now - self._heard_s > PROBE_AFTER_S
        if quiet and not self._waiting and now >= self._next_send_s:
            self._probed = tuple(self.names)
            self._send("LIST_SUBSCRIPTIONS", _PROBE_ID)

    def _note_signs(self) -> float:
        now = self._clock.monotonic()
        counts = (self.listener.frames, self.listener.pings)
        if counts != self._counts:
            self._heard_s = now
            # Whatever came is a sign of life too: on a slow line the answer is behind it.
            self._waiting.pop(_PROBE_ID, None)
        if counts[0] != self._counts[0]:
            newest_ms = self._watermark()
            if newest_ms > self._newest_ms:
                self._newest_ms = newest_ms
                self._fresh_s = now
        self._counts = counts
        return now

    @property
    def data_count(self) -> int:
        """Messages that were no answer to ours."""
        return self.listener.frames - self.listener.controls

    @property
    def refused(self) -> bool:
        """True if the exchange would not subscribe something."""
        return self._refusal is not None

    @property
    def overdue(self) -> bool:
        """True if the exchange owes an answer for too long."""
        now = self._clock.monotonic()
        return any(now > deadline for deadline in self._waiting.values())

    @property
    def silent_s(self) -> float:
        """Seconds without any sign of life."""
        return self._note_signs() - self._heard_s

    @property
    def dataless_s(self) -> float:
        """Seconds since the last new data."""
        return self._note_signs() - self._fresh_s


def _message(method: str, request: int, names: Sequence[str] | None) -> bytes:
    message: dict[str, object] = {"method": method, "id": request}
    if names is not None:
        message["params"] = names
    return msgspec.json.encode(message)


def pack_subscriptions(streams: Sequence[str]) -> Iterator[list[str]]:
    """Divide names, in order, among SUBSCRIBE messages of at most ``SUBSCRIBE_SIZE_MAX`` bytes."""
    room = SUBSCRIBE_SIZE_MAX - len(_message("UNSUBSCRIBE", 1 << 31, []))
    waiting = deque(streams)
    while waiting:
        names = [waiting.popleft()]
        size = len(names[0].encode()) + 3
        while waiting and (size := size + len(waiting[0].encode()) + 3) <= room:
            names.append(waiting.popleft())
        yield names
