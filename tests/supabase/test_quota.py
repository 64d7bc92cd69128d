"""Who may run how many traders, whatever happens at once, and what becomes of a tier that ends."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Barrier
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from stack.project import Stack, User

httpx = pytest.importorskip("httpx", reason="pip install -e '.[stack]'")
psycopg = pytest.importorskip("psycopg", reason="pip install -e '.[stack]'")

pytestmark = pytest.mark.pg
QUOTA = 10  # of the tier pro
MAKE = (
    "insert into traders (name, filter, interval, enabled) values (%s, 'close > open', '1m', %s)"
    " returning id"
)


def make(stack: Stack, user: User, count: int, *, enabled: bool = True) -> list[str]:
    made = []
    for number in range(count):
        with stack.as_role("authenticated", user.id) as connection:
            row = connection.execute(MAKE, (f"T{number}", enabled)).fetchone()
            made.append(str(row[0]))
    return made


def refused(stack: Stack, user: User, statement: str, *values: Any) -> str:
    """The message of a quota's refusal."""
    with (
        pytest.raises(psycopg.Error) as caught,
        stack.as_role("authenticated", user.id) as connection,
    ):
        connection.execute(statement, values)
    assert caught.value.sqlstate == "PT403"
    return str(caught.value)


def become_user(connection: Any, user: User) -> None:
    claims = json.dumps({"sub": user.id, "role": "authenticated"})
    connection.execute(
        "select set_config('role', 'authenticated', true),"
        " set_config('request.jwt.claims', %s, true)",
        (claims,),
    )


@contextmanager
def suppress_quota() -> Iterator[None]:
    """Whatever the tier says at this moment."""
    try:
        yield
    except psycopg.Error as error:
        if error.sqlstate != "PT403":
            raise


def running(stack: Stack, user: User) -> set[str]:
    rows = stack.rows(
        "select id from traders where user_id = %s and enabled and paused_reason is null",
        (user.id,),
    )
    return {str(row["id"]) for row in rows}


def paused(stack: Stack, user: User) -> set[str]:
    rows = stack.rows(
        "select id from traders where user_id = %s and enabled and paused_reason = 'tier'",
        (user.id,),
    )
    return {str(row["id"]) for row in rows}


def test_forty_inserts_at_once_leave_as_many_traders_as_the_tier_allows(stack: Stack) -> None:
    user = stack.user(tier="pro")
    gate = Barrier(40)

    def outcome(number: int) -> str | None:
        try:
            with stack.as_role("authenticated", user.id) as connection:
                gate.wait(30)
                connection.execute(MAKE, (f"T{number}", True))
        except psycopg.Error as error:
            return error.sqlstate
        return None

    with ThreadPoolExecutor(40) as pool:
        outcomes = list(pool.map(outcome, range(40)))
    assert len(running(stack, user)) == QUOTA
    assert sorted(outcomes, key=str) == [None] * QUOTA + ["PT403"] * (40 - QUOTA)


def test_the_eleventh_is_not_switched_on_until_another_is_off(stack: Stack) -> None:
    user = stack.user(tier="pro")
    first, *_ = make(stack, user, QUOTA)
    (eleventh,) = make(stack, user, 1, enabled=False)
    switch = "update traders set enabled = %s where id = %s"
    assert "pro runs at most 10" in refused(stack, user, switch, True, eleventh)
    with stack.as_role("authenticated", user.id) as connection:
        connection.execute(switch, (False, first))
        connection.execute(switch, (True, eleventh))
    assert len(running(stack, user)) == QUOTA
    assert "pro runs at most 10" in refused(stack, user, switch, True, first)


def test_other_changes_at_the_limit_are_free(stack: Stack) -> None:
    user = stack.user(tier="pro")
    first, *_ = make(stack, user, QUOTA)
    with stack.as_role("authenticated", user.id) as connection:
        connection.execute("update traders set name = 'N', enabled = true where id = %s", (first,))
    assert len(running(stack, user)) == QUOTA


