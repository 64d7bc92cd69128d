"""klinecore.filters.ready: each fires where it should and in a real month, not on flat prices."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from reference.prices import Klines, flat
from reference.scenes import (
    FAR_MS,
    START_MS,
    Scene,
    answer,
    klines,
    legs,
    longer,
    market_of,
    merged,
    recorded,
    saw,
    then,
)

import klinecore as kc
from klinecore.filters import compile
from klinecore.filters.engine import Engine
from klinecore.filters.evaluation import evaluate, replay
from klinecore.filters.ready import READY, ReadyFilter
from klinecore.interval import INTERVAL_MS

BUILT_IN = {
    "rsi_oversold_bounce", "volume_spike", "golden_cross", "macd_divergence", "bb_squeeze_exit",
    "multi_interval_momentum", "market_structure_break",
}  # fmt: skip
#: The examples the language is explained by, as they are shipped.
EXAMPLES = {
    "dip_in_uptrend": "rsi(14) < 30 and close > sma(200)",
    "average_cross_with_volume": "crosses_above(ema(12), ema(26)) and volume > 2 * sma(volume, 20)",
    "hourly_oversold_turn": 'rsi(14) @ "1h" < 30 and close > close[1]',
    "macd_turns_up": "macd(12, 26, 9).hist > 0 and macd(12, 26, 9).hist[1] <= 0",
    "stochastic_mid_range": "30 < stoch(14, 3, 3).k < 70",
    "bb_squeeze": "bb(20, 2).width < lowest(bb(20, 2).width, 120) * 1.05",
    "liquid_breakout": "close > highest(high, 20)[1] and ticker.quote_volume > 5_000_000",
    "strongest_of_the_day": 'top(change(24) @ "1h", 3)',
    "lately_oversold": "any_of(rsi(14) < 30, 5)",
}
NEEDS_TICKER = {"liquid_breakout"}


def one(closes: np.ndarray, rows: range, **volumes: object) -> Scene:
    return Scene({"AUSDT": klines(closes, **volumes)}, rows)  # type: ignore[arg-type]


def divergence() -> Scene:
    # Lows at rows 69 and 91, the second lower and reached more slowly; a row confirms it.
    return one(then(saw(60, 0.5), (10, -2), (8, 1.5), (14, -1), (6, 1)), range(92, 93))


def momentum() -> Scene:
    # Ever faster up, so that the MACD stays above its signal; then a dip, and up again.
    closes = 100 * 1.0005 ** np.arange(900)
    return one(then(closes, (6, -0.5), (20, 0.8)), range(906, 926))


def structure_break() -> Scene:
    # A peak at row 39, confirmed at 44; the close passes it at row 52.
    return one(then(saw(30, 0.5), (10, 1), (6, -1), (10, 1)), range(52, 53), volumes={52: 30.0})


def cross_with_volume() -> Scene:
    volume = np.full(100, 10.0)
    volume[60:] = 10 * 2.0 ** np.arange(40)
    return one(legs((60, -0.2), (40, 0.4)), range(60, 100), volumes=volume)


def strongest() -> Scene:
    # D falls, then rises faster than all: at the close of some hour it takes the place of C.
    rates = {"AUSDT": 0.5, "BUSDT": 0.4, "CUSDT": 0.3, "EUSDT": 0.0}
    series = {symbol: klines(legs((240, rate))) for symbol, rate in rates.items()}
    series["DUSDT"] = klines(legs((160, -0.1), (80, 2.0)))
    return Scene(series, range(160, 240), ("DUSDT",))


def broad() -> Scene:
    # The fifth symbol turns ten rows after the others: only then are more than 80 percent above.
    turns = {"AUSDT": 80, "BUSDT": 80, "CUSDT": 80, "DUSDT": 80, "EUSDT": 90}
    series = {s: klines(legs((row, -0.1), (120 - row, 1.0))) for s, row in turns.items()}
    return Scene(series, range(91, 97), tuple(turns))


def falling_then(*last: tuple[float, float, float, float]) -> Scene:
    """Thirty falling rows, and rows as given: changes of the open's price to OHLC."""
    made = klines(then(saw(20, 0.5), (30, -1)))
    rows = [made.open, made.high, made.low, made.close]
    for shape in last:
        before = rows[3][-1]
        rows = [np.append(c, before + change) for c, change in zip(rows, shape, strict=True)]
    volume = np.full(len(rows[0]), 10.0)
    return Scene({"AUSDT": Klines(*rows, volume)}, range(49 + len(last), 50 + len(last)))


def morning() -> Scene:
    return one(then(saw(25, 0.5), (1, -3), (1, -0.1), (1, 2.5), (5, 0.1)), range(27, 28))


def node() -> Scene:
    # Between 89 and 110 and back, most traded while it pauses at 100: at each return from below.
    up, down = [*range(-11, 1), *range(11)], [*range(9, -1, -1), *range(0, -11, -1)]
    closes = 100.1 + np.tile(np.array(up + down, dtype=float), 10)
    made = klines(closes, volumes=np.where(np.diff(closes, prepend=0) == 0, 300.0, 10.0))
    returns = np.flatnonzero((closes[1:] == 100.1) & (closes[:-1] < 100)) + 1
    return Scene({"AUSDT": made}, returns[returns > 250].tolist(), times=(returns > 249).sum())


