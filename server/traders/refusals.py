"""Why the desk does not do what it was asked: one class per reaction."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["NotAllowedError", "TraderRefusedError", "UnknownTraderError"]


class UnknownTraderError(LookupError):
    """There is no such trader, or whoever asks may not know of it."""


class NotAllowedError(Exception):
    """Whoever asks may see the trader, but not do this."""


class TraderRefusedError(ValueError):
    """A trader that could not run: ``code`` says what is wrong, for programs."""

    def __init__(self, code: str, message: str, allowed: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.code = code
        self.allowed = tuple(allowed)
