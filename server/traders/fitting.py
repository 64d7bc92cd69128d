"""Owners whose tier changes have more traders than they may, or may have some again."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable

from server.clock import Clock
from server.errors import StoreError
from server.identity import Tier
from server.traders.book import LOCAL
from server.traders.desk import Desk
from server.traders.tiers import TIERS

__all__ = ["fit_to_tiers", "keep_fitting"]

log = logging.getLogger(__name__)

#: Seconds between two looks at whether owners' traders still fit their tiers.
FIT_S = 30.0

TierOf = Callable[[str], Tier | None]


async def keep_fitting(desk: Desk, tier_of: TierOf, clock: Clock) -> None:
    """Look every ``FIT_S`` seconds, until cancelled."""
    while True:
        await clock.sleep(FIT_S)
        await fit_to_tiers(desk, tier_of)


async def fit_to_tiers(desk: Desk, tier_of: TierOf) -> None:
    """Pause what owners have beyond their tiers, and wake what they may have again.

    Owners of whom ``tier_of`` says None are left as they are: their keys have ended. What cannot
    be kept now is left to the next look.
    """
    enabled: Counter[str] = Counter()
    paused: set[str] = set()
    for entry in desk.book:
        owner = entry.trader.owner
        if entry.origin == LOCAL and owner is not None and entry.trader.enabled:
            enabled[owner] += 1
            if entry.trader.paused_reason is not None:
                paused.add(owner)
    for owner, count in enabled.items():
        tier = tier_of(owner)
        if tier is None:
            continue
        limit = TIERS[tier].custom_traders
        if owner in paused or (limit is not None and count > limit):
            try:
                await desk.enforce(owner, tier)
            except StoreError as error:
                log.warning("traders of %s do not fit their tier yet: %s", owner, error)
