"""Row level security: each table, each caller, each command; and what breaks if a policy does."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

psycopg = pytest.importorskip("psycopg", reason="pip install -e '.[stack]'")
from policies import (  # noqa: E402
    COMMANDS,
    MATRIX,
    REFUSED,
    ROLES,
    TABLES,
    Cell,
    World,
    answer,
    become,
    insert,
    populate,
)

if TYPE_CHECKING:
    from stack.project import Stack

pytestmark = pytest.mark.pg


@pytest.fixture(scope="module")
def connection(stack: Stack) -> Iterator[Any]:
    """A superuser's, in a transaction that is undone at the end of the module."""
    with (
        psycopg.connect(stack.postgres.admin_url) as connection,
        connection.transaction(force_rollback=True),
    ):
        yield connection


@pytest.fixture(scope="module")
def world(stack: Stack, connection: Any) -> World:
    owner, other = stack.user(tier="pro"), stack.user()
    return populate(connection, owner.id, other.id)


def wrong(connection: Any, world: World) -> list[str]:
    """Cells whose answer is not the right one."""
    return [str(cell) for cell in MATRIX if answer(connection, cell, world) != cell.expected]


def test_the_matrix_asks_everything_of_every_table(connection: Any) -> None:
    tables = {
        row[0]
        for row in connection.execute(
            "select tablename from pg_tables where schemaname = 'public' and rowsecurity"
        ).fetchall()
    }
    every = connection.execute("select count(*) from pg_tables where schemaname = 'public'")
    assert tables == set(TABLES)
    assert every.fetchone()[0] == len(TABLES), "a table has no row level security"
    assert {(cell.table, cell.command, cell.role) for cell in MATRIX} == {
        (table, command, role) for table in TABLES for command in COMMANDS for role in ROLES
    }


@pytest.mark.parametrize("cell", MATRIX, ids=str)
def test_everybody_may_do_what_is_theirs_and_nothing_else(
    cell: Cell, connection: Any, world: World
) -> None:
    assert answer(connection, cell, world) == cell.expected


@pytest.mark.parametrize("cell", [c for c in MATRIX if c.expected in (REFUSED, 0)], ids=str)
def test_what_is_refused_to_one_is_allowed_to_another(cell: Cell) -> None:
    allowed = {
        other.role
        for other in MATRIX
        if (other.table, other.command) == (cell.table, cell.command)
        and other.expected not in (REFUSED, 0)
    }
    # What nobody may do, a trigger does: test_jobs.py sees it done.
    by_trigger = cell.table == "execution_hours" and cell.command in ("insert", "update")
    assert bool(allowed) != by_trigger


FORGED = {
    "somebody else's trader": ("insert", {"user_id": "other"}),
    "a built-in trader": ("insert", {"user_id": None}),
    "an id of one's choice": ("insert", {"id": "6f0d3c0e-8a53-4c0f-9c7e-2f6a1f0b7d51"}),
    "a tier for all": ("insert", {"access_tier": "anonymous"}),
    "no longer paused": ("update", {"paused_reason": None}),
    "made earlier": ("update", {"created_at": "2020-01-01"}),
    "given away": ("update", {"user_id": "other"}),
    "in a category of the built-in ones": ("update", {"category": "trend"}),
}


@pytest.mark.parametrize("what", FORGED)
def test_a_user_writes_a_traders_own_columns_alone(
    what: str, connection: Any, world: World
) -> None:
    command, changes = FORGED[what]
    ((column, value),) = changes.items()
    if value == "other":
        value = world.other
    statement = {
        "insert": f"insert into traders (name, filter, interval, {column})"
        " values ('Forged', 'close > open', '1m', %(value)s)",
        "update": f"update traders set {column} = %(value)s where id = %(own)s",
    }[command]
    with connection.transaction(force_rollback=True):
        become(connection, "owner", world)
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute(statement, {"value": value, "own": world.ids["owner's"]})


def test_a_user_writes_each_of_a_traders_own_columns(connection: Any, world: World) -> None:
    own = {
        "name": "Changed",
        "description": "what it is for",
        "conditions": ["one", "two"],
        "filter": "close < open",
        "interval": "5m",
        "market": "futures",
        "symbols": ["BTCUSDT"],
        "mode": "level",
        "cooldown_bars": 3,
        "evaluate_on": "forming",
        "indicators": '[{"id": "a"}]',
        "enabled": False,
    }
    with connection.transaction(force_rollback=True):
        become(connection, "owner", world)
        for column, value in own.items():
            done = connection.execute(
                f"update traders set {column} = %s where id = %s", (value, world.ids["owner's"])
            )
            assert done.rowcount == 1, column


@pytest.mark.parametrize("role", ["anon", "owner"])
@pytest.mark.parametrize("table", ["trader_signals", "execution_history", "trader_errors"])
def test_nobody_forges_what_the_server_writes(
    role: str, table: str, connection: Any, world: World
) -> None:
    for trader in ("owner's", "for anonymous"):
        with connection.transaction(force_rollback=True):
            become(connection, role, world)
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                insert(connection, table, world.ids[trader])


# Mutations ---------------------------------------------------------------------------------------

