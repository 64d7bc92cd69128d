"""Everything that outlasts the process, and its life."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sqlite3
from collections.abc import Callable, Sequence

from server.clock import Clock
from server.disk import Disk
from server.errors import StoreError
from server.metrics import Registry
from server.settings import Settings
from server.store.connections import Connect
from server.store.database import Database
from server.store.executions import ErrorStore, ExecutionStore
from server.store.outbox import Outbox
from server.store.retention import Ages, Retention
from server.store.signals import SignalStore
from server.store.tiers import TierStore
from server.store.traders import TraderStore
from server.traders.desk import Desk
from server.traders.keeping import Sinks
from server.traders.model import Trader

__all__ = ["FILE_NAME", "Store"]

log = logging.getLogger(__name__)

FILE_NAME = "klinecore.sqlite"

#: Seconds between two attempts to read traders from a disk that does not let us.
LOAD_AGAIN_S = 1.0

_DAY_S = 86_400.0


class Store:
    """The store of one server. ``open`` it before anything is put in, ``close`` it last."""

    def __init__(
        self,
        settings: Settings,
        *,
        directory: str,
        disk: Disk,
        clock: Clock,
        metrics: Registry,
        with_outbox: bool = False,
        connect: Connect = sqlite3.connect,
    ) -> None:
        """``with_outbox``: somebody reads the outbox, and tells Supabase what is in it."""
        self.database = Database(
            os.path.join(directory, FILE_NAME),
            clock=clock,
            metrics=metrics,
            queue_max=settings.store_queue_max,
            connect=connect,
            claim=lambda: disk.claim(directory),
        )
        self.outbox = Outbox(
            self.database,
            clock=clock,
            metrics=metrics,
            enabled=with_outbox,
            rows_max=settings.outbox_rows_max,
            bytes_max=settings.outbox_bytes_max,
        )
        self.traders = TraderStore(self.database)
        self.tiers = TierStore(self.database)
        self.signals = SignalStore(self.database, self.outbox)
        self.executions = ExecutionStore(self.database, self.outbox, clock)
        self.errors = ErrorStore(self.database, self.outbox)
        ages = Ages(
            executions_s=settings.keep_executions_days * _DAY_S,
            executions_max=settings.keep_executions_max,
            signals_s=settings.keep_signals_days * _DAY_S,
            signals_max=settings.keep_signals_max,
        )
        self.retention = Retention(self.database, ages, clock=clock, metrics=metrics)
        #: Where the desk puts what it has.
        self.sinks = Sinks(self.traders, self.signals, self.executions, self.errors, self.signals)
        self._clock = clock
        self._removing: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Start; if the disk does not let us now, serve on: ``database.opened`` is set later.

        Raises SettingsError: the file is another program's, or a newer one's.
        """
        await self.database.open()
        self._removing = asyncio.create_task(self.retention.run())
        self._removing.add_done_callback(_ended)

    async def load(
        self, desk: Desk, builtins: Sequence[Trader], go_on: Callable[[], object]
    ) -> None:
        """Give the desk its traders; while they cannot be read, the built-in ones.

        ``go_on`` is called before there is anything to wait for.
        """
        while True:
            try:
                await desk.load(builtins)
                desk.errors.load(await self.errors.load())
                return
            except StoreError as error:
                log.warning("no traders but the built-in ones until they can be read: %s", error)
            go_on()
            await self._clock.sleep(LOAD_AGAIN_S)

    async def close(self) -> None:
        """Write what waits, and end."""
        if self._removing is not None:
            self._removing.cancel()
            with contextlib.suppress(asyncio.CancelledError, Exception):
                await self._removing
        await self.database.close()


def _ended(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        log.critical("nothing old is removed any more", exc_info=error)
