"""REST answers are read as json.loads reads them, or refused whole."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from reference.messages import DuplicateNameError, dump, load, rest_klines, slow_klines
from reference.samples import REST_TICKER
from reference.strategies import START_MS, klines, plain_kline

import klinecore as kc

BODY = rest_klines(plain_kline(START_MS + place * 60_000) for place in range(2))


def read(market: kc.Market, body: bytes) -> kc.RowCounts | None:
    try:
        return market.apply_klines("BTCUSDT", "1m", body, closed_before_ms=2**60)
    except kc.ParseError:
        return None


def assert_agrees(body: bytes) -> None:
    """Refused by both, with nothing stored, or read alike by both."""
    market = kc.Market(["BTCUSDT"], ["1m"], 10)
    series = market["BTCUSDT", "1m"]
    counts = read(market, body)
    try:
        expected = slow_klines(body)
    except DuplicateNameError:
        return
    except ValueError:
        assert counts is None
        assert series.sequence == 0
        with pytest.raises(kc.ParseError):
            kc.parse_klines(body)
        return
    assert counts is not None
    assert counts.rows == len(expected)
    held = series.klines()
    assert len(held) + counts.refused <= len(expected)
    assert set(held) <= set(expected)
    if market.counters()["unrepresentable"] == 0:
        assert kc.parse_klines(body) == expected


def test_every_cut_and_every_single_byte_mutation_of_an_answer() -> None:
    for place in range(len(BODY)):
        assert_agrees(BODY[:place])
        assert_agrees(BODY[:place] + BODY[place + 1 :])
        for byte in b'\x00 \xff"\\[]{},.:-+0189eEntf':
            assert_agrees(BODY[:place] + bytes([byte]) + BODY[place + 1 :])


@given(
    edits=st.lists(
        st.tuples(st.integers(0, 1000), st.integers(0, 4), st.binary(max_size=3)), max_size=5
    )
)
def test_several_edits(edits: list[tuple[int, int, bytes]]) -> None:
    body = BODY
    for place, cut, insert in edits:
        place %= len(BODY)
        body = body[:place] + insert + body[place + cut :]
    assert_agrees(body)


@given(
    value=st.one_of(st.none(), st.booleans(), st.integers(), st.floats(0), st.text(max_size=8)),
    place=st.integers(0, 11),
)
def test_an_odd_field_is_judged_as_the_slow_parse_does(value: Any, place: int) -> None:
    rows: list[list[Any]] = [[*plain_kline(START_MS)[:11], "0"], [*plain_kline(0)[:11], "0"]]
    rows[1][place] = value
    try:
        assert_agrees(dump(rows).replace(b"Infinity", b"1e999"))
    except UnicodeEncodeError:
        return  # a lone surrogate has no UTF-8


@given(rows=st.lists(klines(), max_size=12), spaces=st.booleans())
def test_any_rows_in_any_spacing(rows: list[kc.Kline], spaces: bool) -> None:
    body = rest_klines(rows)
    if spaces:
        rng = random.Random(len(body))
        body = b"".join(
            bytes([byte]) + (rng.choice([b"", b" ", b"\n\t"]) if byte in b"[]," else b"")
            for byte in body
        )
    assert kc.parse_klines(body) == [row._replace(closed=True) for row in rows]


@given(body=st.binary(max_size=100))
def test_random_bytes_are_refused(body: bytes) -> None:
    assert_agrees(body)


#: Letters of the stream for the names of the answer, in their order.
LETTERS = dict(zip(REST_TICKER, "spPwxcQbBaAohlvqOCFLn", strict=True))


def assert_ticker_agrees(body: bytes) -> None:
    """Refused with nothing stored, or stored as json.loads reads it."""
    market = kc.Market(["BTCUSDT"], ["1m"], 1)
    try:
        stored = market.apply_tickers(body)
    except kc.ParseError:
        stored = 0
    ticker = market.ticker("BTCUSDT")
    assert (ticker is not None) == bool(stored)
    if ticker is None:
        return
    try:
        answer = load(body)
    except DuplicateNameError:
        return
    fields = answer if isinstance(answer, dict) else answer[0]
    expected = {LETTERS[name]: fields[name] for name in fields if name in LETTERS}
    assert ticker == {**expected, "E": fields["closeTime"]}
    json_body = market.ticker_json("BTCUSDT")
    assert json_body is not None
    assert load(json_body)["c"] == fields["lastPrice"]


def test_every_cut_and_every_single_byte_mutation_of_a_ticker() -> None:
    body = dump([REST_TICKER])
    assert_ticker_agrees(body)
    for place in range(len(body)):
        assert_ticker_agrees(body[:place])
        assert_ticker_agrees(body[:place] + body[place + 1 :])
        for byte in b'\x00 \xff"\\[]{},.:-0eEntf':
            assert_ticker_agrees(body[:place] + bytes([byte]) + body[place + 1 :])


@given(
    value=st.one_of(st.none(), st.booleans(), st.integers(), st.floats(0, 1e9), st.text("0.-x")),
    name=st.sampled_from(list(REST_TICKER)),
)
def test_an_odd_field_of_a_ticker_is_refused_or_kept_as_it_is(value: Any, name: str) -> None:
    assert_ticker_agrees(dump({**REST_TICKER, name: value}))
