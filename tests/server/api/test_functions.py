"""get-klines where only one process is needed: who is asked for, and what a stranger gets."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

Make = Callable[..., Any]

PATH = "/functions/v1/get-klines"
JSON = ("content-type", "application/json")
WINDOW = {"symbol": "BTCUSDT", "timeframe": "1m", "limit": 5}
KEY = ("x-api-key", "the operator's")


def ask(server: Any, *headers: tuple[str, str], body: Any = WINDOW) -> Any:
    return server.get(PATH, JSON, *headers, method="POST", body=[json.dumps(body).encode()])


@pytest.fixture
def keyed(make_server: Make) -> Callable[..., Any]:
    def build(**settings: Any) -> Any:
        return make_server(api_key=KEY[1], **settings).serve().fill(30)

    return build


def test_without_a_key_there_is_nothing_unless_the_operator_says_so(keyed: Make) -> None:
    refused = ask(keyed())
    assert refused.status == 401
    assert refused.json() == {"error": "Unauthorized", "code": "UNAUTHORIZED"}
    answer = ask(keyed(anonymous_klines=True))
    assert answer.status == 200
    assert answer.json()["auth"] == {"tier": "anonymous", "authenticated": False}


def test_the_operators_key_may_ask_for_others_who_are_counted_then(keyed: Make) -> None:
    server = keyed()
    behalf = (("x-on-behalf-of", "address:203.0.113.7"), ("x-on-behalf-tier", "anonymous"))
    answers = [ask(server, KEY, *behalf) for _ in range(11)]
    assert [answer.status for answer in answers] == [200] * 10 + [429]
    assert answers[0].json()["auth"] == {"tier": "anonymous", "authenticated": False}
    assert answers[0].headers["cache-control"] == "public, max-age=5"
    refused = answers[-1].json()
    assert (refused["code"], refused["tier"]) == ("RATE_LIMITED", "anonymous")
    assert refused["retryAfter"] == int(answers[-1].headers["retry-after"])
    user = (("x-on-behalf-of", "user:4f1c"), ("x-on-behalf-tier", "pro"))
    answer = ask(server, KEY, *user)
    assert answer.json()["auth"] == {"tier": "pro", "authenticated": True}
    assert answer.headers["cache-control"] == "private, no-store"
    assert answer.headers["x-ratelimit-limit"] == "500"


def test_an_address_is_anonymous_whatever_tier_is_named(keyed: Make) -> None:
    behalf = (("x-on-behalf-of", "address:203.0.113.7"), ("x-on-behalf-tier", "elite"))
    assert ask(keyed(), KEY, *behalf).json()["auth"]["tier"] == "anonymous"


@pytest.mark.parametrize(
    ("named", "tier"),
    [
        ("user:", "pro"),
        ("user:" + "a" * 129, "pro"),
        ("user:\u00e9", "pro"),
        ("key:abc", "pro"),
        ("", "pro"),
        ("user:4f1c", "god"),
        ("user:4f1c", ""),
    ],
)
def test_malformed_words_for_others_are_refused(keyed: Make, named: str, tier: str) -> None:
    answer = ask(keyed(), KEY, ("x-on-behalf-of", named), ("x-on-behalf-tier", tier))
    assert (answer.status, answer.json()["code"]) == (400, "BAD_CALLER")


def test_nobody_but_the_operator_asks_for_others(keyed: Make) -> None:
    behalf = (("x-on-behalf-of", "user:4f1c"), ("x-on-behalf-tier", "elite"))
    answer = ask(keyed(anonymous_klines=True), *behalf)
    assert (answer.status, answer.json()["code"]) == (403, "FORBIDDEN")


def test_more_than_the_server_keeps_is_refused_with_the_number(keyed: Make) -> None:
    answer = ask(keyed(capacity=20), KEY, body={**WINDOW, "limit": 21})
    assert answer.status == 400
    assert answer.json()["details"] == [
        {"path": "limit", "message": "This server keeps 20 klines of a series"}
    ]


def test_before_there_is_data_the_answer_is_503_and_nobody_keeps_it(make_server: Make) -> None:
    answer = ask(make_server())
    assert (answer.status, answer.json()["code"]) == (503, "STARTING")
    assert answer.headers["cache-control"] == "no-store"


def test_a_symbol_without_a_ticker_has_none(keyed: Make) -> None:
    assert ask(keyed(), KEY).json()["ticker"] is None


def test_stale_data_is_said_to_be_stale(keyed: Make) -> None:
    server = keyed()
    server.feed.age_ms = 600_000
    server.state.beat(0.0)
    assert ask(server, KEY).headers["x-data-state"] == "stale"


def test_a_failure_of_ours_shows_an_id_and_nothing_else(keyed: Make) -> None:
    server = keyed()
    server.served.market = None
    answer = ask(server, KEY)
    assert answer.status == 500
    assert answer.json().keys() == {"error", "code", "id"}
    assert answer.json()["code"] == "INTERNAL_ERROR"


def test_the_names_edge_functions_call_the_server_by_are_no_settings() -> None:
    from server.settings import Settings

    environment = {"KLINE_SERVER_URL": "https://klines.example", "KLINE_SERVER_API_KEY": "x"}
    assert Settings.load(environment) == Settings.load({})
