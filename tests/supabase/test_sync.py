"""Signals reach a real Postgres once each, whatever is killed; traders reach the server."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from commands import alive
from sync_bench import PARENT, Bench, add_traders, child_figures, signals_of

from server.identity import Tier
from server.signals.model import Signal, SignalStatus
from server.traders.model import Execution, RunSource, TraderError

if TYPE_CHECKING:
    from stack.project import Stack

pytest.importorskip("httpx", reason="pip install -e '.[stack]'")
pytest.importorskip("realtime", reason="pip install -e '.[stack]'")

pytestmark = pytest.mark.rest


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A project of this module's own, to break."""
    from stack.tools import missing

    reason = missing("rest")
    if reason is not None:
        pytest.skip(reason)
    from stack.project import Stack

    with Stack(tmp_path_factory.mktemp("stack"), realtime=True) as stack:
        yield stack


@pytest.fixture
def stack(project: Stack) -> Iterator[Stack]:
    """The project, whole again after the test."""
    project.set_fault(None)
    with project.postgres.connect(admin=True) as connection:
        connection.execute("delete from traders")  # the built-in ones too: tests count theirs
        connection.execute("delete from trader_signals")
    yield project
    project.set_fault(None)


def stored(stack: Stack) -> dict[str, int]:
    """Revision of each signal in Supabase, by id."""
    rows = stack.rows("select id::text, revision from trader_signals")
    return {row["id"]: row["revision"] for row in rows}


