"""Connections to a store's file, what is done with them, and what their errors mean."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from typing import Any, TypeVar

__all__ = ["BUSY_S", "CACHE_KIB", "Connect", "Work", "is_fault", "open_reading", "reason", "settle"]

Result = TypeVar("Result")

#: What is done with the file. After a failure it is done again: nothing may be used up by it.
Work = Callable[[sqlite3.Connection], Result]

#: Makes a connection, as ``sqlite3.connect`` does; tests put a failing disk in its place.
Connect = Callable[..., sqlite3.Connection]

#: Seconds another program may hold the file, such as a backup, before that counts as a failure.
BUSY_S = 5.0
#: Of the file, that a connection keeps in memory; the system keeps the rest, and gives it up.
CACHE_KIB = 512

#: Faults of the disk or of the file as a whole: what was being done is not at fault.
_FAULTS = frozenset(
    {
        sqlite3.SQLITE_BUSY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_IOERR, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_NOLFS, sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_PERM, sqlite3.SQLITE_PROTOCOL,
        sqlite3.SQLITE_READONLY,
    }
)  # fmt: skip


def open_reading(path: str, connect: Connect = sqlite3.connect) -> sqlite3.Connection:
    """A connection that cannot change the file. Raises sqlite3.Error."""
    quoted = path.replace("%", "%25").replace("?", "%3f").replace("#", "%23")
    connection = connect(
        f"file:{quoted}?mode=ro",
        uri=True,
        timeout=BUSY_S,
        isolation_level=None,
        check_same_thread=False,
    )
    connection.execute("PRAGMA query_only = ON")
    return connection


def is_fault(error: BaseException) -> bool:
    """True: the disk or the file as a whole is at fault, not what was being done."""
    code = getattr(error, "sqlite_errorcode", None) or 0
    return isinstance(error, OSError) or code & 0xFF in _FAULTS


def reason(error: BaseException) -> str:
    """One word for the metrics, a colon, and what SQLite or the system says."""
    if isinstance(error, OSError):
        return f"cannot_open: {error.strerror or error}"
    name = getattr(error, "sqlite_errorname", None) or "SQLITE_ERROR"
    return f"{name.removeprefix('SQLITE_').partition('_')[0].lower()}: {error}"


def settle(future: asyncio.Future[Any], error: BaseException | None, result: Any = None) -> None:
    """Answer whoever waits, unless they have gone."""
    if future.done():
        return
    if error is not None:
        future.set_exception(error)
    else:
        future.set_result(result)
