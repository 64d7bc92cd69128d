"""Who asks: what a key or a token stands for."""

from __future__ import annotations

from enum import StrEnum
from typing import Self

import msgspec

__all__ = ["OPERATOR", "Principal", "Scope", "Tier"]

#: Owner of what is made with the server's own key, or on a server without keys.
OPERATOR = "operator"


class _Ladder(StrEnum):
    """Words in order: each includes the ones before it."""

    def includes(self, other: Self) -> bool:
        """True if who has this may do whatever ``other`` is asked for."""
        rungs = list(type(self))
        return rungs.index(self) >= rungs.index(other)


class Tier(_Ladder):
    """What somebody may use."""

    ANONYMOUS = "anonymous"
    FREE = "free"
    PRO = "pro"
    ELITE = "elite"


class Scope(_Ladder):
    """What a key is good for."""

    READ = "read"  # market data, filters, own signals
    TRADE = "trade"  # own traders
    ADMIN = "admin"  # symbols, other owners' traders, whatever the operator does


class Principal(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody, as the server knows them. Taken from the key or token, never from a body."""

    owner: str | None  # None: nobody in particular, who has no traders
    tier: Tier
    scope: Scope
    key_id: str | None = None  # public part of the key; None for tokens and open servers
    bucket: str = ""  # whose requests are counted together: a key, a user or an address
    # of a token, what decides how long it holds
    issued_ms: int = 0
    expires_ms: int | None = None
    signed_by: str | None = None  # id of the key that it is signed with