def test_ten_thousand_signals_through_every_kill_arrive_once_or_are_dead_letters(
    stack: Stack, tmp_path: Path, record_property: Any
) -> None:
    """PostgREST is down for 5 s, the process is killed twice, the server restarted once."""
    ids = add_traders(stack, 20)
    count, poison = 12_000, {4_321: "0", 9_876: "-1"}
    signals = list(signals_of(ids, count))
    for place, price in poison.items():
        signals[place] = msgspec.structs.replace(signals[place], price=price)
    bad = {signals[place].id for place in poison}

    async def put(bench: Bench, part: list[Signal]) -> None:
        for start in range(0, len(part), 100):
            bench.put(part[start : start + 100])
            await asyncio.sleep(0.08)

    async def story() -> list[tuple[str, str]]:
        dead = []
        async with Bench(stack, tmp_path) as bench:
            await bench.until(lambda: len(bench.traders) == len(ids))
            feeding = asyncio.create_task(put(bench, signals[: count // 2]))
            await asyncio.sleep(1.0)
            await asyncio.to_thread(stack.kill_rest)
            await asyncio.sleep(1.0)
            bench.kill_child()
            await asyncio.sleep(3.0)
            await asyncio.to_thread(stack.start_rest)
            await feeding
            dead += await bench.dead()
        # The server starts again, finds its outbox, and runs the last hundred signals once more.
        async with Bench(stack, tmp_path) as bench:
            assert len(bench.traders) == len(ids)
            bench.put(signals[count // 2 - 100 : count // 2])
            feeding = asyncio.create_task(put(bench, signals[count // 2 :]))
            await asyncio.sleep(2.0)
            bench.kill_child()
            await feeding
            await bench.until_empty()
            return await bench.dead()

    dead = asyncio.run(story())
    assert stored(stack) == {signal.id: 1 for signal in signals if signal.id not in bad}
    assert dict(dead) == dict.fromkeys(bad, "23514")
    record_property("stored", count - len(bad))


def test_a_second_run_of_the_same_day_adds_no_row(stack: Stack, tmp_path: Path) -> None:
    ids = add_traders(stack, 3)
    signals = list(signals_of(ids, 300))

    async def story() -> None:
        for life in ("first", "second"):
            folder = tmp_path / life  # without any memory of the first run
            folder.mkdir()
            async with Bench(stack, folder) as bench:
                await bench.until(lambda bench=bench: len(bench.traders) == 3)  # type: ignore[misc]
                bench.put(signals)
                await bench.until(lambda bench=bench: bench.outbox.depth > 0)  # type: ignore[misc]
                await bench.until_empty()
                assert bench.metric('outbox_stored_total{kind="signals"}') == 300

    asyncio.run(story())
    assert stored(stack) == {signal.id: 1 for signal in signals}


def test_an_older_revision_undoes_no_newer_one(stack: Stack, tmp_path: Path) -> None:
    (trader,) = add_traders(stack, 1)
    (signal,) = signals_of([trader], 1)
    told = [
        msgspec.structs.replace(signal, status=status, revision=revision)
        for revision, status in enumerate(
            (SignalStatus.PROVISIONAL, SignalStatus.CONFIRMED, SignalStatus.RETRACTED), 1
        )
    ]

    async def story() -> None:
        for life, states in enumerate((told[:1], told[1:], told[:2])):
            folder = tmp_path / str(life)
            folder.mkdir()
            async with Bench(stack, folder) as bench:
                await bench.until(lambda bench=bench: bool(bench.traders))  # type: ignore[misc]
                bench.put(states)
                await bench.until(lambda bench=bench: bench.outbox.depth > 0)  # type: ignore[misc]
                await bench.until_empty()

    asyncio.run(story())
    (row,) = stack.rows("select status, revision from trader_signals")
    assert row == {"status": "retracted", "revision": 3}


FAULTS = {
    "401": {"status": 401},
    "403": {"status": 403},
    "429": {"status": 429, "headers": {"Retry-After": "1"}},
    "500": {"status": 500},
    "502": {"status": 502, "body": b"<html>Bad Gateway</html>"},
    "503": {"status": 503},
    "connection cut": {"drop": True},
    "answer lost": {"drop_answer": True},
    "slow": {"delay_s": 12.0},
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_a_fault_of_the_way_costs_no_signal(
    stack: Stack, tmp_path: Path, fault: dict[str, Any]
) -> None:
    from stack.gateway import Fault

    ids = add_traders(stack, 2)
    signals = list(signals_of(ids, 600))
    left = [1 if "delay_s" in fault else 3]

    def meet(method: str, path: str) -> Any:
        if method == "POST" and "/trader_signals" in path and left[0] > 0:
            left[0] -= 1
            return Fault(**fault)
        return None

    async def story() -> None:
        async with Bench(stack, tmp_path) as bench:
            await bench.until(lambda: len(bench.traders) == 2)
            stack.set_fault(meet)
            bench.put(signals)
            await bench.until(lambda: bench.outbox.depth > 0)
            await bench.until_empty(180)
            assert left == [0]
            assert await bench.dead() == []

    asyncio.run(story())
    assert stored(stack) == {signal.id: 1 for signal in signals}


def test_a_conflict_is_a_dead_letter_with_its_code(stack: Stack, tmp_path: Path) -> None:
    """The same natural key under another id: 409, which no second try would mend."""
    (trader,) = add_traders(stack, 1)
    good, other = signals_of([trader], 2)
    twin = msgspec.structs.replace(good, id="00000000-0000-4000-8000-000000000000")

    async def story() -> None:
        async with Bench(stack, tmp_path) as bench:
            await bench.until(lambda: bool(bench.traders))
            bench.put([good])
            await bench.until(lambda: good.id in stored(stack))
            # The store itself knows only ids, as Supabase knows both.
            bench.put([twin, other])
            await bench.until(lambda: other.id in stored(stack))
            await bench.until_empty()
            assert await bench.dead() == [(twin.id, "23505")]

    asyncio.run(story())


def test_a_missing_grant_stops_rows_and_loses_none(stack: Stack, tmp_path: Path) -> None:
    (trader,) = add_traders(stack, 1)
    signals = list(signals_of([trader], 50))

    def grant(verb: str, way: str) -> None:
        with stack.postgres.connect(admin=True) as connection:
            connection.execute(f"{verb} insert, update on trader_signals {way} service_role")

    async def story() -> None:
        async with Bench(stack, tmp_path) as bench:
            await bench.until(lambda: bool(bench.traders))
            grant("revoke", "from")
            try:
                bench.put(signals)
                await bench.until(lambda: bench.mirror.blocked.get("signals") == "42501")
                # Other kinds go on.
                bench.errors.put([error_of(trader)])
                await bench.until(lambda: bool(stack.rows("select from trader_errors")))
            finally:
                grant("grant", "to")
            await bench.until_empty()
            assert await bench.dead() == []

    asyncio.run(story())
    assert len(stored(stack)) == 50


def error_of(trader: str) -> TraderError:
    return TraderError(
        trader_id=trader, filter_hash="h", kind="unknown_symbol", message="no such symbol: AAA",
        first_ms=1, last_ms=2, count=3,
    )  # fmt: skip


def test_errors_and_what_executions_are_worth_a_row_go_up_too(stack: Stack, tmp_path: Path) -> None:
    (trader,) = add_traders(stack, 1)

    def execution(n: int, matched: int, incomplete: bool) -> Execution:
        return Execution(
            trader_id=trader, filter_hash="h", interval="1m", open_time_ms=n * 60_000,
            source=RunSource.ENGINE, started_ms=n * 60_000, duration_us=5, symbols_checked=10,
            symbols_matched=matched, symbols_unknown=0, incomplete=incomplete,
        )  # fmt: skip

    async def story() -> None:
        async with Bench(stack, tmp_path) as bench:
            await bench.until(lambda: bool(bench.traders))
            bench.errors.put([error_of(trader)])
            bench.executions.put([execution(1, 0, False), execution(2, 3, False),
                                  execution(3, 0, True)])  # fmt: skip
            await bench.until(lambda: bench.outbox.depth > 0)
            await bench.until_empty()

    asyncio.run(story())
    rows = stack.rows("select open_time_ms, symbols_matched from execution_history order by 1")
    assert [tuple(row.values()) for row in rows] == [(120_000, 3), (180_000, 0)]
    (row,) = stack.rows("select message, count from trader_errors")
    assert row == {"message": "no such symbol: AAA", "count": 3}


def test_an_error_that_is_mended_goes_there_too_and_a_later_one_stays(
    stack: Stack, tmp_path: Path
) -> None:
    ids = add_traders(stack, 2)

    def kept() -> set[tuple[str, int]]:
        rows = stack.rows("select trader_id::text, last_ms from trader_errors")
        return {(row["trader_id"], row["last_ms"]) for row in rows}

    async def story() -> None:
        async with Bench(stack, tmp_path) as bench:
            await bench.until(lambda: len(bench.traders) == 2)
            bench.errors.put([error_of(id) for id in ids])
            await bench.until(lambda: kept() == {(ids[0], 2), (ids[1], 2)})
            bench.errors.clear(ids[0])
            await bench.until(lambda: kept() == {(ids[1], 2)})
            bench.errors.clear(ids[1])
            bench.errors.put([msgspec.structs.replace(error_of(ids[1]), first_ms=3, last_ms=3)])
            await bench.until(lambda: kept() == {(ids[1], 3)})
            await bench.until_empty()
            assert kept() == {(ids[1], 3)}

    asyncio.run(story())


def test_rows_of_traders_that_live_here_alone_stay_here(stack: Stack, tmp_path: Path) -> None:
    (trader,) = add_traders(stack, 1)
    local = "11111111-1111-4111-8111-111111111111"

    async def story() -> None:
        async with Bench(stack, tmp_path) as bench:
            await bench.until(lambda: bool(bench.traders))
            bench.put(signals_of([trader, local], 20))
            await bench.until(lambda: bench.outbox.depth > 0)
            await bench.until_empty()
            assert bench.metric('outbox_skipped_total{kind="signals"}') == 10
            assert await bench.dead() == []

    asyncio.run(story())
    assert len(stored(stack)) == 10


def test_a_trader_deleted_meanwhile_takes_its_signals_with_it(stack: Stack, tmp_path: Path) -> None:
    ids = add_traders(stack, 2)

    async def story() -> None:
        async with Bench(stack, tmp_path) as bench:  # no hint: the process does not know yet
            await bench.until(lambda: len(bench.traders) == 2)
            stack.rows("delete from traders where id = %s returning id", [ids[0]])
            bench.put(signals_of(ids, 200))
            await bench.until(lambda: bench.outbox.depth > 0)
            await bench.until_empty()
            assert bench.metric('outbox_skipped_total{kind="signals"}') == 100
            assert await bench.dead() == []
            assert list(bench.traders) == [ids[1]]

    asyncio.run(story())
    assert len(stored(stack)) == 100


# --- traders ---------------------------------------------------------------------------------


def test_a_server_starts_without_supabase_on_the_last_good_set(
    stack: Stack, tmp_path: Path
) -> None:
    user = stack.user(tier="pro")
    ids = add_traders(stack, 3, owner=user.id)

    async def story() -> None:
        async with Bench(stack, tmp_path) as bench:
            await bench.until(lambda: len(bench.traders) == 3)
            assert bench.mirror.tier_of(user.id) is Tier.PRO
        await asyncio.to_thread(stack.kill_rest)
        try:
            async with Bench(stack, tmp_path) as bench:
                assert set(bench.traders) == set(ids)
                assert bench.mirror.tier_of(user.id) is Tier.PRO
        finally:
            await asyncio.to_thread(stack.start_rest)

    asyncio.run(story())


#: Seconds within which what Realtime tells must be there, however slow the machine: a look comes
#: once a minute, so of two changes in a row one at least was told.
TOLD_S = 25.0


@pytest.mark.realtime
def test_changes_of_traders_are_there_before_a_look_finds_them(
    stack: Stack, tmp_path: Path
) -> None:
    async def story() -> None:
        async with Bench(stack, tmp_path, realtime=True) as bench:
            await bench.until(lambda: bench.metric("supabase_realtime_joined") == 1)
            user = stack.user(tier="pro")
            (id,) = add_traders(stack, 1, owner=user.id)
            await bench.until(lambda: id in bench.traders, TOLD_S)
            stack.rows("update traders set enabled = false where id = %s returning id", [id])
            await bench.until(lambda: not bench.traders[id].enabled, TOLD_S)
            stack.rows("delete from traders where id = %s returning id", [id])
            await bench.until(lambda: id not in bench.traders, TOLD_S)

    asyncio.run(story())


@pytest.mark.realtime
def test_many_changes_at_once_are_all_seen(stack: Stack, tmp_path: Path) -> None:
    """Of ten thousand, hosted Realtime tells of none; a look sees them whatever it tells."""
    ids = add_traders(stack, 3000)

    async def story() -> None:
        async with Bench(stack, tmp_path, realtime=True) as bench:
            await bench.until(lambda: len(bench.traders) == 3000)
            await bench.until(lambda: bench.metric("supabase_realtime_joined") == 1)
            these = "where id = any(%s::uuid[]) returning id"
            stack.rows(f"update traders set cooldown_bars = 7 {these}", [ids[1000:]])
            stack.rows(f"delete from traders {these}", [ids[:1000]])
            await bench.until(lambda: len(bench.traders) == 2000)
            await bench.until(lambda: all(t.cooldown_bars == 7 for t in bench.traders.values()))
            assert set(bench.traders) == set(ids[1000:])

    asyncio.run(story())


@pytest.mark.realtime
@pytest.mark.slow
def test_realtime_gone_for_a_minute_loses_no_change(stack: Stack, tmp_path: Path) -> None:
    """What happened in the gap is told to nobody: a look finds it, at the latest after a minute."""

    async def story() -> None:
        async with Bench(stack, tmp_path, realtime=True) as bench:
            await bench.until(lambda: bench.metric("supabase_realtime_joined") == 1)
            await asyncio.to_thread(stack.stop_realtime)
            gone_s = time.monotonic()
            (first,) = add_traders(stack, 1)
            await bench.until(lambda: first in bench.traders, 120)  # while it is gone
            (second,) = add_traders(stack, 1)
            stack.rows("update traders set cooldown_bars = 3 where id = %s returning id", [first])
            await asyncio.sleep(max(0.0, 60 - (time.monotonic() - gone_s)))
            await asyncio.to_thread(stack.start_realtime)
            await bench.until(lambda: second in bench.traders, 120)
            assert bench.traders[first].cooldown_bars == 3
            await bench.until(lambda: bench.metric("supabase_realtime_joined") == 1, 180)
            for count in (3, 4):  # told again
                add_traders(stack, 1)
                await bench.until(lambda count=count: len(bench.traders) == count, TOLD_S)

    asyncio.run(story())


# --- the process -----------------------------------------------------------------------------


def test_the_key_stands_in_no_log(
    stack: Stack, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    from stack.gateway import Fault

    (trader,) = add_traders(stack, 1)
    said: list[str] = []

    async def story() -> None:
        async with Bench(stack, tmp_path, realtime=True) as bench:
            await bench.until(lambda: bool(bench.traders))
            await asyncio.to_thread(stack.stop_realtime)
            stack.set_fault(
                lambda _method, _path: Fault(status=500, body=stack.secret_key.encode())
            )
            bench.put(signals_of([trader], 5))

            def is_logged() -> bool:
                said.extend(capfd.readouterr())
                return any("trader_signals wait" in text for text in said)

            await bench.until(is_logged)
            bench.kill_child()
            await asyncio.to_thread(stack.start_realtime)
            await asyncio.sleep(1)
            stack.set_fault(None)
            await bench.until_empty()

    asyncio.run(story())
    said.extend(capfd.readouterr())
    assert stack.secret_key not in "".join(said)


def test_the_process_does_not_outlive_a_server_that_is_killed(stack: Stack, tmp_path: Path) -> None:
    async def story() -> None:
        async with Bench(stack, tmp_path) as bench:
            outbox = bench.database.path
            parent = await asyncio.create_subprocess_exec(
                sys.executable, "-c", PARENT, str(Path(__file__).parents[2]), stack.url, outbox,
                stdout=asyncio.subprocess.PIPE,
            )  # fmt: skip
            assert parent.stdout is not None
            child = int(await parent.stdout.readline())
            await asyncio.sleep(1.5)  # it is up by then
            parent.kill()
            await parent.wait()
            await bench.until(lambda: not alive(child))

    asyncio.run(story())


def test_the_process_stays_small(stack: Stack, tmp_path: Path, record_property: Any) -> None:
    ids = add_traders(stack, 1000)

    async def story() -> tuple[float, float]:
        async with Bench(stack, tmp_path, realtime=True) as bench:
            await bench.until(lambda: len(bench.traders) == 1000)
            bench.put(signals_of(ids, 10_000))
            await bench.until(lambda: bench.outbox.depth > 0)
            await bench.until_empty()
            pid = bench.supervisor.pid
            assert pid is not None
            return child_figures(pid)

    resident_mb, cpu_s = asyncio.run(story())
    record_property("resident_mb", round(resident_mb, 1))
    record_property("cpu_s", round(cpu_s, 2))
    assert resident_mb < 80
