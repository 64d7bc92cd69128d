"""What each list of the exchange does to the symbols that are held."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from simulation.clock import SimulatedClock
from simulation.loop import run

from server.errors import FeedError, RestError
from server.exchange.book import Book
from server.exchange.faults import Faults
from server.exchange.generated import GeneratedMarket
from server.exchange.rest import RestFace
from server.feeds.binance import DETAILS_BYTES_MAX, ExchangeInfo, SymbolInfo
from server.feeds.universe import (
    MISSING_LISTS,
    OUT_LISTS,
    ROWS_KEPT_S,
    STREAMS_KEPT_S,
    NoRoomError,
    Selection,
    SymbolChange,
    Universe,
    UnknownSymbolsError,
    assume_symbols,
    resolve_symbols,
)
from server.settings import Settings

NAMES = [f"S{number:02d}USDT" for number in range(20)]
UNICODE = "币安人生USDT"


class World:
    """A holder, an exchange's list and a clock, all as a test wants them."""

    def __init__(
        self, symbols: str, *, room: int = 5, held: tuple[str, ...] = (), assumed: str = ""
    ) -> None:
        self.now_s = 1000.0
        self.room = room
        self.statuses: dict[str, str] = dict.fromkeys(NAMES, "TRADING")
        self.quotes: dict[str, str] = {}  # where it is not USDT
        self.ranked = list(NAMES)  # most volume first
        self.fails = 0
        self.heard: list[SymbolChange] = []
        self.told: list[tuple[str, str]] = []
        self.asked = 0
        self.time = self
        selected = held or asyncio.run(self.resolve(symbols)).symbols
        self.held = dict.fromkeys(selected)
        settings = Settings(symbols=symbols)
        unknown = tuple(n for n in symbols.split(",") if ":" not in n and n not in self.statuses)
        self.universe = Universe(
            Selection(tuple(selected), unknown, dict(self.statuses))
            if not assumed
            else Selection(tuple(selected), (), dict.fromkeys(selected, "TRADING"), assumed),
            self,  # type: ignore[arg-type]
            self,
            settings=settings,
            clock=self,  # type: ignore[arg-type]
            on_change=self.heard.append,
        )

    async def resolve(self, symbols: str) -> Selection:
        return await resolve_symbols(Settings(symbols=symbols), self)  # type: ignore[arg-type]

    # clock, and the exchange's time
    def monotonic(self) -> float:
        return self.now_s

    def now_ms(self) -> int:
        return int(self.now_s * 1000)

    # api
    async def exchange_info(self, priority: Any = None) -> ExchangeInfo:
        self.asked += 1
        if self.fails:
            self.fails -= 1
            raise RestError("no answer")
        quotes = self.quotes
        return ExchangeInfo(
            [SymbolInfo(n, s, quotes.get(n, "USDT")) for n, s in self.statuses.items()]
        )

    async def volumes(self, priority: Any = None) -> dict[str, float]:
        return {name: float(1000 - rank) for rank, name in enumerate(self.ranked)}

    # holder
    def hold(self, symbol: str) -> None:
        assert symbol not in self.held
        assert self.room > 0
        self.room -= 1
        self.held[symbol] = None

    def drop(self, symbol: str) -> None:
        del self.held[symbol]
        self.room += 1

    def listen(self, symbol: str, listening: bool) -> None:
        self.told.append((symbol, "listen" if listening else "mute"))

    def expect(self, symbol: str, expected: bool) -> None:
        self.told.append((symbol, "expect" if expected else "rest"))

    # what a test says
    def poll(self, times: int = 1, *, every_s: float = 120.0) -> None:
        for _ in range(times):
            self.now_s += every_s
            asyncio.run(self.universe.poll())

    def change(self, add: tuple[str, ...] = (), remove: tuple[str, ...] = ()) -> None:
        asyncio.run(self.universe.change(add, remove))

    @property
    def reasons(self) -> list[tuple[str, str]]:
        return [(change.symbol, change.reason) for change in self.heard]


