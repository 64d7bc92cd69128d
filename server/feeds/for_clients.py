"""What is fetched for clients: older klines and other public answers, of every market."""

from __future__ import annotations

import os

from server.clock import Clock
from server.disk import Disk
from server.feeds.binance import Api
from server.feeds.block_files import BlockFiles
from server.feeds.forwards import Forwards
from server.feeds.history import History
from server.metrics import Registry
from server.settings import Settings

__all__ = ["ForClients"]


class ForClients:
    """Opens what each market fetches for clients, and ends it; blocks on disk share one bound."""

    def __init__(
        self,
        settings: Settings,
        directory: str,
        disk: Disk | None,
        clock: Clock,
        metrics: Registry,
    ) -> None:
        """``directory`` is the server's; without a ``disk`` blocks are in memory only."""
        self._settings = settings
        self._clock = clock
        self._metrics = metrics
        self._opened: list[History | Forwards] = []
        self._files: BlockFiles | None = None
        if disk is not None and settings.history_bytes:
            self._files = BlockFiles(
                os.path.join(directory, "history"),
                bytes_max=settings.history_bytes,
                disk=disk,
                metrics=metrics,
            )

    def open(self, api: Api) -> tuple[History | None, Forwards | None]:
        """A market's, by its REST face; None where the settings want none."""
        settings, history, forwards = self._settings, None, None
        if settings.history_bytes:
            base = settings.bases(f"{api.venue.name}_rest")[0]  # the others are the same
            history = History(
                api, base=base, files=self._files, clock=self._clock, metrics=self._metrics
            )
            self._opened.append(history)
        if settings.forward:
            forwards = Forwards(api, self._metrics)
            self._opened.append(forwards)
        return history, forwards

    async def close(self) -> None:
        """Ask for nothing more; what is being written is."""
        for opened in self._opened:
            await opened.close()
