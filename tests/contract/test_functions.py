"""What the three functions promise, whoever serves them: the server itself, or Deno before it."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from itertools import count
from typing import Any
from uuid import uuid4

import pytest
from contract import ORIGIN, Answer, Target, call, send

WINDOW = {"symbol": "BTCUSDT", "timeframe": "1m"}
ALWAYS = {"name": "Always", "filter": "close > 0", "interval": "1m", "mode": "level"}
NEVER = {"name": "Never", "filter": "close < 0", "interval": "1m"}
ISO = re.compile(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")
ADDRESSES = (f"127.0.{number // 250 + 1}.{number % 250 + 1}" for number in count())

Ask = Callable[..., Answer]
Make = Callable[..., str]


@pytest.fixture
def ask(target: Target) -> Ask:
    """``ask(name, body, caller)``; every anonymous request comes from an address of its own."""

    def ask(name: str, body: Any, caller: str = "anybody", **more: Any) -> Answer:
        headers = target.headers(caller) | more.pop("headers", {})
        more.setdefault("address", next(ADDRESSES))
        return call(target.url, name, body, headers, **more)

    return ask


def rows_of(target: Target, limit: int) -> list[dict[str, Any]]:
    """The same klines as the server's own route has them, in text."""
    url = f"{target.server}/klines/BTCUSDT/1m?limit={limit}"
    answer = send(url, "GET", None, {"x-api-key": target.key})
    return list(answer.body["klines"])


# --- get-klines ----------------------------------------------------------------------------------


def test_klines_are_the_newest_ones_in_numbers(target: Target, ask: Ask) -> None:
    texts, answer, again = [], ask("get-klines", {**WINDOW, "limit": 7}), [{}]
    while texts != again:  # no kline closed in between
        texts = rows_of(target, 7)
        answer = ask("get-klines", {**WINDOW, "limit": 7})
        again = rows_of(target, 7)
    assert answer.status == 200
    assert answer.body["klines"] == [
        {
            "openTime": row["t"],
            "open": float(row["o"]),
            "high": float(row["h"]),
            "low": float(row["l"]),
            "close": float(row["c"]),
            "volume": float(row["v"]),
            "closeTime": row["T"],
            "quoteAssetVolume": float(row["q"]),
            "numberOfTrades": row["n"],
            "takerBuyBaseAssetVolume": float(row["V"]),
            "takerBuyQuoteAssetVolume": float(row["Q"]),
        }
        for row in texts
    ]


def test_an_answer_has_every_member_of_the_original(ask: Ask) -> None:
    body = ask("get-klines", WINDOW).body
    assert list(body) == [
        "klines", "ticker", "symbol", "timeframe", "count", "cached", "latency", "auth"
    ]  # fmt: skip
    assert list(body["ticker"]) == [
        "symbol", "price", "volume", "quoteVolume", "priceChangePercent", "high24h", "low24h"
    ]  # fmt: skip
    assert body["ticker"].pop("symbol") == "BTCUSDT"
    assert all(isinstance(number, (int, float)) for number in body["ticker"].values())
    assert (body["symbol"], body["timeframe"], body["cached"]) == ("BTCUSDT", "1m", False)
    assert body["latency"] >= 0
    assert body["auth"] == {"tier": "anonymous", "authenticated": False}


@pytest.mark.parametrize("limit", [None, 1, 100, 500])
def test_as_many_klines_as_asked_for(ask: Ask, limit: int | None) -> None:
    asked = WINDOW if limit is None else {**WINDOW, "limit": limit}
    body = ask("get-klines", asked).body
    opens = [row["openTime"] for row in body["klines"]]
    assert body["count"] == len(opens) == (limit or 100)
    assert opens == sorted(set(opens))


def test_symbols_are_found_in_any_case_and_named_as_given(ask: Ask) -> None:
    body = ask("get-klines", {**WINDOW, "symbol": "btcusdt"}).body
    assert body["symbol"] == "btcusdt"
    assert body["ticker"]["symbol"] == "BTCUSDT"


