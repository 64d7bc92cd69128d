"""The exchange's request weight: one ledger per base URL, and what its refusals mean.

Weight is counted per minute of the exchange's clock and per address, so strangers behind the same
address spend it too: what the answers' headers say counts more than our own sum. Spot and USD-M
are different hosts with limits of their own: each has its own ledger.
"""

from __future__ import annotations

import asyncio
import bisect
import logging
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from email.utils import parsedate_to_datetime
from enum import IntEnum
from itertools import count

import msgspec

from server.clock import wait_event
from server.errors import RestError, SpentError
from server.feeds.rest import RestResponse
from server.feeds.venue_time import VenueTime

__all__ = [
    "CLIENT_SHARE",
    "REFUSALS",
    "WAIT_MAX_S",
    "Forecast",
    "Grant",
    "Priority",
    "WeightBudget",
    "for_client",
]

log = logging.getLogger(__name__)

_MINUTE_MS = 60_000

#: Share of our allowance that only repairs may spend.
REPAIR_RESERVE = 0.1

#: Share of it that requests for clients may spend, unless settings say otherwise.
CLIENT_SHARE = 0.25

#: No request leaves so close to the turn of a minute, ms: nobody knows which one it would count to.
TURN_MS = 250

#: Waits after a refusal that names no (readable) Retry-After, s.
_DEFAULT_WAIT_S = {429: 60.0, 418: 120.0, 403: 300.0, 451: 600.0}

#: The shortest wait, s, whatever the refusal says; doubled with each in a row up to a bound.
_WAIT_MIN_S = 1.0
_WAIT_DOUBLED_MAX_S = 64.0

#: The longest ban the exchange documents is three days; a longer Retry-After is a mistake.
WAIT_MAX_S = 3 * 86_400.0

#: Answers after which nothing is asked for a while, and what they mean.
REFUSALS = {
    429: "the exchange asks to slow down (429)",
    418: "the exchange has banned this address for a while (418)",
    403: "the exchange's firewall refused us (403)",
    451: "the exchange does not serve this location (451): run the server elsewhere",
}


class Priority(IntEnum):
    """What a request is for; a lower one waits until no higher one does."""

    REPAIR = 0  # late closes, fresh holes, the exchange's time
    START = 1  # windows at the start
    HISTORY = 2  # older rows, the universe of symbols
    CLIENT = 3  # what a client has asked for and memory does not hold


class Forecast(msgspec.Struct):
    """The ledger of one base URL at this moment, and how long what waits will take."""

    used: int = 0  # weight in this minute, strangers' included
    limit: int = 0  # a minute, by the exchange
    allowed: int = 0  # of it to us
    reserved: int = 0  # of that to repairs alone
    in_flight: int = 0  # requests without an answer yet
    queued: dict[str, int] = {}  # weight that waits, by priority
    served_in_s: float = 0.0  # until all of it can have been sent
    blocked_s: float = 0.0  # after a refusal


class Grant:
    """Leave to send one request; ``WeightBudget.settle`` takes it back."""

    __slots__ = ("alone", "minute", "priority", "told_before", "weight")

    def __init__(self, weight: int, priority: Priority, minute: int) -> None:
        self.weight = weight
        self.priority = priority
        self.minute = minute
        self.alone = True  # nothing else of ours was under way meanwhile
        self.told_before = -1  # weight used by the header before it; -1 unknown


class _Waiter:
    """A request that may not be sent yet."""

    __slots__ = ("order", "weight", "woken")

    def __init__(self, order: tuple[int, int], weight: int) -> None:
        self.order = order  # priority, then order of arrival
        self.weight = weight
        self.woken = asyncio.Event()


