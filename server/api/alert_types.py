"""Bodies and answers of the alert routes, which ``/openapi.json`` describes."""

from __future__ import annotations

from typing import Annotated, TypeAlias

import msgspec
from msgspec import UNSET, Meta, UnsetType

from server.alerts.model import Kind, TargetStatus
from server.alerts.table import DeadLetter

__all__ = [
    "AlertChange",
    "AlertDetail",
    "AlertDraft",
    "AlertMade",
    "AlertSecret",
    "AlertTest",
    "AlertView",
    "Alerts",
]

#: Traders one target may name.
TRADERS_MAX = 1000

Name: TypeAlias = Annotated[str, Meta(min_length=1, max_length=120)]
Text: TypeAlias = Annotated[str, Meta(max_length=2048)]
TraderIds: TypeAlias = Annotated[
    list[Annotated[str, Meta(max_length=36)]], Meta(max_length=TRADERS_MAX)
]


class AlertDraft(msgspec.Struct, forbid_unknown_fields=True):
    """A target to be made. Whose it is says the key, never the body."""

    kind: Kind
    name: Name
    address: Text = ""  # webhook: its URL; telegram: the chat; email: the address
    secret: Text = ""  # telegram: the bot's token; discord and apprise: the URL
    traders: TraderIds = []  # none: all of one's own; built-in ones must be named


class AlertChange(msgspec.Struct, forbid_unknown_fields=True):
    """What is to change; what is not given stays."""

    name: Name | UnsetType = UNSET
    traders: TraderIds | UnsetType = UNSET
    enabled: bool | UnsetType = UNSET


class AlertView(msgspec.Struct, kw_only=True):
    """A target, without its secrets."""

    id: str
    kind: Kind
    name: str
    address: str
    traders: list[str]
    enabled: bool
    disabled_reason: str | None
    created_ms: int
    status: TargetStatus


class AlertMade(AlertView, kw_only=True):
    """A new target. ``secret`` verifies a webhook's signatures, and is never shown again."""

    secret: str | None


class AlertDetail(AlertView, kw_only=True):
    """A target, and what will never be delivered to it, the newest first."""

    dead: list[DeadLetter]


class Alerts(msgspec.Struct):
    """One's targets, the oldest first."""

    targets: list[AlertView]


class AlertTest(msgspec.Struct):
    """How a message that was sent at once has ended: sent, retry or dead."""

    result: str
    reason: str


class AlertSecret(msgspec.Struct):
    """A webhook's new secret, and until when the old one signs beside it."""

    secret: str
    old_until_ms: int
