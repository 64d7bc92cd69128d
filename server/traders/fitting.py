"""Owners whose tier changes have more traders than they may, or may have some again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from server.identity import Tier
from server.traders.book import LOCAL
from server.traders.desk import Desk
from server.traders.tiers import TIERS

__all__ = ["fit_to_tiers"]


async def fit_to_tiers(desk: Desk, tier_of: Callable[[str], Tier | None]) -> None:
    """Pause what owners have beyond their tiers, and wake what they may have again.

    Owners of whom ``tier_of`` says None are left as they are: their keys have ended.
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
            await desk.enforce(owner, tier)
