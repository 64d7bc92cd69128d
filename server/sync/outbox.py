"""The outbox in the server's SQLite file, as the sync process reads it: it never writes there."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from server.sync.uploader import Row

__all__ = ["OutboxFile"]

#: Seconds to wait while the server recovers its file.
_BUSY_MS = 2000


class OutboxFile:
    """Each read is a transaction of its own: a long one would keep the log from being written back.

    Raises sqlite3.Error: the file is not there, or not ours.
    """

    def __init__(self, path: str) -> None:
        uri = f"{Path(path).absolute().as_uri()}?mode=ro"
        self._connection = sqlite3.connect(uri, uri=True, isolation_level=None)
        self._connection.execute(f"PRAGMA busy_timeout = {_BUSY_MS}")
        self._connection.execute("PRAGMA query_only = 1")

    def read(self, kind: str, after: int, limit: int) -> list[Row]:
        """The next rows of a kind behind ``after``, by seq."""
        found = self._connection.execute(
            "SELECT seq, key, trader_id, at_ms, body FROM outbox"
            " WHERE kind = ? AND seq > ? ORDER BY seq LIMIT ?",
            (kind, after, limit),
        )
        return [
            Row(seq, key, trader_id, at_ms, body.encode())
            for seq, key, trader_id, at_ms, body in found
        ]

    def close(self) -> None:
        self._connection.close()