@pytest.mark.parametrize("caller", ["anybody", "free", "pro", "operator"])
def test_the_tier_is_told_and_what_is_somebodys_is_kept_by_nobody(ask: Ask, caller: str) -> None:
    answer = ask("get-klines", WINDOW, caller)
    tier = {"anybody": "anonymous", "operator": "elite"}.get(caller, caller)
    assert answer.body["auth"] == {"tier": tier, "authenticated": caller != "anybody"}
    assert answer.headers["x-user-tier"] == tier
    assert re.fullmatch(r"[\d.]+ms", answer.headers["x-response-time"])
    kept = answer.headers["cache-control"]
    assert kept == ("public, max-age=5" if caller == "anybody" else "private, no-store")


@pytest.mark.parametrize(
    ("body", "paths"),
    [
        ({}, ["symbol", "timeframe"]),
        ({"symbol": "", "timeframe": "1M", "limit": 0}, ["symbol", "timeframe", "limit"]),
        ({"symbol": "A" * 21, "timeframe": "1m", "limit": 501}, ["symbol", "limit"]),
        ({**WINDOW, "limit": "5"}, ["limit"]),
        ({**WINDOW, "limit": 1.5}, ["limit"]),
        ({**WINDOW, "limit": True}, ["limit"]),
        ({**WINDOW, "limit": None}, ["limit"]),
        ({**WINDOW, "timeframe": ["1m"]}, ["timeframe"]),
        ({**WINDOW, "timeframe": "4h"}, ["timeframe"]),  # accepted is what is kept
        ([], [""]),
    ],
)
def test_each_field_that_is_wrong_is_named(ask: Ask, body: Any, paths: list[str]) -> None:
    answer = ask("get-klines", body)
    assert answer.status == 400
    assert answer.error == "VALIDATION_FAILED"
    assert answer.body["error"] == "Validation failed"
    assert [fault["path"] for fault in answer.body["details"]] == paths
    assert all(fault["message"] for fault in answer.body["details"])


@pytest.mark.parametrize("body", ["", "{", '{"symbol": NaN}', "\N{BOM}{}"])
def test_what_is_no_json_is_said_to_be_none(ask: Ask, body: str) -> None:
    answer = ask("get-klines", body)
    assert (answer.status, answer.error) == (400, "INVALID_JSON")
    assert answer.body["error"] == "Invalid JSON in request body"


@pytest.mark.parametrize("symbol", ["NOSUCHUSDT", "../metrics", "%2e%2e/x", "a b", "币安"])
def test_a_symbol_nobody_keeps_is_404(ask: Ask, symbol: str) -> None:
    answer = ask("get-klines", {**WINDOW, "symbol": symbol})
    assert (answer.status, answer.error) == (404, "UNKNOWN_SYMBOL")


# --- who may ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["get-klines", "execute-trader", "trigger-executions"])
@pytest.mark.parametrize("authorization", ["Bearer wrong", "Bearer a.b.c", "Basic dTpw", "Bearer"])
def test_a_bad_token_is_refused_and_not_taken_as_none(
    ask: Ask, name: str, authorization: str
) -> None:
    answer = ask(name, WINDOW, headers={"authorization": authorization})
    assert (answer.status, answer.error) == (401, "UNAUTHORIZED")
    assert answer.body["error"] == "Unauthorized"
    assert answer.headers["www-authenticate"].startswith("Bearer realm=")


@pytest.mark.parametrize("name", ["execute-trader", "trigger-executions"])
def test_who_shows_nothing_runs_nothing(trader: Make, ask: Ask, name: str) -> None:
    body = {"traderId": trader("pro", **ALWAYS), "symbols": ["BTCUSDT"]}
    answer = ask(name, body)
    assert (answer.status, answer.error) == (401, "UNAUTHORIZED")


@pytest.mark.parametrize("caller", ["free", "pro"])
def test_only_the_operator_runs_everybodys_traders(ask: Ask, caller: str) -> None:
    answer = ask("trigger-executions", {"trigger": "cron"}, caller)
    assert (answer.status, answer.error) == (403, "FORBIDDEN")


@pytest.mark.parametrize("name", ["get-klines", "execute-trader", "trigger-executions"])
@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_other_methods_are_refused(ask: Ask, name: str, method: str) -> None:
    answer = ask(name, {}, "operator", method=method)
    assert (answer.status, answer.error) == (405, "METHOD_NOT_ALLOWED")
    assert "POST" in answer.headers["allow"]


