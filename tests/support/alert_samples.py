"""Targets, and the signals that are sent to them."""

from __future__ import annotations

from typing import Any

from server.alerts.messages import Alert, TraderName
from server.alerts.model import Kind, Target
from server.alerts.signing import make_secret
from server.signals.model import Signal, SignalStatus, signal_id
from server.traders.model import Trader

NOW_MS = 1_769_904_000_000
MINUTE_MS = 60_000
SECRET = make_secret()


def make_trader(number: int = 1, owner: str | None = "anna", **fields: Any) -> Trader:
    values: dict[str, Any] = {
        "id": f"00000000-0000-4000-8000-{number:012d}",
        "owner": owner,
        "name": f"trader {number}",
        "filter": "close > 1",
        "interval": "1m",
        "created_ms": NOW_MS,
        "updated_ms": NOW_MS,
    }
    return Trader(**values | fields)


def make_signal(number: int = 0, trader: Trader | None = None, **fields: Any) -> Signal:
    trader_id = (trader or make_trader()).id
    open_ms = NOW_MS + number * MINUTE_MS
    values: dict[str, Any] = {
        "id": signal_id(trader_id, "f" * 16, "spot", "BTCUSDT", "1m", open_ms),
        "trader_id": trader_id,
        "filter_hash": "f" * 16,
        "market": "spot",
        "symbol": "BTCUSDT",
        "interval": "1m",
        "open_time_ms": open_ms,
        "price": "97123.45000000",
        "status": SignalStatus.FIRED,
        "revision": 1,
        "data_revision": 7,
        "complete": True,
        "values": {"rsi(close, 14)": 28.123456, "close": None},
        "anchors": {"1m": NOW_MS - 500 * MINUTE_MS},
        "at_ms": open_ms + 60_007,
    }
    return Signal(**values | fields)


def make_alert(number: int = 0, name: str = "oversold", **fields: Any) -> Alert:
    signal = make_signal(number, **fields)
    return Alert(signal, TraderName(signal.trader_id, name))


def make_target(kind: Kind = Kind.WEBHOOK, number: int = 1, **fields: Any) -> Target:
    values: dict[str, Any] = {
        "id": f"10000000-0000-4000-8000-{number:012d}",
        "owner": "anna",
        "kind": kind,
        "name": f"target {number}",
        "address": "https://hooks.example.com/",
        "secret": SECRET if kind is Kind.WEBHOOK else "",
        "created_ms": NOW_MS + number,
    }
    return Target(**values | fields)
