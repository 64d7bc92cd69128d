"""The keys as of the last good reading of their file, which is looked at once a second."""

from __future__ import annotations

import asyncio
import logging

from server.access.keys import KeySet, KeysFile, KeysFileError, Seen
from server.clock import Clock

__all__ = ["FollowedKeys"]

log = logging.getLogger(__name__)

#: A file altered so lately may be altered again without looking different.
FRESH_MS = 2_000


class FollowedKeys:
    """What the server goes by. A file that cannot be used any more leaves the keys as they were."""

    def __init__(self, file: KeysFile, clock: Clock) -> None:
        """Raises KeysFileError: the file cannot be used."""
        self._file = file
        self._clock = clock
        self._seen: Seen | None = None
        self._fault: str | None = None
        self.current = KeySet()
        self.readings = 0
        self.faults = 0
        self._take(*file.read())

    @property
    def path(self) -> str:
        return self._file.path

    @property
    def fault(self) -> str | None:
        """Why the file as it is now is not what the server goes by."""
        return self._fault

    async def look(self) -> None:
        """Read the file if it may have changed."""
        await asyncio.get_running_loop().run_in_executor(None, self._look)

    def _look(self) -> None:
        seen = self._file.see()
        if seen is not None and seen == self._seen:
            return
        try:
            self._take(*self._file.read())
        except KeysFileError as error:
            if str(error) != self._fault:
                self._fault = str(error)
                self.faults += 1
                log.error("%s; the keys stay as they were", error)

    def _take(self, keys: KeySet, seen: Seen) -> None:
        fresh = self._clock.time_ms() - seen.mtime_ns // 1_000_000 < FRESH_MS
        known = self._seen is not None or self.readings
        if not known or self._fault is not None or keys.keys != self.current.keys:
            log.info("%d keys in %s", len(keys), self._file.path)
        self._seen = None if fresh else seen
        self._fault = None
        self.current = keys
        self.readings += 1