@pytest.mark.parametrize("status", ["HALT", "BREAK", "END_OF_DAY", "CANCEL_ONLY", "MOON", ""])
def test_any_status_but_trading_means_no_klines_are_expected_and_back_they_are(
    status: str,
) -> None:
    world = World("S00USDT,S01USDT")
    world.statuses["S01USDT"] = status
    world.poll(3)
    assert world.told == [("S01USDT", "rest")]
    assert world.universe.statuses == {"S00USDT": "TRADING", "S01USDT": status}
    change = SymbolChange("S01USDT", status, "TRADING", 1_120_000, "status")
    assert world.heard == [change]
    world.statuses["S01USDT"] = "TRADING"
    world.poll()
    assert world.told[-1] == ("S01USDT", "expect")
    assert world.heard[-1].status == "TRADING"
    assert list(world.held) == ["S00USDT", "S01USDT"]


def test_a_delisted_symbol_is_gone_after_two_lists_and_kept_for_a_day() -> None:
    world = World("S00USDT,S01USDT")
    del world.statuses["S01USDT"]
    world.poll(MISSING_LISTS - 1)
    assert world.heard == []
    world.poll()
    assert world.reasons == [("S01USDT", "gone")]
    assert world.universe.statuses["S01USDT"] == "GONE"
    world.poll(every_s=STREAMS_KEPT_S)
    assert world.told == [("S01USDT", "rest"), ("S01USDT", "mute")]
    assert "S01USDT" in world.held, "its rows are still served"
    world.poll(every_s=ROWS_KEPT_S)
    assert list(world.held) == ["S00USDT"]
    assert world.reasons[-1] == ("S01USDT", "removed")


def test_a_symbol_that_is_back_is_heard_again() -> None:
    world = World("S00USDT,S01USDT")
    del world.statuses["S01USDT"]
    world.poll(2)
    world.poll(every_s=STREAMS_KEPT_S)
    world.statuses["S01USDT"] = "TRADING"
    world.poll()
    assert world.told[-2:] == [("S01USDT", "listen"), ("S01USDT", "expect")]
    assert world.reasons == [("S01USDT", "gone"), ("S01USDT", "back")]


def test_one_list_that_lacks_a_symbol_means_nothing() -> None:
    world = World("S00USDT,S01USDT")
    for _ in range(5):
        status = world.statuses.pop("S01USDT")
        world.poll()
        world.statuses["S01USDT"] = status
        world.poll()
    assert world.heard == []


@given(st.integers(0, 9), st.integers(1, 30))
def test_failed_and_cut_lists_never_drop_anything(left: int, times: int) -> None:
    world = World("all:USDT", held=tuple(NAMES))
    world.statuses = dict(list(world.statuses.items())[:left])
    world.poll(times, every_s=ROWS_KEPT_S)
    world.fails = times
    world.poll(times, every_s=ROWS_KEPT_S)
    assert list(world.held) == NAMES
    assert world.heard == []
    assert world.universe.counts["disbelieved"] == times
    assert world.universe.counts["failed"] == times


def test_a_list_that_lacks_most_of_what_is_held_is_not_believed() -> None:
    world = World("S00USDT,S01USDT,S02USDT")
    del world.statuses["S00USDT"], world.statuses["S01USDT"]
    world.poll(10)
    assert world.heard == []


def test_new_listings_are_added_to_all_and_to_no_list_of_names() -> None:
    every, some = World("all:USDT", held=tuple(NAMES)), World("S00USDT")
    for world in (every, some):
        world.statuses |= {UNICODE: "TRADING", "SOONUSDT": "BREAK"}
        world.poll(3)
    assert every.reasons == [(UNICODE, "added")]
    assert some.reasons == []
    every.statuses["SOONUSDT"] = "TRADING"
    every.poll()
    assert every.reasons[-1] == ("SOONUSDT", "added"), "once it trades"