def test_free_users_run_nothing_and_keep_a_few(stack: Stack) -> None:
    user = stack.user()
    assert "free runs at most 0" in refused(stack, user, MAKE, "T", True)
    kept = stack.rows("select stored_traders from tier_limits where tier = 'free'")
    make(stack, user, kept[0]["stored_traders"], enabled=False)
    assert "free keeps at most 20" in refused(stack, user, MAKE, "T", False)


def test_elite_users_run_without_a_limit(stack: Stack) -> None:
    user = stack.user(tier="elite")
    make(stack, user, QUOTA + 5)
    assert len(running(stack, user)) == QUOTA + 5


@pytest.mark.rest
def test_over_http_a_quota_is_a_403(stack: Stack) -> None:
    user = stack.user()
    answer = httpx.post(
        f"{stack.url}/rest/v1/traders",
        headers={"apikey": stack.publishable_key, "Authorization": f"Bearer {user.token}"},
        json={"name": "T", "filter": "close > open", "interval": "1m"},
        timeout=60,
    )
    assert (answer.status_code, answer.json()["message"]) == (
        403,
        "the tier free runs at most 0 traders",
    )


# A tier that changes -----------------------------------------------------------------------------


def test_a_lower_tier_pauses_the_newest_and_a_higher_one_lets_them_run_again(
    stack: Stack,
) -> None:
    user = stack.user(tier="elite")
    made = make(stack, user, QUOTA + 3)
    stack.set_tier(user.id, "pro")
    assert running(stack, user) == set(made[:QUOTA])
    assert paused(stack, user) == set(made[QUOTA:])
    stack.set_tier(user.id, "free")
    assert (running(stack, user), paused(stack, user)) == (set(), set(made))
    stack.set_tier(user.id, "elite")
    assert (running(stack, user), paused(stack, user)) == (set(made), set())


def test_whoever_is_paused_cannot_switch_it_off_and_on_to_run_it(stack: Stack) -> None:
    user = stack.user(tier="elite")
    made = make(stack, user, QUOTA + 1)
    stack.set_tier(user.id, "pro")
    switch = "update traders set enabled = %s where id = %s"
    with stack.as_role("authenticated", user.id) as connection:
        # A client that writes back the whole row is not refused: nothing changes by it.
        connection.execute("update traders set name = 'N', enabled = true where id = %s", made[-1:])
    assert paused(stack, user) == {made[-1]}
    with stack.as_role("authenticated", user.id) as connection:
        connection.execute(switch, (False, made[-1]))
    refused(stack, user, switch, True, made[-1])
    with stack.as_role("authenticated", user.id) as connection:
        connection.execute(switch, (False, made[0]))
        connection.execute(switch, (True, made[-1]))
    assert running(stack, user) == set(made[1:])


def test_what_the_server_paused_stays_paused_whatever_the_tier(stack: Stack) -> None:
    user = stack.user(tier="elite")
    (made,) = make(stack, user, 1)
    with stack.as_role("service_role") as connection:
        connection.execute("update traders set paused_reason = 'too slow' where id = %s", (made,))
    stack.set_tier(user.id, "free")
    stack.set_tier(user.id, "elite")
    rows = stack.rows("select paused_reason from traders where id = %s", (made,))
    assert rows == [{"paused_reason": "too slow"}]


@pytest.mark.parametrize(
    "ended",
    ["status = 'cancelled'", "status = 'past_due'", "expires_at = now() - interval '1 second'"],
)
def test_a_tier_that_ended_is_none(stack: Stack, ended: str) -> None:
    user = stack.user(tier="elite")
    made = make(stack, user, 2)
    tier = "select private.my_tier()"
    with stack.as_role("authenticated", user.id) as connection:
        assert connection.execute(tier).fetchone() == ("elite",)
        seen = connection.execute("select count(*) from traders where is_built_in").fetchone()[0]
    with stack.as_role("service_role") as connection:
        connection.execute(f"update user_tiers set {ended} where user_id = %s", (user.id,))
    with stack.as_role("authenticated", user.id) as connection:
        assert connection.execute(tier).fetchone() == ("free",)
        fewer = connection.execute("select count(*) from traders where is_built_in").fetchone()[0]
    assert 0 < fewer < seen
    assert paused(stack, user) == set(made)
    refused(stack, user, MAKE, "T", True)


