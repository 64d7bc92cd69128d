"""What each tier may have: one table for quotas, rates and what is shown."""

from __future__ import annotations

from typing import NamedTuple

from server.identity import Tier

__all__ = ["TIERS", "TierLimits"]


class TierLimits(NamedTuple):
    """None stands for no limit."""

    custom_traders: int | None  # enabled ones of one owner
    requests_per_min: int  # of one user, key or address, for each endpoint
    builtins_shown: int | None  # newest signals of built-in traders
    history: bool
    notifications: bool


#: As the original had them.
TIERS: dict[Tier, TierLimits] = {
    Tier.ANONYMOUS: TierLimits(0, 10, 10, history=False, notifications=False),
    Tier.FREE: TierLimits(0, 100, 30, history=True, notifications=False),
    Tier.PRO: TierLimits(10, 500, None, history=True, notifications=True),
    Tier.ELITE: TierLimits(None, 1000, None, history=True, notifications=True),
}
