"""Filters: conditions over klines, written by people, checked and run for every symbol."""

from __future__ import annotations

from klinecore.errors import FilterError
from klinecore.filters.copied import MarketCopy
from klinecore.filters.engine import Engine
from klinecore.filters.evaluation import (
    Evaluation,
    Replay,
    evaluate,
    expression_series,
    replay,
)
from klinecore.filters.explanation import Explanation, Part, explain
from klinecore.filters.language import Filter, compile, parse_expression
from klinecore.filters.limits import LIMITS, Limits
from klinecore.filters.ready import READY, ReadyFilter
from klinecore.filters.reasons import Reason
from klinecore.filters.telling import Firing
from klinecore.filters.tree import FIELDS, OPERATIONS, TICKER_FIELDS, Kind, Node, Operation

__all__ = [
    "FIELDS",
    "LIMITS",
    "OPERATIONS",
    "READY",
    "TICKER_FIELDS",
    "Engine",
    "Evaluation",
    "Explanation",
    "Filter",
    "FilterError",
    "Firing",
    "Kind",
    "Limits",
    "MarketCopy",
    "Node",
    "Operation",
    "Part",
    "ReadyFilter",
    "Reason",
    "Replay",
    "compile",
    "evaluate",
    "explain",
    "expression_series",
    "parse_expression",
    "replay",
]