def test_a_tier_ends_by_itself_within_a_minute(stack: Stack) -> None:
    """No row changes when its time comes: the job looks."""
    user = stack.user(tier="elite")
    made = make(stack, user, 2)
    with stack.postgres.connect(admin=True) as connection:
        connection.execute("set session_replication_role = replica")  # as if nobody had written
        connection.execute(
            "update user_tiers set expires_at = now() where user_id = %s", (user.id,)
        )
    assert running(stack, user) == set(made)
    (job,) = stack.rows("select * from cron.job where jobname = 'klinecore-fit-to-tiers'")
    assert job["schedule"] == "* * * * *"
    with stack.postgres.connect() as connection:
        connection.execute(job["command"])
    assert paused(stack, user) == set(made)


def test_where_there_is_room_again_a_paused_one_is_switched_on_by_saying_so(
    stack: Stack,
) -> None:
    user = stack.user(tier="elite")
    made = make(stack, user, QUOTA + 1)
    stack.set_tier(user.id, "pro")
    with stack.as_role("authenticated", user.id) as connection:
        connection.execute("delete from traders where id = %s", (made[0],))
        connection.execute("update traders set enabled = true where id = %s", (made[-1],))
    assert running(stack, user) == set(made[1:])


def test_a_limit_that_is_lowered_pauses_the_surplus(stack: Stack) -> None:
    user = stack.user(tier="pro")
    made = make(stack, user, 3)
    with stack.postgres.connect() as connection, connection.transaction(force_rollback=True):
        connection.execute("update tier_limits set custom_traders = 2 where tier = 'pro'")
        connection.execute("select private.fit_to_tiers()")
        rows = connection.execute(
            "select id from traders where user_id = %s and paused_reason = 'tier'", (user.id,)
        ).fetchall()
    assert [str(row[0]) for row in rows] == made[2:]


def test_a_tier_that_is_taken_away_is_free(stack: Stack) -> None:
    user = stack.user(tier="pro")
    made = make(stack, user, 1)
    with stack.as_role("service_role") as connection:
        connection.execute("delete from user_tiers where user_id = %s", (user.id,))
    assert paused(stack, user) == set(made)


def test_what_a_user_says_of_itself_gives_no_tier(stack: Stack) -> None:
    user = stack.user()
    said = {"user_metadata": {"tier": "elite"}, "app_metadata": {"tier": "elite"}, "tier": "elite"}
    with stack.as_role("authenticated", user.id, **said) as connection:
        assert connection.execute("select private.my_tier()").fetchone() == ("free",)


def test_users_and_the_operator_at_once_do_not_wait_for_each_other_for_ever(
    stack: Stack,
) -> None:
    """Whoever changes a trader and whoever changes its owner's tier lock in the same order."""
    user = stack.user(tier="elite")
    make(stack, user, 4)
    gate = Barrier(2)

    def switch() -> None:
        with psycopg.connect(stack.postgres.admin_url, autocommit=True) as connection:
            gate.wait(30)
            for round_ in range(150):
                with suppress_quota(), connection.transaction():
                    become_user(connection, user)
                    connection.execute(
                        "update traders set enabled = %s where user_id = %s",
                        (round_ % 3 != 0, user.id),
                    )

    def retier() -> None:
        with psycopg.connect(stack.postgres.admin_url, autocommit=True) as connection:
            gate.wait(30)
            for _ in range(75):
                for status in ("cancelled", "active"):
                    connection.execute(
                        "update user_tiers set status = %s where user_id = %s", (status, user.id)
                    )

    def outcome(work: Callable[[], None]) -> str | None:
        try:
            work()
        except psycopg.errors.DeadlockDetected as error:
            return str(error)
        return None

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(outcome, (switch, retier))) == [None, None]
