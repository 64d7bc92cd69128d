"""The server's errors: one class per reaction.

::

    Exception
    └── ServerError
        ├── SettingsError     the operator's input is wrong: say what was expected, do not start
        ├── QuotaError        its owner may have no more: say how many there may be
        ├── StoreError        what is kept cannot be reached now: serve on, tell whoever waits
        └── FeedError         the exchange did not do its part: wait, then try again
            ├── RestError     an answer that is no success; carries its status
            └── SpentError    nothing may be asked for a client now; says for how long
"""

from __future__ import annotations

__all__ = [
    "FeedError",
    "QuotaError",
    "RestError",
    "ServerError",
    "SettingsError",
    "SpentError",
    "StoreError",
]


class ServerError(Exception):
    """Base of every error the server raises on purpose."""


class SettingsError(ServerError):
    """A setting is unknown or out of bounds; the message names it and what is allowed."""


class QuotaError(ServerError):
    """Somebody may have no more than ``limit``. Tell them; nothing was changed."""

    def __init__(self, limit: int, what: str = "traders may be enabled") -> None:
        super().__init__(f"at most {limit} {what}")
        self.limit = limit


class StoreError(ServerError):
    """What is kept cannot be read or written now. Nothing was changed; serve on without."""


class FeedError(ServerError):
    """The exchange did not do its part. Wait, then try again."""


class RestError(FeedError):
    """An answer that is no success: its ``status``, 0 if none came, and its ``body``."""

    def __init__(self, what: str, *, status: int = 0, body: bytes = b"") -> None:
        super().__init__(what)
        self.status = status
        self.body = body


class SpentError(FeedError):
    """The exchange may not be asked for a client now. Tell them to come back in ``wait_s``."""

    def __init__(self, what: str, wait_s: float) -> None:
        super().__init__(what)
        self.wait_s = wait_s
