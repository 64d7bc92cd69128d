"""klinecore.market: what can be built, asked and fed; what is refused, and in which words."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from reference.messages import combined, dump, kline_frame, rest_klines
from reference.samples import MESSAGES, REPLIES, TICKER
from reference.strategies import START_MS, plain_kline

import klinecore as kc
from klinecore import FrameKind, MergeStatus

ROW = plain_kline(START_MS)


def one_market() -> kc.Market:
    return kc.Market(["BTCUSDT"], ["1m"], capacity=5)


# --- building ----------------------------------------------------------------------------------


def test_a_market_holds_every_symbol_in_every_interval() -> None:
    market = kc.Market(["btcusdt", " ETHUSDT "], ["1m", "1M"], capacity=7)
    assert market.symbols == ("BTCUSDT", "ETHUSDT")
    assert market.intervals == ("1m", "1M")
    assert market.capacity == 7
    assert [(series.symbol, series.interval) for series in market] == [
        ("BTCUSDT", "1m"),
        ("BTCUSDT", "1M"),
        ("ETHUSDT", "1m"),
        ("ETHUSDT", "1M"),
    ]
    assert all(series.capacity == 7 and len(series) == 0 for series in market)


@pytest.mark.parametrize(
    ("symbols", "intervals", "capacity", "says"),
    [
        ([], ["1m"], 5, "at least one symbol"),
        (["A"], [], 5, "at least one interval"),
        (["A", "a"], ["1m"], 5, "symbol given twice: A"),
        (["A"], ["1m", "1m"], 5, "interval given twice: 1m"),
        (["A"], ["2m"], 5, "unknown interval '2m'; allowed: 1s, 1m"),
        (["A"], ["1m"], 0, r"capacity must be 1\.\.100000 klines, not 0"),
        (["A"], ["1m"], -1, r"1\.\.100000"),
        (["A"], ["1m"], 100_001, r"1\.\.100000"),
        ([""], ["1m"], 5, r"1\.\.64 bytes"),
        (["A" * 65], ["1m"], 5, r"1\.\.64 bytes"),
    ],
)
def test_a_market_that_makes_no_sense_is_refused(
    symbols: list[str], intervals: list[str], capacity: int, says: str
) -> None:
    with pytest.raises(ValueError, match=says):
        kc.Market(symbols, intervals, capacity)


@pytest.mark.parametrize(
    ("symbols", "intervals", "says"),
    [("BTC", ["1m"], "a list of symbols"), (["BTC"], "1m", "a list of intervals")],
)
def test_a_text_is_no_list_of_names(symbols: Any, intervals: Any, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        kc.Market(symbols, intervals)


@pytest.mark.parametrize("capacity", [1.5, "5", None])
def test_a_capacity_is_a_whole_number(capacity: Any) -> None:
    with pytest.raises(TypeError, match="integer"):
        kc.Market(["BTCUSDT"], ["1m"], capacity)


@pytest.mark.parametrize("capacity", [1, 2, 100_000])
def test_the_bounds_of_the_capacity_are_allowed(capacity: int) -> None:
    market = kc.Market(["A"], ["1m"], capacity)
    assert market["A", "1m"].capacity == capacity


def test_symbols_may_be_written_in_any_script() -> None:
    market = kc.Market(["币安人生USDT", "ÄUSDT"], ["1m"])
    frame = kline_frame(ROW, "币安人生USDT")
    assert market.apply(frame) == FrameKind.KLINE
    assert market["币安人生usdt", "1m"].last == ROW
    assert market["äusdt", "1m"].last is None


def test_a_thousand_symbols_are_told_apart() -> None:
    symbols = [f"{number}USDT" for number in range(1000)]
    market = kc.Market(symbols, ["1m"], capacity=1)
    for number, symbol in enumerate(symbols):
        market.apply(kline_frame(ROW._replace(trades=number), symbol))
    assert [series.klines()[0].trades for series in market] == list(range(1000))


# --- asking ------------------------------------------------------------------------------------


def test_the_case_of_a_symbol_is_folded_but_not_of_an_interval() -> None:
    market = one_market()
    assert market["btcusdt", "1m"] is market["BTCUSDT", "1m"]
    assert ("btcusdt", "1m") in market
    assert ("BTCUSDT", "1M") not in market
    with pytest.raises(kc.UnknownSeriesError):
        market["BTCUSDT", "1M"]


@pytest.mark.parametrize("key", ["BTCUSDT", ("BTCUSDT",), ("BTCUSDT", "1m", 1), (1, 2), None, 5])
def test_odd_keys_are_not_in_a_market(key: object) -> None:
    assert key not in one_market()


unknown: list[Callable[[kc.Market], Any]] = [
    lambda market: market["NOUSDT", "1m"],
    lambda market: market["BTCUSDT", "5m"],
    lambda market: market.push("NOUSDT", "1m", ROW),
    lambda market: market.push("BTCUSDT", "5m", ROW),
    lambda market: market.apply_klines("NOUSDT", "1m", b"[]", closed_before_ms=0),
    lambda market: market.apply_klines("BTCUSDT", "5m", b"[]", closed_before_ms=0),
    lambda market: market.klines_json("NOUSDT", "1m", 1),
    lambda market: market.klines_json("BTCUSDT", "5m", 1),
    lambda market: market.klines_array_json("NOUSDT", "1m", 1),
    lambda market: market.klines_array_json("BTCUSDT", "5m", 1),
    lambda market: market.ticker("NOUSDT"),
    lambda market: market.ticker_json("NOUSDT"),
]


@pytest.mark.parametrize("call", unknown)
def test_every_door_refuses_an_unknown_name_in_the_same_way(
    call: Callable[[kc.Market], Any],
) -> None:
    with pytest.raises(kc.UnknownSeriesError, match=r"^unknown (symbol|interval) '.+'; this"):
        call(one_market())


def test_size_grows_with_what_is_held() -> None:
    small = kc.Market(["A"], ["1m"], 100).size
    assert small < kc.Market(["A", "B"], ["1m"], 100).size < kc.Market(["A", "B"], ["1m"], 500).size


# --- feeding -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "frame"),
    [
        *[(kind, combined(stream, message)) for _, kind, stream, message in MESSAGES],
        *[(kind, dump(message)) for _, kind, message in REPLIES],
        ("MALFORMED", b"{"),
        ("UNREPRESENTABLE", kline_frame(ROW._replace(open="0.12345678901234567890"))),
    ],
)
def test_every_frame_is_counted_under_its_kind_once(kind: str, frame: bytes) -> None:
    market = one_market()
    assert market.apply(frame).name == kind
    counters = market.counters()
    frames = {name: count for name, count in counters.items() if name.startswith("frames_")}
    assert len(frames) == len(FrameKind)
    assert {name for name, count in frames.items() if count} == {f"frames_{kind.lower()}"}
    assert sum(frames.values()) == 1


@pytest.mark.parametrize("wrap", [bytes, bytearray, memoryview])
def test_a_frame_may_be_any_kind_of_bytes_and_is_not_kept(wrap: Callable[[bytes], Any]) -> None:
    market = one_market()
    frame = bytearray(kline_frame(ROW))
    assert market.apply(wrap(frame)) == FrameKind.KLINE  # type: ignore[arg-type]
    frame[:] = b"\0" * len(frame)
    assert market["BTCUSDT", "1m"].last == ROW


def test_a_frame_may_lie_inside_a_larger_buffer() -> None:
    market = one_market()
    frame = kline_frame(ROW)
    buffer = b"\x81\x7e" + frame + b'{"e":'
    assert market.apply(memoryview(buffer)[2 : 2 + len(frame)]) == FrameKind.KLINE
    assert market["BTCUSDT", "1m"].last == ROW


@pytest.mark.parametrize("frame", ["{}", None, 5, [1]])
def test_what_is_no_bytes_is_a_type_error(frame: Any) -> None:
    with pytest.raises(TypeError, match="bytes-like"):
        one_market().apply(frame)


def test_klines_of_unknown_symbols_and_intervals_are_counted_and_dropped() -> None:
    market = one_market()
    assert market.apply(kline_frame(ROW, "ETHUSDT")) == FrameKind.KLINE
    assert market.apply(kline_frame(ROW, "BTCUSDT", "5m")) == FrameKind.KLINE
    assert market.apply(kline_frame(ROW, "BTCUSDT", "7m")) == FrameKind.KLINE
    counters = market.counters()
    assert (counters["unknown_symbol"], counters["unknown_interval"]) == (1, 2)
    assert market["BTCUSDT", "1m"].sequence == 0
    assert not market.pending


def test_a_symbol_that_only_begins_alike_is_unknown() -> None:
    market = one_market()
    for symbol in ("BTCUSD", "BTCUSDTT", "btcusdt", "BTCUSDT_260327", ""):
        market.apply(kline_frame(ROW, symbol))
    assert market.counters()["unknown_symbol"] == 5


def test_no_beginning_and_no_extension_of_a_thousand_symbols_is_taken_for_one() -> None:
    symbols = [f"{number:04d}USDT" for number in range(1000)]
    market = kc.Market(symbols, ["1m"], 1)
    others = {symbol[:size] for symbol in symbols for size in range(8)}
    others |= {f"{symbol}{end}" for symbol in symbols for end in ("T", "_260327")}
    for other in others:
        market.apply(kline_frame(ROW, other))
    assert market.counters()["unknown_symbol"] == len(others)
    assert all(series.sequence == 0 for series in market)


def test_a_kline_in_another_time_zone_is_not_stored() -> None:
    market = kc.Market(["BTCUSDT"], ["1d"])
    opens = START_MS - 8 * 3_600_000  # midnight in Shanghai; t and T are sent in UTC
    row = plain_kline(START_MS, interval="1d")
    row = row._replace(open_time_ms=opens, close_time_ms=opens + 86_400_000 - 1)
    frame = kline_frame(row, interval="1d").replace(b"@kline_1d", b"@kline_1d@+08:00")
    assert market.apply(frame) == FrameKind.OTHER
    assert market["BTCUSDT", "1d"].klines() == []


def test_push_says_what_it_did() -> None:
    market = one_market()
    assert market.push("btcusdt", "1m", ROW) is MergeStatus.APPENDED
    assert market.push("BTCUSDT", "1m", ROW) is MergeStatus.DUPLICATE


@pytest.mark.parametrize("text", ["", "1e5", "-1", "01", "NaN", "1.", "１"])
def test_push_refuses_what_is_no_plain_decimal_and_shows_it(text: str) -> None:
    market = one_market()
    with pytest.raises(ValueError, match="plain decimal") as caught:
        market.push("BTCUSDT", "1m", ROW._replace(close=text))
    assert repr(text) in str(caught.value)
    assert market["BTCUSDT", "1m"].sequence == 0


def test_more_row_formats_than_the_table_holds_are_refused_not_confused() -> None:
    """Eight numbers, each printed with 0..8 decimals or not: more formats than any market has."""
    market = kc.Market(["A", "B"], ["1m"], capacity=100_000)
    series = market["A", "1m"]
    kept = []
    statuses = set()
    for number in range(9000):
        decimals = [(number // 9**place) % 9 for place in range(5)]
        texts = [f"{place + 1}.{'5' * width}".rstrip(".") for place, width in enumerate(decimals)]
        row = plain_kline(START_MS + number * 60_000)._replace(
            open=texts[0], high=texts[1], low=texts[2], close=texts[3], volume=texts[4]
        )
        status = market.push("A", "1m", row)
        statuses.add(status)
        if status == MergeStatus.APPENDED:
            kept.append(row)
    assert statuses == {MergeStatus.APPENDED, MergeStatus.UNREPRESENTABLE}
    assert len(kept) == 8192
    assert market.counters()["unrepresentable"] == 9000 - 8192
    assert series.klines() == kept
    assert market.push("B", "1m", kept[0]) == MergeStatus.APPENDED
    assert market.apply(kline_frame(kept[1], "B")) == FrameKind.KLINE
    assert market["B", "1m"].klines() == kept[:2]


def test_a_market_made_of_a_file_is_read_alike(tmp_path: Any) -> None:
    path = tmp_path / "arena"
    market = kc.Market(["BTCUSDT"], ["1m"], 5, path=str(path))
    assert path.stat().st_size == market.size
    assert path.stat().st_mode & 0o077 == 0
    market.apply_klines("BTCUSDT", "1m", rest_klines([ROW]), closed_before_ms=2**60)
    assert market["BTCUSDT", "1m"].klines() == [ROW]


def test_a_file_that_cannot_be_made_is_an_os_error(tmp_path: Any) -> None:
    with pytest.raises(OSError, match="No such file"):
        kc.Market(["BTCUSDT"], ["1m"], 5, path=str(tmp_path / "none" / "arena"))


# --- the horizon -------------------------------------------------------------------------------


def ways_in(market: kc.Market, row: kc.Kline) -> None:
    """The row through every door."""
    market.push("BTCUSDT", "1m", row)
    market.apply(kline_frame(row))
    market.apply_klines(
        "BTCUSDT", "1m", rest_klines([row]), closed_before_ms=row.close_time_ms + row.closed
    )


@pytest.mark.parametrize(
    ("horizon_ms", "closed", "refused"),
    [
        (START_MS, False, False),  # forms now
        (START_MS - 1, False, True),
        (START_MS + 59_998, False, False),
        (START_MS + 59_999, True, False),  # ends now
        (START_MS + 59_998, True, True),
    ],
)
def test_rows_that_open_or_close_beyond_the_horizon_are_refused(
    horizon_ms: int, closed: bool, refused: bool
) -> None:
    market = one_market()
    market.horizon_ms = horizon_ms
    ways_in(market, plain_kline(START_MS, closed=closed))
    counters = market.counters()
    assert (counters["future"], counters["bad_time"]) == (3 * refused, 0)
    assert (market["BTCUSDT", "1m"].sequence == 0) == refused


@pytest.mark.parametrize("closed", [True, False])
def test_a_row_of_the_far_future_pushes_nothing_out_of_the_window(closed: bool) -> None:
    market = one_market()
    market.horizon_ms = START_MS + 60_000
    rows = [ROW, plain_kline(START_MS + 60_000, closed=False)]
    for row in rows:
        market.push("BTCUSDT", "1m", row)
    ways_in(market, plain_kline(10**17 - 10**17 % 60_000, closed=closed))
    assert market["BTCUSDT", "1m"].klines(forming=True) == rows
    assert market.counters()["future"] == 3


def test_an_event_time_beyond_the_horizon_makes_nothing_look_fresh() -> None:
    market = one_market()
    market.horizon_ms = START_MS + 60_000
    series = market["BTCUSDT", "1m"]
    market.apply(kline_frame(ROW, event_time_ms=START_MS + 60_001))
    assert (len(series), series.last_event_ms) == (1, 0)
    market.apply(kline_frame(ROW._replace(trades=ROW.trades + 1), event_time_ms=START_MS + 60_000))
    assert (series.last.trades, series.last_event_ms) == (ROW.trades + 1, START_MS + 60_000)
    counters = market.counters()
    assert (counters["event_future"], counters["future"]) == (1, 0)


def test_a_ticker_of_the_future_shuts_out_no_other() -> None:
    market = one_market()
    market.horizon_ms = START_MS
    ticker = TICKER | {"s": "BTCUSDT"}
    market.apply(dump(ticker | {"E": START_MS + 1}))
    assert market.ticker("BTCUSDT") is None
    assert market.counters()["future"] == 1
    market.apply(dump(ticker | {"E": START_MS}))
    assert market.ticker_times().tolist() == [START_MS]


def test_there_is_no_horizon_at_first() -> None:
    market = one_market()
    assert market.horizon_ms == 0
    far = plain_kline(10**17 - 10**17 % 60_000)
    assert market.push("BTCUSDT", "1m", far) == MergeStatus.APPENDED


def test_what_the_horizon_refuses_is_a_bad_time_and_refused_by_rest() -> None:
    market = one_market()
    market.horizon_ms = START_MS + 60_000
    late = plain_kline(START_MS + 120_000)
    assert market.push("BTCUSDT", "1m", late) == MergeStatus.BAD_TIME
    body = rest_klines([ROW, late])
    counts = market.apply_klines("BTCUSDT", "1m", body, closed_before_ms=2**60)
    assert (counts.rows, counts.changed, counts.refused) == (2, 1, 1)
    assert not market["BTCUSDT", "1m"].forming


# --- corrections -------------------------------------------------------------------------------


def test_rest_rows_that_disagree_with_what_stays_are_named() -> None:
    market = one_market()
    rows = [plain_kline(START_MS + place * 60_000, 10) for place in range(3)]
    for row in rows:
        market.apply(kline_frame(row))
    answer = [rows[0], rows[1]._replace(trades=9), rows[2]._replace(trades=11)]
    counts = market.apply_klines("BTCUSDT", "1m", rest_klines(answer), closed_before_ms=2**60)
    assert counts.disputed == (rows[1].open_time_ms,)
    assert market["BTCUSDT", "1m"].klines() == [rows[0], rows[1], answer[2]]


def test_a_forming_row_disputes_nothing() -> None:
    market = one_market()
    market.push("BTCUSDT", "1m", ROW)
    body = rest_klines([ROW._replace(trades=9)])
    counts = market.apply_klines("BTCUSDT", "1m", body, closed_before_ms=0)
    assert counts.disputed == ()


def test_a_correction_overrides_the_rank_of_closed_rows_and_is_told() -> None:
    market = one_market()
    series = market["BTCUSDT", "1m"]
    market.push("BTCUSDT", "1m", ROW)
    market.drain()
    truth = ROW._replace(trades=9, close="1.00")
    body = rest_klines([truth])
    counts = market.apply_klines("BTCUSDT", "1m", body, closed_before_ms=2**60, correct=True)
    assert (counts.changed, counts.disputed) == (1, ())
    assert series.klines() == [truth]
    assert series.states.tolist() == [kc.RowState.REST]
    assert series.counters["revisions"] == 1
    assert market.drain() == [kc.Event(kc.EventKind.REVISED, "BTCUSDT", "1m", START_MS)]
    counts = market.apply_klines("BTCUSDT", "1m", body, closed_before_ms=2**60, correct=True)
    assert (counts.changed, series.counters["duplicates"]) == (0, 1)


def test_a_correction_never_brings_back_an_older_forming_row() -> None:
    market = one_market()
    live = ROW._replace(closed=False)
    market.push("BTCUSDT", "1m", live)
    body = rest_klines([live._replace(trades=9)])
    market.apply_klines("BTCUSDT", "1m", body, closed_before_ms=0, correct=True)
    assert market["BTCUSDT", "1m"].forming == live
