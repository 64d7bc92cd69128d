"""Filters: conditions over klines, written by people, checked and run for every symbol."""

from __future__ import annotations

from klinecore.filters.tree import FIELDS, OPERATIONS, TICKER_FIELDS, Kind, Node, Operation

__all__ = ["FIELDS", "OPERATIONS", "TICKER_FIELDS", "Kind", "Node", "Operation"]
