"""The tables of the store's file, and how one is told from a foreign, newer or damaged one."""

from __future__ import annotations

import os
import sqlite3

from server.clock import Clock
from server.errors import SettingsError

__all__ = ["APPLICATION_ID", "VERSION", "DamagedError", "prepare", "touch"]

#: In the header of every file of ours: "klin".
APPLICATION_ID = 0x6B6C696E

#: Of the tables. A newer program may read an older file, never the other way round.
VERSION = 1

#: The oldest SQLite whose tables can be STRICT and whose upserts can be told apart.
_SQLITE_MIN = (3, 37, 0)

#: Seconds a start spends on looking through the file for damage; a larger one is read all the same.
CHECK_S_MAX = 3.0
_CHECK_STEPS = 20_000  # of SQLite's machine between two looks at the clock

#: What the first bytes of every SQLite file are.
_MAGIC = b"SQLite format 3\x00"

_TABLES = """
CREATE TABLE traders (
    origin        TEXT NOT NULL,     -- local: made here; supabase: the last good set of there
    id            TEXT NOT NULL,
    owner         TEXT,              -- NULL: a built-in one
    enabled       INTEGER NOT NULL,
    body          TEXT NOT NULL,     -- JSON, all of the trader
    PRIMARY KEY (origin, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX traders_owner ON traders (owner) WHERE enabled;

-- Traders that were deleted here, until everything of theirs is.
CREATE TABLE departed (
    trader_id     TEXT PRIMARY KEY
) STRICT, WITHOUT ROWID;

CREATE TABLE signals (
    seq           INTEGER PRIMARY KEY,  -- order of changes: a revision moves its row to the end
    id            TEXT NOT NULL UNIQUE,
    trader_id     TEXT NOT NULL,
    filter_hash   TEXT NOT NULL,
    market        TEXT NOT NULL,
    symbol        TEXT NOT NULL,
    interval      TEXT NOT NULL,
    open_time_ms  INTEGER NOT NULL,
    price         TEXT NOT NULL,        -- as the exchange wrote it
    status        TEXT NOT NULL,        -- fired, provisional, confirmed, retracted
    revision      INTEGER NOT NULL,
    data_revision INTEGER NOT NULL,
    complete      INTEGER NOT NULL,
    sub_values    TEXT NOT NULL,        -- JSON: part of the filter -> its value
    anchors       TEXT NOT NULL,        -- JSON: interval -> open time of the first row it was fed
    at_ms         INTEGER NOT NULL,
    historical    INTEGER NOT NULL
) STRICT;
CREATE INDEX signals_time ON signals (open_time_ms, id);
CREATE INDEX signals_trader_time ON signals (trader_id, open_time_ms, id);
CREATE INDEX signals_trader ON signals (trader_id);
CREATE INDEX signals_provisional ON signals (market, seq) WHERE status = 'provisional';

CREATE TABLE executions (
    seq             INTEGER PRIMARY KEY,
    trader_id       TEXT NOT NULL,
    filter_hash     TEXT NOT NULL,
    interval        TEXT NOT NULL,
    open_time_ms    INTEGER NOT NULL,
    source          TEXT NOT NULL,      -- engine, request, cron
    started_ms      INTEGER NOT NULL,
    duration_us     INTEGER NOT NULL,
    symbols_checked INTEGER NOT NULL,
    symbols_matched INTEGER NOT NULL,
    symbols_unknown INTEGER NOT NULL,
    incomplete      INTEGER NOT NULL,
    error           TEXT,
    UNIQUE (trader_id, interval, open_time_ms, source)
) STRICT;
CREATE INDEX executions_trader ON executions (trader_id, started_ms);

-- Executions by hour of their start; they stay when the executions themselves are gone.
CREATE TABLE execution_hours (
    trader_id     TEXT NOT NULL,
    hour_ms       INTEGER NOT NULL,
    runs          INTEGER NOT NULL,
    failures      INTEGER NOT NULL,
    matches       INTEGER NOT NULL,     -- symbols, over all runs
    us_sum        INTEGER NOT NULL,     -- of durations
    us_min        INTEGER NOT NULL,
    us_max        INTEGER NOT NULL,
    PRIMARY KEY (trader_id, hour_ms)
) STRICT, WITHOUT ROWID;
CREATE INDEX execution_hours_time ON execution_hours (hour_ms);

CREATE TABLE trader_errors (
    trader_id     TEXT NOT NULL,
    filter_hash   TEXT NOT NULL,
    kind          TEXT NOT NULL,
    message       TEXT NOT NULL,
    first_ms      INTEGER NOT NULL,
    last_ms       INTEGER NOT NULL,
    count         INTEGER NOT NULL,
    PRIMARY KEY (trader_id, filter_hash, kind)
) STRICT, WITHOUT ROWID;

-- Tiers of Supabase's users: the last good set of there.
CREATE TABLE user_tiers (
    user_id       TEXT PRIMARY KEY,
    tier          TEXT NOT NULL,
    expires_ms    INTEGER              -- NULL: never
) STRICT, WITHOUT ROWID;

-- What Supabase is still to be told. One row for each key: a newer state takes the older's place.
CREATE TABLE outbox (
    seq           INTEGER PRIMARY KEY AUTOINCREMENT,   -- never used again
    kind          TEXT NOT NULL,        -- signals, executions, errors, cleared
    key           TEXT NOT NULL,
    trader_id     TEXT NOT NULL,
    at_ms         INTEGER NOT NULL,
    body          TEXT NOT NULL,        -- JSON
    UNIQUE (kind, key)
) STRICT;
CREATE INDEX outbox_kind ON outbox (kind);

-- What Supabase will never take, and why.
CREATE TABLE dead_letters (
    seq           INTEGER PRIMARY KEY AUTOINCREMENT,
    kind          TEXT NOT NULL,
    key           TEXT NOT NULL,
    trader_id     TEXT NOT NULL,
    code          TEXT NOT NULL,        -- SQLSTATE, PGRSTnnn or an HTTP status
    detail        TEXT NOT NULL,
    body          TEXT NOT NULL,
    at_ms         INTEGER NOT NULL
) STRICT;

CREATE TABLE alert_targets (
    id            TEXT PRIMARY KEY,
    owner         TEXT NOT NULL,
    body          TEXT NOT NULL,        -- JSON, all of the target, with what it signs by
    dropped       INTEGER NOT NULL DEFAULT 0    -- signals that found no room
) STRICT, WITHOUT ROWID;
CREATE INDEX alert_targets_owner ON alert_targets (owner);

-- Signals on their way to targets, and for a while those that arrived: none is sent twice.
CREATE TABLE alert_deliveries (
    seq           INTEGER PRIMARY KEY,
    target_id     TEXT NOT NULL,
    signal_id     TEXT NOT NULL,
    revision      INTEGER NOT NULL,
    state         TEXT NOT NULL,        -- waiting, done, dead
    at_ms         INTEGER NOT NULL,
    attempts      INTEGER NOT NULL,
    reason        TEXT NOT NULL,        -- of the last attempt
    ended_ms      INTEGER,
    body          TEXT NOT NULL,        -- JSON: the signal, and its trader's name
    UNIQUE (target_id, signal_id, revision)
) STRICT;
CREATE INDEX alert_deliveries_waiting ON alert_deliveries (target_id, attempts, seq)
    WHERE state = 'waiting';
CREATE INDEX alert_deliveries_ended ON alert_deliveries (target_id, state, seq);

CREATE TABLE counts (
    name          TEXT PRIMARY KEY,
    value         INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO counts VALUES ('signal_seq', 0);

CREATE TABLE outbox_size (
    rows          INTEGER NOT NULL,
    bytes         INTEGER NOT NULL
) STRICT;
INSERT INTO outbox_size VALUES (0, 0);

CREATE TRIGGER outbox_grows AFTER INSERT ON outbox BEGIN
    UPDATE outbox_size SET rows = rows + 1, bytes = bytes + length(CAST(NEW.body AS BLOB));
END;
CREATE TRIGGER outbox_shrinks AFTER DELETE ON outbox BEGIN
    UPDATE outbox_size SET rows = rows - 1, bytes = bytes - length(CAST(OLD.body AS BLOB));
END;
"""