def test_a_configured_symbol_that_is_listed_later_is_added() -> None:
    world = World("S00USDT,LATERUSDT")
    assert world.universe.unknown == ["LATERUSDT"]
    world.statuses["LATERUSDT"] = "TRADING"
    world.poll()
    assert list(world.held) == ["S00USDT", "LATERUSDT"]
    assert world.universe.unknown == []


def test_a_rename_is_a_symbol_gone_and_a_new_one() -> None:
    world = World("all:USDT", held=tuple(NAMES))
    del world.statuses["S03USDT"]
    world.statuses["POLUSDT"] = "TRADING"
    world.poll(2)
    assert world.reasons == [("POLUSDT", "added"), ("S03USDT", "gone")]
    assert set(world.held) == {*NAMES, "POLUSDT"}


def test_without_room_a_new_symbol_is_named_once_and_takes_the_place_of_one_that_is_gone() -> None:
    world = World("all:USDT", held=tuple(NAMES), room=1)
    world.statuses |= {"AUSDT": "TRADING", "BUSDT": "TRADING"}
    world.poll(3)
    assert world.reasons == [("AUSDT", "added"), ("BUSDT", "no room")]
    assert list(world.universe.turned_away) == ["BUSDT"]
    assert world.universe.changes["no room"] == 1
    del world.statuses["S07USDT"]
    world.poll(2)
    assert world.reasons[2:] == [("S07USDT", "gone"), ("S07USDT", "removed"), ("BUSDT", "added")]
    assert not world.universe.turned_away


def test_the_first_n_change_only_when_a_symbol_is_out_for_long() -> None:
    world = World("top:5:USDT")
    assert list(world.held) == NAMES[:5]
    # S04 falls to rank 7: out of the first five, within the margin.
    world.ranked = [*NAMES[:4], NAMES[5], NAMES[6], NAMES[4], *NAMES[7:]]
    world.poll(20)
    assert list(world.held) == NAMES[:6]
    world.ranked = [*NAMES[:4], *NAMES[5:], NAMES[4]]
    world.poll(OUT_LISTS - 1)
    assert NAMES[4] in world.held
    world.ranked.insert(5, world.ranked.pop())  # back for once
    world.poll()
    world.ranked.append(world.ranked.pop(5))
    world.poll(OUT_LISTS - 1)
    assert NAMES[4] in world.held
    world.poll()
    assert list(world.held) == [*NAMES[:4], NAMES[5]]
    assert world.reasons[-1] == (NAMES[4], "removed")


def test_volumes_that_are_missing_rank_nothing() -> None:
    world = World("top:5:USDT")
    world.ranked = ["S19USDT"]
    world.poll(2 * OUT_LISTS)
    assert list(world.held) == NAMES[:5]


def test_what_somebody_adds_or_removes_stays_so_whatever_the_lists_say() -> None:
    world = World("top:5:USDT")
    world.change(("s15usdt",), (NAMES[0],))
    assert list(world.held) == [*NAMES[1:5], "S15USDT"]
    world.poll(3 * OUT_LISTS)
    assert list(world.held) == [*NAMES[1:5], "S15USDT"]
    assert world.reasons == [(NAMES[0], "removed"), ("S15USDT", "added")]
    world.change((NAMES[0],))
    assert NAMES[0] in world.held


def test_bad_names_are_named_and_nothing_is_done() -> None:
    world = World("S00USDT,S01USDT", room=2)
    with pytest.raises(UnknownSymbolsError, match="does not list: NOPEUSDT, NEINUSDT"):
        world.change(("S05USDT", "nopeusdt", "NEINUSDT"))
    assert world.asked == 2, "the list was read again before anybody was refused"
    with pytest.raises(UnknownSymbolsError, match="not held: S09USDT"):
        world.change(("S05USDT",), ("S09USDT",))
    with pytest.raises(UnknownSymbolsError, match="at least one"):
        world.change((), ("S00USDT", "S01USDT"))
    with pytest.raises(NoRoomError, match="room for 2 more"):
        world.change(("S05USDT", "S06USDT", "S07USDT"))
    world.fails = 1
    with pytest.raises(FeedError):
        world.change(("NEWUSDT",))
    assert list(world.held) == ["S00USDT", "S01USDT"]
    assert world.heard == []
    world.statuses["NEWUSDT"] = "TRADING"
    world.change(("NEWUSDT",), ("S00USDT",))
    assert list(world.held) == ["S01USDT", "NEWUSDT"]


