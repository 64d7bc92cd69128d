"""``/klines``: the newest rows, exactly, and nothing silently else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

import klinecore as kc

Make = Callable[..., Any]
MINUTE = 60_000


def opens(answer: Any) -> list[int]:
    return [kline["t"] for kline in answer.json()["klines"]]


def test_a_row_has_the_exchanges_letters_and_texts(make_server: Make) -> None:
    server = make_server(capacity=20).serve()
    start = 1_700_000_040_000
    row = kc.Kline(
        start, "0.00001000", "0.00002000", "0.00000100", "0.00001500", "12345678901.00000000",
        start + MINUTE - 1, "23456789012.12345678", 12, "0.00000001", "1.00000000",
    )  # fmt: skip
    server.market.push("BTCUSDT", "1m", row)
    answer = server.get("/klines/BTCUSDT/1m?limit=1")
    assert answer.status == 200
    assert answer.json() == {
        "symbol": "BTCUSDT",
        "interval": "1m",
        "klines": [
            {
                "t": start, "o": "0.00001000", "h": "0.00002000", "l": "0.00000100",
                "c": "0.00001500", "v": "12345678901.00000000", "T": start + MINUTE - 1,
                "q": "23456789012.12345678", "n": 12, "V": "0.00000001", "Q": "1.00000000",
                "x": True,
            }
        ],
        "count": 1,
    }  # fmt: skip


@pytest.mark.parametrize(("limit", "count"), [(1, 1), (7, 7), (19, 19), (20, 20)])
def test_limit_gives_that_many_of_the_newest(server: Any, limit: int, count: int) -> None:
    """K1: the original ignored the limit."""
    answer = server.get(f"/klines/BTCUSDT/1m?limit={limit}")
    newest = server.market["BTCUSDT", "1m"].last.open_time_ms
    assert answer.json()["count"] == count
    assert opens(answer) == [newest - i * MINUTE for i in reversed(range(count))]


def test_limit_defaults_to_100_and_gives_what_is_stored(make_server: Make) -> None:
    server = make_server(capacity=500).serve().fill(150)
    assert server.get("/klines/BTCUSDT/1m").json()["count"] == 100
    assert server.get("/klines/BTCUSDT/1m?limit=500").json()["count"] == 150
    small = make_server(capacity=20).serve().fill(30)
    assert small.get("/klines/BTCUSDT/1m").json()["count"] == 20


@pytest.mark.parametrize(
    "limit", ["0", "-1", "x", "21", "", "1.0", "+1", "1_0", "%201", "٣", "1e1", "9" * 30]
)
def test_a_limit_that_is_not_allowed_is_refused_and_the_range_named(
    server: Any, limit: str
) -> None:
    """K1, and K19's rule: never something else in silence."""
    answer = server.get(f"/klines/BTCUSDT/1m?limit={quote(limit, safe='%+')}")
    assert (answer.status, answer.code) == (400, "invalid_limit")
    assert "1 to 20" in answer.json()["detail"]


@given(pushes=st.integers(0, 60))
def test_the_last_row_is_always_the_newest_close(pushes: int, make_server: Make) -> None:
    """K2: the original served the window from its oldest row."""
    server = make_server(capacity=20).serve().fill(pushes)
    answer = server.get("/klines/BTCUSDT/1m?limit=20")
    start = 1_700_000_040_000
    kept = range(max(0, pushes - 20), pushes)
    assert opens(answer) == [start + i * MINUTE for i in kept]
    assert answer.json()["count"] == len(kept)


def test_the_forming_row_is_appended_on_request_only(server: Any) -> None:
    """K3: the original dropped it."""
    plain = server.get("/klines/BTCUSDT/1m?limit=3").json()
    assert [kline["x"] for kline in plain["klines"]] == [True, True, True]
    assert server.get("/klines/BTCUSDT/1m?limit=3&forming=false").json() == plain
    live = server.get("/klines/BTCUSDT/1m?limit=3&forming=true").json()
    assert live["klines"][:-1] == plain["klines"]
    assert (live["klines"][-1]["x"], live["klines"][-1]["c"]) == (False, "30.50")
    assert live["count"] == 4


