"""The traders that every installation has: the language's ready filters, with a tier each."""

from __future__ import annotations

from typing import Literal
from uuid import UUID, uuid5

from klinecore.filters import READY, ReadyFilter
from server.identity import Tier
from server.traders.model import Trader

__all__ = ["CREATED_MS", "builtin_id", "builtin_traders"]

#: Namespace of their ids; it must never change, or their signals would come again under new ids.
_NAMESPACE = UUID("0c5a1a58-33a4-5b7d-8c38-5a3f3d1a9c10")

#: 2026-01-01: they are as old in every installation.
CREATED_MS = 1_767_225_600_000

Difficulty = Literal["beginner", "intermediate", "advanced"]

#: Tier and difficulty by name: the seven of the original as they were there.
_PLACES: dict[str, tuple[Tier, Difficulty]] = {
    "rsi_oversold_bounce": (Tier.ANONYMOUS, "beginner"),
    "volume_spike": (Tier.ANONYMOUS, "beginner"),
    "golden_cross": (Tier.ANONYMOUS, "beginner"),
    "macd_divergence": (Tier.FREE, "intermediate"),
    "bb_squeeze_exit": (Tier.FREE, "intermediate"),
    "multi_interval_momentum": (Tier.PRO, "advanced"),
    "market_structure_break": (Tier.ELITE, "advanced"),
    "dip_in_uptrend": (Tier.ANONYMOUS, "beginner"),
    "average_cross_with_volume": (Tier.FREE, "beginner"),
    "hourly_oversold_turn": (Tier.FREE, "intermediate"),
    "macd_turns_up": (Tier.FREE, "beginner"),
    "stochastic_mid_range": (Tier.FREE, "beginner"),
    "bb_squeeze": (Tier.FREE, "intermediate"),
    "liquid_breakout": (Tier.FREE, "intermediate"),
    "strongest_of_the_day": (Tier.FREE, "intermediate"),
    "lately_oversold": (Tier.FREE, "beginner"),
    "rsi_divergence": (Tier.PRO, "advanced"),
    "engulfing_dip": (Tier.FREE, "intermediate"),
    "hammer_low": (Tier.FREE, "intermediate"),
    "morning_star_turn": (Tier.PRO, "advanced"),
    "volume_node_reclaimed": (Tier.PRO, "advanced"),
    "vwap_band_return": (Tier.PRO, "advanced"),
    "broad_rise": (Tier.PRO, "advanced"),
}


def builtin_id(name: str) -> str:
    """The same UUID for the same ready filter, everywhere."""
    return str(uuid5(_NAMESPACE, name))


def builtin_traders(market: str = "spot") -> tuple[Trader, ...]:
    """All of them, in the order of ``READY``."""
    return tuple(_trader(ready, market) for ready in READY.values())


def _trader(ready: ReadyFilter, market: str) -> Trader:
    tier, difficulty = _PLACES[ready.name]
    return Trader(
        id=builtin_id(ready.name),
        owner=None,
        name=ready.title,
        filter=ready.text,
        interval=ready.interval,
        market=market,
        mode=ready.mode,
        cooldown_bars=ready.cooldown,
        description=ready.description,
        conditions=(ready.description,),
        access_tier=tier,
        category=ready.category,
        difficulty=difficulty,
        created_ms=CREATED_MS,
        updated_ms=CREATED_MS,
    )
