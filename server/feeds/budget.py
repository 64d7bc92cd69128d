"""The exchange's request weight: one ledger per address, and what its refusals mean.

Weight is counted per minute of the exchange's clock and per address, so strangers behind the same
address spend it too: what the answers' headers say counts more than our own sum.
"""

from __future__ import annotations

import logging

from server.clock import Clock
from server.feeds.rest import RestResponse

__all__ = ["WeightBudget"]

log = logging.getLogger(__name__)

_MINUTE_MS = 60_000

#: Waits after a refusal that names no (readable) Retry-After, s.
_DEFAULT_WAIT_S = {429: 60.0, 418: 120.0, 403: 300.0, 451: 600.0}

#: The longest ban the exchange documents is three days; a longer Retry-After is a mistake.
_WAIT_MAX_S = 3 * 86_400.0

_MEANING = {
    429: "the exchange asks to slow down (429)",
    418: "the exchange has banned this address for a while (418)",
    403: "the exchange's firewall refused us (403)",
    451: "the exchange does not serve this location (451): run the server elsewhere",
}


class WeightBudget:
    """Gives out request weight: at most ``share`` of ``limit`` in any minute of the exchange.

    While the exchange refuses (429, 418, 403, 451) nothing is given out until the wait is over.
    """

    def __init__(self, clock: Clock, *, limit: int, share: float) -> None:
        self._clock = clock
        self._share = share
        self.limit = limit
        self.offset_ms = 0  # exchange time minus ours
        self.refusals = 0  # answers that told us to stop
        self._minute = -1
        self._used = 0
        self._pending = 0
        self._blocked_until = 0.0
        self._blocked_status = 0

    @property
    def used(self) -> int:
        """Weight known to be used in this minute, by us or by others behind our address."""
        self._roll()
        return self._used

    @property
    def blocked_s(self) -> float:
        """Seconds until the next request is allowed after a refusal; 0 without one."""
        return max(0.0, self._blocked_until - self._clock.monotonic())

    @property
    def blocked_reason(self) -> str | None:
        """Why nothing is asked at the moment."""
        wait_s = self.blocked_s
        return f"{_MEANING[self._blocked_status]}, {wait_s:.0f} s left" if wait_s else None

    async def acquire(self, weight: int) -> None:
        """Return when a request of that weight may be sent; call ``settle`` after it."""
        while True:
            wait_s = self.blocked_s
            if not wait_s:
                self._roll()
                if self._used + self._pending + weight <= max(self.limit * self._share, weight):
                    self._pending += weight
                    return
                wait_s = self._to_next_minute_s()
            await self._clock.sleep(wait_s)

    def settle(self, weight: int, response: RestResponse | None) -> None:
        """Book a request that was sent; None if no answer came."""
        self._pending -= weight
        self._roll()
        told = -1
        if response is not None:
            text = response.headers.get("x-mbx-used-weight-1m", "")
            told = int(text) if text.isascii() and text.isdecimal() else -1
            if response.status in _MEANING:
                self._block(response)
        self._used = max(self._used + (weight if told < 0 else 0), told)

    def _block(self, response: RestResponse) -> None:
        text = response.headers.get("retry-after", "").strip()
        wait_s = (
            float(text) if text.isascii() and text.isdecimal() else _DEFAULT_WAIT_S[response.status]
        )
        wait_s = min(max(wait_s, 1.0), _WAIT_MAX_S)
        self.refusals += 1
        until = self._clock.monotonic() + wait_s
        if until > self._blocked_until:
            self._blocked_until = until
            self._blocked_status = response.status
        log.warning("%s; asking again in %.0f s", _MEANING[response.status], wait_s)

    def _now_ms(self) -> int:
        return self._clock.time_ms() + self.offset_ms

    def _roll(self) -> None:
        minute = self._now_ms() // _MINUTE_MS
        if minute != self._minute:
            self._minute = minute
            self._used = 0

    def _to_next_minute_s(self) -> float:
        # A little past the turn: the two clocks do not agree to the millisecond.
        return (_MINUTE_MS - self._now_ms() % _MINUTE_MS) / 1000 + 0.25