#: By name: what happens, and when the filter says so.
SCENES: dict[str, Callable[[], Scene]] = {
    "rsi_oversold_bounce": lambda: one(then(saw(60, 0.5), (15, -1), (20, 1)), range(75, 95)),
    "volume_spike": lambda: one(saw(60, 0.5), range(50, 51), volumes={50: 31.0, 53: 31.0}),
    "golden_cross": lambda: one(legs((250, -0.1), (150, 0.2)), range(250, 400)),
    "macd_divergence": divergence,
    "bb_squeeze_exit": lambda: one(
        np.concatenate([saw(150, 1), saw(30, 0.1), legs((5, 1))]), range(180, 181)
    ),
    "multi_interval_momentum": momentum,
    "market_structure_break": structure_break,
    "dip_in_uptrend": lambda: one(legs((210, 0.5), (6, -3)), range(210, 216)),
    "average_cross_with_volume": cross_with_volume,
    "hourly_oversold_turn": lambda: one(
        legs((200, -0.2), (1, 0.2), (39, -0.2)), range(200, 201)
    ),
    "macd_turns_up": lambda: one(
        then(200 - 0.01 * np.arange(100.0) ** 2, (20, 1)), range(100, 120)
    ),
    "stochastic_mid_range": lambda: one(legs((40, 1), (20, -1)), range(40, 60)),
    "bb_squeeze": lambda: one(
        np.concatenate([saw(160, 1), saw(20, 3), saw(40, 0.5)]), range(180, 220)
    ),
    "strongest_of_the_day": strongest,
    "lately_oversold": lambda: one(then(saw(60, 0.5), (20, -1)), range(60, 80)),
    "rsi_divergence": divergence,
    "engulfing_dip": lambda: falling_then((0, 1.5, 0, 1.5)),
    "hammer_low": lambda: falling_then((0, 0.2, -2, 0.2)),
    "morning_star_turn": morning,
    "volume_node_reclaimed": node,
    "vwap_band_return": lambda: one(legs((100, 0.1), (12, -2), (10, 1.5)), range(112, 122)),
    "broad_rise": broad,
}  # fmt: skip


def fired(ready: ReadyFilter, market: kc.Market) -> list[tuple[str, int]]:
    """Symbol and row of every firing."""
    made = replay(
        compile(ready.text), market, ready.interval, mode=ready.mode, cooldown=ready.cooldown
    )
    rows = (made.open_time_ms - START_MS) // INTERVAL_MS[ready.interval]
    return [(made.symbols[i], int(row)) for i, row in zip(made.symbol_index, rows, strict=True)]


def test_the_originals_built_ins_and_the_languages_examples_are_there() -> None:
    assert set(READY) >= BUILT_IN | set(EXAMPLES)
    for name, text in EXAMPLES.items():
        assert compile(READY[name].text) == compile(text)


@pytest.mark.parametrize("name", READY)
def test_a_ready_filter_compiles_and_says_what_it_is(name: str) -> None:
    ready = READY[name]
    assert ready.name == name
    assert ready.interval in INTERVAL_MS
    assert ready.title
    assert ready.description.endswith(".")
    assert len({other.title for other in READY.values()}) == len(READY)
    made = compile(ready.text)
    assert made.hash == compile(made.normal).hash
    assert max(made.bars_on(ready.interval).values()) <= 500


def test_every_ready_filter_has_a_scene() -> None:
    assert set(SCENES) | NEEDS_TICKER == set(READY)


@pytest.mark.parametrize("name", SCENES)
def test_it_fires_where_it_should(name: str) -> None:
    ready, scene = READY[name], SCENES[name]()
    market = market_of(scene.klines, ready.interval, compile(ready.text).intervals)
    found = fired(ready, market)
    assert found
    assert {symbol for symbol, _ in found} == set(scene.symbols)
    assert {row for _, row in found} <= set(scene.rows)
    assert len(found) == scene.times * len(scene.symbols)


@pytest.mark.parametrize("name", READY)
def test_it_never_fires_where_nothing_moves(name: str) -> None:
    ready = READY[name]
    series = {symbol: flat(900) for symbol in ("AUSDT", "BUSDT", "CUSDT", "DUSDT")}
    market = market_of(series, ready.interval, compile(ready.text).intervals)
    assert fired(ready, market) == []


def ticker(symbol: str, quote_volume: float) -> bytes:
    numbers = {k: "1" for k in ("p", "P", "w", "c", "Q", "o", "h", "l", "v")}
    body = {"e": "24hrTicker", "E": START_MS, "s": symbol, **numbers, "q": f"{quote_volume:.4f}"}
    body |= {"O": START_MS, "C": START_MS, "F": 1, "L": 2, "n": 2}
    return json.dumps(body).encode()


