"""Which streams are called stale, and which are not, by what an exchange has said."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from klinecore.interval import INTERVAL_MS, open_time_ms
from server.feeds.liveness import BEHIND_MIN_S, Healing, Liveness, update_periods_s

T0 = 1_768_384_800_000  # 2026-01-14 10:00:00 UTC
MINUTE_S = 60
SYMBOLS = ("BTCUSDT", "QTUMUSDT", "币安人生USDT")
INTERVALS = ("1m", "5m", "1h")

#: Within this time of its next trade a stream that is muted must be found, s: it has to lag one
#: period, a trade must follow, and it has three periods to bring that one.
FOUND_S = 14


class Row(NamedTuple):
    open_time_ms: int
    trades: int


class Held:
    """A series as far as liveness reads it."""

    def __init__(self) -> None:
        self.forming: Row | None = None
        self.last: Row | None = None


class Exchange:
    """Trades of a second at a time; updates each second (tickers) or two (klines), as on spot.

    It is the market as well: streams that are not muted and connected arrive at once, and REST
    brings the rows that streams did not, ``rest_after_s`` after their close.
    """

    def __init__(self, symbols: Sequence[str] = SYMBOLS, intervals: Sequence[str] = INTERVALS):
        self.symbols, self.intervals = tuple(symbols), tuple(intervals)
        self.now_s = 0.0
        self.rest_after_s = 4
        self.muted: set[str] = set()
        self.halted: set[str] = set()
        self.connected = True
        self.series = {(s, i): Held() for s in symbols for i in intervals}
        self.ids = dict.fromkeys(symbols, 1000)
        self.tickers: dict[str, dict[str, int]] = {}
        self.events = {(s, i): 0 for s in symbols for i in ("", *intervals)}
        self._counts = {key: [T0 - T0 % INTERVAL_MS[key[1]], 0] for key in self.series}
        self._closed: dict[tuple[str, str], Row] = {}
        self._said = dict.fromkeys(self.events, -1)
        self.liveness = Liveness(
            self,  # type: ignore[arg-type]
            update_periods_s("spot", intervals),
            clock=self,  # type: ignore[arg-type]
            now_ms=self.time_ms,
        )
        self.liveness.assign(self.names(), 0)
        self.liveness.opened(0, 0.0, self.liveness.base())

    # what liveness asks of a market and of a clock

    def __getitem__(self, key: tuple[str, str]) -> Held:
        return self.series[key]

    def ticker(self, symbol: str) -> dict[str, int] | None:
        return self.tickers.get(symbol)

    def event_times(self) -> np.ndarray:
        return np.array([[self.events[s, i] for i in self.intervals] for s in self.symbols])

    def ticker_times(self) -> np.ndarray:
        return np.array([self.events[s, ""] for s in self.symbols])

    def last_open_times(self) -> np.ndarray:
        held = [[self.series[s, i].last for i in self.intervals] for s in self.symbols]
        return np.array([[row.open_time_ms if row else 0 for row in rows] for rows in held])

    def time_ms(self) -> int:
        return T0 + int(self.now_s * 1000)

    def monotonic(self) -> float:
        return self.now_s

    # what happens

    def names(self, symbol: str | None = None) -> list[str]:
        kinds = ["ticker", *(f"kline_{i}" for i in self.intervals)]
        symbols = self.symbols if symbol is None else (symbol,)
        return [f"{s.lower()}@{kind}" for s in symbols for kind in kinds]

    def second(self, traded: Iterable[str]) -> None:
        """One second in which these symbols traded; closes come first, then updates."""
        self.now_s += 1
        now_ms = self.time_ms()
        for symbol in traded:
            if symbol not in self.halted:
                self.ids[symbol] += 1
                for interval in self.intervals:
                    self._counts[symbol, interval][1] += 1
        for key, held in self.series.items():
            symbol, interval = key
            opened_ms, trades = self._counts[key]
            if symbol in self.halted:
                continue
            heard = self._hears(f"{symbol.lower()}@kline_{interval}")
            if open_time_ms(interval, now_ms) > opened_ms:
                self._closed[key] = Row(opened_ms, trades)
                if heard:
                    held.last, held.forming = self._closed[key], None
                    self.events[key] = now_ms
                self._counts[key] = [now_ms, 0]
            elif int(self.now_s) % 2 == 0 and trades and self._is_news(key) and heard:
                held.forming = Row(opened_ms, trades)
                self.events[key] = now_ms
            elif (now_ms - opened_ms) == self.rest_after_s * 1000 and (
                held.last is None or held.last.open_time_ms < opened_ms - INTERVAL_MS[interval]
            ):
                self._rest(key)
        for symbol in self.symbols:
            if self._is_news((symbol, "")) and self._hears(f"{symbol.lower()}@ticker"):
                self.tickers[symbol] = {"E": now_ms, "L": self.ids[symbol]}
                self.events[symbol, ""] = now_ms

    def _is_news(self, key: tuple[str, str]) -> bool:
        said, self._said[key] = self._said[key], self.ids[key[0]]
        return said != self._said[key]

    def _rest(self, key: tuple[str, str]) -> None:
        """The last close and what is forming, as REST has them."""
        opened_ms, trades = self._counts[key]
        self.series[key].last = self._closed.get(key)
        self.series[key].forming = Row(opened_ms, trades)

    def _hears(self, name: str) -> bool:
        return self.connected and name not in self.muted

    def run(self, seconds: int, *traded: str, every: int = 1) -> list[Healing]:
        """Seconds in which these symbols trade (each ``every`` seconds), a look after each."""
        looks = []
        for _ in range(seconds):
            self.second(traded if int(self.now_s) % every == 0 else ())
            looks.append(self.liveness.look())
        return looks


def resubscribed(looks: Iterable[Healing]) -> list[str]:
    return [name for look in looks for names in look.resubscribe.values() for name in names]


def reconnects(looks: Iterable[Healing]) -> int:
    return sum(len(look.reconnect) for look in looks)


def test_a_stream_is_up_at_its_first_event_of_this_connection() -> None:
    world = Exchange()
    assert world.liveness.delivering(0) == 0, "subscribed and acknowledged is not up"
    world.run(4, "BTCUSDT")
    assert world.liveness.delivering(0) == 4 + 2, "all of one symbol, two first tickers"
    world.liveness.closed(0)
    assert world.liveness.delivering(0) == 0
    world.liveness.opened(0, world.now_s, world.liveness.base())
    assert world.liveness.delivering(0) == 0
    world.run(4, "BTCUSDT")
    assert world.liveness.delivering(0) == 4


def test_one_silent_stream_of_a_busy_symbol_is_found_and_only_that_is_subscribed_anew() -> None:
    for muted in ("btcusdt@kline_1m", "btcusdt@kline_1h", "btcusdt@ticker"):
        world = Exchange()
        world.run(30, *SYMBOLS)
        world.muted = {muted}
        looks = world.run(FOUND_S, *SYMBOLS)
        assert resubscribed(looks) == [muted]
        assert world.liveness.stale() == 1
        assert world.liveness.delivering(0) == 11
        world.muted = set()
        world.run(3, *SYMBOLS)
        assert world.liveness.stale() == 0, "one event, and it is trusted again"


def test_a_stream_that_was_acknowledged_and_never_came_is_found() -> None:
    world = Exchange()
    world.muted = {"qtumusdt@kline_5m"}
    assert resubscribed(world.run(FOUND_S, *SYMBOLS)) == ["qtumusdt@kline_5m"]


def test_repeated_payloads_never_renew_freshness() -> None:
    """They carry the event time they had, so nothing moves: silence by another name."""
    world = Exchange()
    world.run(30, "BTCUSDT")
    frozen = world.events["BTCUSDT", "5m"]
    world.muted = {"btcusdt@kline_5m"}
    for _ in range(FOUND_S):
        world.second(["BTCUSDT"])
        world.events["BTCUSDT", "5m"] = frozen
        world.liveness.look()
    assert world.liveness.is_stale("BTCUSDT", "5m")


def test_minutes_without_a_trade_are_no_fault() -> None:
    world = Exchange()
    world.run(30, *SYMBOLS)
    looks = world.run(3600)
    assert not resubscribed(looks)
    assert world.liveness.stale_found == 0
    assert not [symbol for look in looks for symbol in look.silent], "their closes came"
    looks = world.run(600, "QTUMUSDT", every=97)
    assert not resubscribed(looks), "a trade now and then is told by all streams"


def test_a_halted_symbol_is_no_fault_and_is_named_once() -> None:
    world = Exchange()
    world.run(90, *SYMBOLS)
    world.halted = {"QTUMUSDT"}
    looks = world.run(600, *SYMBOLS)
    assert not resubscribed(looks)
    assert [symbol for look in looks for symbol in look.silent] == ["QTUMUSDT"]
    world.liveness.expect("QTUMUSDT", False)
    assert not [symbol for look in world.run(120, *SYMBOLS) for symbol in look.silent]
    assert world.liveness.blindness("QTUMUSDT", "1m") == (0, 0)


def test_a_symbol_whose_every_stream_is_silent_is_found_by_what_rest_brings() -> None:
    world = Exchange()
    world.run(70, *SYMBOLS)
    world.muted = set(world.names("BTCUSDT"))
    looks = world.run(130, *SYMBOLS)
    found = resubscribed(looks)
    assert "btcusdt@kline_1m" in found
    assert all(name.startswith("btcusdt@") for name in found)


def test_the_ladder_subscribes_connects_leaves_to_rest_and_tries_again() -> None:
    world = Exchange()
    world.run(30, "BTCUSDT")
    world.muted = {"btcusdt@kline_1m"}
    looks = world.run(9 * MINUTE_S, "BTCUSDT")
    steps = [
        (second, kind)
        for second, look in enumerate(looks)
        for kind, there in (
            ("resubscribe", look.resubscribe),
            ("reconnect", look.reconnect),
            ("rest", look.left),
        )
        if there
    ]
    kinds = [kind for _, kind in steps]
    assert kinds[:6] == ["resubscribe", "reconnect", "rest"] * 2
    left = [second for second, kind in steps if kind == "rest"]
    tried = [second for second, kind in steps if kind == "resubscribe"]
    waits = [again - before for before, again in zip(left, tried[1:], strict=False)]
    assert all(60 << i <= wait <= (60 << i) + 20 for i, wait in enumerate(waits)), "they grow"
    assert world.liveness.stale_found == 1


def test_many_stale_streams_of_one_connection_replace_it_at_once() -> None:
    world = Exchange()
    world.run(30, *SYMBOLS)
    world.muted = {n for n in world.names() if not n.endswith("@ticker")}
    looks = world.run(FOUND_S, *SYMBOLS)
    assert reconnects(looks) == 1
    assert not resubscribed(looks)


def test_blind_time_is_that_between_the_last_event_and_the_first_after() -> None:
    world = Exchange()
    world.run(30, *SYMBOLS)
    last_ms = world.events["BTCUSDT", "1m"]
    world.connected = False
    world.liveness.closed(0)
    world.run(100, *SYMBOLS)
    total_ms, current_ms = world.liveness.blindness("BTCUSDT", "1m")
    assert (total_ms, current_ms) == (0, world.time_ms() - last_ms)
    assert world.liveness.blind_s == 9 * current_ms / 1000
    world.connected = True
    world.liveness.opened(0, world.now_s, world.liveness.base())
    world.run(4, *SYMBOLS)
    first_ms = last_ms + 102_000
    assert world.liveness.blindness("BTCUSDT", "1m") == (first_ms - last_ms, 0)
    assert not world.liveness.is_stale("BTCUSDT", "1m")


def test_symbols_that_come_and_go_leave_what_is_known_of_others() -> None:
    world = Exchange()
    world.run(30, *SYMBOLS)
    world.connected = False
    world.liveness.closed(0)
    world.run(10, *SYMBOLS)
    before = world.liveness.blindness("QTUMUSDT", "1m")
    assert before.current_ms > 0
    world.symbols = ("QTUMUSDT", "币安人生USDT")
    world.liveness.refresh()
    assert world.liveness.blindness("QTUMUSDT", "1m") == before
    assert len(world.liveness.event_times()) == 2
    world.run(3, "QTUMUSDT")


def test_symbols_that_come_and_go_while_a_connection_opens_keep_their_own_times() -> None:
    """As many as before, in other rows."""
    world = Exchange()
    world.run(20, "QTUMUSDT")
    world.run(20, "BTCUSDT")
    world.liveness.closed(0)
    base = world.liveness.base()
    world.events["QTUMUSDT", "1h"] += 1  # its first frame, before the last acknowledgement
    assert world.events["QTUMUSDT", "1h"] < world.events["BTCUSDT", "1h"]
    world.symbols = ("QTUMUSDT", "BTCUSDT", "币安人生USDT")
    world.liveness.refresh()
    world.liveness.opened(0, world.now_s, base)
    assert not world.liveness.is_stale("QTUMUSDT", "1h")
    assert world.liveness.is_stale("BTCUSDT", "1h")
    assert world.liveness.delivering(0) == 1


@settings(max_examples=60)
@given(st.data())
def test_whatever_is_traded_and_muted_no_sound_stream_is_called_stale(data: st.DataObject) -> None:
    world = Exchange()
    every = {symbol: data.draw(st.integers(1, 200), symbol) for symbol in SYMBOLS}
    world.run(10, *SYMBOLS)
    world.muted = data.draw(st.sets(st.sampled_from(world.names()), max_size=4))
    for _ in range(data.draw(st.integers(30, 400))):
        traded = [symbol for symbol in SYMBOLS if int(world.now_s) % every[symbol] == 0]
        world.second(traded)
        healing = world.liveness.look()
        assert set(resubscribed([healing])) <= world.muted
    stale = {
        f"{symbol.lower()}@kline_{interval}"
        for symbol, interval in world.series
        if world.liveness.is_stale(symbol, interval)
    }
    assert stale <= world.muted
    world.run(3 * FOUND_S, *SYMBOLS)
    found = {
        f"{symbol.lower()}@kline_{interval}"
        for symbol, interval in world.series
        if world.liveness.is_stale(symbol, interval)
    }
    whole = {s for s in SYMBOLS if world.muted.issuperset(world.names(s))}
    muted = {name for name in world.muted if "@kline" in name}
    assert found >= {name for name in muted if not any(name.startswith(w.lower()) for w in whole)}
    assert BEHIND_MIN_S < FOUND_S
