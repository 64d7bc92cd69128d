"""REST as a function: shapes, ranges, weights, refusals; no socket."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any
from urllib.parse import quote

import pytest

import klinecore as kc
from server.exchange.book import SERVED_INTERVALS, Book
from server.exchange.faults import Faults, RestFault
from server.exchange.generated import GeneratedMarket
from server.exchange.rest import Answer, RestFace

MINUTE_MS = 60_000
DAY_MS = 1440 * MINUTE_MS
MONDAY_MS = 1_772_409_600_000
NOW_MS = MONDAY_MS + 12 * 3_600_000 + 34_567
UNICODE = "币安人生USDT"
SYMBOLS = ("BTCUSDT", "ETHUSDT", "QTUMUSDT", UNICODE)
SPOT, UM = (Book(GeneratedMarket(6, SYMBOLS, market=market)) for market in ("spot", "um"))


@pytest.fixture
def spot() -> RestFace:
    return RestFace(SPOT, Faults())


@pytest.fixture
def um() -> RestFace:
    return RestFace(UM, Faults())


def ask(rest: RestFace, target: str, now_ms: int = NOW_MS, **query: Any) -> Answer:
    text = "&".join(f"{name}={quote(str(value))}" for name, value in query.items())
    return rest.handle(f"{rest.prefix}{target}" + (f"?{text}" if text else ""), now_ms)


def decoded(rest: RestFace, target: str, now_ms: int = NOW_MS, **query: Any) -> Any:
    answer = ask(rest, target, now_ms, **query)
    assert answer.status == 200, answer
    return json.loads(answer.body)


def test_ping_and_time(spot: RestFace) -> None:
    assert decoded(spot, "/ping") == {}
    assert decoded(spot, "/time") == {"serverTime": NOW_MS}


# --- klines ------------------------------------------------------------------------------------


@pytest.mark.parametrize("interval", SERVED_INTERVALS)
def test_klines_are_ascending_tuples_and_end_with_the_forming_one(
    spot: RestFace, interval: str
) -> None:
    rows = decoded(spot, "/klines", symbol="BTCUSDT", interval=interval, limit=3)
    assert len(rows) == 3
    assert rows[-1][0] <= NOW_MS <= rows[-1][6]
    for row, following in zip(rows, rows[1:], strict=False):
        assert following[0] == row[6] + 1
    for row in rows:
        assert len(row) == 12
        assert [type(value) for value in row] == [int, *[str] * 5, int, str, int, *[str] * 3]
        assert row[11] == "0"


def test_the_compiled_core_reads_an_answer_and_gives_it_back(um: RestFace) -> None:
    answer = ask(um, "/klines", symbol="QTUMUSDT", interval="1m", limit=500)
    market = kc.Market(["QTUMUSDT"], ["1m"], 500)
    market.apply_klines("QTUMUSDT", "1m", answer.body, closed_before_ms=NOW_MS)
    stored = market.klines_array_json("QTUMUSDT", "1m", 500, forming=True)
    assert json.loads(stored) == json.loads(answer.body)


def test_limit_is_500_unless_told_and_1000_at_most_on_spot(spot: RestFace) -> None:
    asked = {"symbol": "BTCUSDT", "interval": "1m"}
    assert len(decoded(spot, "/klines", **asked)) == 500
    assert len(decoded(spot, "/klines", **asked, limit=1)) == 1
    assert len(decoded(spot, "/uiKlines", **asked, limit=5000)) == 1000


def test_limit_is_1500_at_most_on_um_and_more_is_refused(um: RestFace) -> None:
    asked = {"symbol": "BTCUSDT", "interval": "1m"}
    assert len(decoded(um, "/klines", **asked, limit=1500)) == 1500
    assert json.loads(ask(um, "/klines", **asked, limit=1501).body)["code"] == -1130


def opens(rest: RestFace, **query: Any) -> list[int]:
    rows = decoded(rest, "/klines", symbol="ETHUSDT", interval="5m", **query)
    return [row[0] for row in rows]


def test_ranges_follow_the_exchange(spot: RestFace) -> None:
    five = 5 * MINUTE_MS
    t = NOW_MS // five * five  # opens the forming kline
    assert opens(spot, limit=2) == [t - five, t]
    assert opens(spot, limit=2, startTime=t - 9 * five) == [t - 9 * five, t - 8 * five]
    assert opens(spot, limit=2, startTime=t - 9 * five + 1) == [t - 8 * five, t - 7 * five]
    assert opens(spot, limit=2, endTime=t - 9 * five) == [t - 10 * five, t - 9 * five]
    assert opens(spot, limit=2, endTime=t - 9 * five - 1) == [t - 11 * five, t - 10 * five]
    both = {"startTime": t - 3 * five, "endTime": t - five}
    assert opens(spot, **both) == [t - 3 * five, t - 2 * five, t - five]
    assert opens(spot, **both, limit=2) == [t - 3 * five, t - 2 * five]
    assert opens(spot, startTime=t + five) == []
    assert opens(spot, startTime=t, endTime=t - 1) == []
    assert opens(spot, startTime=t - five, endTime=t + 99 * five) == [t - five, t]


def test_a_start_before_the_listing_gives_the_oldest_rows_at_once(spot: RestFace) -> None:
    rows = decoded(spot, "/klines", symbol="BTCUSDT", interval="1m", startTime=0, limit=1)
    assert [row[0] for row in rows] == [SPOT.source.first_ms]


def test_microsecond_times_are_understood(spot: RestFace) -> None:
    start_ms = MONDAY_MS
    asked = {"symbol": "BTCUSDT", "interval": "1h", "limit": 2}
    assert decoded(spot, "/klines", **asked, startTime=start_ms * 1000) == decoded(
        spot, "/klines", **asked, startTime=start_ms
    )


@pytest.mark.parametrize("zone", ["0", "8", "+08:00", "-12:00", "+14:00", "5:45"])
def test_time_zones_of_the_documentation_are_accepted(spot: RestFace, zone: str) -> None:
    asked = {"symbol": "BTCUSDT", "interval": "1h", "limit": 1}
    assert ask(spot, "/klines", **asked, timeZone=zone).status == 200


def test_a_unicode_symbol_is_asked_for_percent_encoded(spot: RestFace) -> None:
    assert len(decoded(spot, "/klines", symbol=UNICODE, interval="1m", limit=2)) == 2
    assert decoded(spot, "/ticker/price", symbol=UNICODE)["symbol"] == UNICODE


def test_the_same_question_gets_the_same_bytes(spot: RestFace) -> None:
    asked = {"symbol": "QTUMUSDT", "interval": "15m", "limit": 50}
    again = RestFace(Book(GeneratedMarket(6, SYMBOLS)), Faults())
    ask(again, "/ticker/24hr")
    assert ask(spot, "/klines", **asked).body == ask(again, "/klines", **asked).body


# --- tickers -----------------------------------------------------------------------------------

FULL = [
    "symbol",
    "priceChange",
    "priceChangePercent",
    "weightedAvgPrice",
    "prevClosePrice",
    "lastPrice",
    "lastQty",
    "bidPrice",
    "bidQty",
    "askPrice",
    "askQty",
    "openPrice",
    "highPrice",
    "lowPrice",
    "volume",
    "quoteVolume",
    "openTime",
    "closeTime",
    "firstId",
    "lastId",
    "count",
]
MINI = ["symbol", "openPrice", "highPrice", "lowPrice", "lastPrice"] + FULL[14:]


def test_24hr_tickers_have_the_fields_of_the_documentation_in_order(
    spot: RestFace, um: RestFace
) -> None:
    assert list(decoded(spot, "/ticker/24hr", symbol="BTCUSDT")) == FULL
    assert list(decoded(spot, "/ticker/24hr", symbol="BTCUSDT", type="MINI")) == MINI
    without = {"prevClosePrice", "bidPrice", "bidQty", "askPrice", "askQty"}
    assert list(decoded(um, "/ticker/24hr", symbol="BTCUSDT")) == [
        name for name in FULL if name not in without
    ]


@pytest.mark.parametrize("symbol", SYMBOLS)
def test_24hr_ticker_is_the_sum_of_the_last_1440_minutes(spot: RestFace, symbol: str) -> None:
    ticker = decoded(spot, "/ticker/24hr", symbol=symbol)
    rows = decoded(spot, "/klines", symbol=symbol, interval="1m", limit=1000)
    rows = (
        decoded(spot, "/klines", symbol=symbol, interval="1m", limit=1000, endTime=rows[0][0] - 1)
        + rows
    )[-1440:]
    assert Decimal(ticker["volume"]) == sum(Decimal(row[5]) for row in rows)
    assert Decimal(ticker["quoteVolume"]) == sum(Decimal(row[7]) for row in rows)
    assert ticker["count"] == sum(row[8] for row in rows)
    assert Decimal(ticker["highPrice"]) == max(Decimal(row[2]) for row in rows)
    assert Decimal(ticker["lowPrice"]) == min(Decimal(row[3]) for row in rows)
    assert (ticker["openPrice"], ticker["lastPrice"]) == (rows[0][1], rows[-1][4])
    assert Decimal(ticker["priceChange"]) == Decimal(rows[-1][4]) - Decimal(rows[0][1])
    assert (ticker["openTime"], ticker["closeTime"]) == (rows[0][0], NOW_MS)


def test_ticker_lists(spot: RestFace, um: RestFace) -> None:
    assert [row["symbol"] for row in decoded(spot, "/ticker/24hr")] == list(SYMBOLS)
    some = decoded(spot, "/ticker/price", symbols=json.dumps(["ETHUSDT", UNICODE]))
    assert [row["symbol"] for row in some] == ["ETHUSDT", UNICODE]
    assert set(decoded(um, "/ticker/price", symbol="BTCUSDT")) == {"symbol", "price", "time"}
    best = decoded(spot, "/ticker/bookTicker", symbol="BTCUSDT")
    assert list(best) == ["symbol", "bidPrice", "bidQty", "askPrice", "askQty"]
    assert float(best["bidPrice"]) < float(best["askPrice"])
    assert decoded(um, "/ticker/bookTicker", symbol="BTCUSDT")["time"] == NOW_MS


def test_average_price(spot: RestFace) -> None:
    answer = decoded(spot, "/avgPrice", symbol="BTCUSDT")
    assert list(answer) == ["mins", "price", "closeTime"]
    assert len(answer["price"].partition(".")[2]) == 8


def test_exchange_info_names_what_clients_need(spot: RestFace, um: RestFace) -> None:
    info = decoded(spot, "/exchangeInfo")
    weights = {limit["rateLimitType"]: limit["limit"] for limit in info["rateLimits"]}
    assert weights == {"REQUEST_WEIGHT": 6000, "RAW_REQUESTS": 300_000}
    (bitcoin,) = [row for row in info["symbols"] if row["symbol"] == "BTCUSDT"]
    assert (bitcoin["status"], bitcoin["baseAsset"], bitcoin["quoteAsset"]) == (
        "TRADING",
        "BTC",
        "USDT",
    )
    kinds = {row["filterType"]: row for row in bitcoin["filters"]}
    assert float(kinds["PRICE_FILTER"]["tickSize"]) == 0.01
    assert float(kinds["LOT_SIZE"]["stepSize"]) == 0.00001
    assert "contractType" not in bitcoin
    one = decoded(um, "/exchangeInfo")["symbols"][0]
    assert (one["contractType"], one["pair"], one["pricePrecision"]) == ("PERPETUAL", "BTCUSDT", 2)
    assert [row["symbol"] for row in decoded(spot, "/exchangeInfo", symbol=UNICODE)["symbols"]] == [
        UNICODE
    ]


def test_a_halted_symbol_says_so_and_a_delisted_one_is_gone() -> None:
    faults = Faults(halted={"ETHUSDT"}, delisted={"BTCUSDT"})
    rest = RestFace(SPOT, faults)
    statuses = {row["symbol"]: row["status"] for row in decoded(rest, "/exchangeInfo")["symbols"]}
    assert statuses["ETHUSDT"] == "HALT"
    assert "BTCUSDT" not in statuses
    assert json.loads(ask(rest, "/ticker/price", symbol="BTCUSDT").body)["code"] == -1121
    trading = decoded(rest, "/exchangeInfo", symbolStatus="TRADING")["symbols"]
    assert [row["symbol"] for row in trading] == ["QTUMUSDT", UNICODE]


# --- refusals ----------------------------------------------------------------------------------

OF_KLINES = {"symbol": "BTCUSDT", "interval": "1m"}


@pytest.mark.parametrize(
    ("target", "query", "code", "message"),
    [
        ("/klines", {"interval": "1m"}, -1102, "Mandatory parameter 'symbol' was not sent, was "),
        ("/klines", {"symbol": "BTCUSDT"}, -1102, "Mandatory parameter 'interval' was not sent"),
        ("/klines", {"symbol": "", "interval": "1m"}, -1105, "Parameter 'symbol' was empty."),
        ("/klines", OF_KLINES | {"interval": ""}, -1105, "Parameter 'interval' was empty."),
        ("/klines", OF_KLINES | {"symbol": "NOSUCH"}, -1121, "Invalid symbol."),
        ("/klines", OF_KLINES | {"symbol": "btcusdt"}, -1100, "Illegal characters found in "),
        ("/klines", OF_KLINES | {"symbol": "A B"}, -1100, "parameter 'symbol'; legal range is '"),
        ("/klines", OF_KLINES | {"interval": "7m"}, -1120, "Invalid interval."),
        ("/klines", OF_KLINES | {"interval": "1s"}, -1120, "Invalid interval."),
        ("/klines", OF_KLINES | {"interval": "1H"}, -1120, "Invalid interval."),
        ("/klines", OF_KLINES | {"limit": "x"}, -1100, "legal range is '^[0-9]{1,20}$'."),
        ("/klines", OF_KLINES | {"limit": "-1"}, -1100, "parameter 'limit'"),
        ("/klines", OF_KLINES | {"limit": "0"}, -1130, "Data sent for parameter 'limit' is not"),
        ("/klines", OF_KLINES | {"limit": ""}, -1105, "Parameter 'limit' was empty."),
        ("/klines", OF_KLINES | {"startTime": "²"}, -1100, "parameter 'startTime'"),
        ("/klines", OF_KLINES | {"endTime": "9" * 21}, -1100, "parameter 'endTime'"),
        ("/klines", OF_KLINES | {"timeZone": "+15:00"}, -1130, "parameter 'timeZone'"),
        ("/klines", OF_KLINES | {"timeZone": "mars"}, -1130, "parameter 'timeZone'"),
        ("/klines", OF_KLINES | {"x": "1"}, -1104, "read '2' parameter(s) but was sent '3'."),
        ("/time", {"x": "1"}, -1101, "Too many parameters; expected '0' and received '1'."),
        ("/ticker/price", {"symbols": "[x"}, -1100, "parameter 'symbols'"),
        ("/ticker/price", {"symbols": '["a"]'}, -1100, "parameter 'symbols'"),
        ("/ticker/price", {"symbols": '["BTCUSDT","BTCUSDT"]'}, -1151, "multiple times"),
        ("/ticker/price", {"symbols": '["BTCUSDT","NOSUCH"]'}, -1121, "Invalid symbol."),
        ("/ticker/price", {"symbols": "[]", "symbol": "BTCUSDT"}, -1128, "Combination of optional"),
        ("/ticker/24hr", {"type": "TINY"}, -1139, "Invalid ticker type."),
        ("/ticker/24hr", {"symbolStatus": "ASLEEP"}, -1122, "Invalid symbolStatus."),
        ("/ticker/24hr", {"symbol": "BTCUSDT", "symbolStatus": "HALT"}, -1220, "does not match"),
    ],
)
def test_spot_refuses_in_the_exchange_s_words(
    spot: RestFace, target: str, query: dict[str, str], code: int, message: str
) -> None:
    answer = ask(spot, target, **query)
    assert answer.status == 400
    body = json.loads(answer.body)
    assert list(body) == ["code", "msg"]
    assert body["code"] == code
    assert message in body["msg"]


def test_um_ignores_unknown_parameters_and_refuses_turned_ranges(um: RestFace) -> None:
    assert ask(um, "/klines", **OF_KLINES, x=1).status == 200
    body = json.loads(ask(um, "/klines", **OF_KLINES, startTime=2, endTime=1).body)
    assert body["code"] == -1023


@pytest.mark.parametrize(
    "path", ["/api/v1/klines", "/api/v3", "/api/v3/klines/", "/", "/fapi/v1/x"]
)
def test_an_unknown_path_is_404(spot: RestFace, path: str) -> None:
    assert spot.handle(path, NOW_MS).status == 404


# --- weights -----------------------------------------------------------------------------------


def used(answer: Answer) -> int:
    weight = answer.headers["X-MBX-USED-WEIGHT-1M"]
    assert answer.headers["X-MBX-USED-WEIGHT"] == weight
    return int(weight)


@pytest.mark.parametrize(
    ("target", "query", "weight"),
    [
        ("/ping", {}, 1),
        ("/time", {}, 1),
        ("/exchangeInfo", {}, 20),
        ("/klines", OF_KLINES | {"limit": 1}, 2),
        ("/klines", OF_KLINES | {"limit": 1000}, 2),
        ("/uiKlines", OF_KLINES, 2),
        ("/avgPrice", {"symbol": "BTCUSDT"}, 2),
        ("/ticker/24hr", {"symbol": "BTCUSDT"}, 2),
        ("/ticker/24hr", {"symbols": '["BTCUSDT","ETHUSDT"]'}, 2),
        ("/ticker/24hr", {}, 80),
        ("/ticker/price", {"symbol": "BTCUSDT"}, 2),
        ("/ticker/price", {}, 4),
        ("/ticker/bookTicker", {"symbol": "BTCUSDT"}, 2),
        ("/ticker/bookTicker", {}, 4),
    ],
)
def test_weights_of_spot(spot: RestFace, target: str, query: dict[str, Any], weight: int) -> None:
    assert used(ask(spot, target, **query)) == weight


@pytest.mark.parametrize(
    ("target", "query", "weight"),
    [
        *(
            ("/klines", OF_KLINES | {"limit": limit}, weight)
            for limit, weight in (
                (1, 1),
                (99, 1),
                (100, 2),
                (499, 2),
                (500, 5),
                (1000, 5),
                (1001, 10),
                (1500, 10),
            )
        ),
        ("/klines", OF_KLINES, 5),
        ("/exchangeInfo", {}, 1),
        ("/ticker/24hr", {"symbol": "BTCUSDT"}, 1),
        ("/ticker/24hr", {}, 40),
        ("/ticker/price", {"symbol": "BTCUSDT"}, 1),
        ("/ticker/price", {}, 2),
        ("/ticker/bookTicker", {"symbol": "BTCUSDT"}, 2),
        ("/ticker/bookTicker", {}, 5),
    ],
)
def test_weights_of_um(um: RestFace, target: str, query: dict[str, Any], weight: int) -> None:
    assert used(ask(um, target, **query)) == weight


def test_many_symbols_weigh_40_and_more_80() -> None:
    names = [f"C{at}USDT" for at in range(120)]
    rest = RestFace(Book(GeneratedMarket(1, names)), Faults())
    assert used(ask(rest, "/ticker/24hr", symbols=json.dumps(names[:21]))) == 40
    assert used(ask(rest, "/ticker/24hr", symbols=json.dumps(names))) == 120


def test_windows_end_with_the_minute_and_belong_to_an_address(spot: RestFace) -> None:
    assert used(ask(spot, "/exchangeInfo")) == 20
    assert used(ask(spot, "/exchangeInfo")) == 40
    other = spot.handle("/api/v3/ping", NOW_MS, "127.0.0.2")
    assert used(other) == 1
    next_minute = (NOW_MS // MINUTE_MS + 1) * MINUTE_MS
    assert used(ask(spot, "/ping", next_minute - 1)) == 41
    assert used(ask(spot, "/ping", next_minute)) == 1


def test_over_the_limit_is_429_until_the_minute_ends(spot: RestFace) -> None:
    spot.weight_limit = 100
    for _ in range(5):
        assert ask(spot, "/exchangeInfo").status == 200
    refused = ask(spot, "/ping")
    assert refused.status == 429
    assert refused.headers["Retry-After"] == str(-(-(MINUTE_MS - NOW_MS % MINUTE_MS) // 1000))
    assert json.loads(refused.body)["code"] == -1003
    assert spot.handle("/api/v3/ping", NOW_MS, "127.0.0.2").status == 200
    later_ms = NOW_MS + int(refused.headers["Retry-After"]) * 1000
    assert ask(spot, "/ping", later_ms).status == 200
    assert spot.counters["refused_429"] == 1


def test_not_stopping_brings_a_ban_and_each_ban_is_longer(spot: RestFace) -> None:
    spot.weight_limit = 20
    now_ms = NOW_MS
    waits = []
    for _ in range(3):
        ask(spot, "/exchangeInfo", now_ms)
        answers = [ask(spot, "/ping", now_ms) for _ in range(30)]
        statuses = [answer.status for answer in answers]
        assert statuses == sorted(statuses, reverse=True)
        assert set(statuses) == {429, 418}
        waits.append(int(answers[-1].headers["Retry-After"]))
        before = ask(spot, "/ping", now_ms + waits[-1] * 1000 - 1)
        assert (before.status, before.headers["Retry-After"]) == (418, "1")
        now_ms += waits[-1] * 1000
        assert ask(spot, "/ping", now_ms).status == 200
        now_ms += MINUTE_MS
    assert waits == [120, 240, 480]


def test_addresses_remembered_are_bounded(spot: RestFace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("server.exchange.rest._ADDRESSES_MAX", 3)
    for at in range(10):
        spot.handle("/api/v3/ping", NOW_MS, f"127.0.1.{at}")
    assert len(spot._ledgers) == 3


# --- faults ------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [403, 418, 429, 451, 500, 503])
def test_the_next_answers_can_be_overridden(status: int) -> None:
    faults = Faults()
    rest = RestFace(SPOT, faults)
    faults.rest.extend([RestFault(status, "7"), RestFault(status, body=b"<html>")])
    first, second, third = (ask(rest, "/ping") for _ in range(3))
    assert (first.status, first.headers["Retry-After"]) == (status, "7")
    assert (second.status, second.body) == (status, b"<html>")
    assert "Retry-After" not in second.headers
    assert third.status == 200


def test_klines_can_lack_their_last_row() -> None:
    faults = Faults()
    rest = RestFace(SPOT, faults)
    whole = decoded(rest, "/klines", **OF_KLINES, limit=5)
    faults.klines_lack_last = True
    assert decoded(rest, "/klines", **OF_KLINES, limit=5) == whole[:-1]
