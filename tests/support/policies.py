"""Who may do what to which table of the Supabase project, and a database's answer to it."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from uuid import uuid4

import psycopg
from psycopg import errors, sql

ROLES = ("anon", "owner", "other", "service")
COMMANDS = ("select", "insert", "update", "delete")
TABLES = (
    "tier_limits",
    "user_tiers",
    "traders",
    "trader_signals",
    "execution_history",
    "execution_hours",
    "trader_errors",
)
REFUSED = "refused"
#: Built-in traders, by what they are called here: tier, and whether they run.
BUILT_IN = {
    "for anonymous": ("anonymous", True),
    "for free": ("free", True),
    "for pro": ("pro", True),
    "for elite": ("elite", True),
    "switched off": ("anonymous", False),
}
NOBODYS = {*BUILT_IN}
EVERYTHING = NOBODYS | {"owner's", "other's"}


@dataclass
class World:
    """The owner is pro; the other one has no row in user_tiers, so is free."""

    owner: str
    other: str
    ids: dict[str, str] = field(default_factory=dict)  # name -> trader

    def name(self, trader_id: object) -> str | None:
        return next((name for name, number in self.ids.items() if number == str(trader_id)), None)


def populate(connection: psycopg.Connection[Any], owner: str, other: str) -> World:
    """A trader with a row in every table for each owner and each tier, written by a superuser."""
    world = World(owner, other)
    people: list[tuple[str, str | None, str, bool]] = [
        ("owner's", owner, "anonymous", True),
        ("other's", other, "anonymous", False),
        *((name, None, tier, enabled) for name, (tier, enabled) in BUILT_IN.items()),
    ]
    for name, user, tier, enabled in people:
        world.ids[name] = str(uuid4())
        connection.execute(
            "insert into traders (id, user_id, name, filter, interval, access_tier, enabled)"
            " values (%s, %s, %s, 'close > open', '1m', %s, %s)",
            (world.ids[name], user, name, tier, enabled),
        )
        for table in ("trader_signals", "execution_history", "trader_errors"):
            insert(connection, table, world.ids[name])
    return world


def signal_row(trader_id: str, **changes: Any) -> dict[str, Any]:
    return {
        "id": str(uuid4()),
        "trader_id": trader_id,
        "filter_hash": uuid4().hex,
        "market": "spot",
        "symbol": "BTCUSDT",
        "interval": "1m",
        "open_time_ms": 1_767_225_600_000,
        "price": "87648.21",
        "status": "fired",
        "revision": 1,
        "data_revision": 7,
        "complete": True,
        "sub_values": json.dumps({"close > open": 1.0}),
        "anchors": json.dumps({"1m": 1_767_000_000_000}),
        "at_ms": 1_767_225_660_000,
    } | changes


def history_row(trader_id: str, **changes: Any) -> dict[str, Any]:
    return {
        "trader_id": trader_id,
        "filter_hash": "f",
        "interval": "1m",
        "open_time_ms": 1_767_225_600_000 + 60_000 * (uuid4().int % 1_000_000),
        "source": "engine",
        "started_ms": 1_767_225_660_000,
        "duration_us": 1500,
        "symbols_checked": 3,
        "symbols_matched": 1,
        "symbols_unknown": 0,
        "incomplete": False,
    } | changes


def error_row(trader_id: str, **changes: Any) -> dict[str, Any]:
    return {
        "trader_id": trader_id,
        "filter_hash": uuid4().hex,
        "kind": "refused",
        "message": "no such name",
        "first_ms": 1,
        "last_ms": 2,
    } | changes


def hour_row(trader_id: str) -> dict[str, Any]:
    names = (
        *("runs", "failed", "incomplete", "symbols_checked", "symbols_matched"),
        *("duration_us_sum", "duration_us_min", "duration_us_max"),
    )
    hour = 3_600_000 * (uuid4().int % 1_000_000)
    return {"trader_id": trader_id, "source": "engine", "hour_ms": hour} | dict.fromkeys(names, 0)


ROWS: dict[str, Any] = {
    "trader_signals": signal_row,
    "execution_history": history_row,
    "execution_hours": hour_row,
    "trader_errors": error_row,
}


def insert(connection: psycopg.Connection[Any], table: str, trader_id: str, **changes: Any) -> None:
    insert_row(connection, table, ROWS[table](trader_id, **changes))


def insert_row(connection: psycopg.Connection[Any], table: str, row: dict[str, Any]) -> None:
    names = [sql.Identifier(name) for name in row]
    connection.execute(
        sql.SQL("insert into {} ({}) values ({})").format(
            sql.Identifier(table),
            sql.SQL(", ").join(names),
            sql.SQL(", ").join([sql.Placeholder()] * len(names)),
        ),
        list(row.values()),
    )


# Expectations ------------------------------------------------------------------------------------


class Cell(NamedTuple):
    """One question to the database, and the right answer."""

    table: str
    command: str
    role: str
    expected: Any

    def __str__(self) -> str:
        return f"{self.role} {self.command} {self.table}"


ALL_TIERS = {"anonymous", "free", "pro", "elite"}
SEEN_BY_FREE = {"for anonymous", "for free"}
SEEN_BY_PRO = SEEN_BY_FREE | {"for pro"}

#: What each sees, in the order of ROLES; in a set, or why not.
SELECTS: dict[str, tuple[Any, Any, Any, Any]] = {
    "tier_limits": (ALL_TIERS, ALL_TIERS, ALL_TIERS, ALL_TIERS),
    "user_tiers": (REFUSED, {"owner"}, set(), {"owner"}),
    "traders": (
        {"for anonymous"},
        SEEN_BY_PRO | {"owner's"},
        SEEN_BY_FREE | {"other's"},
        EVERYTHING,
    ),
    "trader_signals": (
        {"for anonymous"},
        SEEN_BY_PRO | {"owner's"},
        SEEN_BY_FREE | {"other's"},
        EVERYTHING,
    ),
    "execution_history": (REFUSED, {"owner's"}, {"other's"}, EVERYTHING),
    "execution_hours": (REFUSED, {"owner's"}, {"other's"}, EVERYTHING),
    "trader_errors": (REFUSED, {"owner's"}, {"other's"}, EVERYTHING),
}
#: Rows that a change of the owner's rows touches.
ONLY_SERVICE = (REFUSED, REFUSED, REFUSED, 1)
WRITES: dict[tuple[str, str], tuple[Any, Any, Any, Any]] = {
    **{(table, command): ONLY_SERVICE for table in TABLES for command in COMMANDS[1:]},
    ("execution_hours", "insert"): (REFUSED, REFUSED, REFUSED, REFUSED),  # by a trigger alone
    ("execution_hours", "update"): (REFUSED, REFUSED, REFUSED, REFUSED),
    ("traders", "insert"): (REFUSED, 1, "PT403", 1),  # the other one is free
    ("traders", "update"): (REFUSED, 1, 1, len(EVERYTHING)),  # without a condition: each its own
    ("traders", "delete"): (REFUSED, 1, 1, len(EVERYTHING)),
}
MATRIX = [
    *(
        Cell(table, "select", role, SELECTS[table][place])
        for table in TABLES
        for place, role in enumerate(ROLES)
    ),
    *(
        Cell(table, command, role, WRITES[table, command][place])
        for table in TABLES
        for command in COMMANDS[1:]
        for place, role in enumerate(ROLES)
    ),
]


# Answers -----------------------------------------------------------------------------------------


def become(connection: psycopg.Connection[Any], role: str, world: World) -> None:
    """For the rest of the transaction: what PostgREST does with a token."""
    who = {"owner": world.owner, "other": world.other}.get(role)
    name = {"anon": "anon", "service": "service_role"}.get(role, "authenticated")
    claims = {"role": name} | ({"sub": who} if who else {})
    connection.execute(
        "select set_config('request.jwt.claims', %s, true), set_config('role', %s, true)",
        (json.dumps(claims), name),
    )


def answer(connection: psycopg.Connection[Any], cell: Cell, world: World) -> Any:
    """What the database says to a cell's question; nothing of it stays."""
    with connection.transaction(force_rollback=True):
        become(connection, cell.role, world)
        try:
            return _ask(connection, cell, world)
        except errors.InsufficientPrivilege:
            return REFUSED
        except psycopg.Error as error:
            return error.sqlstate


