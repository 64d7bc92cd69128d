"""Tiers of Supabase's users that outlast the process: the last good set of there."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

import msgspec

from server.identity import Tier
from server.store.database import Database

__all__ = ["TierStore", "UserTier"]


class UserTier(msgspec.Struct, frozen=True, kw_only=True):
    """A user's tier while it holds; after that, and without one, the user is free."""

    user_id: str
    tier: Tier
    expires_ms: int | None = None


class TierStore:
    """Keeps the set. Every method raises StoreError: the store cannot be reached now."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def load(self) -> list[UserTier]:
        """All that were kept."""

        def work(connection: sqlite3.Connection) -> list[UserTier]:
            rows = connection.execute("SELECT user_id, tier, expires_ms FROM user_tiers")
            return [
                UserTier(user_id=user_id, tier=Tier(tier), expires_ms=expires_ms)
                for user_id, tier, expires_ms in rows
            ]

        return await self._database.read(work)

    async def replace(self, tiers: Sequence[UserTier]) -> None:
        """Let the set be this one."""
        rows = [(row.user_id, str(row.tier), row.expires_ms) for row in tiers]

        def work(connection: sqlite3.Connection) -> None:
            connection.execute("DELETE FROM user_tiers")
            connection.executemany("INSERT INTO user_tiers VALUES (?, ?, ?)", rows)

        await self._database.write(work)
