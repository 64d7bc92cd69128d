"""What becomes of a damaged file: it is set aside whole, and its traders are taken over."""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
from collections.abc import Generator
from typing import Any

from server.clock import Clock
from server.store.connections import Connect, open_reading

__all__ = ["SetAside", "set_aside"]

log = logging.getLogger(__name__)

#: A damaged index can lead in circles: no more rows than this are taken over.
_ROWS_MAX = 100_000


class SetAside:
    """A damaged file in its new place; nothing of it was changed."""

    def __init__(self, path: str, connect: Connect) -> None:
        self.path = path
        self._connect = connect

    def restore(self, target: sqlite3.Connection) -> int:
        """Take over the traders that can still be read; how many they are."""
        count = 0
        with contextlib.closing(self._rows()) as rows:
            target.execute("BEGIN IMMEDIATE")
            for row in rows:
                cursor = target.execute(
                    "INSERT OR IGNORE INTO traders (origin, id, owner, enabled, body)"
                    " VALUES (?, ?, ?, ?, ?)",
                    row,
                )
                count += cursor.rowcount
            target.execute("COMMIT")
        log.error("%d traders were taken over from %s", count, self.path)
        return count

    def _rows(self) -> Generator[tuple[Any, ...], None, None]:
        try:
            connection = open_reading(self.path, self._connect)
        except sqlite3.Error:
            return
        with contextlib.closing(connection):
            sql = (
                "SELECT origin, id, owner, enabled, body FROM traders"
                f" WHERE json_valid(body) LIMIT {_ROWS_MAX}"
            )
            try:
                yield from connection.execute(sql)
            except (sqlite3.Error, UnicodeDecodeError) as error:
                log.error("no more traders can be read from %s: %s", self.path, error)


def set_aside(path: str, reason: str, clock: Clock, connect: Connect) -> SetAside:
    """Give the file and its log another name. Raises OSError: it stays where it is."""
    place = f"{path}.damaged-{clock.time_ms()}"
    # The log first: a file without its log is older, a log without its file is nothing.
    for suffix in ("-wal", "-shm", ""):
        with contextlib.suppress(FileNotFoundError):
            os.rename(path + suffix, place + suffix)
    log.error("%s is damaged (%s); it is kept as %s, and a new one begun", path, reason, place)
    return SetAside(place, connect)
