"""``/events``: the streams of ``/ws`` as server-sent events, which a client may take up again."""

from __future__ import annotations

import asyncio
import secrets
from collections import deque
from collections.abc import Callable

from server.api.events import event, told
from server.identity import Principal
from server.signals.hub import Hub

__all__ = ["Session", "Sessions"]

#: Seconds a stream is kept for a client that may come back.
LINGER_S = 30.0
#: Streams kept so at once; the one that was left first is dropped first.
LEFT_MAX = 64
#: Events kept that were sent and may not have arrived, and their bytes.
HELD_MAX = 256
HELD_BYTES_MAX = 256 << 10

_MISSED = "what came after the last event is not held any more"


class Session:
    """What one client subscribed to, its queue, and the events it may not have got."""

    def __init__(
        self, hub: Hub, principal: Principal, topics: tuple[str, ...], allowance: int
    ) -> None:
        self.id = secrets.token_urlsafe(9)
        self.bucket = principal.bucket
        self.topics = topics
        self.subscriber = hub.subscribe(*topics)
        self.subscriber.allowance = allowance
        self.view: View | None = None  # whoever listens
        self.timer: asyncio.TimerHandle | None = None
        self._count = 0
        self._held: deque[tuple[int, bytes]] = deque()
        self._held_bytes = 0

    def take(self) -> bytes | None:
        """The next event, which is held from now on."""
        payload = self.subscriber.take()
        if payload is None:
            return None
        self._count += 1
        text = event(payload, f"{self.id}.{self._count}")
        self._held.append((self._count, text))
        self._held_bytes += len(text)
        while len(self._held) > HELD_MAX or self._held_bytes > HELD_BYTES_MAX:
            self._held_bytes -= len(self._held.popleft()[1])
        return text

    def after(self, number: int) -> list[bytes] | None:
        """The events after that one; None if some are not held any more."""
        if number == self._count:
            return []
        if not self._held or not self._held[0][0] - 1 <= number < self._count:
            return None
        return [text for count, text in self._held if count > number]


class View:
    """One connection's part of a session."""

    def __init__(self, session: Session, first: list[bytes], leave: Callable[[View], None]) -> None:
        self.session = session
        self._first = deque(first)
        self._leave = leave
        self._taken_over: str | None = None

    @property
    def ended(self) -> str | None:
        """Why nothing comes any more."""
        return self._taken_over or self.session.subscriber.ended

    def take_over(self) -> None:
        """The client has come back by another connection."""
        self._taken_over = "another connection has taken up this stream"
        self.rouse()

    async def fetch(self) -> bytes | None:
        """See ``EventSource``."""
        if self._taken_over is not None:
            return None
        return self._first.popleft() if self._first else self.session.take()

    async def wait(self) -> None:
        """See ``EventSource``."""
        if self.ended is None:
            await self.session.subscriber.wait()

    def rouse(self) -> None:
        """See ``EventSource``."""
        self.session.subscriber.rouse()

    def close(self) -> None:
        """See ``EventSource``."""
        self._leave(self)


class Sessions:
    """Sessions that somebody listens to, and those that are kept for a while."""

    def __init__(self, hub: Hub, allowance: int) -> None:
        """``allowance``: see ``Subscriber``."""
        self._hub = hub
        self._allowance = allowance
        self._sessions: dict[str, Session] = {}
        self._left: dict[Session, None] = {}  # the one left first comes first
        self.resumed = 0  # connections that missed nothing
        self.missed = 0  # those that asked for what was not held any more

    def __len__(self) -> int:
        return len(self._sessions)

    def open(self, principal: Principal, topics: tuple[str, ...], last_id: str | None) -> View:
        """What a client is told from now on, or from the event on that it got last."""
        if last_id is None:
            return self._view(Session(self._hub, principal, topics, self._allowance), [])
        name, _, number = last_id.rpartition(".")
        session = self._sessions.get(name)
        if (
            session is not None
            and session.bucket == principal.bucket
            and session.topics == topics
            and session.subscriber.ended is None
            and number.isascii()
            and number.isdecimal()
            and (missed := session.after(int(number[:18]))) is not None
        ):
            self.resumed += 1
            return self._view(session, missed)
        self.missed += 1
        session = Session(self._hub, principal, topics, self._allowance)
        return self._view(session, [told("reset", _MISSED)])

    def _view(self, session: Session, first: list[bytes]) -> View:
        if session.view is not None:
            session.view.take_over()
        if session.timer is not None:
            session.timer.cancel()
            session.timer = None
        self._left.pop(session, None)
        self._sessions[session.id] = session
        session.view = View(session, first, self._leave)
        return session.view

    def _leave(self, view: View) -> None:
        session = view.session
        if session.view is not view:
            return
        session.view = None
        if session.subscriber.ended is not None:
            self._drop(session)
            return
        self._left[session] = None
        loop = asyncio.get_running_loop()
        session.timer = loop.call_later(LINGER_S, self._drop, session)
        if len(self._left) > LEFT_MAX:
            self._drop(next(iter(self._left)))

    def _drop(self, session: Session) -> None:
        if session.timer is not None:
            session.timer.cancel()
        self._left.pop(session, None)
        self._sessions.pop(session.id, None)
        session.subscriber.end("nobody has come back")