def test_a_halted_symbol_that_is_configured_is_held_and_nothing_expected_of_it() -> None:
    now_ms = 1_768_384_800_000
    book = Book(GeneratedMarket(1, ("BTCUSDT", "ETHUSDT")))
    book.source.set_status("ETHUSDT", "BREAK", now_ms)
    listed = json.loads(RestFace(book, Faults()).handle("/api/v3/exchangeInfo", now_ms).body)
    world = World("BTCUSDT", held=("BTCUSDT",))
    world.statuses = {one["symbol"]: one["status"] for one in listed["symbols"]}
    selection = asyncio.run(world.resolve("BTCUSDT,ETHUSDT,NOPEUSDT"))
    assert selection.symbols == ("BTCUSDT", "ETHUSDT")
    assert selection.unknown == ("NOPEUSDT",)
    assert selection.statuses["ETHUSDT"] == "BREAK"
    held = dict.fromkeys(selection.symbols)
    world.told.clear()
    world.held = held
    Universe(
        selection,
        world,  # type: ignore[arg-type]
        world,
        settings=Settings(symbols="BTCUSDT,ETHUSDT"),
        clock=world,  # type: ignore[arg-type]
        on_change=world.heard.append,
    )
    assert world.told == [("ETHUSDT", "rest")]


@given(st.data())
def test_whatever_the_lists_say_memory_is_never_exceeded_and_never_empty(
    data: st.DataObject,
) -> None:
    world = World("all:USDT", held=tuple(NAMES), room=3)
    for _ in range(data.draw(st.integers(1, 30))):
        world.statuses = data.draw(
            st.dictionaries(
                st.sampled_from([*NAMES, *(f"N{i}USDT" for i in range(15))]),
                st.sampled_from(["TRADING", "TRADING", "TRADING", "BREAK"]),
            )
        )
        world.fails = data.draw(st.sampled_from([0, 0, 0, 1]))
        world.poll(every_s=data.draw(st.sampled_from([120.0, 3600.0, 90_000.0])))
        assert 1 <= len(world.held) <= len(NAMES) + 3
        assert world.room == len(NAMES) + 3 - len(world.held)
        assert set(world.universe.statuses) == set(world.held)


# --- a start from a snapshot ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("symbols", "snapshot", "found", "room"),
    [
        ("S02USDT,S00USDT", ("S00USDT", "S01USDT", "S02USDT"), ("S02USDT", "S00USDT"), 0),
        ("s00usdt, S09USDT,S08USDT", ("S01USDT", "S00USDT"), ("S00USDT",), 2),
        ("top:5:USDT", ("S01USDT", "S00USDT"), ("S01USDT", "S00USDT"), 3),
        ("top:1:USDT", ("S01USDT", "S00USDT"), ("S01USDT", "S00USDT"), 0),
        ("all:USDT", ("S01USDT", "S00USDT"), ("S01USDT", "S00USDT"), 0),
    ],
)
def test_without_a_list_those_of_the_snapshot_are_held_that_are_asked_for(
    symbols: str, snapshot: tuple[str, ...], found: tuple[str, ...], room: int
) -> None:
    selection = assume_symbols(Settings(symbols=symbols), snapshot, "no answer")
    statuses = dict.fromkeys(found, "TRADING")
    assert selection == Selection(found, (), statuses, "no answer", room)


@pytest.mark.parametrize("symbols", ["S00USDT", "top:5:USDT", "all:USDT"])
def test_a_snapshot_without_anything_that_is_asked_for_is_none(symbols: str) -> None:
    held = ("S01USDT",) if symbols == "S00USDT" else ()
    assert assume_symbols(Settings(symbols=symbols), held, "no answer") is None


