"""klinecore.ticker: the newest ticker of a symbol, from whichever message brought it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from reference.messages import combined, dump
from reference.samples import BOOK_TICKER, BOOK_TICKER_UM, MINI_TICKER, TICKER, TICKER_UM

import klinecore as kc
from klinecore import FrameKind

LETTERS = {letter: value for letter, value in TICKER.items() if letter != "e"}


def one_market() -> kc.Market:
    return kc.Market(["BTCUSDT", "ETHUSDT", 'A"B'], ["1m"], 1)


def ticker_of(market: kc.Market, symbol: str = "BTCUSDT") -> dict[str, Any]:
    ticker = market.ticker(symbol)
    assert ticker is not None
    return ticker


def test_there_is_no_ticker_before_the_first() -> None:
    market = one_market()
    assert market.ticker("BTCUSDT") is None
    assert market.ticker_json("btcusdt") is None
    assert market.tickers_json() == b"{}"


def test_a_ticker_keeps_every_field_as_it_was_printed() -> None:
    market = one_market()
    assert market.apply(combined("btcusdt@ticker", TICKER)) == FrameKind.TICKER
    assert ticker_of(market) == LETTERS
    assert market.ticker("ETHUSDT") is None


def test_a_ticker_of_usd_m_has_no_bid_and_ask_until_a_book_ticker_comes() -> None:
    market = one_market()
    market.apply(dump(TICKER_UM))
    assert ticker_of(market).keys() == LETTERS.keys() - set("xbBaA")
    market.apply(dump(BOOK_TICKER_UM))
    ticker = ticker_of(market)
    assert {letter: ticker[letter] for letter in "bBaA"} == {
        letter: BOOK_TICKER_UM[letter] for letter in "bBaA"
    }
    assert ticker["c"] == TICKER["c"]
    assert ticker["E"] == TICKER["E"]


def test_the_json_body_has_the_eight_fields_of_the_original() -> None:
    market = one_market()
    market.apply(dump(TICKER))
    body = market.ticker_json("btcusdt")
    assert body == dump({**{letter: TICKER[letter] for letter in "scvqPhl"}, "t": TICKER["E"]})
    assert market.tickers_json() == b'{"BTCUSDT":' + body + b"}"


def test_all_tickers_come_in_the_markets_order_and_symbols_are_escaped() -> None:
    market = one_market()
    for symbol in ('A"B', "ETHUSDT", "BTCUSDT"):
        market.apply(dump({**TICKER, "s": symbol}))
    tickers = json.loads(market.tickers_json())
    assert list(tickers) == ["BTCUSDT", "ETHUSDT", 'A"B']
    assert [ticker["s"] for ticker in tickers.values()] == list(tickers)
    body = market.ticker_json('A"B')
    assert body is not None
    assert json.loads(body) == tickers['A"B']


def test_an_older_ticker_is_stale_and_counted() -> None:
    market = one_market()
    market.apply(dump(TICKER))
    older = {**TICKER, "E": TICKER["E"] - 1, "c": "1.00000000"}
    assert market.apply(dump(older)) == FrameKind.TICKER
    assert ticker_of(market) == LETTERS
    assert market.counters()["ticker_stale"] == 1


def test_of_two_tickers_of_one_millisecond_the_later_stays() -> None:
    market = one_market()
    market.apply(dump(TICKER))
    market.apply(dump({**TICKER, "c": "1.00000000"}))
    assert ticker_of(market)["c"] == "1.00000000"
    assert market.counters()["ticker_stale"] == 0


def test_a_mini_ticker_brings_prices_and_its_change_is_computed() -> None:
    market = one_market()
    market.apply(dump(TICKER))
    assert market.apply(dump(MINI_TICKER)) == FrameKind.MINI_TICKER
    ticker = ticker_of(market)
    assert {letter: ticker[letter] for letter in "Ecohlvq"} == {
        letter: MINI_TICKER[letter] for letter in "Ecohlvq"
    }
    assert ticker["p"] == "-100.00000000"
    assert ticker["P"] == "-0.167"


@given(
    first=st.integers(1, 10**12),
    last=st.integers(0, 10**12),
    decimals=st.integers(0, 8),
)
def test_a_computed_change_is_the_exchanges_own_arithmetic(
    first: int, last: int, decimals: int
) -> None:
    market = one_market()
    texts = [f"{value / 10**decimals:.{decimals}f}" for value in (first, last)]
    if float(texts[0]) == 0:
        return
    market.apply(dump({**MINI_TICKER, "o": texts[0], "c": texts[1]}))
    ticker = ticker_of(market)
    whole, _, places = ticker["P"].partition(".")
    assert len(places) == 3
    percent = (float(texts[1]) - float(texts[0])) / float(texts[0]) * 100
    assert float(ticker["P"]) == pytest.approx(percent, rel=1e-9, abs=0.000501)
    assert whole not in ("", "-")
    body = market.ticker_json("BTCUSDT")
    assert body is not None
    assert json.loads(body)["P"] == ticker["P"]


def test_a_mini_ticker_that_opened_at_zero_has_no_change() -> None:
    market = one_market()
    market.apply(dump({**MINI_TICKER, "o": "0.00000000"}))
    body = market.ticker_json("BTCUSDT")
    assert body is not None
    assert set(json.loads(body)) == set("scvqPhlt")
    assert "inf" not in body.decode()
    assert "nan" not in body.decode()


def test_an_array_updates_every_symbol_in_it_and_counts_strangers() -> None:
    market = one_market()
    array = [
        {**MINI_TICKER, "s": symbol, "c": price}
        for symbol, price in (("BTCUSDT", "1"), ("币安人生USDT", "2"), ("ETHUSDT", "3"))
    ]
    assert market.apply(dump(array)) == FrameKind.TICKER_ARRAY
    assert market.apply(combined("!miniTicker@arr", array)) == FrameKind.TICKER_ARRAY
    assert (ticker_of(market)["c"], ticker_of(market, "ETHUSDT")["c"]) == ("1", "3")
    assert market.counters()["unknown_symbol"] == 2


def test_one_bad_ticker_spoils_its_array_and_nothing_of_it_is_stored() -> None:
    market = one_market()
    array = [MINI_TICKER, {**MINI_TICKER, "s": "ETHUSDT", "c": None}]
    assert market.apply(dump(array)) == FrameKind.MALFORMED
    assert market.ticker("BTCUSDT") is None


@pytest.mark.parametrize("odd", [None, "1", 1.5, [], 10**18])
def test_a_book_ticker_needs_no_event_time_so_an_odd_one_costs_nothing(odd: Any) -> None:
    market = one_market()
    message = dump({**BOOK_TICKER_UM, "E": odd})
    assert market.apply(message) == FrameKind.BOOK_TICKER
    assert ticker_of(market)["b"] == BOOK_TICKER_UM["b"]
    assert kc.parse_frame(message).event_time_ms is None


def test_book_tickers_are_ordered_by_update_id() -> None:
    market = one_market()
    newer = {**BOOK_TICKER, "u": BOOK_TICKER["u"] + 1, "b": "2.00000000"}
    market.apply(dump(newer))
    market.apply(dump(BOOK_TICKER))
    assert ticker_of(market)["b"] == "2.00000000"
    assert market.counters()["ticker_stale"] == 1


def test_a_symbol_with_bid_and_ask_only_has_no_body_yet() -> None:
    market = one_market()
    market.apply(dump(BOOK_TICKER))
    assert ticker_of(market).keys() >= set("sbBaA")
    assert market.ticker_json("BTCUSDT") is None
    assert market.tickers_json() == b"{}"


@pytest.mark.parametrize("message", [MINI_TICKER, BOOK_TICKER, BOOK_TICKER_UM])
@pytest.mark.parametrize("value", [None, {"a": '"'}, "1.50000000", "\\", [1], 7, True])
def test_a_field_of_another_message_is_ignored(message: dict[str, Any], value: Any) -> None:
    """The exchange may give a letter to something new: it must not become a price of ours."""
    market = one_market()
    market.apply(dump(TICKER))
    market.apply(dump(message))
    before = ticker_of(market)
    strange = {letter: value for letter in "pPwxcQohlvqOCFLn" if letter not in message}
    market.apply(dump({**message, **strange}))
    assert ticker_of(market) == before


@pytest.mark.parametrize("letter", "cohlvq")
@pytest.mark.parametrize("value", [None, 1, 1.5, "", "x", "1e5", "NaN", ".5", "5.", "--1", " 1"])
def test_an_odd_number_is_malformed_and_the_ticker_stays(letter: str, value: Any) -> None:
    market = one_market()
    market.apply(dump(TICKER))
    for message in (TICKER, MINI_TICKER):
        assert market.apply(dump({**message, letter: value})) == FrameKind.MALFORMED
    assert ticker_of(market) == LETTERS


def test_a_number_longer_than_there_is_room_for_is_refused_and_counted() -> None:
    market = one_market()
    market.apply(dump(TICKER))
    market.apply(dump({**TICKER, "E": TICKER["E"] + 1, "q": "1" * 40}))
    assert ticker_of(market) == LETTERS
    assert market.counters()["unrepresentable"] == 1


@given(digits=st.integers(1, 31))
def test_a_number_of_up_to_31_characters_is_kept(digits: int) -> None:
    market = one_market()
    market.apply(dump({**TICKER, "q": "9" * digits}))
    assert ticker_of(market)["q"] == "9" * digits


MESSAGES = (TICKER, TICKER_UM, MINI_TICKER, BOOK_TICKER, BOOK_TICKER_UM)


@given(messages=st.lists(st.sampled_from(MESSAGES), max_size=5), symbol=st.sampled_from("ABC"))
def test_a_frame_says_what_the_ticker_holds_in_full_or_as_a_mini_ticker(
    messages: list[dict[str, Any]], symbol: str
) -> None:
    name = {"A": "BTCUSDT", "B": "币安人生USDT", "C": 'A"B'}[symbol]
    market = kc.Market([name], ["1m"], 1)
    for message in messages:
        market.apply(dump({**message, "s": name}))
    ticker = market.ticker(name)
    full, mini = market.ticker_frame(name), market.ticker_frame(name, mini=True)
    if ticker is None or "c" not in ticker:
        assert full is mini is None
    else:
        assert full is not None
        assert mini is not None
        assert json.loads(full) == {"e": "24hrTicker", **ticker}
        assert json.loads(mini) == {
            "e": "24hrMiniTicker", **{letter: ticker[letter] for letter in "sEcohlvq"}
        }  # fmt: skip


def test_the_longest_frame_has_room() -> None:
    name = "N" * 64
    market = kc.Market([name], ["1m"], 1)
    texts = dict.fromkeys("pPwxcQbBaAohlvq", "9" * 31)
    integers = dict.fromkeys("OCFLnE", 10**18 - 1)
    market.apply(dump({"e": "24hrTicker", "s": name, **texts, **integers}))
    frame = market.ticker_frame(name)
    assert frame is not None
    assert json.loads(frame) == {"e": "24hrTicker", "s": name, **texts, **integers}