def _ask(connection: psycopg.Connection[Any], cell: Cell, world: World) -> Any:
    table, command = sql.Identifier(cell.table), cell.command
    if command == "select":
        key = {"tier_limits": "tier", "user_tiers": "user_id", "traders": "id"}.get(
            cell.table, "trader_id"
        )
        rows = connection.execute(
            sql.SQL("select {} from {}").format(sql.Identifier(key), table)
        ).fetchall()
        if cell.table == "tier_limits":
            return {row[0] for row in rows}
        if cell.table == "user_tiers":
            known = {world.owner: "owner", world.other: "other"}
            return {known[str(row[0])] for row in rows if str(row[0]) in known}
        return {name for row in rows if (name := world.name(row[0]))}
    if command == "insert":
        return _insert(connection, cell, world)
    if cell.table == "traders":
        return _change_all(connection, cell, world)
    changed, key, row = {
        "tier_limits": ("notifications", "tier", "pro"),
        "user_tiers": ("status", "user_id", world.owner),
        "trader_signals": ("status", "trader_id", world.ids["owner's"]),
        "execution_history": ("error", "trader_id", world.ids["owner's"]),
        "execution_hours": ("failed", "trader_id", world.ids["owner's"]),
        "trader_errors": ("message", "trader_id", world.ids["owner's"]),
    }[cell.table]
    where = sql.SQL(" where {} = %s").format(sql.Identifier(key))
    if command == "delete":
        statement = sql.SQL("delete from {}").format(table)
    elif cell.table == "trader_signals":  # older revisions change nothing
        statement = sql.SQL("update {} set revision = revision + 1").format(table)
    else:
        column = sql.Identifier(changed)
        statement = sql.SQL("update {} set {} = {}").format(table, column, column)
    if cell.table == "tier_limits" and command == "delete":
        row = "anonymous"  # nobody has it, so nothing refers to it
    return connection.execute(statement + where, (row,)).rowcount


def _change_all(connection: psycopg.Connection[Any], cell: Cell, world: World) -> int:
    """A condition would make the policy of SELECT count as well, and hide the one at hand."""
    start = "delete from traders" if cell.command == "delete" else "update traders set name = 'X'"
    if cell.role == "service":  # nothing limits it, and there are traders of other tests
        return connection.execute(
            start + " where id = any(%s::uuid[])", (list(world.ids.values()),)
        ).rowcount
    return connection.execute(start).rowcount


def _insert(connection: psycopg.Connection[Any], cell: Cell, world: World) -> int:
    if cell.table == "traders":
        row: dict[str, Any] = {"name": "New", "filter": "close > open", "interval": "1m"}
        if cell.role == "service":
            row["user_id"] = world.owner
    elif cell.table == "user_tiers":
        row = {"user_id": world.other, "tier": "elite"}
    elif cell.table == "tier_limits":
        return connection.execute(
            "insert into tier_limits select * from tier_limits where tier = 'pro'"
            " on conflict (tier) do update set history = excluded.history"
        ).rowcount
    else:
        row = ROWS[cell.table](world.ids["owner's"])
    insert_row(connection, cell.table, row)
    return 1
