"""One message to many connections: encoded once, joined once a pass, written to each.

Connections with the same streams in the same shape are a *cohort*. What is published within a pass
of the event loop waits there once, not once a connection, and goes out as one block of bytes that
all of them share. A connection whose socket is full leaves its cohort and has a queue of its own,
where updates remove older ones, until it has caught up.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from itertools import count
from typing import NamedTuple, Protocol

from server.signals.hub import Hub
from server.streams.frames import Shape, shaped, text_frame

__all__ = ["Fanout", "Member", "Message", "Queue"]


#: Bytes up to which a message on its own is handed over without a frame, which makes a copy of it
#: for each member; of a longer one all share the frame.
LONE_SIZE_MAX = 4096


class Message(NamedTuple):
    """Something published on a topic, as it is before it has a shape."""

    sequence: int
    topic: str  # "": for one member only, in the form it has
    payload: bytes


class Queue:
    """Messages in order; an update removes the older one with its key."""

    __slots__ = ("_messages", "_serial", "conflated", "size")

    def __init__(self) -> None:
        self._messages: dict[str | int, Message] = {}
        self._serial = count()
        self.size = 0  # bytes of payloads
        self.conflated = 0  # messages that a newer one replaced

    def __len__(self) -> int:
        return len(self._messages)

    def put(self, message: Message, key: str | None, *, final: bool) -> None:
        """See ``Hub.publish`` for what a key and ``final`` mean."""
        messages = self._messages
        if key is not None:
            older = messages.pop(key, None)
            if older is not None:
                self.conflated += 1
                self.size -= len(older.payload)
        # Behind all others, as all are taken at once: numbers only grow, whatever is replaced.
        messages[next(self._serial) if key is None or final else key] = message
        self.size += len(message.payload)

    def waiting(self) -> tuple[Message, ...]:
        """All that waits, oldest first, and stays."""
        return tuple(self._messages.values())

    def take_all(self) -> list[Message]:
        """All that waits, oldest first."""
        taken = list(self._messages.values())
        self._messages.clear()
        self.size = 0
        return taken


class Member(Protocol):
    """A connection, as the fan-out sees it. It tells the fan-out by ``fill`` that it is full."""

    topics: frozenset[str]
    shape: Shape

    #: Send whole frames.
    write: Callable[[bytes], object]
    #: Send one message that has no frame yet, which is quicker for one.
    send: Callable[[bytes], object]

    def overflow(self, size: int) -> None:
        """Told that ``size`` bytes wait in its own queue, each time something came."""
        ...


class _Cohort:
    __slots__ = ("key", "members", "queue")

    def __init__(self, key: tuple[frozenset[str], Shape]) -> None:
        self.key = key
        self.members: dict[Member, None] = {}
        self.queue = Queue()


class Fanout:
    """Takes from the hub what its members listen to, and writes it out at the end of the pass.

    ``name_of(topic)`` gives the stream's name. The last ``log_bytes_max`` bytes of messages are
    kept, and a topic is listened to for a while after its last member has gone, so that who comes
    back gets what it missed: see ``since``. Numbers begin at ``first``, which must be above all
    that an earlier life has given. Updates that a newer one may replace wait ``patience_s`` for
    others, since a system call costs more than all else.
    """

    def __init__(
        self,
        hub: Hub,
        name_of: Callable[[str], str],
        *,
        log_bytes_max: int,
        first: int,
        patience_s: float = 0.0,
    ) -> None:
        self._hub = hub
        self._name_of = name_of
        self._cohorts: dict[tuple[frozenset[str], Shape], _Cohort] = {}
        # By topic. Dictionaries, not sets: who is served first must not depend on addresses.
        self._listening: dict[str, dict[_Cohort, None]] = {}
        self._lagging: dict[Member, Queue] = {}
        self._lagging_on: dict[str, dict[Member, None]] = {}
        self._dirty: dict[_Cohort, None] = {}
        self._patience_s = patience_s
        self._writing = False
        self._filled: list[Member] = []  # full since that began
        self._flush_soon = False
        self._flush_later: asyncio.TimerHandle | None = None
        self._frames: dict[Shape, dict[int, bytes]] = {}
        self._log: deque[Message] = deque()
        self._log_size = 0
        self._log_size_max = log_bytes_max
        self.sequence = first  # of the newest message
        self._forgotten = first  # of the newest one that is not in the log any more
        # Topic -> number of the newest message when it was attached: its log begins behind it.
        self._attached: dict[str, int] = {}
        # Attached, though nobody listens: since the last look, and since before it.
        self._deserted: dict[str, None] = {}
        self._long_deserted: dict[str, None] = {}
        self.sent = 0  # messages written, summed over members
        self.size = 0  # bytes of those
        self.conflated = 0
        self.lagged = 0  # times a socket was full

    # --- members -------------------------------------------------------------------------------

    @property
    def lagging(self) -> int:
        """Members whose sockets are full."""
        return len(self._lagging)

    def join(self, member: Member) -> None:
        """Send ``member`` what is published on its topics from now on."""
        cohort = self._cohort(member.topics, member.shape)
        if cohort in self._dirty:
            self._flush_cohort(cohort)  # what was published before is not for who comes now
            cohort = self._cohort(member.topics, member.shape)  # the last of them may have left
        cohort.members[member] = None
        member.topics = cohort.key[0]  # one set for all of them, not one for each

    def leave(self, member: Member) -> None:
        """Send it nothing more. What was published before is still written, unless it lags."""
        queue = self._lagging.pop(member, None)
        if queue is not None:
            self.conflated += queue.conflated
            self._lag_no_more(member)
            return
        cohort = self._cohorts.get((member.topics, member.shape))
        if cohort is None or member not in cohort.members:
            return
        if cohort in self._dirty:
            self._flush_cohort(cohort)
            if member not in cohort.members:  # its socket became full by that
                self.leave(member)
                return
        del cohort.members[member]
        self._close_if_empty(cohort)

    def change(self, member: Member, topics: frozenset[str], shape: Shape) -> None:
        """Send it what is published on ``topics`` from now on; nothing of before is lost."""
        cohort = self._cohorts.get((member.topics, member.shape))
        if cohort is not None and cohort in self._dirty and member in cohort.members:
            self._flush_cohort(cohort)
        queue = self._lagging.get(member)
        if queue is None:
            self.leave(member)
            member.topics, member.shape = topics, shape
            self.join(member)
            return
        self._lag_no_more(member)
        member.topics, member.shape = topics, shape
        self._lag_on(member)

    def tell(self, member: Member, payload: bytes) -> None:
        """Send one member a message of its own, behind what it was sent before."""
        message = Message(0, "", payload)
        queue = self._lagging.get(member)
        if queue is not None:
            queue.put(message, None, final=True)
            member.overflow(queue.size)
            return
        cohort = self._cohorts.get((member.topics, member.shape))
        if cohort is not None and cohort in self._dirty and member in cohort.members:
            self._flush_cohort(cohort)
            if member in self._lagging:
                self.tell(member, payload)
                return
        member.send(payload)

    def _cohort(self, topics: frozenset[str], shape: Shape) -> _Cohort:
        cohort = self._cohorts.get((topics, shape))
        if cohort is None:
            cohort = self._cohorts[topics, shape] = _Cohort((topics, shape))
            for topic in topics:
                self._listening.setdefault(topic, {})[cohort] = None
                self._attach(topic)
        return cohort

    def _close_if_empty(self, cohort: _Cohort) -> None:
        if cohort.members:
            return
        self._dirty.pop(cohort, None)
        self.conflated += cohort.queue.conflated
        del self._cohorts[cohort.key]
        for topic in cohort.key[0]:
            cohorts = self._listening[topic]
            del cohorts[cohort]
            if not cohorts:
                del self._listening[topic]
                self._desert(topic)

    def _attach(self, topic: str) -> None:
        self._deserted.pop(topic, None)
        self._long_deserted.pop(topic, None)
        if topic not in self._attached:
            self._attached[topic] = self.sequence
            self._hub.attach(self, topic)

    def _desert(self, topic: str) -> None:
        if topic not in self._listening and topic not in self._lagging_on:
            self._deserted[topic] = None

    def detach_deserted(self) -> None:
        """Listen no longer to topics to which nobody did between the last such call and now."""
        for topic in self._long_deserted:
            del self._attached[topic]
            self._hub.detach(self, topic)
        self._long_deserted, self._deserted = self._deserted, {}

    # --- messages ------------------------------------------------------------------------------

    def receive(self, topic: str, payload: bytes, key: str | None, *, final: bool) -> bool:
        """Take a message from the hub; it is written at the end of this pass of the loop."""
        self.sequence += 1
        message = Message(self.sequence, topic, payload)
        self._remember(message)
        cohorts = self._listening.get(topic)
        if cohorts:
            for cohort in cohorts:
                cohort.queue.put(message, key, final=final)
                self._dirty[cohort] = None
            self._schedule(patient=key is not None and not final)
        members = self._lagging_on.get(topic)
        if members:
            for member in tuple(members):  # an overflowing one leaves
                queue = self._lagging[member]
                queue.put(message, key, final=final)
                member.overflow(queue.size)
        return True

    def _schedule(self, *, patient: bool) -> None:
        if self._flush_soon:
            return
        loop = asyncio.get_running_loop()
        if not patient or not self._patience_s:
            self._flush_soon = True
            loop.call_soon(self.flush)
        elif self._flush_later is None:
            self._flush_later = loop.call_later(self._patience_s, self.flush)

    def flush(self) -> None:
        """Write what waits for all whose sockets are not full."""
        self._flush_soon = False
        if self._flush_later is not None:
            self._flush_later.cancel()
            self._flush_later = None
        while self._dirty:
            self._flush_cohort(next(iter(self._dirty)))
        self._frames.clear()

    def _flush_cohort(self, cohort: _Cohort) -> None:
        del self._dirty[cohort]
        messages = cohort.queue.take_all()
        number, members = len(messages), len(cohort.members)
        self._writing = True
        try:
            if number == 1 and len(messages[0].payload) <= LONE_SIZE_MAX:
                data = self._shape(messages[0], cohort.key[1])
                for member in cohort.members:
                    member.send(data)
            else:
                data = self._join_frames(messages, cohort.key[1])
                for member in cohort.members:
                    member.write(data)
        finally:
            self._writing = False
        self.sent += number * members
        self.size += len(data) * members
        while self._filled:
            self.fill(self._filled.pop())

    def _shape(self, message: Message, shape: Shape) -> bytes:
        if not message.topic:
            return message.payload
        return shaped(message.payload, self._name_of(message.topic), message.sequence, shape)

    def _join_frames(self, messages: Iterable[Message], shape: Shape) -> bytes:
        """Messages as frames, one behind the other; each frame is made once a pass."""
        known = self._frames.setdefault(shape, {})
        frames = []
        for message in messages:
            frame = known.get(message.sequence) if message.topic else None
            if frame is None:
                frame = text_frame(self._shape(message, shape))
                if message.topic:
                    known[message.sequence] = frame
            frames.append(frame)
        return b"".join(frames)

    # --- full sockets --------------------------------------------------------------------------

    def fill(self, member: Member) -> None:
        """The member's socket is full: from now on it has a queue of its own."""
        if self._writing:
            self._filled.append(member)
            return
        cohort = self._cohorts.get((member.topics, member.shape))
        if cohort is None or member not in cohort.members:
            return
        del cohort.members[member]
        self.lagged += 1
        self._lagging[member] = Queue()
        self._lag_on(member)
        if cohort in self._dirty:  # what waits for all waits for it, too
            for message in cohort.queue.waiting():
                self._lagging[member].put(message, None, final=True)
        self._close_if_empty(cohort)

    def _lag_on(self, member: Member) -> None:
        for topic in member.topics:
            self._attach(topic)
            self._lagging_on.setdefault(topic, {})[member] = None

    def _lag_no_more(self, member: Member) -> None:
        for topic in member.topics:
            members = self._lagging_on[topic]
            del members[member]
            if not members:
                del self._lagging_on[topic]
                self._desert(topic)

    def waiting(self, member: Member) -> int:
        """Bytes in the queue a member has of its own."""
        queue = self._lagging.get(member)
        return 0 if queue is None else queue.size

    def catch_up(self, member: Member) -> None:
        """Its socket takes something again: write what waits; with all written it rejoins."""
        queue = self._lagging.get(member)
        if queue is None:
            return
        messages = queue.take_all()
        if messages:
            data = self._join_frames(messages, member.shape)
            self.sent += len(messages)
            self.size += len(data)
            if not self._dirty:
                self._frames.clear()
            self._filled.clear()
            self._writing = True
            try:
                member.write(data)
            finally:
                self._writing = False
            if self._filled:
                self._filled.clear()
                return
        self.leave(member)
        self.join(member)

    # --- the log -------------------------------------------------------------------------------

    def _remember(self, message: Message) -> None:
        log = self._log
        log.append(message)
        self._log_size += len(message.payload)
        while self._log_size > self._log_size_max:
            oldest = log.popleft()
            self._log_size -= len(oldest.payload)
            self._forgotten = oldest.sequence

    def since(self, sequence: int, topics: frozenset[str]) -> list[Message] | None:
        """Messages on ``topics`` after number ``sequence``; None if some may be forgotten."""
        if not self._forgotten <= sequence <= self.sequence:
            return None
        if any(self._attached.get(topic, self.sequence + 1) > sequence for topic in topics):
            return None
        return [m for m in self._log if m.sequence > sequence and m.topic in topics]
