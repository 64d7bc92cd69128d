"""klinecore.parsers.rest and Market.apply_klines, apply_tickers: REST answers, whole or refused."""

from __future__ import annotations

import json
from typing import Any

import pytest
from reference.messages import dump, kline_frame, rest_klines, rest_tuple
from reference.samples import REST_TICKER
from reference.strategies import START_MS, plain_kline

import klinecore as kc

MINUTE_MS = 60_000
ROWS = [plain_kline(START_MS + place * MINUTE_MS) for place in range(4)]
BODY = rest_klines(ROWS)

#: USD-M lacks these.
SPOT_ONLY = ("prevClosePrice", "bidPrice", "bidQty", "askPrice", "askQty")


def one_market() -> tuple[kc.Market, kc.Series]:
    market = kc.Market(["BTCUSDT", "ETHUSDT"], ["1m"], 10)
    return market, market["BTCUSDT", "1m"]


def apply(market: kc.Market, body: bytes, closed_before_ms: int = 2**60) -> kc.RowCounts:
    return market.apply_klines("BTCUSDT", "1m", body, closed_before_ms=closed_before_ms)


# --- klines ------------------------------------------------------------------------------------


def test_rows_are_read_as_they_were_printed() -> None:
    assert kc.parse_klines(BODY) == ROWS
    assert kc.parse_klines(b" [ ] \n") == []
    assert kc.parse_klines(json.dumps(json.loads(BODY), indent=2).encode()) == ROWS


def test_a_tuple_may_grow_but_not_shrink() -> None:
    longer = dump([[*rest_tuple(ROWS[0]), "9", {"new": [1]}]])
    assert kc.parse_klines(longer) == ROWS[:1]
    assert kc.parse_klines(dump([rest_tuple(ROWS[0])[:11]])) == ROWS[:1]
    with pytest.raises(kc.ParseError):
        kc.parse_klines(dump([rest_tuple(ROWS[0])[:10]]))


def test_the_last_row_is_forming_unless_it_ended_before_the_given_time() -> None:
    market, series = one_market()
    counts = apply(market, BODY, closed_before_ms=ROWS[3].close_time_ms)
    assert counts == kc.RowCounts(4, 4, 0, ROWS[0].open_time_ms, ROWS[3].open_time_ms)
    assert series.klines() == ROWS[:3]
    assert series.forming == ROWS[3]._replace(closed=False)
    assert apply(market, BODY, closed_before_ms=ROWS[3].close_time_ms + 1).changed == 1
    assert series.klines(forming=True) == ROWS


def test_a_second_reading_changes_nothing() -> None:
    market, series = one_market()
    apply(market, BODY)
    revision = series.revision
    assert apply(market, BODY) == kc.RowCounts(4, 0, 0, ROWS[0].open_time_ms, ROWS[3].open_time_ms)
    assert series.revision == revision


def test_a_closed_row_of_the_stream_stays_at_equal_trade_count() -> None:
    market, series = one_market()
    market.apply(kline_frame(ROWS[0]))
    apply(market, rest_klines([ROWS[0]]))
    assert series.counters["duplicates"] == 1
    apply(market, rest_klines([ROWS[0]._replace(low="8.00")]))
    assert series.counters["mismatches"] == 1
    assert series.last == ROWS[0]


def test_rows_may_come_in_any_order() -> None:
    market, series = one_market()
    counts = apply(market, rest_klines(ROWS[::-1]))
    assert series.klines() == ROWS
    assert (counts.first_open_ms, counts.last_open_ms) == (
        ROWS[3].open_time_ms,
        ROWS[0].open_time_ms,
    )


def test_a_row_that_cannot_be_kept_is_refused_alone() -> None:
    market, series = one_market()
    long_price = ROWS[1]._replace(open="0.1234567890123456789")
    off_grid = ROWS[2]._replace(close_time_ms=ROWS[2].close_time_ms + 1)
    counts = apply(market, rest_klines([ROWS[0], long_price, off_grid, ROWS[3]]))
    assert counts == kc.RowCounts(4, 2, 2, ROWS[0].open_time_ms, ROWS[3].open_time_ms)
    assert series.klines() == [ROWS[0], ROWS[3]]
    counters = market.counters()
    assert (counters["unrepresentable"], counters["bad_time"]) == (1, 1)
    with pytest.raises(kc.ParseError, match="element 1"):
        kc.parse_klines(rest_klines([ROWS[0], long_price]))


NO_KLINES = [
    b"",
    b" ",
    b"null",
    b'"x"',
    b"{}",
    b'{"code":-1121,"msg":"Invalid symbol."}',
    b"<html>502 Bad Gateway</html>",
    b"[1]",
    b"[[]]",
    b"[{}]",
    b"[null]",
    b"[[1]]",
    BODY[:-1],
    BODY + b"]",
    BODY + b",",
    BODY[1:],
    BODY.replace(b"],[", b"],,["),
    BODY.replace(b'"10.00"', b"10.00"),
    BODY.replace(b'"10.00"', b'"1e1"'),
    BODY.replace(b'"10.00"', b'"-10.00"'),
    BODY.replace(b"," + str(ROWS[0].trades).encode() + b",", b',"10",'),
    BODY.replace(str(START_MS).encode(), b'"' + str(START_MS).encode() + b'"', 1),
    BODY.replace(str(START_MS).encode(), str(START_MS).encode() + b".0", 1),
    b"\xff" + BODY,
    BODY.replace(b'"9.00"', b'"9.\xff0"'),
]


