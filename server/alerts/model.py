"""What an alert is: somebody's target, and one signal on its way to it."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from server.alerts.signing import read_secret

__all__ = [
    "Delivery",
    "Kind",
    "Outcome",
    "Result",
    "State",
    "Target",
    "TargetStatus",
    "key_of",
]


class Kind(StrEnum):
    """How a target is reached."""

    WEBHOOK = "webhook"
    TELEGRAM = "telegram"
    DISCORD = "discord"
    EMAIL = "email"
    APPRISE = "apprise"


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """Where somebody wants their signals. Secrets are kept as they are: they sign what is sent."""

    id: str  # a UUID
    owner: str
    kind: Kind
    name: str
    address: str  # URL, chat or mail address
    secret: str = ""  # signs webhooks; a bot's token
    old_secret: str = ""  # signs as well until ``old_until_ms``
    old_until_ms: int = 0
    traders: tuple[str, ...] = ()  # none: every trader of the owner's
    enabled: bool = True
    disabled_reason: str | None = None  # the other side wants no more
    created_ms: int

    def __post_init__(self) -> None:
        """Raises ValueError: a webhook's secret that is none."""
        if self.kind is Kind.WEBHOOK:
            read_secret(self.secret)

    def secrets(self, now_ms: int) -> list[str]:
        """What signs now, the newest first."""
        old = self.old_secret and now_ms < self.old_until_ms
        return [self.secret, self.old_secret] if old else [self.secret]


class State(StrEnum):
    """What became of a delivery."""

    WAITING = "waiting"
    DONE = "done"  # kept for a while: the same signal is not sent again
    DEAD = "dead"  # given up, with the reason


class Delivery(msgspec.Struct, kw_only=True):
    """One signal on its way to one target; once for (target, signal, revision)."""

    target_id: str
    signal_id: str
    revision: int
    at_ms: int  # when it was put in
    body: str  # JSON: ``{"signal":..,"trader":{"id":..,"name":..}}``
    attempts: int = 0

    @property
    def key(self) -> tuple[str, str, int]:
        """What makes it this one."""
        return (self.target_id, self.signal_id, self.revision)


def key_of(signal_id: str, revision: int) -> str:
    """The same for the same signal: by it a receiver knows what it has already."""
    return f"{signal_id}.{revision}"


class Result(StrEnum):
    """How an attempt ended."""

    SENT = "sent"
    RETRY = "retry"  # not now
    DEAD = "dead"  # never


class Outcome(msgspec.Struct, frozen=True):
    """How an attempt ended, why, and how long to wait at least."""

    result: Result
    reason: str = ""
    wait_s: float = 0.0
    disable: bool = False  # the target wants no more of anything


class TargetStatus(msgspec.Struct, kw_only=True):
    """How a target does, since the server started where it is no figure of the store's."""

    waiting: int = 0
    oldest_ms: int | None = None  # when the oldest one that waits was put in
    dead: int = 0
    dropped: int = 0  # not put in, since too many waited
    failures: int = 0  # in a row
    next_try_ms: int | None = None
    last_error: str | None = None
    last_sent_ms: int | None = None
