"""What an alert says: JSON for programs, lines of text for people."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from server.alerts.model import Delivery
from server.signals.model import Signal

__all__ = ["Alert", "TraderName", "alert_body", "lines", "read_alert", "subject", "webhook_body"]

#: Sub-values that a line shows.
_VALUES_MAX = 4
_NAME_LENGTH_MAX = 60


class TraderName(msgspec.Struct, frozen=True):
    """Which trader it was."""

    id: str
    name: str


class Alert(msgspec.Struct, frozen=True):
    """A signal, and which trader gave it."""

    signal: Signal
    trader: TraderName


def alert_body(signal: Signal, trader: TraderName) -> str:
    """An alert as it is kept until it is delivered."""
    return msgspec.json.encode(Alert(signal, trader)).decode()


def read_alert(delivery: Delivery) -> Alert:
    """The alert of a delivery."""
    return msgspec.json.decode(delivery.body, type=Alert)


def webhook_body(alert: Alert) -> bytes:
    """``{"type":"signal.fired","timestamp":..,"data":{..}}``; data is the signal as everywhere."""
    document: dict[str, Any] = {
        "type": f"signal.{alert.signal.status}",
        "timestamp": _iso(alert.signal.at_ms),
        "data": alert.signal,
        "trader": alert.trader,
    }
    return msgspec.json.encode(document)


def lines(alerts: Sequence[Alert], length_max: int) -> str:
    """One line for each alert; those that do not fit are counted in the last one."""
    found: list[str] = []
    size = 0
    for place, alert in enumerate(alerts):
        line = _line(alert)
        more = f"and {len(alerts) - place} more"
        if size + len(line) + 1 + len(more) > length_max:
            found.append(more)
            break
        found.append(line)
        size += len(line) + 1
    return "\n".join(found)


def subject(alerts: Sequence[Alert]) -> str:
    """One line for all of them. It cannot hold a line break: names are cleaned."""
    first = alerts[0]
    text = f"{first.signal.symbol} {first.signal.interval}: {_clean(first.trader.name)}"
    return text if len(alerts) == 1 else f"{text} and {len(alerts) - 1} more"


def _line(alert: Alert) -> str:
    signal = alert.signal
    values = ", ".join(
        f"{name} = {value:.6g}"
        for name, value in list(signal.values.items())[:_VALUES_MAX]
        if value is not None
    )
    moment = datetime.fromtimestamp(signal.open_time_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M")
    text = (
        f"{signal.symbol} {signal.interval} {signal.status} at {signal.price}: "
        f"{_clean(alert.trader.name)}, kline of {moment} UTC"
    )
    return f"{text} ({_clean(values, 200)})" if values else text


def _clean(text: str, length_max: int = _NAME_LENGTH_MAX) -> str:
    """Somebody's text as part of a line: no line breaks, no controls, nothing that hides."""
    return "".join(c if c.isprintable() else " " for c in text)[:length_max]


def _iso(time_ms: int) -> str:
    moment = datetime.fromtimestamp(time_ms // 1000, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{time_ms % 1000:03d}Z"
