"""The server's errors: one class per reaction.

::

    Exception
    └── ServerError
        ├── SettingsError     the operator's input is wrong: say what was expected, do not start
        └── FeedError         the exchange did not do its part: wait, then try again
            └── RestError     an answer that is no success; carries its status
"""

from __future__ import annotations

__all__ = ["FeedError", "RestError", "ServerError", "SettingsError"]


class ServerError(Exception):
    """Base of every error the server raises on purpose."""


class SettingsError(ServerError):
    """A setting is unknown or out of bounds; the message names it and what is allowed."""


class FeedError(ServerError):
    """The exchange did not do its part. Wait, then try again."""


class RestError(FeedError):
    """An answer that is no success: its ``status``, 0 if none came."""

    def __init__(self, what: str, *, status: int = 0) -> None:
        super().__init__(what)
        self.status = status
