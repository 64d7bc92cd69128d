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
    """One life: ``start`` once the store is open, ``stop`` while it still is.

    On a server without a Supabase project, or without a store, nothing of it does anything.
    """

    def __init__(
        self,
        settings: Settings,
        store: Store | None,
        replace: Callable[[Sequence[Trader], str], None],
        clock: Clock,
        random: random_module.Random,
        metrics: Registry,
    ) -> None:
        """``replace`` is the desk's. Raises SettingsError: what is needed is not installed."""
        self._clock = clock
        self.mirror: Mirror | None = None
        self._supervisor: Supervisor | None = None
        url, key = settings.supabase_url, settings.supabase_secret_key
        if url is None or key is None or store is None:
            return
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
        options = Options(
            url=url,
            outbox=store.database.path,
            log_level=settings.log_level,
            log_format=settings.log_format,
        )
        self._supervisor = Supervisor(
            options, str(key), self.mirror.receive, clock=clock, random=random, metrics=metrics
        )

    def tier_of(self, user: str) -> Tier | None:
        """The tier of one of the project's users; None: see ``Mirror.tier_of``."""
        return Tier.FREE if self.mirror is None else self.mirror.tier_of(user)

    async def start(self) -> None:
        """Take over the last good set, then start the process."""
        if self.mirror is not None and self._supervisor is not None:
            await self.mirror.load()
            self._supervisor.start()

    async def stop(self) -> None:
        """Let the process send what waits, then end it; takes some seconds at most."""
        if self._supervisor is not None:
            await self._supervisor.stop()