def test_a_breakout_counts_with_a_ticker_of_enough_volume() -> None:
    ready = READY["liquid_breakout"]
    series = {s: klines(then(saw(40, 0.5), (1, 1))) for s in ("AUSDT", "BUSDT", "CUSDT")}
    series["DUSDT"] = klines(saw(41, 0.5))
    market = market_of(series, ready.interval)
    for symbol, volume in (("AUSDT", 5_000_001.0), ("BUSDT", 5_000_000.0), ("DUSDT", 9e9)):
        market.apply(ticker(symbol, volume))
    made = evaluate(compile(ready.text), market, ready.interval)
    assert made.matches == ("AUSDT",)
    assert np.isnan(made.values[2])  # without a ticker it is unknown, not false


def closing(
    series: dict[str, Klines], interval: str, others: list[str]
) -> dict[int, list[tuple[str, str, bytes]]]:
    """Symbol, interval and answer of the rows that close at each boundary."""
    found: dict[int, list[tuple[str, str, bytes]]] = {}
    for symbol, k in series.items():
        for name in (interval, *others):
            length = INTERVAL_MS[name]
            whole = merged(k, length // INTERVAL_MS[interval])
            for row in range(len(whole.close)):
                opened = START_MS + row * length
                body = answer(whole.part(slice(row, row + 1)), name, opened)
                found.setdefault(opened + length, []).append((symbol, name, body))
    return found


@pytest.fixture(scope="module")
def month(data_dir: Path) -> dict[str, Klines]:
    return recorded(data_dir / "klines/um/1m/2026-02")


@pytest.fixture(scope="module")
def markets(month: dict[str, Klines]) -> dict[str, kc.Market]:
    made = {}
    for interval, others in (("5m", ("15m", "1h")), ("15m", ("1h",))):
        series = {symbol: longer(k, interval) for symbol, k in month.items()}
        made[interval] = market_of(series, interval, others)
    return made


@pytest.mark.parametrize("name", [name for name in READY if name not in NEEDS_TICKER])
def test_it_fires_in_a_recorded_month(name: str, markets: dict[str, kc.Market]) -> None:
    ready = READY[name]
    found = fired(ready, markets[ready.interval])
    market = markets[ready.interval]
    # Often enough to be of use, and not all the time.
    assert 20 <= len(found) < market.capacity * len(market.symbols) / 5
    assert {symbol for symbol, _ in found} == set(market.symbols)


@pytest.mark.parametrize("interval", ["5m", "15m"])
def test_live_it_fires_where_its_replay_does(month: dict[str, Klines], interval: str) -> None:
    """A stretch of the month, close by close: patterns, levels and all through the live engine."""
    rows, chosen = 1_500, [one for one in READY.values() if one.interval == interval]
    others = sorted({name for one in chosen for name in compile(one.text).intervals})
    series = {s: longer(k, interval).part(slice(0, rows)) for s, k in month.items()}
    market = kc.Market(series, [interval, *others], capacity=rows)
    engine = Engine(market)
    added = {
        engine.add(compile(one.text), interval, mode=one.mode, cooldown=one.cooldown): one
        for one in chosen
    }
    closes = closing(series, interval, others)
    live: dict[str, set[tuple[str, int]]] = {one.name: set() for one in chosen}
    for at in sorted(closes):
        for name in {name for _, name, _ in closes[at]}:
            market.begin_barrier(name, at - INTERVAL_MS[name])
        for symbol, name, body in closes[at]:
            market.apply_klines(symbol, name, body, closed_before_ms=FAR_MS)
        for firing in engine.pump(market.drain()):
            assert not firing.revision
            assert firing.complete
            row = (firing.open_time_ms - START_MS) // INTERVAL_MS[interval]
            live[added[firing.filter_id].name].add((firing.symbol, row))
    for one in chosen:
        assert live[one.name] == set(fired(one, market)), one.name
    assert all(live[name] for name in live if name not in NEEDS_TICKER)


def test_a_recorded_breakout_counts_with_its_days_volume(month: dict[str, Klines]) -> None:
    ready = READY["liquid_breakout"]
    k = longer(month["AVAXUSDT"], ready.interval)
    above = [r for r in range(96, 1000) if k.close[r] > k.high[r - 20 : r].max()]
    assert above
    to = slice(above[0] - 95, above[0] + 1)
    day = k.part(to)
    market = market_of({"AVAXUSDT": day}, ready.interval)
    market.apply(ticker("AVAXUSDT", float(np.dot(day.volume, day.close))))
    assert evaluate(compile(ready.text), market, ready.interval).matches == ("AVAXUSDT",)


def test_a_cooldown_keeps_firings_apart(markets: dict[str, kc.Market]) -> None:
    ready = replace(READY["volume_spike"], cooldown=50)
    rows: dict[str, list[int]] = {}
    for symbol, row in fired(ready, markets[ready.interval]):
        rows.setdefault(symbol, []).append(row)
    assert all(np.diff(some).min() > 50 for some in rows.values())
