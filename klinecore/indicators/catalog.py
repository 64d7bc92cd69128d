"""The catalog: one line per indicator, from which runtime, documentation and tests are made."""

from __future__ import annotations

from klinecore.indicators.entries import (
    averages,
    levels,
    momentum,
    patterns,
    rows,
    trend,
    volatility,
    volume,
    windows,
)
from klinecore.indicators.entry import Indicator

__all__ = ["CATALOG", "FAMILIES"]

FAMILIES = {
    "averages": "Moving averages",
    "momentum": "Momentum",
    "volatility": "Volatility",
    "trend": "Trend",
    "volume": "Volume",
    "windows": "Windows",
    "rows": "Prices and crosses",
    "patterns": "Patterns of a few klines",
    "levels": "Levels and turns",
}

CATALOG: dict[str, Indicator] = {
    entry.name: entry
    for family in (
        averages,
        momentum,
        volatility,
        trend,
        volume,
        windows,
        rows,
        patterns,
        levels,
    )
    for entry in family.ENTRIES
}
