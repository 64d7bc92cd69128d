"""Supabase beside a server: the sync process, and what the server knows by it."""

from __future__ import annotations

import importlib.util
import random as random_module
from collections.abc import Callable, Sequence

from server.clock import Clock
from server.errors import SettingsError
from server.identity import Tier
from server.metrics import Registry
from server.settings import Settings
from server.store.base import Store
from server.sync.mirror import Mirror
from server.sync.options import Options
from server.sync.supervisor import Supervisor
from server.traders.model import Trader

__all__ = ["Sync"]

#: What the sync process cannot do without.
_NEEDED = ("httpx", "realtime")


class Sync:
    """One life: ``load``, ``start``, and at the end ``stop`` while the store is still open."""

    def __init__(
        self,
        settings: Settings,
        store: Store,
        replace: Callable[[Sequence[Trader], str], None],
        *,
        clock: Clock,
        random: random_module.Random,
        metrics: Registry,
    ) -> None:
        """Of a server whose settings name a project; ``replace`` is the desk's.

        Raises SettingsError: what the sync process needs is not installed.
        """
        url, key = settings.supabase_url, settings.supabase_secret_key
        assert url is not None
        assert key is not None
        missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
        if missing:
            raise SettingsError(
                f"SUPABASE_SECRET_KEY is set, which needs {' and '.join(missing)}: "
                "pip install 'klinecore[supabase]'"
            )
        self.mirror = Mirror(
            outbox=store.outbox,
            traders=store.traders,
            tiers=store.tiers,
            replace=replace,
            errors=store.errors,
            clock=clock,
            metrics=metrics,
        )
        self._supervisor = Supervisor(
            Options(
                url=url,
                outbox=store.database.path,
                log_level=settings.log_level,
                log_format=settings.log_format,
            ),
            str(key),
            self.mirror.receive,
            clock=clock,
            random=random,
            metrics=metrics,
        )

    def tier_of(self, user: str) -> Tier:
        """The tier of one of the project's users."""
        return self.mirror.tier_of(user)

    async def load(self) -> None:
        """Begin with the last good set. Raises StoreError."""
        await self.mirror.load()

    def start(self) -> None:
        """Start the process; returns at once."""
        self._supervisor.start()

    async def stop(self) -> None:
        """Let it send what waits, then end it; takes some seconds at most."""
        await self._supervisor.stop()