def test_an_address_has_ten_requests_a_minute(ask: Ask) -> None:
    address = "127.0.200.1"
    began_s, passed = time.monotonic(), 0
    while True:
        # What a client says of its own address is nothing to go by.
        claim = {"x-forwarded-for": f"10.0.0.{passed}"}
        refused = ask("get-klines", WINDOW, address=address, headers=claim)
        if refused.status != 200:
            break
        passed += 1
        assert passed <= 10 + (time.monotonic() - began_s) / 6  # one is free again every 6 s
    assert passed >= 10
    assert refused.status == 429
    assert refused.error == "RATE_LIMITED"
    assert refused.body["error"] == "Too many requests"
    assert refused.body["tier"] == "anonymous"
    assert 1 <= refused.body["retryAfter"] <= 60
    assert refused.headers["retry-after"] == str(refused.body["retryAfter"])
    assert ask("get-klines", WINDOW, address="127.0.200.2").status == 200
    assert ask("get-klines", WINDOW, "free", address=address).status == 200


@pytest.mark.parametrize(
    ("origin", "allowed"),
    [
        (ORIGIN, True),
        ("https://localhost.attacker.example", False),
        (f"{ORIGIN}.attacker.example", False),
        ("null", False),
    ],
)
def test_only_listed_pages_may_read(ask: Ask, origin: str, allowed: bool) -> None:
    for method, status in (("POST", 200), ("OPTIONS", 204)):
        headers = {"origin": origin}
        if method == "OPTIONS":
            headers |= {
                "access-control-request-method": "POST",
                "access-control-request-headers": "authorization,x-client-info,apikey",
            }
        answer = ask("get-klines", WINDOW, method=method, headers=headers)
        assert answer.status == status or not allowed  # the server does not even answer
        named = answer.headers.get("access-control-allow-origin")
        assert named == (origin if allowed else None)
        if method == "OPTIONS" and allowed:
            permitted = answer.headers["access-control-allow-headers"]
            assert {"authorization", "x-client-info", "apikey", "content-type"} <= set(
                re.split(r", *", permitted)
            )
            assert "POST" in answer.headers["access-control-allow-methods"]


# --- execute-trader ------------------------------------------------------------------------------


def test_a_trader_is_run_for_the_symbols_named(trader: Make, ask: Ask) -> None:
    made = trader("pro", **ALWAYS)
    answer = ask("execute-trader", {"traderId": made, "symbols": ["ETHUSDT", "BTCUSDT"]}, "pro")
    assert answer.status == 200
    body = answer.body
    assert list(body) == [
        "traderId", "timestamp", "totalSymbols", "matches", "results", "executionTimeMs"
    ]  # fmt: skip
    assert body["traderId"] == made
    assert ISO.fullmatch(body["timestamp"])
    assert body["totalSymbols"] == 2
    assert body["matches"] == ["ETHUSDT", "BTCUSDT"]
    assert body["results"] == [
        {"symbol": "ETHUSDT", "matched": True},
        {"symbol": "BTCUSDT", "matched": True},
    ]
    assert body["executionTimeMs"] >= 0
    assert "no-store" in answer.headers["cache-control"]


def test_a_trader_that_matches_nothing_says_so(trader: Make, ask: Ask) -> None:
    made = trader("pro", **NEVER)
    body = ask("execute-trader", {"traderId": made, "symbols": ["BTCUSDT"]}, "pro").body
    assert body["matches"] == []
    assert body["results"] == [{"symbol": "BTCUSDT", "matched": False}]


def test_symbols_that_are_not_kept_are_named_and_match_nothing(trader: Make, ask: Ask) -> None:
    made = trader("pro", **ALWAYS)
    asked = {"traderId": made, "symbols": ["btcusdt", "NOSUCHUSDT", "BTCUSDT"]}
    body = ask("execute-trader", asked, "pro").body
    assert body["totalSymbols"] == 2
    first, second = body["results"]
    assert first == {"symbol": "BTCUSDT", "matched": True}
    assert (second["symbol"], second["matched"]) == ("NOSUCHUSDT", False)
    assert second["error"]


def test_no_symbols_are_all_of_the_traders_own(trader: Make, ask: Ask) -> None:
    made = trader("pro", **ALWAYS, symbols=["ETHUSDT"])
    body = ask("execute-trader", {"traderId": made, "symbols": []}, "pro").body
    assert body["matches"] == ["ETHUSDT"]