class DamagedError(sqlite3.DatabaseError):
    """The file was ours, and cannot be trusted any more."""

    sqlite_errorcode = sqlite3.SQLITE_CORRUPT
    sqlite_errorname = "SQLITE_CORRUPT"


def prepare(connection: sqlite3.Connection, path: str, clock: Clock, *, check: bool) -> None:
    """Make the tables if the file is new; else see that it is one of ours.

    ``check``: look through it for damage too. Raises SettingsError: a foreign or newer file, which
    is left alone; DamagedError; other sqlite3.Errors.
    """
    if sqlite3.sqlite_version_info < _SQLITE_MIN:
        raise SettingsError(
            f"SQLite {'.'.join(map(str, _SQLITE_MIN))} or newer is needed, "
            f"this is {sqlite3.sqlite_version}"
        )
    try:
        _look(connection, path)
        if check:
            _check(connection, clock)
    except sqlite3.DatabaseError as error:
        code = getattr(error, "sqlite_errorcode", None) or 0
        if code & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            raise DamagedError(str(error)) from None
        raise
    except UnicodeDecodeError:  # SQLite quotes what it found there in what it says of it
        raise DamagedError("database disk image is malformed, and what is there no text") from None


def _look(connection: sqlite3.Connection, path: str) -> None:
    if _is_foreign_kind(path):
        raise SettingsError(f"{path} is not a file of this program; move it elsewhere")
    (application_id,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    if not application_id and not version and not tables:
        _create(connection)
        return
    if application_id != APPLICATION_ID:
        raise SettingsError(f"{path} is another program's SQLite file; move it elsewhere")
    if version > VERSION:
        raise SettingsError(
            f"{path} was written by a newer program: its version is {version}, "
            f"this program knows {VERSION}"
        )
    if version < VERSION:
        raise DamagedError(f"its version is {version}, which no program wrote")
    connection.execute("PRAGMA journal_mode = WAL")


def _is_foreign_kind(path: str) -> bool:
    """True of a file that never was a database of ours, whatever was damaged in it."""
    try:
        with open(path, "rb") as file:
            start = file.read(100)
    except FileNotFoundError:
        return False
    if not start or start.startswith(_MAGIC) or not any(start):
        return False
    is_ours = start[68:72] == APPLICATION_ID.to_bytes(4, "big")
    return not is_ours and not os.path.exists(f"{path}-wal")


def _create(connection: sqlite3.Connection) -> None:
    # Before the first table: space that is deleted can be given back piece by piece.
    connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("BEGIN IMMEDIATE")
    for statement in _statements(_TABLES):
        connection.execute(statement)
    touch(connection)
    connection.execute(f"PRAGMA user_version = {VERSION}")
    connection.execute("COMMIT")


def touch(connection: sqlite3.Connection) -> None:
    """Write what is written there already: whether anything can be."""
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")


def _statements(script: str) -> list[str]:
    """One by one, because ``executescript`` would commit before it begins."""
    found, part = [], ""
    for line in script.splitlines(keepends=True):
        part += line
        if sqlite3.complete_statement(part):
            found.append(part)
            part = ""
    return found


def _check(connection: sqlite3.Connection, clock: Clock) -> None:
    """Look through the file, for a while. Raises DamagedError."""
    deadline_s = clock.monotonic() + CHECK_S_MAX
    connection.set_progress_handler(lambda: clock.monotonic() > deadline_s, _CHECK_STEPS)
    try:
        (found,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode != sqlite3.SQLITE_INTERRUPT:
            raise
        return  # so far it is whole, and damage that shows later is counted then
    finally:
        connection.set_progress_handler(None, 0)
    if found != "ok":
        raise DamagedError(found)
