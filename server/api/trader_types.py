"""Bodies and answers of the trader routes, which ``/openapi.json`` describes."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

import msgspec
from msgspec import UNSET, Meta, UnsetType

from server.api.filter_types import COOLDOWN_MAX, SYMBOLS_MAX, Mode
from server.api.types import SymbolName
from server.identity import Tier
from server.traders.health import TraderHealth
from server.traders.model import Category, Trader
from server.traders.runs import RunResult

__all__ = ["LockedTrader", "RunTrader", "TraderChange", "TraderDraft", "TraderView", "Traders"]

#: Texts of a trader, at most.
NAME_MAX = 120
DESCRIPTION_MAX = 4000
CONDITIONS_MAX = 50
INDICATORS_MAX = 16

Name: TypeAlias = Annotated[str, Meta(min_length=1, max_length=NAME_MAX)]
FilterText: TypeAlias = Annotated[str, Meta(min_length=1, max_length=4096)]
Cooldown: TypeAlias = Annotated[int, Meta(ge=0, le=COOLDOWN_MAX)]
Symbols: TypeAlias = Annotated[list[SymbolName], Meta(max_length=SYMBOLS_MAX)]
Description: TypeAlias = Annotated[str, Meta(max_length=DESCRIPTION_MAX)]
Conditions: TypeAlias = Annotated[
    list[Annotated[str, Meta(max_length=500)]], Meta(max_length=CONDITIONS_MAX)
]
Indicators: TypeAlias = Annotated[list[dict[str, Any]], Meta(max_length=INDICATORS_MAX)]
EvaluateOn: TypeAlias = Literal["closed", "forming"]
Difficulty: TypeAlias = Literal["beginner", "intermediate", "advanced"]


class TraderDraft(msgspec.Struct, forbid_unknown_fields=True):
    """A trader to be made. Whose it is says the key, never the body."""

    name: Name
    filter: FilterText
    interval: str
    market: str | None = None  # null: the server's first
    symbols: Symbols = []  # none: all of the market
    mode: Mode = "edge"  # fires when the filter becomes true; at each close where it is
    cooldown_bars: Cooldown = 0  # klines of silence after a signal
    evaluate_on: EvaluateOn = "closed"  # forming: provisional signals, confirmed at the close
    enabled: bool = True
    description: Description = ""
    conditions: Conditions = []
    indicators: Indicators = []
    category: Category | None = None
    difficulty: Difficulty | None = None
    past: bool = False  # also keep the signals of the klines in memory, marked historical


class TraderChange(msgspec.Struct, forbid_unknown_fields=True):
    """What is to change; what is not given stays."""

    name: Name | UnsetType = UNSET
    filter: FilterText | UnsetType = UNSET
    interval: str | UnsetType = UNSET
    symbols: Symbols | UnsetType = UNSET
    mode: Mode | UnsetType = UNSET
    cooldown_bars: Cooldown | UnsetType = UNSET
    evaluate_on: EvaluateOn | UnsetType = UNSET
    enabled: bool | UnsetType = UNSET
    description: Description | UnsetType = UNSET
    conditions: Conditions | UnsetType = UNSET
    indicators: Indicators | UnsetType = UNSET
    category: Category | None | UnsetType = UNSET
    difficulty: Difficulty | None | UnsetType = UNSET


class RunTrader(msgspec.Struct, forbid_unknown_fields=True):
    """Whose klines a trader is run on now."""

    symbols: Symbols | None = None  # null: all that it looks at


class TraderView(Trader, kw_only=True, frozen=True):
    """A trader and how it is."""

    filter_hash: str | None  # null: the filter is refused
    origin: str  # builtin, local, or where else it is kept
    health: TraderHealth
    run: RunResult | None = None  # of a trader just made: what it says now


class LockedTrader(msgspec.Struct):
    """A built-in trader of a higher tier: what it is for, not what it says."""

    id: str
    name: str
    description: str
    interval: str
    access_tier: Tier  # what it needs
    category: Category | None
    difficulty: Difficulty | None


class Traders(msgspec.Struct):
    """Traders that whoever asks may see: built-in ones first, then by age."""

    traders: list[TraderView]
    count: int  # that there are, also those beyond ``limit``
    next: str | None  # ``after`` of the next page
    locked: list[LockedTrader]  # built-in ones that a higher tier sees too; on every page
