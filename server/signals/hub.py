"""Topics and their subscribers: one encoded payload for all, one bounded queue for each."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from itertools import count
from typing import Protocol

__all__ = ["Hub", "Sink", "Subscriber"]

#: Queued messages that must be delivered, beyond one per topic, before a subscriber is cut off.
QUEUE_MAX = 256

_OVERFLOW = "too slow: {kept} undelivered messages"


class Sink(Protocol):
    """Whatever takes messages of topics."""

    def receive(self, topic: str, payload: bytes, key: str | None, *, final: bool) -> bool:
        """Take one message, now; see ``Hub.publish``. False if it was not taken."""
        ...


class Subscriber:
    """The receiving end of one client: its topics and what it has not taken yet.

    Two kinds of message wait here. One with a conflation key takes the place of the older one with
    the same key: the client sees the newest, late or not. One without must be delivered; when more
    than ``queue_max`` of those wait, on top of one for each topic (at the full hour every series
    closes at once), the subscriber is ended with a reason and takes nothing any more.
    """

    __slots__ = (
        "_hub",
        "_kept",
        "_queue",
        "_queue_max",
        "_serial",
        "_waiter",
        "allowance",
        "ended",
        "topics",
    )

    def __init__(self, hub: Hub, queue_max: int) -> None:
        self._hub = hub
        self._queue: OrderedDict[str | int, bytes] = OrderedDict()
        self._queue_max = queue_max
        self._serial = count()
        self._waiter: asyncio.Future[None] | None = None
        self._kept = 0
        self.topics: set[str] = set()
        #: Messages that may wait beyond the others: of topics that tell many things at one moment.
        self.allowance = 0
        #: Why nothing is delivered any more; None while the subscription lives.
        self.ended: str | None = None

    def __len__(self) -> int:
        """Messages waiting."""
        return len(self._queue)

    def add(self, topic: str) -> None:
        """Receive what is published on ``topic`` from now on."""
        self._hub._join(self, topic)

    def discard(self, topic: str) -> None:
        """Receive nothing more on ``topic``; what waits already is still delivered."""
        self._hub._leave(self, topic)

    def take(self) -> bytes | None:
        """The oldest waiting message, or None."""
        if not self._queue:
            return None
        key, payload = self._queue.popitem(last=False)
        if key.__class__ is int:
            self._kept -= 1
        return payload

    async def wait(self) -> None:
        """Return when there is something to take or the subscriber has ended. One waiter only."""
        if self._queue or self.ended is not None:
            return
        waiter = self._waiter = asyncio.get_running_loop().create_future()
        try:
            await waiter
        finally:
            if self._waiter is waiter:  # otherwise the next one waits already
                self._waiter = None

    def receive(self, topic: str, payload: bytes, key: str | None, *, final: bool) -> bool:
        """Queue a message of one of its topics."""
        return self.put(payload, key, final=final)

    def put(self, payload: bytes, conflate_key: str | None = None, *, final: bool = False) -> bool:
        """Queue one message; False if this ended the subscriber or it had ended before."""
        if self.ended is not None:
            return False
        if conflate_key is not None and not final:
            if conflate_key in self._queue:
                self._hub.conflated += 1
            # In its old place: moved to the end, a busy symbol would never reach a slow client.
            self._queue[conflate_key] = payload
        else:
            if conflate_key is not None and self._queue.pop(conflate_key, None) is not None:
                self._hub.conflated += 1
            if self._kept >= self._queue_max + len(self.topics) + self.allowance:
                self._hub.overflowed += 1
                self.end(_OVERFLOW.format(kept=self._kept))
                return False
            self._queue[next(self._serial)] = payload
            self._kept += 1
        self.rouse()
        return True

    def rouse(self) -> None:
        """Let ``wait`` return, whether there is something to take or not."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def end(self, reason: str) -> None:
        """Leave all topics, drop what waits, wake the waiter. The first reason stays."""
        if self.ended is None:
            self.ended = reason
            self._queue.clear()
            self._kept = 0
            self._hub._forget(self)
            self.rouse()


class Hub:
    """Carries payloads from publishers to subscribers within one event loop; nobody waits.

    Publishing is a dictionary look-up and one queue entry per subscriber: it never blocks, awaits
    or raises because of a subscriber. Counters only grow.
    """

    def __init__(self, queue_max: int = QUEUE_MAX) -> None:
        """``queue_max``: messages that may wait per subscriber, see ``Subscriber``."""
        self._queue_max = queue_max
        # Dictionaries, not sets: who is served first must not depend on addresses in memory.
        self._topics: dict[str, dict[Sink, None]] = {}
        self._subscribers: dict[Subscriber, None] = {}
        self.published = 0  # messages that had at least one subscriber
        self.delivered = 0  # messages queued, summed over subscribers
        self.conflated = 0  # messages replaced by a newer one before they were taken
        self.overflowed = 0  # subscribers ended because their queue was full

    def __len__(self) -> int:
        """Subscribers that have not ended."""
        return len(self._subscribers)

    @property
    def subscriptions(self) -> int:
        """Topics summed over subscribers."""
        return sum(map(len, self._topics.values()))

    @property
    def waiting(self) -> int:
        """Messages queued and not taken yet, summed over subscribers."""
        return sum(map(len, self._subscribers))

    def wanted(self, topic: str) -> bool:
        """True if anybody listens: ask before a payload is built."""
        return topic in self._topics

    def subscribe(self, *topics: str) -> Subscriber:
        """A new subscriber to ``topics``. Whoever takes one must ``end`` it."""
        subscriber = Subscriber(self, self._queue_max)
        self._subscribers[subscriber] = None
        for topic in topics:
            self._join(subscriber, topic)
        return subscriber

    def publish(
        self, topic: str, payload: bytes, *, conflate_key: str | None = None, final: bool = False
    ) -> int:
        """Queue ``payload`` for every subscriber of ``topic``; returns how many got it.

        With ``conflate_key`` it replaces an older waiting message of that key, in its place.
        With ``final`` as well it removes that older message and must itself be delivered: a kline
        that closed makes its forming updates worthless, and is never dropped.
        """
        subscribers = self._topics.get(topic)
        if subscribers is None:
            return 0
        self.published += 1
        reached = 0
        for subscriber in tuple(subscribers):  # an overflowing one leaves them
            reached += subscriber.receive(topic, payload, conflate_key, final=final)
        self.delivered += reached
        return reached

    def attach(self, sink: Sink, topic: str) -> None:
        """Hand ``sink`` what is published on ``topic`` from now on; again does nothing."""
        self._topics.setdefault(topic, {})[sink] = None

    def detach(self, sink: Sink, topic: str) -> None:
        """Undo ``attach``; nothing if it was not."""
        sinks = self._topics.get(topic)
        if sinks is not None:
            sinks.pop(sink, None)
            if not sinks:
                del self._topics[topic]

    def _join(self, subscriber: Subscriber, topic: str) -> None:
        if subscriber.ended is None:
            subscriber.topics.add(topic)
            self.attach(subscriber, topic)

    def _leave(self, subscriber: Subscriber, topic: str) -> None:
        subscriber.topics.discard(topic)
        self.detach(subscriber, topic)

    def _forget(self, subscriber: Subscriber) -> None:
        for topic in tuple(subscriber.topics):
            self._leave(subscriber, topic)
        self._subscribers.pop(subscriber, None)
