"""Filters over HTTP: read, checked, refused with place and hint; the names they are made of."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from klinecore.filters import FIELDS, OPERATIONS, READY, TICKER_FIELDS, compile
from klinecore.filters.vocabulary import FIELD_MEANINGS, TICKER_MEANINGS
from klinecore.indicators import CATALOG
from server.api.filter_types import CheckedFilter, Vocabulary

Make = Callable[..., Any]
CHECK = "/v1/filters/check"


def post(server: Any, target: str, message: object) -> Any:
    body = message if isinstance(message, bytes) else json.dumps(message).encode()
    return server.get(target, ("Content-Type", "application/json"), method="POST", body=[body])


def test_a_filter_is_shown_in_normal_form_with_what_it_needs(server: Any) -> None:
    answer = post(server, CHECK, {"filter": "rsi() < 30 and (close > sma(20))"})
    assert answer.status == 200
    checked = msgspec.json.decode(answer.body, type=CheckedFilter)
    assert checked.normal == "rsi(close, 14) < 30 and close > sma(close, 20)"
    assert checked.hash == compile(checked.normal).hash
    assert [(part.text, part.kind) for part in checked.parts] == [
        ("close", "number"),
        ("rsi(close, 14)", "number"),
        ("rsi(close, 14) < 30", "condition"),
        ("sma(close, 20)", "number"),
        ("close > sma(close, 20)", "condition"),
        (checked.normal, "condition"),
    ]
    assert (checked.nodes, checked.intervals, checked.cross_symbols) == (7, [], False)
    assert checked.bars == {"": 20}
    assert checked.cost_ns > 0
    assert checked.warnings == []


def test_with_an_interval_the_needs_are_those_of_it(server: Any) -> None:
    checked = post(server, CHECK, {"filter": 'rsi(14) @ "1h" < 30', "interval": "1m"}).json()
    assert (checked["intervals"], checked["bars"]) == (["1h"], {"1h": 15, "1m": 1})


def test_what_this_server_cannot_run_is_a_warning(server: Any) -> None:
    checked = post(server, CHECK, {"filter": 'close > sma(21) and close @ "4h" > 1'}).json()
    assert checked["warnings"] == [
        "interval 4h is not held here, only 1m, 1h",
        "21 klines of its own interval are needed, 20 are kept",
    ]


@pytest.mark.parametrize(
    ("text", "column", "part"),
    [
        ("", 1, "empty"),
        ("rsi(14) <", 10, "value"),
        ("rsy(14) < 30", 1, "rsy"),
        ("rsi(14)", 1, "number"),
        ("close > 1 and macd() > 0", 15, "macd"),
        ("rsi(501) < 30", 5, "period"),
        ("x" * 5000, 4097, "4,096"),
    ],
)
def test_what_is_no_filter_is_refused_with_its_place(
    server: Any, text: str, column: int, part: str
) -> None:
    answer = post(server, CHECK, {"filter": text})
    assert (answer.status, answer.code) == (400, "invalid_filter")
    problem = answer.json()
    assert (problem["line"], problem["column"]) == (1, column)
    assert part in problem["detail"]
    assert len(answer.body) < 1000


def test_a_server_that_keeps_more_klines_lets_filters_look_back_further(make_server: Make) -> None:
    far = make_server(capacity=1000).serve()
    assert post(far, CHECK, {"filter": "close > sma(1000)"}).status == 200
    assert post(far, CHECK, {"filter": "close > sma(1001)"}).json()["hint"] == "limit: window"
    words = msgspec.json.decode(far.get("/v1/filters/vocabulary").body, type=Vocabulary)
    (sma,) = [word for word in words.words if word.name == "sma"]
    assert (words.limits["window"], sma.parameters[0].high) == (1000, 1000)


def test_a_refusal_says_how_to_mend_it(server: Any) -> None:
    problem = post(server, CHECK, {"filter": "rsy(14) < 30"}).json()
    assert "rsi" in problem["hint"]
    assert "hint" not in server.get("/nothing").json()


@pytest.mark.parametrize(
    ("message", "status", "code"),
    [
        ({"filter": "close > 1", "interval": "1x"}, 400, "invalid_interval"),
        ({"filter": "close > 1", "interval": "5m"}, 400, "interval_not_served"),
        ({"filter": "close > 1", "market": "um"}, 400, "invalid_market"),
        ({"filter": "close > 1", "filters": []}, 400, "bad_body"),
        ({"filter": 7}, 400, "bad_body"),
        ({}, 400, "bad_body"),
        (b"", 400, "bad_body"),
        (b'{"filter":"\xff"}', 400, "bad_body"),
        (b"\xff", 400, "bad_body"),
        (b'{"filter":"\\ud800"}', 400, "bad_body"),
    ],
)
def test_a_body_of_another_shape_is_refused(
    server: Any, message: object, status: int, code: str
) -> None:
    answer = post(server, CHECK, message)
    assert (answer.status, answer.code) == (status, code)


def test_a_path_that_is_only_posted_to_says_so(server: Any) -> None:
    for method in ("GET", "HEAD", "DELETE"):
        answer = server.get(CHECK, method=method)
        assert (answer.status, answer.headers["allow"]) == (405, "OPTIONS, POST")
    assert server.get(CHECK, method="OPTIONS").headers["allow"] == "OPTIONS, POST"


def test_pages_of_listed_origins_may_post_filters_but_change_nothing(make_server: Make) -> None:
    server = make_server(cors_origins=["https://a.example"]).serve()

    def preflight(target: str, origin: str) -> str:
        answer = server.get(target, ("Origin", origin), method="OPTIONS")
        return str(answer.headers.get("access-control-allow-methods", ""))

    assert "POST" in preflight(CHECK, "https://a.example")
    assert preflight(CHECK, "https://b.example") == ""
    assert preflight("/v1/symbols", "https://a.example") == "GET, HEAD, OPTIONS"


def test_what_was_read_is_counted_and_refusals_by_their_limit(server: Any) -> None:
    for _ in range(3):
        post(server, CHECK, {"filter": "close > 1"})
    post(server, CHECK, {"filter": "close >"})
    post(server, CHECK, {"filter": "x" * 5000})
    lines = server.get("/metrics").body.decode().splitlines()
    assert {
        "filters_compiled_total 1",
        "filters_known_total 2",
        'filters_refused_total{limit="none"} 1',
        'filters_refused_total{limit="text"} 1',
    } <= set(lines)


def test_the_vocabulary_has_every_name_once_and_no_other(server: Any) -> None:
    answer = server.get("/v1/filters/vocabulary")
    assert answer.status == 200
    words = msgspec.json.decode(answer.body, type=Vocabulary)
    names = [word.name for word in words.words]
    assert len(names) == len(set(names))
    called = {word.name for word in words.words if word.kind == "function"}
    assert {word.name for word in words.words if word.kind == "indicator"} == set(CATALOG)
    assert called < set(OPERATIONS)
    assert set(FIELD_MEANINGS) == set(FIELDS) < set(names)
    assert set(TICKER_MEANINGS) == set(TICKER_FIELDS)
    assert {f"ticker.{name}" for name in TICKER_FIELDS} < set(names)
    known = server.get("/v1/filters/vocabulary", ("If-None-Match", answer.headers["etag"]))
    assert known.status == 304


def test_every_signature_of_the_vocabulary_can_be_read_and_is_of_the_kind_it_says(
    server: Any,
) -> None:
    words = msgspec.json.decode(server.get("/v1/filters/vocabulary").body, type=Vocabulary)
    stand_for = {"x": "close", "y": "open", "n": "5"}
    for word in words.words:
        series = {name: "close" for name in word.inputs if name not in FIELDS}
        names = "|".join({**stand_for, **series})
        text = re.sub(rf"\b(?:{names})\b", lambda m: stand_for.get(m[0], "close"), word.signature)
        text = text if word.gives == "condition" else f"{text} > 0"
        answer = post(server, CHECK, {"filter": text})
        assert answer.status == 200, (word.name, text, answer.body)


def test_the_ready_filters_can_be_checked_as_they_are_told(server: Any) -> None:
    words = msgspec.json.decode(server.get("/v1/filters/vocabulary").body, type=Vocabulary)
    assert [one.name for one in words.ready] == list(READY)
    for one in words.ready:
        assert post(server, CHECK, {"filter": one.filter}).status == 200


WORDS = ["close", "rsi", "sma", "(", ")", "14", "<", "and", "not", "@", '"1h"', "[", "]", ",", "."]


@given(
    st.one_of(
        st.binary(max_size=80),
        st.dictionaries(
            st.sampled_from(["filter", "interval", "market", "symbols", "mode", "x"]),
            st.one_of(st.text(max_size=20), st.integers(), st.none(), st.lists(st.text())),
        ),
        st.builds(
            lambda words: {"filter": " ".join(words)}, st.lists(st.sampled_from(WORDS), max_size=12)
        ),
        st.builds(lambda text: {"filter": text}, st.text(max_size=60)),
    )
)
@example({"filter": "(" * 4096})
@example({"filter": "-" * 4000 + "close > 0"})
def test_no_body_makes_the_server_fail(make_server: Make, message: object) -> None:
    assert post(_fuzzed(make_server), CHECK, message).status in {200, 400}


_shared: list[Any] = []


def _fuzzed(make_server: Make) -> Any:
    """One server for all examples: its market takes a while to reserve."""
    if not _shared:
        _shared.append(make_server(capacity=20).serve())
    return _shared[0]
