"""One connection of the stream port: who it is, how much it may send, and how it ends."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING

from picows import WSCloseCode, WSTransport

from server.api.leases import UNAUTHORIZED_CODE, Lease
from server.api.problems import ApiError
from server.identity import Principal
from server.signals.control import ControlError
from server.streams.messages import MessageListener

if TYPE_CHECKING:
    from server.streams.port import StreamPort

__all__ = ["Connection"]

#: Bytes that may wait in a socket's buffer before its client counts as slow.
WRITE_BUFFER = 64 * 1024
#: Bytes that the kernel may hold of what a client sends, and that come in one read at most: picows'
#: own buffer grows to twice that, and keeps its size.
RECEIVE_BUFFER = 16 * 1024
#: Bytes a client may send in its first message, before it is known.
UNKNOWN_MESSAGE_MAX = 1024
#: Seconds a client has to say who it is.
AUTH_S = 5.0


class Connection(MessageListener):
    """Whoever has come; what is said once they are known is up to subclasses."""

    __slots__ = (
        "_lease",
        "_port",
        "_task",
        "_tcp",
        "address",
        "allowance",
        "allowance_at",
        "full_since",
        "heard",
        "pinged_at",
        "principal",
    )

    def __init__(self, port: StreamPort, principal: Principal | None, address: str) -> None:
        """``principal`` None: it must say who it is in its first message."""
        settings = port.settings
        limit = settings.ws_message_max
        super().__init__(limit if principal is not None else min(limit, UNKNOWN_MESSAGE_MAX))
        self._port = port
        self._tcp: asyncio.Transport | None = None
        self._lease: Lease | None = None
        self._task: asyncio.Task[None] | None = None  # finds out who it is
        #: Frames it may send now.
        self.allowance = 2.0 * settings.ws_messages_per_s
        self.allowance_at = self.heard = port.now()
        self.address = address
        self.principal = principal
        self.full_since: float | None = None
        self.pinged_at: float | None = None  # and has not been heard of since

    # --- for subclasses ------------------------------------------------------------------------

    def begin(self) -> None:
        """Told once it is known who has come."""

    def on_request(self, text: str) -> None:
        """Take a message of somebody who is known."""
        raise NotImplementedError

    def acknowledge(self, request_id: int | str | None) -> None:
        """Say that AUTH was good."""
        raise NotImplementedError

    def refuse(self, error: ControlError) -> None:
        """Say what was wrong with a message of somebody who is not known yet."""
        raise NotImplementedError

    def say_goodbye(self, now_ms: int) -> None:
        """Say that the server is about to shut down."""
        raise NotImplementedError

    def on_full(self) -> None:
        """Its socket takes nothing more."""

    def on_room(self) -> None:
        """Its socket takes something again."""

    def end_if_behind(self) -> None:
        """End it if too much waits for it; its socket has been full for a while."""

    def leave_deleted(self) -> None:
        """End what it listens to that is gone, or that it may see no longer."""

    # --- the connection ------------------------------------------------------------------------

    def on_ws_connected(self, transport: WSTransport) -> None:
        super().on_ws_connected(transport)
        self._tcp = transport.underlying_transport
        self._tcp.set_write_buffer_limits(high=WRITE_BUFFER)
        raw = self._tcp.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
        self._port.welcome(self)
        if self.principal is not None:
            self._enter(self.principal)
        else:
            asyncio.get_running_loop().call_later(AUTH_S, self._end_unknown)

    def on_end(self) -> None:
        self._tcp = None
        if self._lease is not None:
            self._lease.release()
        self._port.farewell(self)

    def on_frame(self) -> None:
        now = self._port.now()
        rate = self._port.settings.ws_messages_per_s
        earned = (now - self.allowance_at) * rate
        self.allowance = min(2.0 * rate, self.allowance + earned) - 1.0
        self.allowance_at = self.heard = now
        self.pinged_at = None
        if self.allowance < 0.0:
            self.end(WSCloseCode.POLICY_VIOLATION, f"at most {rate:g} messages a second")

    def end(self, code: WSCloseCode | int, reason: str) -> None:
        """Close the connection, and count why."""
        if not self.closing:
            number = code if isinstance(code, int) else code.value
            self._port.dropped.inc(str(number))
            self.close(code, reason)

    def _revoke(self, reason: str) -> None:
        self.end(UNAUTHORIZED_CODE, reason)

    def _end_unknown(self) -> None:
        if self.principal is None:
            self.end(WSCloseCode.POLICY_VIOLATION, "no key: send AUTH first")

    @property
    def waiting(self) -> int:
        """Bytes in the socket's buffer."""
        return 0 if self._tcp is None else self._tcp.get_write_buffer_size()

    def pause_writing(self) -> None:
        self.full_since = self._port.now()
        self.on_full()

    def resume_writing(self) -> None:
        self.full_since = self.pinged_at = None  # what it has taken may hide the ping
        if not self.closing:
            self.on_room()

    # --- who it is -----------------------------------------------------------------------------

    def on_message(self, text: str) -> None:
        if self.principal is not None:
            self.on_request(text)
        elif self._task is None or self._task.done():
            self._task = asyncio.create_task(self._authenticate(text))
        else:
            self.end(WSCloseCode.POLICY_VIOLATION, "wait for the answer to AUTH")

    async def _authenticate(self, text: str) -> None:
        try:
            principal, request_id = await self._port.authenticate(text, self.address)
        except ControlError as error:
            self.refuse(error)
            return
        except ApiError as error:
            self.end(WSCloseCode.POLICY_VIOLATION, error.detail)
            return
        if self.transport is None or self.closing:
            return
        self.principal = principal
        self._message_max = self._port.settings.ws_message_max
        self.acknowledge(request_id)
        self._enter(principal)

    def _enter(self, principal: Principal) -> None:
        try:
            self._lease = self._port.lease(principal, self._revoke)
        except ApiError as error:
            self.end(WSCloseCode.POLICY_VIOLATION, error.detail)
            return
        self.begin()
