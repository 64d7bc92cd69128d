"""klinecore.markup: what notebooks show is a well-formed, small table, whatever is in it."""

from __future__ import annotations

import re
from html import unescape
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from reference.strategies import START_MS, plain_kline

import klinecore as kc
from klinecore.markup import COLUMNS_MAX, ROWS_MAX, TEXT_MAX, TITLE_MAX

TAGS = {"table", "caption", "thead", "tbody", "tr", "th", "td"}


def read(shown: Any) -> tuple[str, list[list[str]]]:
    """The caption, and the cells of each row with the names first."""
    table = ElementTree.fromstring(shown._repr_html_())
    assert {element.tag for element in table.iter()} <= TAGS
    assert not any(element.attrib for element in table.iter())
    rows = [[cell.text or "" for cell in row] for row in table.iter("tr")]
    return table.findtext("caption") or "", rows


def filled(count: int, *symbols: str) -> kc.Market:
    market = kc.Market(symbols or ("BTCUSDT",), ["1m"], 50)
    for place in range(count):
        for symbol in market.symbols:
            row = plain_kline(START_MS + place * 60_000)
            market.push(symbol, "1m", row._replace(close=f"{place}.50", high=f"{place}.50"))
    return market


def test_a_series_shows_its_first_and_last_rows() -> None:
    title, rows = read(filled(30)["BTCUSDT", "1m"])
    assert title == "<Series BTCUSDT 1m: 30 of 50 klines>"
    assert rows[0] == ["open_time", *kc.COLUMNS]
    closes = [row[4] for row in rows[1:]]
    assert closes == [
        "0.5",
        "1.5",
        "2.5",
        "3.5",
        "4.5",
        "…",
        "25.5",
        "26.5",
        "27.5",
        "28.5",
        "29.5",
    ]
    start = str(np.datetime64(START_MS, "ms").astype("M8[s]")).replace("T", " ")
    assert rows[1][0] == f"{start} UTC"


def test_a_short_series_shows_every_row_and_an_empty_one_its_names() -> None:
    assert [row[4] for row in read(filled(2)["BTCUSDT", "1m"])[1]] == ["close", "0.5", "1.5"]
    assert read(filled(0)["BTCUSDT", "1m"])[1] == [["open_time", *kc.COLUMNS]]


def test_a_market_shows_its_first_series_and_how_many_there_are() -> None:
    market = filled(3, *(f"S{i}" for i in range(ROWS_MAX + 5)))
    title, rows = read(market)
    assert title == repr(market)
    assert rows[1][:3] == ["S0", "1m", "3"]
    assert rows[1][4] == "2.50"  # as the exchange wrote it
    assert len(rows) == ROWS_MAX + 2
    assert rows[-1] == ["5 more", "…", "…", "…", "…"]
    assert read(filled(0))[1][1] == ["BTCUSDT", "1m", "0", "–", "–"]


def test_an_attached_market_and_series_show_the_same_rows(tmp_path: Any) -> None:
    market = kc.Market(["BTCUSDT"], ["1m"], 50, path=str(tmp_path / "arena"))
    market.push("BTCUSDT", "1m", plain_kline(START_MS))
    attached = kc.attach(tmp_path / "arena")
    assert read(attached)[1] == read(market)[1]
    assert read(attached["BTCUSDT", "1m"])[1] == read(market["BTCUSDT", "1m"])[1]


def test_an_evaluation_counts_and_shows_what_is_unknown() -> None:
    market = filled(5, "BTCUSDT", "ETHUSDT")
    title, rows = read(kc.evaluate(kc.compile("close > 1 and sma(close, 9) < 5"), market, "1m"))
    assert title == "<Evaluation 1m: 2 symbols, 0 true, 2 unknown>"
    assert rows[0][5:] == ["close", "close > 1", "sma(close, 9)", "sma(close, 9) < 5", rows[0][-1]]
    assert rows[1][:3] == ["BTCUSDT", "–", "not_warm"]


def test_a_replay_counts_its_firings() -> None:
    fired = kc.replay(kc.compile("close > 2"), filled(5), "1m", mode="level")
    title, rows = read(fired)
    assert title == "<Replay 1m: 3 firings in 5 closes>"
    assert [row[1:] for row in rows] == [
        ["symbol", "price"],
        ["BTCUSDT", "2.5"],
        ["BTCUSDT", "3.5"],
        ["BTCUSDT", "4.5"],
    ]


def test_many_columns_and_long_texts_are_cut() -> None:
    frame = kc.Frame({f"{i}" + "x" * 100: np.zeros(1) for i in range(COLUMNS_MAX + 1)})
    title, rows = read(frame)
    assert len(rows[0]) == len(rows[1]) == COLUMNS_MAX + 1
    assert rows[0][-1] == rows[1][-1] == "…"
    assert max(map(len, rows[0])) == TEXT_MAX
    assert len(title) == TITLE_MAX


@given(st.text(), st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])))
def test_texts_are_shown_and_never_read_as_markup(text: str, name: str) -> None:
    page = kc.Frame({name: [text.encode(errors="ignore").decode()]})._repr_html_()
    assert set(re.findall(r"</?([^>]*)>", page)) <= TAGS


def test_markup_in_a_name_arrives_as_text() -> None:
    evil = "<script>alert('x')</script>"
    page = kc.Frame({evil: [evil]})._repr_html_()
    assert "<script" not in page
    assert unescape(page).count(evil) == 3  # caption, name, cell


@pytest.mark.parametrize("count", [0, 5000])
def test_a_page_is_small_however_much_there_is(count: int) -> None:
    frame = kc.Frame({f"c{i}": np.zeros(count) for i in range(200)})
    assert len(frame._repr_html_()) < 20_000