POLICIES = {
    "visitors read built-in traders of their tier": "traders",
    "users read their own traders and built-in ones of their tier": "traders",
    "users make traders of their own": "traders",
    "users change their own traders": "traders",
    "users delete their own traders": "traders",
    "visitors read signals of traders they read": "trader_signals",
    "users read signals of traders they read": "trader_signals",
    "users read the history of their own traders": "execution_history",
    "users read the hours of their own traders": "execution_hours",
    "users read the errors of their own traders": "trader_errors",
    "users read their own tier": "user_tiers",
    "tier limits are read by visitors": "tier_limits",
    "tier limits are read by users": "tier_limits",
}


def test_every_policy_is_broken_below(connection: Any) -> None:
    found = connection.execute(
        "select policyname, tablename from pg_policies where schemaname = 'public'"
    ).fetchall()
    assert dict(found) == POLICIES


@pytest.mark.parametrize("policy", POLICIES)
def test_a_policy_that_is_gone_is_missed(policy: str, connection: Any, world: World) -> None:
    with connection.transaction(force_rollback=True):
        connection.execute(f'drop policy "{policy}" on {POLICIES[policy]}')
        assert wrong(connection, world)


TRUE_ALREADY = {"tier limits are read by visitors", "tier limits are read by users"}
MAKE = "users make traders of their own"  # see below: a column grant stands before it


@pytest.mark.parametrize("policy", sorted(POLICIES.keys() - TRUE_ALREADY - {MAKE}))
def test_a_policy_that_lets_everything_pass_is_noticed(
    policy: str, connection: Any, world: World
) -> None:
    with connection.transaction(force_rollback=True):
        command = connection.execute(
            "select cmd from pg_policies where policyname = %s", (policy,)
        ).fetchone()[0]
        check = "with check (true)" if command == "UPDATE" else ""
        connection.execute(f'alter policy "{policy}" on {POLICIES[policy]} using (true) {check}')
        assert wrong(connection, world)


GIVE_AWAY = {
    "insert": "insert into traders (user_id, name, filter, interval, enabled)"
    " values (%(other)s, 'Forged', 'close > open', '1m', false)",
    "update": "update traders set user_id = %(other)s, enabled = false where id = %(own)s",
}


def give_away(connection: Any, world: World, command: str) -> int:
    """Make somebody else the owner, with a grant on the column that users do not have; of how many
    traders."""
    connection.execute("grant insert (user_id), update (user_id) on traders to authenticated")
    become(connection, "owner", world)
    names = {"other": world.other, "own": world.ids["owner's"]}
    return int(connection.execute(GIVE_AWAY[command], names).rowcount)


@pytest.mark.parametrize("command", GIVE_AWAY)
def test_the_policy_refuses_another_owner_even_without_the_column_grant(
    command: str, connection: Any, world: World
) -> None:
    with (
        connection.transaction(force_rollback=True),
        pytest.raises(psycopg.errors.InsufficientPrivilege, match="row-level security"),
    ):
        give_away(connection, world, command)


@pytest.mark.parametrize("policy", [MAKE, "users change their own traders"])
def test_and_with_a_policy_that_lets_everything_pass_it_is_not_refused(
    policy: str, connection: Any, world: World
) -> None:
    command = "insert" if policy == MAKE else "update"
    with connection.transaction(force_rollback=True):
        connection.execute(f'alter policy "{policy}" on traders with check (true)')
        if command == "update":  # what is changed must be seen before and after
            connection.execute(
                "create policy x on traders for select to authenticated using (true)"
            )
        assert give_away(connection, world, command) == 1


@pytest.mark.parametrize("table", TABLES)
def test_a_table_whose_row_security_is_off_is_noticed(
    table: str, connection: Any, world: World
) -> None:
    with connection.transaction(force_rollback=True):
        connection.execute(f"alter table {table} disable row level security")
        found = wrong(connection, world)
        # Its policies let everybody read all of it, and nobody has a grant to write it.
        assert bool(found) == (table != "tier_limits")


MUTATIONS = {
    "a built-in trader that is switched off is shown": (
        'alter policy "visitors read built-in traders of their tier" on traders'
        " using (user_id is null and access_tier <= (select private.my_tier()))"
    ),
    "visitors see built-in traders of every tier": (
        'alter policy "visitors read built-in traders of their tier" on traders'
        " using (user_id is null and enabled)"
    ),
    "users see built-in traders of every tier": (
        'alter policy "users read their own traders and built-in ones of their tier" on traders'
        " using (user_id = (select auth.uid()) or (user_id is null and enabled))"
    ),
    "signals of every trader": (
        'alter policy "users read signals of traders they read" on trader_signals'
        " using (trader_id is not null)"
    ),
    "signals with nothing but the public key": "grant insert on trader_signals to anon;"
    " create policy x on trader_signals for insert to anon with check (true)",
    "history of everybody": (
        'alter policy "users read the history of their own traders" on execution_history'
        " using (trader_id in (select id from traders))"
    ),
    "everybody is elite": "create or replace function private.my_tier() returns public.tier"
    " language sql stable security definer set search_path = ''"
    " as $$ select 'elite'::public.tier $$",
    "users give themselves a tier": "grant insert, update on user_tiers to authenticated;"
    " create policy x on user_tiers for all to authenticated using (true) with check (true)",
    "no quota": "drop trigger traders_quota on traders",
}


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_a_change_for_the_worse_is_noticed(mutation: str, connection: Any, world: World) -> None:
    with connection.transaction(force_rollback=True):
        connection.execute(MUTATIONS[mutation])
        assert wrong(connection, world)