def test_the_forming_row_is_always_its_last_state(server: Any) -> None:
    for close in ("30.60", "30.70", "30.80"):
        forming = server.market["BTCUSDT", "1m"].forming
        update = forming._replace(close=close, trades=forming.trades + 1)
        server.market.push("BTCUSDT", "1m", update)
        answer = server.get("/klines/BTCUSDT/1m?limit=1&forming=true")
        assert answer.json()["klines"][-1]["c"] == close


@pytest.mark.parametrize("value", ["1", "True", "yes", ""])
def test_forming_is_true_or_false(server: Any, value: str) -> None:
    answer = server.get(f"/klines/BTCUSDT/1m?forming={value}")
    assert (answer.status, answer.code) == (400, "invalid_forming")
    assert answer.json()["allowed"] == ["true", "false"]


def test_start_time_gives_the_oldest_rows_from_there(server: Any) -> None:
    first = server.market["BTCUSDT", "1m"].open_time_ms[5]
    assert opens(server.get(f"/klines/BTCUSDT/1m?limit=2&startTime={first}")) == [
        first,
        first + MINUTE,
    ]


def test_end_time_gives_the_newest_rows_up_to_there(server: Any) -> None:
    last = server.market["BTCUSDT", "1m"].open_time_ms[5]
    assert opens(server.get(f"/klines/BTCUSDT/1m?limit=2&endTime={last}")) == [last - MINUTE, last]


@pytest.mark.parametrize(
    "query", ["startTime=x", "endTime=-1", "startTime=5&endTime=4", "startTime=17000000400000000"]
)
def test_times_are_milliseconds_in_order(server: Any, query: str) -> None:
    answer = server.get(f"/klines/BTCUSDT/1m?{query}")
    assert (answer.status, answer.code) == (400, "invalid_time")


def test_the_symbols_case_is_folded(server: Any) -> None:
    """K18."""
    expected = server.get("/klines/BTCUSDT/1m").body
    assert server.get("/klines/btcusdt/1m").body == expected
    assert server.get("/klines/BtcUsdt/1m").body == expected


def test_a_symbol_outside_ascii_is_percent_encoded_utf_8(server: Any) -> None:
    server.fill(3, "币安人生USDT")
    answer = server.get(f"/klines/{quote('币安人生usdt')}/1m?limit=2")
    assert (answer.status, answer.json()["symbol"]) == (200, "币安人生USDT")


def test_an_unknown_symbol_is_404_and_says_what_exists(server: Any) -> None:
    """K18: the original answered 200 with nothing."""
    answer = server.get("/klines/DOGEUSDT/1m")
    assert (answer.status, answer.code) == (404, "unknown_symbol")
    assert answer.json()["allowed"] == ["BTCUSDT", "ETHUSDT", "币安人生USDT"]
    assert answer.json()["allowed_count"] == 3


@pytest.mark.parametrize("symbol", ["BTC%2FUSDT", "%00", "..", "%F0%9F%92%A9", "A" * 1000])
def test_odd_symbols_are_unknown_like_any_other(server: Any, symbol: str) -> None:
    assert server.get(f"/klines/{symbol}/1m").code == "unknown_symbol"


@pytest.mark.parametrize(
    ("interval", "status", "code"),
    [
        ("5m", 404, "interval_not_served"),
        ("1M", 404, "interval_not_served"),
        ("2m", 400, "invalid_interval"),
        ("1H", 400, "invalid_interval"),
        ("60", 400, "invalid_interval"),
        ("%20", 400, "invalid_interval"),
    ],
)
def test_an_interval_is_served_or_refused_never_empty(
    server: Any, interval: str, status: int, code: str
) -> None:
    """K19: the original accepted eight and served four."""
    answer = server.get(f"/klines/BTCUSDT/{interval}")
    assert (answer.status, answer.code) == (status, code)
    assert answer.json()["allowed"] == ["1m", "1h"]


