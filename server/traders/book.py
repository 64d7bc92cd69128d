"""Which traders there are, what their filters compile to, and who sees which."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

from klinecore.errors import FilterError
from klinecore.filters import LIMITS, Filter, Limits, compile
from server.identity import Principal, Scope
from server.traders.model import Trader, fire_alike

__all__ = ["BUILTIN", "LOCAL", "Book", "Entry", "filter_limits", "sees"]

#: Origins: who may replace a trader.
BUILTIN = "builtin"  # the program brings it
LOCAL = "local"  # made here, kept here


def filter_limits(capacity: int) -> Limits:
    """The language's own; a server that keeps more klines lets filters look back further."""
    return replace(LIMITS, window=max(LIMITS.window, min(capacity, LIMITS.windows)))


class Entry(NamedTuple):
    """One trader as the book has it."""

    trader: Trader
    origin: str
    filter: Filter | None  # None: it is refused
    refusal: FilterError | None = None

    def means(self, other: Entry) -> bool:
        """Whether both say the same of the same symbol."""
        same_market = self.trader.market == other.trader.market
        same_filter = self.filter == other.filter
        return same_market and same_filter and fire_alike(self.trader, other.trader)


class Book:
    """Traders by id. Filters are compiled once per text, for all that use it."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._entries: dict[str, Entry] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[Entry]:
        return iter(tuple(self._entries.values()))

    def get(self, trader_id: str) -> Entry | None:
        """The trader of that id, whoever's it is."""
        return self._entries.get(trader_id)

    def find(self, principal: Principal, trader_id: str) -> Entry | None:
        """Likewise, if ``principal`` sees it."""
        entry = self._entries.get(trader_id)
        return entry if entry is not None and sees(principal, entry.trader) else None

    def visible(self, principal: Principal) -> list[Trader]:
        """What ``principal`` sees: built-in ones first, then by age."""
        seen = [entry.trader for entry in self if sees(principal, entry.trader)]
        return sorted(seen, key=lambda one: (one.owner is not None, one.created_ms, one.id))

    def locked(self, principal: Principal) -> list[Trader]:
        """Built-in ones that ``principal`` would see with a higher tier."""
        return [
            entry.trader
            for entry in self
            if entry.trader.owner is None and not sees(principal, entry.trader)
        ]

    def enabled_count(self, owner: str) -> int:
        """How many of somebody's traders are enabled."""
        return sum(e.trader.owner == owner and e.trader.enabled for e in self._entries.values())

    def put(self, trader: Trader, origin: str = LOCAL) -> Entry:
        """Take a trader in, in place of the one with its id."""
        entry = self._made(trader, origin, self._filters())
        self._entries[trader.id] = entry
        return entry

    def remove(self, trader_id: str) -> Entry | None:
        """Forget a trader."""
        return self._entries.pop(trader_id, None)

    def beyond(self, traders: Sequence[Trader], origin: str) -> list[Entry]:
        """Those of an origin that are not among these."""
        wanted = {trader.id for trader in traders}
        return [e for e in self if e.origin == origin and e.trader.id not in wanted]

    def replace(self, traders: Sequence[Trader], origin: str) -> list[Entry]:
        """Let those of an origin be these and no others; what changed.

        An id that another origin has is left as it is.
        """
        known = self._filters()
        changed: dict[str, Entry] = {}
        wanted = {trader.id: trader for trader in traders}
        for trader in wanted.values():
            before = self._entries.get(trader.id)
            if before is not None and (before.origin != origin or before.trader == trader):
                continue
            changed[trader.id] = self._made(trader, origin, known)
        for entry in self.beyond(traders, origin):
            del self._entries[entry.trader.id]
        self._entries.update(changed)
        return list(changed.values())

    def _filters(self) -> dict[str, Filter]:
        return {e.trader.filter: e.filter for e in self._entries.values() if e.filter is not None}

    def _made(self, trader: Trader, origin: str, known: dict[str, Filter]) -> Entry:
        found = known.get(trader.filter)
        if found is None:
            try:
                found = compile(trader.filter, limits=self.limits)
            except FilterError as error:
                return Entry(trader, origin, None, error)
            known[trader.filter] = found
        return Entry(trader, origin, found)


def sees(principal: Principal, trader: Trader) -> bool:
    """Whether somebody may see a trader and its signals."""
    if principal.scope.includes(Scope.ADMIN):
        return True
    if trader.owner is None:
        return principal.tier.includes(trader.access_tier)
    return trader.owner == principal.owner
