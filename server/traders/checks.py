"""Whether a trader could run here; what is refused is refused before anything is kept."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

import msgspec

from klinecore.filters import Filter, Limits, compile
from klinecore.market import Market
from server.traders.book import Entry
from server.traders.model import Trader
from server.traders.refusals import TraderRefusedError

__all__ = ["checked", "runnable"]


def checked(
    trader: Trader, markets: Sequence[str], market: Market | None, limits: Limits
) -> Trader:
    """A trader that could run, its symbols as the market writes them.

    ``markets`` are served; ``market`` is the trader's, None while that is not up. Raises
    FilterError, TraderRefusedError.
    """
    UUID(trader.id)
    filter = compile(trader.filter, limits=limits)
    if trader.market not in markets:
        raise TraderRefusedError(
            "invalid_market", f"market {trader.market!r} is not served here", markets
        )
    if trader.evaluate_on == "forming" and filter.cross_symbols:
        raise TraderRefusedError(
            "not_while_forming", "symbols are compared at their closes, not while klines form"
        )
    if market is None:
        return trader
    _check_intervals(trader, filter, market)
    symbols = tuple(dict.fromkeys(name.upper() for name in trader.symbols))
    unknown = [name for name in symbols if (name, trader.interval) not in market]
    if unknown:
        raise TraderRefusedError(
            "unknown_symbol", f"{', '.join(unknown[:10])}: not held here", market.symbols
        )
    return msgspec.structs.replace(trader, symbols=symbols)


def runnable(entry: Entry, market: Market) -> Filter:
    """The filter of a trader that can be run in a market now. Raises as ``checked``."""
    if entry.filter is None:
        assert entry.refusal is not None
        raise entry.refusal
    _check_intervals(entry.trader, entry.filter, market)
    return entry.filter


def _check_intervals(trader: Trader, filter: Filter, market: Market) -> None:
    for interval in (trader.interval, *filter.intervals):
        if interval not in market.intervals:
            raise TraderRefusedError(
                "interval_not_held", f"interval {interval!r} is not held here", market.intervals
            )