def test_every_interval_that_is_served_answers(server: Any) -> None:
    for interval in server.market.intervals:
        assert server.get(f"/klines/BTCUSDT/{interval}").status == 200


def test_the_etag_changes_with_the_rows_and_only_then(server: Any) -> None:
    first = server.get("/klines/BTCUSDT/1m")
    assert first.headers["cache-control"] == "no-cache"
    assert first.headers["etag"].startswith('W/"7-')
    forming = server.market["BTCUSDT", "1m"].forming
    server.market.push("BTCUSDT", "1m", forming._replace(close="31.00", trades=99))
    assert server.get("/klines/BTCUSDT/1m").headers["etag"] == first.headers["etag"]
    server.market.push("BTCUSDT", "1m", forming._replace(closed=True, trades=100))
    assert server.get("/klines/BTCUSDT/1m").headers["etag"] != first.headers["etag"]


@pytest.mark.parametrize("form", ["{0}", "{1}", '"x", {0}', "*", '"x" , {1} ,"y"'])
def test_a_known_etag_is_answered_304_without_a_body(server: Any, form: str) -> None:
    etag = server.get("/klines/BTCUSDT/1m").headers["etag"]
    answer = server.get(
        "/klines/BTCUSDT/1m", ("If-None-Match", form.format(etag, etag.removeprefix("W/")))
    )
    assert (answer.status, answer.body) == (304, b"")
    assert answer.headers["etag"] == etag
    assert "content-length" not in answer.headers


@pytest.mark.parametrize("value", ['"x"', "", "garbage", 'W/"7-0"', ","])
def test_another_etag_is_answered_in_full(server: Any, value: str) -> None:
    assert server.get("/klines/BTCUSDT/1m", ("If-None-Match", value)).status == 200


def test_head_is_get_without_the_body(server: Any) -> None:
    whole = server.get("/klines/BTCUSDT/1m")
    head = server.get("/klines/BTCUSDT/1m", method="HEAD")
    assert (head.status, head.body, head.raw_headers) == (200, b"", whole.raw_headers)
    assert head.headers["content-length"] == str(len(whole.body))


def test_an_answer_is_built_once_per_revision_and_shape(server: Any) -> None:
    first = server.get("/klines/BTCUSDT/1m?limit=5")
    again = server.get("/klines/btcusdt/1m?limit=5")
    assert again.body is first.body
    assert server.get("/klines/BTCUSDT/1m?limit=6").body is not first.body
    forming = server.market["BTCUSDT", "1m"].forming
    server.market.push("BTCUSDT", "1m", forming._replace(closed=True, trades=100))
    changed = server.get("/klines/BTCUSDT/1m?limit=5")
    assert opens(changed)[-1] == forming.open_time_ms


def test_old_data_says_so(server: Any) -> None:
    assert "x-data-state" not in server.get("/klines/BTCUSDT/1m").headers
    server.feed.age_ms = 45_000
    server.state.beat(0.0)
    answer = server.get("/klines/BTCUSDT/1m")
    assert answer.status == 200
    assert answer.headers["x-data-state"] == "stale"
    assert answer.headers["x-data-age-ms"] == "45000"
    server.feed.age_ms = 10
    server.state.beat(0.0)
    assert "x-data-state" not in server.get("/klines/BTCUSDT/1m").headers


def test_a_window_that_is_not_whole_says_so(server: Any) -> None:
    server.feed.incomplete_keys.add(("BTCUSDT", "1m"))
    server.state.beat(0.0)
    assert server.get("/klines/BTCUSDT/1m").headers["x-data-state"] == "incomplete"
    assert "x-data-state" not in server.get("/klines/ETHUSDT/1m").headers


def test_before_the_market_is_there_the_answer_is_503_with_the_reason(make_server: Make) -> None:
    server = make_server()
    answer = server.get("/klines/BTCUSDT/1m")
    assert (answer.status, answer.code) == (503, "starting")
    assert answer.json()["reasons"] == ["the server has just started"]
    assert int(answer.headers["retry-after"]) > 0
