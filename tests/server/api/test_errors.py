"""Bad requests: each gets a problem document that says what was expected, and nothing else."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.api.door import URL_LENGTH_MAX

Make = Callable[..., Any]
METHODS = ["POST", "PUT", "PATCH", "DELETE", "TRACE", "CONNECT", "get", "FOO", "X" * 100]


@pytest.mark.parametrize("method", METHODS)
def test_a_wrong_method_is_405_and_says_what_is_allowed(server: Any, method: str) -> None:
    for path in ("/", "/health", "/klines/BTCUSDT/1m", "/tickers", "/ws", "/metrics"):
        answer = server.get(path, method=method)
        assert (answer.status, answer.code) == (405, "method_not_allowed")
        assert answer.headers["allow"] == "GET, HEAD, OPTIONS"


@pytest.mark.parametrize(
    "path",
    [
        "/nothing", "//", "/klines", "/klines/", "/klines/BTCUSDT", "/klines/BTCUSDT/1m/",
        "/klines//1m", "/klines/BTCUSDT/1m/x", "/tickers/", "/v1", "/v1/", "/v1/symbols/x",
        "/KLINES/BTCUSDT/1m", "/%6Blines/BTCUSDT/1m", "/../etc/passwd", "*", "",
    ],
)  # fmt: skip
def test_an_unknown_path_is_404(server: Any, path: str) -> None:
    answer = server.get(path)
    assert (answer.status, answer.code) == (404, "unknown_path")
    assert answer.json()["instance"] == path


@pytest.mark.parametrize("path", ["/klines/%FF/1m", "/klines/%C3%28/1m", "/ticker/%ED%A0%80"])
def test_a_path_that_is_not_utf_8_is_400(server: Any, path: str) -> None:
    answer = server.get(path)
    assert (answer.status, answer.code) == (400, "bad_encoding")


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("limit=1&limit=1", "duplicate_parameter"),
        ("limit=1&l%69mit=2", "duplicate_parameter"),
        ("Limit=1", "unknown_parameter"),
        ("limits=1", "unknown_parameter"),
        ("=1", "unknown_parameter"),
        ("limit=%FF", "bad_encoding"),
        ("&".join(["limit=1"] * 17), "too_many_parameters"),
        ("market=um", "invalid_market"),
        ("market=SPOT", "invalid_market"),
    ],
)
def test_a_bad_query_is_400_and_says_why(server: Any, query: str, code: str) -> None:
    answer = server.get(f"/klines/BTCUSDT/1m?{query}")
    assert (answer.status, answer.code) == (400, code)


def test_an_unknown_parameter_is_answered_with_the_known_ones(server: Any) -> None:
    allowed = server.get("/klines/BTCUSDT/1m?start=1").json()["allowed"]
    assert allowed == ["endTime", "forming", "limit", "market", "startTime"]


@pytest.mark.parametrize("query", ["", "&", "limit=5&", "&&limit=5"])
def test_empty_parts_of_a_query_are_nothing(server: Any, query: str) -> None:
    assert server.get(f"/klines/BTCUSDT/1m?{query}").status == 200


@pytest.mark.parametrize(
    "host",
    [
        "", "a b", "a,b", "a/b", "http://a", "a:b", "a:123456", "[::1", "a@b", "[]", b"\xff",
        "x" * 300,
    ],
)  # fmt: skip
def test_a_bad_host_is_400(make_server: Make, host: str | bytes) -> None:
    server = make_server(api_key="k").serve()
    answer = server.get("/health", ("Host", host))
    assert (answer.status, answer.code) == (400, "bad_host")


@pytest.mark.parametrize(
    "host", ["example.com", "a.b:80", "127.0.0.1:1", "[::1]:8080", "[fe80::1]", "under_score"]
)
def test_a_host_name_is_accepted(make_server: Make, host: str) -> None:
    server = make_server(api_key="k").serve()
    assert server.get("/health", ("Host", host)).status == 200


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost:8080", 200), ("LOCALHOST", 200), ("127.0.0.1", 200), ("127.9.9.9:1", 200),
        ("[::1]:8080", 200), ("evil.example", 400), ("127.0.0.1.evil.example", 400),
        ("localhost.evil.example:8080", 400), ("10.0.0.1", 400),
    ],
)  # fmt: skip
def test_without_a_key_only_loopback_names_are_answered(
    server: Any, host: str, status: int
) -> None:
    """A page whose name was pointed at 127.0.0.1 must not read what needs no key there."""
    assert server.get("/tickers", ("Host", host)).status == status


@pytest.mark.parametrize("name", ["Host", "Origin", "If-None-Match", "Content-Length"])
def test_a_header_given_twice_is_400(server: Any, name: str) -> None:
    answer = server.get("/health", ("Host", "localhost"), (name, "1"), (name, "1"))
    assert (answer.status, answer.code) == (400, "duplicate_header")


def test_other_headers_may_come_twice(server: Any) -> None:
    assert server.get("/health", ("Accept", "a"), ("Accept", "b")).status == 200


def test_a_url_that_is_too_long_is_414(server: Any) -> None:
    answer = server.get("/klines/" + "A" * URL_LENGTH_MAX)
    assert (answer.status, answer.code) == (414, "url_too_long")
    assert len(answer.body) < 1000
    assert server.get("/tickers?" + "&" * URL_LENGTH_MAX).status == 414


def test_a_large_body_is_413_and_ends_the_connection(make_server: Make) -> None:
    server = make_server(request_body_max=100).serve()
    announced = server.get("/health", ("Content-Length", "101"))
    assert (announced.status, announced.code) == (413, "body_too_large")
    assert announced.headers["connection"] == "close"
    chunked = server.get("/health", ("Transfer-Encoding", "chunked"), body=[b"x" * 60] * 2)
    assert chunked.status == 413


def test_a_body_that_is_cut_off_is_400(server: Any) -> None:
    answer = server.get("/health", ("Content-Length", "10"), body=[])
    assert (answer.status, answer.code) == (400, "bad_body")


def test_a_small_body_is_ignored(make_server: Make) -> None:
    server = make_server(request_body_max=100).serve()
    assert server.get("/health", ("Content-Length", "100"), body=[b"x" * 100]).status == 200
    chunked = server.get("/health", ("Transfer-Encoding", "chunked"), body=[b"x" * 50] * 2)
    assert chunked.status == 200


def test_our_own_fault_is_500_with_an_id_and_no_traceback(
    server: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> None:
        raise RuntimeError("a secret of the inside")

    monkeypatch.setattr(server.feed, "status", fail)
    with caplog.at_level(logging.ERROR):
        answer = server.get("/v1/status")
    assert (answer.status, answer.code) == (500, "internal_error")
    assert b"secret" not in answer.body
    assert b"Traceback" not in answer.body
    (record,) = caplog.records
    assert record.fields["id"] == answer.json()["id"]
    assert "a secret of the inside" in (record.exc_text or str(record.exc_info))
    assert server.get("/health").status == 200


def test_every_answer_forbids_sniffing(server: Any) -> None:
    for path in ("/", "/health", "/klines/BTCUSDT/1m", "/nothing", "/metrics"):
        assert server.get(path).headers["x-content-type-options"] == "nosniff"


@given(
    target=st.one_of(
        st.text(st.characters(codec="ascii", exclude_characters="?# "), max_size=60),
        st.builds(
            "/klines/{}/{}?{}".format,
            st.sampled_from(["BTCUSDT", "%E5", "x"]),
            st.sampled_from(["1m", "1h", "%31m", "x"]),
            st.text(st.sampled_from("limt=&%0123456789+-xfg"), max_size=40),
        ),
    ),
    method=st.sampled_from(["GET", "HEAD", "OPTIONS", "POST"]),
)
def test_no_request_makes_the_server_fail(make_server: Make, target: str, method: str) -> None:
    answer = _fuzzed(make_server).get(target, method=method)
    assert answer.status in {200, 204, 400, 404, 405, 426}


_shared: list[Any] = []


def _fuzzed(make_server: Make) -> Any:
    """One server for all examples: its market takes a while to reserve."""
    if not _shared:
        _shared.append(make_server(capacity=20).serve().fill(30))
    return _shared[0]
