"""Listens to Realtime for a hint that traders changed; what is missed here, a look finds."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random as random_module
from typing import Any, Literal, Protocol

from server.clock import Clock
from server.sync.uploader import retry_delay

__all__ = ["Hint", "Wanting"]

log = logging.getLogger(__name__)

#: Retries of the client itself, before it gives up without a word; its own default is 5.
_RETRIES = 10**6
#: Seconds without a joined channel before the client is given up for a new one.
_LOST_S = 120.0
_LOOK_S = 5.0


class Wanting(Protocol):
    """Who is told that there may be something to read."""

    def want(self, *, whole: bool = False) -> None:
        """Never waits."""
        ...


class Hint:
    """A subscription to changes of ``traders``. The callbacks do nothing but say so."""

    def __init__(
        self, url: str, key: str, reader: Wanting, *, clock: Clock, random: random_module.Random
    ) -> None:
        self.state: Literal["off", "joining", "joined"] = "off"
        self._url = url.rstrip("/") + "/realtime/v1"
        self._key = key
        self._reader = reader
        self._clock = clock
        self._random = random

    async def run(self) -> None:
        """For ever. Without Realtime, or its client, there are only the looks."""
        failures = 0
        while True:
            self.state = "joining"
            started_s = self._clock.monotonic()
            try:
                await self._follow()
            except Exception as error:  # whatever it is, it must not end the process
                log.warning("realtime: %s", type(error).__name__)
            if self._clock.monotonic() - started_s > 2 * _LOST_S:
                failures = 0
            failures += 1
            await self._clock.sleep(retry_delay(failures, self._random))

    async def _follow(self) -> None:
        """One client, until it is lost for too long."""
        from realtime import AsyncRealtimeClient, RealtimePostgresChangesListenEvent

        client = AsyncRealtimeClient(self._url, token=self._key, max_retries=_RETRIES)
        try:
            channel = client.channel("klinecore-traders")
            channel.on_postgres_changes(
                RealtimePostgresChangesListenEvent.All,
                self._changed,
                table="traders",
                schema="public",
            )
            # Joined is not listening yet: the changes are followed from this message on.
            channel.on_system(self._changed)
            joining = asyncio.ensure_future(channel.subscribe(self._subscribed))
            try:
                await self._watch(channel, joining)
            finally:
                joining.cancel()
                with contextlib.suppress(asyncio.CancelledError, Exception):
                    await joining
        finally:
            self.state = "joining"
            with contextlib.suppress(Exception):
                await client.close()

    async def _watch(self, channel: Any, joining: asyncio.Future[Any]) -> None:
        lost_s = 0.0
        while lost_s < _LOST_S:
            await self._clock.sleep(_LOOK_S)
            self.state = "joined" if channel.is_joined else "joining"
            lost_s = 0.0 if channel.is_joined else lost_s + _LOOK_S
            if joining.done() and not joining.cancelled() and (error := joining.exception()):
                raise error
        log.warning("realtime: not joined for %g s; beginning anew", _LOST_S)

    def _subscribed(self, state: Any, error: Exception | None) -> None:
        if state.name == "SUBSCRIBED":
            self.state = "joined"
            self._reader.want(whole=True)  # whatever happened until now was told to nobody
        else:
            self.state = "joining"

    def _changed(self, payload: object) -> None:
        self._reader.want()
