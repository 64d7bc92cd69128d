"""Faults of the system this replaces: each one a test that would fail on its behaviour."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap

import pytest
from reference.messages import dump, kline_frame, kline_message
from reference.strategies import START_MS, plain_kline

import klinecore as kc

MINUTE_MS = 60_000


def row_at(place: int, *, closed: bool = True) -> kc.Kline:
    return plain_kline(START_MS + place * MINUTE_MS, closed=closed)


def fed(count: int, capacity: int = 500) -> kc.Market:
    market = kc.Market(["BTCUSDT"], ["1m"], capacity)
    for place in range(count):
        market.apply(kline_frame(row_at(place, closed=False)))
        market.apply(kline_frame(row_at(place)))
    return market


def opens_of(body: bytes) -> list[int]:
    return [row["t"] for row in json.loads(body)["klines"]]


@pytest.mark.parametrize("stored", [0, 1, 99, 100, 101, 500, 600])
@pytest.mark.parametrize("limit", [1, 100, 500])
def test_k1_the_limit_is_obeyed(limit: int, stored: int) -> None:
    body = fed(stored).klines_json("BTCUSDT", "1m", limit)
    assert len(opens_of(body)) == json.loads(body)["count"] == min(limit, stored, 500)


@pytest.mark.parametrize("pushes", [1, 299, 300, 499, 500, 501, 750, 1000, 1500])
def test_k2_the_last_row_is_the_newest_close(pushes: int) -> None:
    market = fed(pushes)
    newest = START_MS + (pushes - 1) * MINUTE_MS
    assert opens_of(market.klines_json("BTCUSDT", "1m", 100))[-1] == newest
    assert market["BTCUSDT", "1m"].open_time_ms[-1] == newest
    expected = [newest - back * MINUTE_MS for back in range(min(pushes, 100))][::-1]
    assert opens_of(market.klines_json("BTCUSDT", "1m", 100)) == expected


def test_k3_the_forming_row_is_the_last_frames_on_request_and_never_by_default() -> None:
    market = fed(3)
    market.apply(kline_frame(row_at(3, closed=False)))
    newest = row_at(3, closed=False)._replace(trades=11, close="1.23")
    market.apply(kline_frame(newest))
    last = json.loads(market.klines_json("BTCUSDT", "1m", 100, forming=True))["klines"][-1]
    assert (last["c"], last["n"], last["x"]) == ("1.23", 11, False)
    rows = json.loads(market.klines_json("BTCUSDT", "1m", 100))["klines"]
    assert [row["x"] for row in rows] == [True] * 3


def test_k6_replayed_late_and_disordered_frames_leave_one_row_per_open_time() -> None:
    market = fed(50)
    for place in [*range(50), *reversed(range(50)), 7, 7, 7]:
        market.apply(kline_frame(row_at(place)))
        market.apply(kline_frame(row_at(place, closed=False)))
    series = market["BTCUSDT", "1m"]
    assert series.klines(forming=True) == [row_at(place) for place in range(50)]


def test_k9_an_odd_field_is_counted_and_the_next_frame_is_fine() -> None:
    market = fed(1)
    odd = [None, True, 1, 1.5, -1, "", "x", "NaN", "inf", "1e999", "-0", [], {}, 10**30, "9" * 99]
    message = kline_message(row_at(1), "BTCUSDT", "1m")
    sent = refused = 0
    for letter in message["k"]:
        for value in odd:
            kind = market.apply(dump({**message, "k": {**message["k"], letter: value}}))
            sent += 1
            refused += kind in (kc.FrameKind.MALFORMED, kc.FrameKind.UNREPRESENTABLE)
    counters = market.counters()
    assert counters["frames_malformed"] + counters["frames_unrepresentable"] == refused
    assert refused > sent / 2
    for letter in ("e", "E", "s", "k"):
        for value in odd:
            market.apply(dump({**message, letter: value}))
    assert market.apply(kline_frame(row_at(5))) == kc.FrameKind.KLINE
    assert market["BTCUSDT", "1m"].last == row_at(5)
    assert market["BTCUSDT", "1m"].klines()[0] == row_at(0)


def test_k18_names_are_folded_in_one_way() -> None:
    market = fed(2)
    assert market.klines_json("btcusdt", "1m", 5) == market.klines_json("BTCUSDT", "1m", 5)


def test_k21_a_row_costs_90_bytes() -> None:
    """Between two capacities the difference is rows alone: no header, no table."""
    sizes = [kc.Market(["A"], ["1m"], capacity).size for capacity in (20_000, 100_000)]
    slack = 1 + 1 / 32  # a column's room to slide in
    assert (sizes[1] - sizes[0]) / (80_000 * slack) <= 90.1


def test_k21_500_symbols_of_4_intervals_of_500_rows_stay_under_200_mb() -> None:
    script = """
        import klinecore as kc
        market = kc.Market([f"S{n}" for n in range(500)], ["1m", "5m", "15m", "1h"], 500)
        for series in market:
            step = kc.INTERVAL_MS[series.interval]
            rows = ",".join(
                f'[{t},"57432.15","57445.00","57432.14","57444.99","9.9873",{t + step - 1},'
                f'"573588.12345678",214,"4.243","243588.12345678","0"]'
                for t in range(0, 500 * step, step)
            )
            body = f"[{rows}]".encode()
            market.apply_klines(series.symbol, series.interval, body, closed_before_ms=2**60)
        assert all(len(series) == 500 for series in market)
        for line in open("/proc/self/status"):
            if line.startswith("VmHWM"):
                print(line.split()[1])
    """
    if not sys.platform.startswith("linux"):
        pytest.skip("only Linux tells a process's peak memory")
    command = [sys.executable, "-c", textwrap.dedent(script)]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert int(output) * 1024 < 200_000_000
