"""How often somebody may ask: a bucket for each of them and each route, refilled all the time."""

from __future__ import annotations

import ipaddress
from collections import OrderedDict
from functools import lru_cache
from math import ceil
from typing import NamedTuple

from server.clock import Clock
from server.identity import Principal, Scope
from server.traders.tiers import TIERS

__all__ = ["BUCKETS_MAX", "PER_MINUTE", "Allowance", "RateLimiter", "address_bucket"]

#: Requests a minute of one route, by tier.
PER_MINUTE = {tier: limits.requests_per_min for tier, limits in TIERS.items()}
WINDOW_S = 60.0
#: Buckets remembered; the one not used for longest is forgotten first.
BUCKETS_MAX = 65_536


class Allowance(NamedTuple):
    """What is left to somebody after a request, or before it if it was one too many."""

    passed: bool
    limit: int  # requests a minute
    remaining: int
    reset_s: int  # until all of them are there again
    wait_s: int  # until this request would have passed; 0 if it did


class RateLimiter:
    """Counts by tier. The operator's key and servers without keys are not counted.

    Of a bucket one number is kept: the moment at which it will be full again.
    """

    def __init__(self, clock: Clock) -> None:
        self._monotonic = clock.monotonic
        self._full_at: OrderedDict[tuple[str, str], float] = OrderedDict()
        self.forgotten = 0  # buckets that were not full when room was needed

    def __len__(self) -> int:
        """Buckets remembered."""
        return len(self._full_at)

    def take(self, principal: Principal, route: str, weight: int = 1) -> Allowance | None:
        """Count a request as ``weight`` of them; None: whoever asks is not counted."""
        if principal.scope is Scope.ADMIN:
            return None
        limit = PER_MINUTE[principal.tier]
        now = self._monotonic()
        key = (principal.bucket, route)
        before = max(self._full_at.pop(key, now), now)
        # A weight beyond a whole bucket would never pass.
        after = before + min(weight, limit) * WINDOW_S / limit
        passed = after - now <= WINDOW_S + 1e-9
        full_at = after if passed else before
        self._full_at[key] = full_at
        if len(self._full_at) > BUCKETS_MAX:
            _, dropped = self._full_at.popitem(last=False)
            self.forgotten += dropped > now
        return Allowance(
            passed,
            limit,
            int((WINDOW_S - (full_at - now)) * limit / WINDOW_S + 1e-6),
            ceil(full_at - now),
            0 if passed else max(1, ceil(after - now - WINDOW_S)),
        )


@lru_cache(maxsize=4096)
def address_bucket(address: str) -> str:
    """Whom an address stands for: of IPv6, whoever has the network of 64 bits."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return f"address:{address}"
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped is not None:
            return f"address:{parsed.ipv4_mapped}"
        return f"address:{ipaddress.IPv6Network((int(parsed) >> 64 << 64, 64))}"
    return f"address:{parsed}"