def test_the_first_list_that_is_believed_corrects_what_was_assumed() -> None:
    asked = "S00USDT,S01USDT,S02USDT,S03USDT,GONEUSDT"
    world = World(asked, held=("S00USDT", "S01USDT", "GONEUSDT"), assumed="no answer")
    assert world.universe.assumed == "no answer"
    assert world.universe.unknown == []  # nobody has said so yet
    world.fails = 1
    world.poll()
    assert world.universe.assumed == "no answer"
    assert world.heard == []
    statuses, world.statuses = world.statuses, {"S05USDT": "TRADING"}
    world.poll()
    assert world.universe.assumed == "a list of 1 symbols is not believed"
    world.statuses = statuses | {"S01USDT": "HALT"}
    world.poll()
    assert world.universe.assumed == ""
    assert list(world.held) == ["S00USDT", "S01USDT", "S02USDT", "S03USDT"]
    assert world.universe.statuses["S01USDT"] == "HALT"
    assert world.told == [("S01USDT", "rest")]
    assert world.universe.unknown == ["GONEUSDT"]
    world.poll(5)
    assert world.reasons[-1] == ("S03USDT", "added")


def test_top_of_a_snapshot_becomes_the_present_top_at_once_within_the_margin() -> None:
    held = ("S19USDT", "S06USDT", "S18USDT", "S02USDT", "ABTC")
    world = World("top:5:USDT", held=held, assumed="no answer")
    world.statuses["ABTC"] = "TRADING"
    world.statuses["S18USDT"] = "BREAK"
    world.quotes["ABTC"] = "BTC"
    ranked, world.ranked = world.ranked, []
    world.poll()  # without volumes there is no ranking
    assert world.universe.assumed
    world.ranked = ranked
    world.poll()
    assert world.universe.assumed == ""
    best = {f"S0{place}USDT" for place in range(5)}
    assert set(world.held) == {*best, "S06USDT", "S18USDT"}


def test_all_of_another_quote_goes_and_never_the_last_one_before_another_is_there() -> None:
    world = World("all:USDT", room=25, held=("ABTC",), assumed="no answer")
    world.statuses["ABTC"] = "TRADING"
    world.quotes["ABTC"] = "BTC"
    world.poll()
    assert set(world.held) == set(NAMES)


def test_until_a_list_is_read_it_is_asked_for_in_growing_waits() -> None:
    async def scenario() -> list[float]:
        bench = SimulatedClock(0)
        world = World("S00USDT", held=("S00USDT",), assumed="no answer")
        world.universe._clock = bench
        world.universe._polled_s = bench.monotonic()
        world.fails = 12
        times: list[float] = []
        ask = world.exchange_info

        async def noted(priority: Any = None) -> ExchangeInfo:
            times.append(bench.monotonic())
            return await ask(priority)

        world.exchange_info = noted  # type: ignore[method-assign]
        task = asyncio.ensure_future(world.universe.run())
        await bench.sleep(1000.0)
        task.cancel()
        return times

    times = run(scenario())
    waits = [after - before for before, after in zip(times, times[1:], strict=False)]
    assert times[0] < 1.0
    assert max(waits[:12]) == 30.0
    assert waits[12] == 120.0  # it is known


def test_of_symbols_that_are_held_what_the_exchange_said_is_kept_as_it_was() -> None:
    one = b'{"symbol":"BTCUSDT", "filters":[{"tickSize":"0.01000000"}]}'
    long = b'{"symbol":"LONGUSDT","filters":"%s"}' % (b"x" * DETAILS_BYTES_MAX)
    body = b'{"symbols":[{"symbol":"ETHUSDT"},%s,%s]}' % (one, long)
    info = msgspec.json.decode(body, type=ExchangeInfo)
    assert info.details({"BTCUSDT"}) == {}  # nothing came
    info.body = body
    assert info.details({"BTCUSDT", "LONGUSDT", "NOPEUSDT"}) == {"BTCUSDT": one}