def test_a_value_that_is_not_known_is_an_error_and_no_plain_false(trader: Make, ask: Ask) -> None:
    made = trader("pro", **ALWAYS | {"filter": "sqrt(0 - close) > 0"})
    body = ask("execute-trader", {"traderId": made, "symbols": ["BTCUSDT"]}, "pro").body
    (result,) = body["results"]
    assert (result["symbol"], result["matched"]) == ("BTCUSDT", False)
    assert result["error"]


def test_another_owners_trader_is_not_there_whatever_the_body_says(
    target: Target, trader: Make, ask: Ask
) -> None:
    made = trader("pro", **ALWAYS)
    for more in ({}, {"userId": target.owner("pro")}, {"user_id": target.owner("pro")}):
        answer = ask("execute-trader", {"traderId": made, "symbols": ["BTCUSDT"], **more}, "free")
        assert answer.status == 404
        assert answer.body["error"] == "Trader not found"
        assert answer.error == "TRADER_NOT_FOUND"
    nobody = ask("execute-trader", {"traderId": str(uuid4()), "symbols": []}, "free")
    assert nobody.body == answer.body


def test_the_operator_runs_any_trader(trader: Make, ask: Ask) -> None:
    made = trader("pro", **ALWAYS)
    answer = ask("execute-trader", {"traderId": made, "symbols": ["BTCUSDT"]}, "operator")
    assert answer.body["matches"] == ["BTCUSDT"]


@pytest.mark.parametrize("body", [{}, {"traderId": str(uuid4())}, {"symbols": ["BTCUSDT"]}])
def test_missing_parameters_are_said_to_be_missing(ask: Ask, body: Any) -> None:
    answer = ask("execute-trader", body, "pro")
    assert (answer.status, answer.error) == (400, "MISSING_PARAMETERS")
    assert answer.body["error"] == "Missing required parameters"


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({"traderId": "../x", "symbols": []}, "traderId"),
        ({"traderId": 7, "symbols": []}, "traderId"),
        ({"traderId": str(uuid4()), "symbols": "BTCUSDT"}, "symbols"),
        ({"traderId": str(uuid4()), "symbols": [1]}, "symbols"),
        ({"traderId": str(uuid4()), "symbols": [""]}, "symbols"),
        ({"traderId": str(uuid4()), "symbols": ["A"] * 501}, "symbols"),
    ],
)
def test_parameters_of_another_kind_are_named(ask: Ask, body: Any, path: str) -> None:
    answer = ask("execute-trader", body, "pro")
    assert (answer.status, answer.error) == (400, "VALIDATION_FAILED")
    assert [fault["path"] for fault in answer.body["details"]] == [path]


# --- trigger-executions --------------------------------------------------------------------------


def test_all_enabled_traders_run_once_for_their_newest_own_close(trader: Make, ask: Ask) -> None:
    hourly = trader("pro", **ALWAYS | {"interval": "1h"})
    resting = trader("pro", **ALWAYS | {"interval": "1h"}, enabled=False)
    answer = ask("trigger-executions", {"trigger": "cron"}, "operator")
    assert answer.status == 200
    body = answer.body
    assert list(body) == [
        "timestamp", "symbolsChecked", "tradersExecuted", "successCount", "failureCount",
        "totalExecutionTimeMs", "avgTraderExecutionTimeMs", "message", "details",
    ]  # fmt: skip
    assert ISO.fullmatch(body["timestamp"])
    runs = {run["traderId"]: run for run in body["details"]}
    assert len(runs) == len(body["details"]) == body["tradersExecuted"]
    assert body["successCount"] + body["failureCount"] == body["tradersExecuted"]
    assert resting not in runs
    assert runs[hourly]["success"]
    assert runs[hourly]["matches"] == 2  # every symbol that is kept
    assert runs[hourly]["executionTimeMs"] >= 0
    assert body["symbolsChecked"] == 2
    # The minute may have closed again, and the hour once, but not twice.
    again = [ask("trigger-executions", {"trigger": "cron"}, "operator").body for _ in range(2)]
    assert any(hourly not in {run["traderId"] for run in body["details"]} for body in again)
