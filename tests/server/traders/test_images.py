"""What traders remember survives a restart, or is refused as a whole."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from crash_disk import CrashDisk
from hypothesis import given
from hypothesis import strategies as st
from trader_world import START_MS, TraderWorld, person, trader

import klinecore as kc
from klinecore.errors import SnapshotError
from klinecore.snapshot import encode, restore
from server.metrics import Registry
from server.signals.model import SignalStatus
from server.traders.engine import TraderEngine
from server.traders.images import ImageFile, begin, go_on, image_parts, read_image
from server.traders.keeping import MemoryKeeper
from server.traders.model import Trader

ADA = person("ada")
LABEL = "spot here"
PRICES = ("60", "61", "59", "66", "40", "42", "75", "71", "33", "62", "64", "65", "20", "80")


def desk_of(*traders: Trader) -> TraderWorld:
    world = TraderWorld(keeper=MemoryKeeper())
    world.attach()
    for one in traders:
        world.wait(world.desk.create(ADA, one))
    return world


def rows_of(world: TraderWorld) -> bytes:
    return b"".join(encode(world.market, time_ms=world.clock.now_ms, label=LABEL))


def restarted(
    world: TraderWorld,
    image: bytes,
    *traders: Trader,
    rows: bytes | None = None,
) -> TraderWorld:
    """Another life after a snapshot: the same rows, what ``image`` says, and these traders."""
    rows = rows_of(world) if rows is None else rows
    again = TraderWorld(keeper=MemoryKeeper())
    again.clock.now_ms = world.clock.now_ms
    for one in traders:
        again.wait(again.desk._sinks.keeper.insert(one, None))
    again.wait(again.desk.load())
    engine = again.engine()
    found = read_image(image, label=LABEL)
    assert begin(engine, found, again.desk.book.limits)
    restore(again.market, rows, label=LABEL)
    again.signal_sink.before += world.signals
    go_on(engine, found, again.clock.now_ms)
    again.wait(again.desk.recall(engine))
    again.attach(engine)
    again.desk.catch_up(engine)
    return again


def image_of(world: TraderWorld) -> bytes:
    engine = world.desk.engines["spot"]
    return b"".join(image_parts(engine, label=LABEL, time_ms=world.clock.now_ms))


def kinds() -> list[Trader]:
    return [
        trader("edge", owner="ada"),
        trader("level", mode="level", cooldown_bars=3),
        trader("ema", filter="ema(3) > 55 and rsi(3) > 40"),
        trader("five", filter='close > 50 and close @ "5m" > 0', interval="1m"),
        trader("across", filter="top(close, 1) and close > 50", mode="level", cooldown_bars=1),
    ]


@pytest.mark.parametrize("at", range(1, len(PRICES)))
def test_must_never_21_a_restart_brings_alerts_again(at: int) -> None:
    """Edge, level and cooldown survive it."""
    whole, first = desk_of(*kinds()), desk_of(*kinds())
    for price in PRICES[:at]:
        for world in (whole, first):
            world.close(AAA=price, BBB="55")
    second = restarted(first, image_of(first), *kinds())
    for price in PRICES[at:]:
        for world in (whole, second):
            world.close(AAA=price, BBB="55")
    assert [*first.signals, *second.signals] == whole.signals


def test_rows_that_closed_meanwhile_are_told_late_and_once() -> None:
    whole, first = desk_of(*kinds()), desk_of(*kinds())
    for price in PRICES[:6]:
        for world in (whole, first):
            world.close(AAA=price, BBB="55")
    second = restarted(first, image_of(first), *kinds())
    for price in PRICES[6:9]:
        whole.close(AAA=price, BBB="55")
    for place, price in enumerate(PRICES[6:9]):
        for symbol, text in (("AAAUSDT", price), ("BBBUSDT", "55")):
            second.push(symbol, text, START_MS + (6 + place) * 60_000)
    second.market.drain()  # a backfill tells nobody
    second.clock.now_ms = whole.clock.now_ms
    for price in PRICES[9:]:
        for world in (whole, second):
            world.close(AAA=price, BBB="55")
    minute = [s.id for s in whole.signals if "across" not in s.trader_id]
    found = [s.id for s in (*first.signals, *second.signals)]
    assert sorted(found) == sorted(minute)


def fill(world: TraderWorld, symbol: str, prices: Sequence[str], first: int = 0) -> None:
    """What a backfill finds and, of rows that closed before the start, tells nobody."""
    for place, price in enumerate(prices):
        world.push(symbol, price, START_MS + (first + place) * 60_000)
    world.market.drain()


def test_an_image_that_is_newer_than_the_rows_tells_nothing_twice() -> None:
    """Files of two kinds: the newest of one may be torn, or be there first."""
    one = trader("level", mode="level")
    whole, first = desk_of(one), desk_of(one)
    for price in PRICES[:4]:
        first.close(AAA=price, BBB="55")
    rows = rows_of(first)
    for price in PRICES[4:8]:
        first.close(AAA=price, BBB="55")
    second = restarted(first, image_of(first), one, rows=rows)
    fill(second, "AAAUSDT", PRICES[4:9], 4)  # and what closed meanwhile
    fill(second, "BBBUSDT", ["55"] * 5, 4)
    second.clock.now_ms += 60_000
    for price in PRICES[9:]:
        second.close(AAA=price, BBB="55")
    for price in PRICES:
        whole.close(AAA=price, BBB="55")
    assert sorted(s.id for s in (*first.signals, *second.signals)) == sorted(
        s.id for s in whole.signals
    )


def no_rows() -> bytes:
    return rows_of(TraderWorld())


def test_an_image_whose_state_is_refused_brings_no_flood() -> None:
    """As at a cold start only what closes from now on is news."""
    one = trader("level", mode="level")
    first = desk_of(one)
    for _ in range(4):
        first.close(AAA="60", BBB="60")
    engine = first.desk.engines["spot"]
    engine.engine = kc.filters.Engine(first.market, state_bytes_max=1 << 20, filters_max=1)
    second = restarted(first, image_of(first), one, rows=no_rows())
    for minute in range(5):
        second.push("AAAUSDT", "60", START_MS + minute * 60_000)
    second.drain()
    assert [s.open_time_ms for s in second.signals] == [START_MS + 4 * 60_000]


def test_a_backfill_that_a_restart_interrupts_is_no_news_afterwards() -> None:
    one = trader("level", mode="level")
    first = desk_of(one)
    first.clock.now_ms += 4 * 60_000
    go_on(first.desk.engines["spot"], None, first.clock.now_ms)
    second = restarted(first, image_of(first), one)
    for minute in range(6):
        second.push("AAAUSDT", "60", START_MS + minute * 60_000)
    second.drain()
    minutes = [(s.open_time_ms - START_MS) // 60_000 for s in second.signals]
    assert minutes == [4, 5]


def test_traders_may_come_and_go_between_two_lives() -> None:
    kept, gone, fresh = trader("kept", mode="level", cooldown_bars=5), trader("gone"), trader("new")
    first = desk_of(kept, gone)
    first.close(AAA="60")
    second = restarted(first, image_of(first), kept, fresh)
    assert set(second.desk.engines["spot"].watches) == {kept.id, fresh.id}
    second.close(AAA="60")
    assert second.signals == [], "the cooldown of the one goes on, the other was true already"


def test_a_provisional_signal_of_an_earlier_life_is_confirmed_or_retracted() -> None:
    one = trader(evaluate_on="forming")
    first = desk_of(one)
    first.close(AAA="10", BBB="10")
    for symbol in ("AAAUSDT", "BBBUSDT"):
        first.push(symbol, "60", START_MS + 60_000, closed=False)
    first.drain()
    assert [s.status for s in first.signals] == [SignalStatus.PROVISIONAL] * 2
    second = restarted(first, image_of(first), one)
    second.close(AAA="61", BBB="40")
    told = {s.symbol: (s.status, s.revision) for s in second.signals}
    assert told == {
        "AAAUSDT": (SignalStatus.CONFIRMED, 2),
        "BBBUSDT": (SignalStatus.RETRACTED, 2),
    }


def forming(world: TraderWorld, minute: int) -> None:
    for symbol in ("AAAUSDT", "BBBUSDT"):
        world.push(symbol, "60", START_MS + minute * 60_000, closed=False)
    world.drain()


CONFIRMED, RETRACTED = (SignalStatus.CONFIRMED, 2), (SignalStatus.RETRACTED, 2)


@pytest.mark.parametrize("refused", [True, False])
@pytest.mark.parametrize("closed_meanwhile", [True, False])
def test_what_was_told_provisionally_before_a_kill_is_confirmed_or_retracted(
    refused: bool, closed_meanwhile: bool
) -> None:
    """The image is older than it, or of no use."""
    one = trader(evaluate_on="forming")
    first = desk_of(one)
    first.close(AAA="10", BBB="10")
    image, rows = image_of(first), rows_of(first)
    forming(first, 1)
    if refused:
        engine = first.desk.engines["spot"]
        engine.engine = kc.filters.Engine(first.market, state_bytes_max=1 << 20, filters_max=1)
        image = image_of(first)
    first.clock.now_ms += 30_000
    second = restarted(first, image, one, rows=rows)
    assert second.signals == []
    if closed_meanwhile:
        second.push("AAAUSDT", "61", START_MS + 60_000)
        second.push("BBBUSDT", "40", START_MS + 60_000)
        second.market.drain()
        second.clock.now_ms = START_MS + 2 * 60_000
        second.close(AAA="61", BBB="40")
    else:
        second.close(AAA="61", BBB="40")
    told = {
        s.symbol: (s.status, s.revision)
        for s in second.signals
        if s.open_time_ms == START_MS + 60_000
    }
    assert told == {"AAAUSDT": CONFIRMED, "BBBUSDT": RETRACTED}
    assert second.desk.engines["spot"].memory.provisional() == []


def test_what_was_told_of_a_kline_that_closed_before_the_start_is_confirmed_all_the_same() -> None:
    """Of what closed before it, nothing else is told."""
    one = trader(evaluate_on="forming", mode="level")
    first = desk_of(one)
    first.close(AAA="10", BBB="10")
    forming(first, 1)
    engine = first.desk.engines["spot"]
    engine.engine = kc.filters.Engine(first.market, state_bytes_max=1 << 20, filters_max=1)
    first.clock.now_ms += 5 * 60_000
    second = restarted(first, image_of(first), one, rows=no_rows())
    for minute, price in enumerate(("60", "61", "60", "60")):
        second.push("AAAUSDT", price, START_MS + minute * 60_000)
        second.push("BBBUSDT", "10", START_MS + minute * 60_000)
    second.drain()
    told = [(s.symbol, s.open_time_ms, s.status) for s in second.signals]
    assert told == [
        ("AAAUSDT", START_MS + 60_000, SignalStatus.CONFIRMED),
        ("BBBUSDT", START_MS + 60_000, SignalStatus.RETRACTED),
    ]


def test_what_was_settled_after_the_image_is_not_settled_anew() -> None:
    one = trader(evaluate_on="forming")
    first = desk_of(one)
    first.close(AAA="10", BBB="10")
    forming(first, 1)
    image, rows = image_of(first), rows_of(first)
    first.close(AAA="61", BBB="40")
    forming(first, 2)
    second = restarted(first, image, one, rows=rows)
    second.push("AAAUSDT", "61", START_MS + 60_000)
    second.push("BBBUSDT", "40", START_MS + 60_000)
    second.market.drain()
    second.close(AAA="61", BBB="70")
    newest = {s.id: (s.status, s.revision) for s in first.signals}
    for s in second.signals:
        before = newest.get(s.id, (s.status, 0))
        if s.revision > before[1]:
            newest[s.id] = (s.status, s.revision)
    assert sorted(newest.values()) == sorted([CONFIRMED, RETRACTED, CONFIRMED])


def test_matches_are_not_entered_again_after_a_restart() -> None:
    one = trader()
    first = desk_of(one)
    first.close(AAA="60", BBB="1")
    second = restarted(first, image_of(first), one)
    subscriber = second.hub.subscribe(f"matches@{one.id}")
    second.close(AAA="60", BBB="1")
    assert subscriber.take() is None
    subscriber.end("over")


# --- files ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def image() -> bytes:
    world = desk_of(*kinds())
    for price in PRICES:
        world.close(AAA=price, BBB="55")
    return image_of(world)


@given(st.data())
def test_a_torn_or_altered_image_is_refused(image: bytes, data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(image) - 1))
    cut = data.draw(st.booleans())
    torn = image[:place] if cut else image[:place] + bytes([image[place] ^ 1]) + image[place + 1 :]
    with pytest.raises(SnapshotError):
        read_image(torn, label=LABEL)


def test_an_image_of_another_exchange_is_refused(image: bytes) -> None:
    with pytest.raises(SnapshotError, match="spot here"):
        read_image(image, label="spot elsewhere")


def test_an_image_that_cannot_run_here_leaves_an_empty_engine(image: bytes) -> None:
    market = kc.Market(["AAAUSDT"], ["15m"], 50)
    engine = TraderEngine("spot", market, state_bytes_max=1 << 26, traders_max=100)
    assert not begin(engine, read_image(image, label=LABEL), kc.filters.LIMITS)
    assert len(engine) == 0
    assert len(engine.engine) == 0


def file_on(
    disk: CrashDisk, engine: TraderEngine | None = None, metrics: Registry | None = None
) -> ImageFile:
    file = ImageFile(
        "spot", directory="/d", source="here", disk=disk, metrics=metrics or Registry()
    )
    file.current = lambda: engine
    return file


def test_the_one_before_is_taken_when_the_newest_is_torn() -> None:
    disk, metrics = CrashDisk(), Registry()
    engine = desk_of(*kinds()).desk.engines["spot"]

    async def story() -> None:
        disk.claim("/d")
        file = file_on(disk, engine)
        for time_ms in (1, 2):
            assert await file.prepare(time_ms)
            assert await file.commit()
        whole = disk.read("/d/spot.traders")
        torn = disk.create("/d/spot.traders")
        torn.write(whole[:-1])
        torn.close()
        found = await file_on(disk, metrics=metrics).load()
        assert found is not None
        assert found.time_ms == 1

    asyncio.run(story())
    assert b'trader_image_errors_total{market="spot",reason="refused"} 1' in metrics.render()


def test_an_image_is_the_newest_one_only_once_its_snapshot_is() -> None:
    disk = CrashDisk()
    engine = desk_of(*kinds()).desk.engines["spot"]

    async def story() -> None:
        disk.claim("/d")
        file = file_on(disk, engine)
        assert await file.prepare(1)
        assert await file.load() is None
        await file.leave()
        assert disk.entries == {}

    asyncio.run(story())


@pytest.mark.parametrize("moves", [1, 2, 3, 100])
def test_filters_that_move_while_an_image_is_written_are_written_anew(moves: int) -> None:
    """At last at once, so that a market that never rests has its images as well."""
    world, disk = desk_of(*kinds()), CrashDisk()
    for price in PRICES[:4]:
        world.close(AAA=price, BBB="55")
    engine, left = world.desk.engines["spot"], [moves]

    def move() -> None:
        if disk.steps and disk.steps[-1].startswith("write") and left[0]:
            left[0] -= 1
            world.close(AAA=str(40 + left[0] % 30), BBB="55")

    async def story() -> bytes:
        disk.claim("/d")
        file = file_on(disk, engine)
        disk.before_step = move
        assert await file.prepare(1)
        disk.before_step = lambda: None
        assert await file.commit()
        found = await file.load()
        assert found is not None
        return found.state

    state = asyncio.run(story())
    if moves <= 3:
        assert left == [0]
        assert state == engine.engine.save()
    else:
        assert left[0] < moves - 3
        assert engine.engine.load(state) == (), "it is whole"


def test_without_an_image_there_is_none() -> None:
    assert asyncio.run(file_on(CrashDisk()).load()) is None