class WeightBudget:
    """Gives out request weight: at most ``share`` of ``limit`` in any minute of the exchange.

    Requests are served by priority, and in order of arrival within one; at most ``in_flight_max``
    are without an answer at a time, so that an urgent one does not wait behind others' sockets.
    While the exchange refuses (429, 418, 403, 451) nothing is given out until the wait is over.
    Requests for clients come last, spend at most ``client_share`` of the allowance, and take at
    most half of the places in flight: however many clients ask, the feed gets its rows.
    """

    def __init__(
        self,
        time: VenueTime,
        *,
        limit: int,
        share: float,
        in_flight_max: int = 32,
        client_share: float = CLIENT_SHARE,
    ) -> None:
        self.time = time
        self.limit = limit
        self.refusals = 0  # answers that told us to stop
        self.on_block: Callable[[], None] = lambda: None  # called when a wait begins or grows
        self._clock = time.clock
        self._share = share
        self._in_flight_max = in_flight_max
        self._client_share = client_share
        self._in_flight: set[Grant] = set()
        self._queue: list[_Waiter] = []
        self._numbers = count()
        self._minute = -1
        self._steps = time.steps
        self._own = 0  # weight of our answered requests in this minute
        self._own_client = 0  # of it, of those for clients
        self._told = -1  # the most a header has told in this minute; -1 nothing yet
        self._told_last = -1  # as of the last answer; -1 if that told nothing
        self._refused_in_row = 0
        self.blocked_status = 0  # of the answer that began the newest wait
        self.blocked_until = 0.0  # when that ends, monotonic s

    # --- what is known -------------------------------------------------------------------------

    @property
    def used(self) -> int:
        """Weight known to be used in this minute, by us or by others behind our address."""
        self._roll()
        return max(self._own, self._told)

    @property
    def allowed(self) -> int:
        """Weight we allow ourselves in a minute."""
        return int(self.limit * self._share)

    @property
    def reserved(self) -> int:
        """Of that, what only repairs may spend."""
        return int(self.allowed * REPAIR_RESERVE)

    @property
    def client_allowed(self) -> int:
        """Of what we allow ourselves, what requests for clients may spend."""
        return int(self.allowed * self._client_share)

    @property
    def client_used(self) -> int:
        """Weight of requests for clients in this minute, those without an answer included."""
        self._roll()
        return self._own_client + sum(
            grant.weight for grant in self._in_flight if grant.priority is Priority.CLIENT
        )

    def client_wait_s(self, weight: int) -> float:
        """Seconds until a request for a client is worth making; 0: now."""
        if wait_s := self.blocked_s:
            return wait_s
        queued = sum(w.weight for w in self._queue)
        own = sum(w.weight for w in self._queue if w.order[0] == Priority.CLIENT)
        spent = self.used + self._pending + queued + weight > self._cap(Priority.CLIENT)
        if spent or self.client_used + own + weight > self.client_allowed:
            return self._to_turn_s()
        return 0.0

    @property
    def blocked_s(self) -> float:
        """Seconds until the next request is allowed after a refusal; 0 without one."""
        return max(0.0, self.blocked_until - self._clock.monotonic())

    @property
    def blocked_reason(self) -> str | None:
        """Why nothing is asked at the moment."""
        wait_s = self.blocked_s
        return f"{REFUSALS[self.blocked_status]}, {wait_s:.0f} s left" if wait_s else None

    def forecast(self, planned: Mapping[Priority, int] | None = None) -> Forecast:
        """The present state; ``planned`` is weight that is not in the queue yet."""
        queued = {priority: (planned or {}).get(priority, 0) for priority in Priority}
        for waiter in self._queue:
            queued[Priority(waiter.order[0])] += waiter.weight
        return Forecast(
            used=self.used,
            limit=self.limit,
            allowed=self.allowed,
            reserved=self.reserved,
            in_flight=len(self._in_flight),
            queued={priority.name.lower(): weight for priority, weight in queued.items()},
            served_in_s=round(self._served_in_s(queued), 1),
            blocked_s=round(self.blocked_s, 1),
        )

    def _served_in_s(self, queued: Mapping[Priority, int]) -> float:
        if not any(queued.values()):
            return 0.0
        blocked_s = self.blocked_s
        weight = self._pending + (0 if blocked_s else self.used)
        minutes = 0  # that have to pass before the last of it
        for priority in Priority:
            weight += queued[priority]
            if queued[priority]:
                minutes = max(minutes, math.ceil(weight / max(self._cap(priority), 1)) - 1)
        if blocked_s:
            return blocked_s + 60.0 * minutes
        return self._to_turn_s() + 60.0 * (minutes - 1) if minutes else 0.0

    # --- asking and answering ------------------------------------------------------------------

    async def acquire(self, weight: int, priority: Priority = Priority.REPAIR) -> Grant:
        """Return when a request of that weight may be sent: send it at once, then ``settle``."""
        waiter = _Waiter((priority, next(self._numbers)), weight)
        bisect.insort(self._queue, waiter, key=lambda other: other.order)
        try:
            while (wait_s := self._wait_s(waiter)) > 0:
                waiter.woken.clear()
                if wait_s < math.inf:
                    await wait_event(waiter.woken, self._clock, wait_s)
                else:
                    await waiter.woken.wait()
            return self._grant(weight, priority)
        finally:
            self._queue.remove(waiter)
            self._wake_first()

    def settle(self, grant: Grant, response: RestResponse | None) -> int | None:
        """Book a request that was sent; ``response`` is None if no answer came.

        Returns what it weighed by the headers, strangers' requests meanwhile included; None if
        they do not tell.
        """
        self._in_flight.discard(grant)
        self._roll()
        self._own += grant.weight
        if grant.priority is Priority.CLIENT:
            self._own_client += grant.weight
        # A header from before the turn of the minute says nothing of this one.
        told = _used_weight(response) if grant.minute == self._minute else -1
        weighed = None
        if told >= 0 and grant.alone and grant.told_before >= 0:
            weighed = max(0, told - grant.told_before)
        self._told = max(self._told, told)
        self._told_last = self._told if told >= 0 else -1
        if response is not None and response.status in REFUSALS:
            self._block(response)
        elif response is not None:
            self._refused_in_row = 0
        self._wake_first()
        return weighed

    def _wake_first(self) -> None:
        if self._queue:
            self._queue[0].woken.set()

    def _wait_s(self, waiter: _Waiter) -> float:
        """Seconds until another look is worth it; 0 if the request may go now."""
        if waiter is not self._queue[0] or len(self._in_flight) >= self._in_flight_max:
            return math.inf  # whoever leaves wakes the first one
        if wait_s := self.blocked_s:
            return wait_s
        self._roll()
        priority = Priority(waiter.order[0])
        if priority is Priority.CLIENT and self._clients_full:
            return math.inf
        into_ms = self.time.now_ms() % _MINUTE_MS
        if into_ms < TURN_MS:
            return (TURN_MS - into_ms) / 1000
        # A single request above the share is let through, alone in its minute.
        room = max(self._cap(priority), waiter.weight)
        if into_ms > _MINUTE_MS - TURN_MS or self.used + self._pending + waiter.weight > room:
            return self._to_turn_s()
        share = max(self.client_allowed, waiter.weight)
        if priority is Priority.CLIENT and self.client_used + waiter.weight > share:
            return self._to_turn_s()
        return 0.0

    @property
    def _clients_full(self) -> bool:
        """True if requests for clients have as many places in flight as they may."""
        clients = sum(grant.priority is Priority.CLIENT for grant in self._in_flight)
        return clients >= max(1, self._in_flight_max // 2)

    def _grant(self, weight: int, priority: Priority) -> Grant:
        grant = Grant(weight, priority, self._minute)
        if self._in_flight:
            grant.alone = False
            for other in self._in_flight:
                other.alone = False
        grant.told_before = self._told_last
        self._in_flight.add(grant)
        return grant

    @property
    def _pending(self) -> int:
        return sum(grant.weight for grant in self._in_flight)

    def _cap(self, priority: Priority) -> int:
        """Weight that may be used in a minute once a request of that priority is sent."""
        return self.allowed - (self.reserved if priority > Priority.REPAIR else 0)

    def _block(self, response: RestResponse) -> None:
        self.refusals += 1
        self._refused_in_row += 1
        wait_s = self._retry_after_s(response.headers.get("retry-after", "").strip())
        if wait_s is None:
            wait_s = _DEFAULT_WAIT_S[response.status]
        # An exchange that says "at once" again and again is not believed more than once.
        least_s = min(_WAIT_MIN_S * 2.0 ** (self._refused_in_row - 1), _WAIT_DOUBLED_MAX_S)
        wait_s = min(max(wait_s, least_s), WAIT_MAX_S)
        log.warning("%s; asking again in %.0f s", REFUSALS[response.status], wait_s)
        self.block(response.status, wait_s)

    def block(self, status: int, wait_s: float) -> None:
        """Give out nothing for so long, as a refusal of that status says; never shortens a wait."""
        until = self._clock.monotonic() + wait_s
        if until > self.blocked_until:
            self.blocked_until = until
            self.blocked_status = status
            self.on_block()

    def _retry_after_s(self, text: str) -> float | None:
        """Seconds, or until an HTTP date by the exchange's clock; None if it is neither."""
        if text.isascii() and text.isdecimal():
            # Longer texts are no number of seconds, and slow to read.
            return float(text) if len(text) < 20 else WAIT_MAX_S
        try:
            moment = parsedate_to_datetime(text)
            return moment.timestamp() - self.time.now_ms() / 1000
        except (ValueError, TypeError, OverflowError, IndexError):
            return None

    # --- minutes -------------------------------------------------------------------------------

    def _roll(self) -> None:
        minute = self.time.now_ms() // _MINUTE_MS
        if self.time.steps != self._steps:
            # The exchange may still be in the minute it was in: what was spent stays spent.
            self._steps = self.time.steps
            self._minute = minute
            self._told_last = -1
        elif minute > self._minute:  # time that goes back a little gives no minute twice
            self._minute = minute
            self._own = self._own_client = 0
            self._told = self._told_last = -1

    def _to_turn_s(self) -> float:
        """Seconds until requests count to the next minute for sure."""
        return (_MINUTE_MS - self.time.now_ms() % _MINUTE_MS + TURN_MS) / 1000


@contextmanager
def for_client(budget: WeightBudget, weight: int) -> Iterator[None]:
    """A request for a client is made within: if there is weight for it.

    Raises SpentError: there is none, or the exchange has refused it.
    """
    if wait_s := budget.client_wait_s(weight):
        raise SpentError(budget.blocked_reason or "the weight for clients is spent", wait_s)
    try:
        yield
    except RestError as error:
        if error.status in REFUSALS:
            raise SpentError(REFUSALS[error.status], budget.blocked_s) from None
        raise


def _used_weight(response: RestResponse | None) -> int:
    """What the answer's header tells of this minute; -1 if nothing readable."""
    text = "" if response is None else response.headers.get("x-mbx-used-weight-1m", "")
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 10 else -1