@pytest.mark.parametrize("body", NO_KLINES)
def test_what_is_no_klines_answer_is_a_parse_error_that_shows_it(body: bytes) -> None:
    with pytest.raises(kc.ParseError, match=r"expected a JSON array of klines, received b|element"):
        kc.parse_klines(body)
    market, series = one_market()
    with pytest.raises(kc.ParseError):
        apply(market, body)
    assert series.sequence == 0


@pytest.mark.parametrize("place", range(4))
def test_rows_before_a_fault_are_not_stored_either(place: int) -> None:
    market, series = one_market()
    tuples: list[Any] = [rest_tuple(row) for row in ROWS]
    tuples[place][3] = None
    with pytest.raises(kc.ParseError, match=f"element {place} "):
        apply(market, dump(tuples))
    assert series.sequence == 0
    assert not market.pending
    assert set(market.counters().values()) == {0}


def test_every_cut_of_an_answer_is_refused_whole() -> None:
    market, series = one_market()
    for end in range(len(BODY)):
        with pytest.raises(kc.ParseError):
            apply(market, BODY[:end])
    assert series.sequence == 0


@pytest.mark.parametrize("body", ["[]", None, [], 5])
def test_a_body_that_is_no_bytes_is_a_type_error(body: Any) -> None:
    market, _ = one_market()
    with pytest.raises(TypeError):
        apply(market, body)


# --- tickers -----------------------------------------------------------------------------------


def test_a_full_ticker_is_stored_under_the_streams_letters() -> None:
    market, _ = one_market()
    assert market.apply_tickers(dump(REST_TICKER)) == 1
    assert market.ticker("BTCUSDT") == {
        "s": "BTCUSDT",
        "E": START_MS,
        "p": "-94.99999800",
        "P": "-95.960",
        "w": "0.29628482",
        "x": "0.10002000",
        "c": "4.00000200",
        "Q": "200.00000000",
        "b": "4.00000000",
        "B": "100.00000000",
        "a": "4.00000200",
        "A": "100.00000000",
        "o": "99.00000000",
        "h": "100.00000000",
        "l": "0.10000000",
        "v": "8913.30000000",
        "q": "15.30000000",
        "O": START_MS - 86_400_000,
        "C": START_MS,
        "F": 28385,
        "L": 28460,
        "n": 76,
    }


def test_an_array_is_stored_and_strangers_in_it_are_counted() -> None:
    market, _ = one_market()
    um = {name: value for name, value in REST_TICKER.items() if name not in SPOT_ONLY}
    body = dump([REST_TICKER, {**um, "symbol": "ETHUSDT"}, {**um, "symbol": "XRPUSDT"}])
    assert market.apply_tickers(body) == 2
    assert market.counters()["unknown_symbol"] == 1
    ticker = market.ticker("ETHUSDT")
    assert ticker is not None
    assert ticker["c"] == "4.00000200"
    assert "b" not in ticker


def test_an_older_answer_does_not_replace_a_newer_ticker() -> None:
    market, _ = one_market()
    market.apply_tickers(dump(REST_TICKER))
    older = {**REST_TICKER, "closeTime": START_MS - 1, "lastPrice": "1.00000000"}
    assert market.apply_tickers(dump(older)) == 0
    assert market.counters()["ticker_stale"] == 1
    ticker = market.ticker("BTCUSDT")
    assert ticker is not None
    assert ticker["c"] == "4.00000200"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"{}",
        b"[1]",
        b'[{"x":1}]',
        b'[{"x":1,"\\u0079":2}]',
        b'[{"lastPrice":"\\x"}]',
        b'{"code":-1003,"msg":"Too much request weight used"}',
        dump({name: value for name, value in REST_TICKER.items() if name != "lastPrice"}),
        dump({**REST_TICKER, "lastPrice": 4.0}),
        dump({**REST_TICKER, "lastPrice": "NaN"}),
        dump({**REST_TICKER, "count": "76"}),
        dump([REST_TICKER])[:-1],
        dump([REST_TICKER, {}]),
        # MINI: no change, no quantities.
        dump({name: REST_TICKER[name] for name in ("symbol", "openPrice", "lastPrice", "volume")}),
    ],
)
def test_what_is_no_full_ticker_is_a_parse_error_and_stores_nothing(body: bytes) -> None:
    market, _ = one_market()
    with pytest.raises(kc.ParseError):
        market.apply_tickers(body)
    assert market.ticker("BTCUSDT") is None
    assert not market.pending
