"""The other routes: tickers, health, readiness, status, metrics, the page, the description."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from openapi_spec_validator import validate
from prometheus_client.parser import text_string_to_metric_families

from server.api import types

Make = Callable[..., Any]
START_MS = 1_700_000_040_000


def send_ticker(server: Any, symbol: str, last: str) -> None:
    frame = {
        "e": "24hrTicker", "E": START_MS, "s": symbol, "p": "1.0", "P": "1.00", "w": "1.0",
        "x": "1", "c": last, "Q": "1", "b": "1", "B": "1", "a": "1", "A": "1", "o": "1",
        "h": "3", "l": "1", "v": "10.0", "q": "5", "O": 1, "C": 2, "F": 1, "L": 3, "n": 3,
    }  # fmt: skip
    server.market.apply(json.dumps(frame).encode())


def metrics_of(server: Any) -> dict[str, float]:
    text = server.get("/metrics").body.decode()
    return {
        sample.name + "".join(f"{{{value}}}" for value in sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_a_ticker_has_the_exchanges_letters_and_texts(server: Any) -> None:
    send_ticker(server, "BTCUSDT", "2.00")
    expected = {
        "s": "BTCUSDT", "c": "2.00", "v": "10.0", "q": "5", "P": "1.00", "h": "3", "l": "1",
        "t": START_MS,
    }  # fmt: skip
    assert server.get("/ticker/BTCUSDT").json() == expected
    assert server.get("/ticker/btcusdt").json() == expected
    assert server.get("/tickers").json() == {"BTCUSDT": expected}


def test_an_unknown_ticker_is_404_and_one_not_received_yet_says_so(server: Any) -> None:
    """K18: one rule for unknown names."""
    unknown = server.get("/ticker/DOGEUSDT")
    assert (unknown.status, unknown.code) == (404, "unknown_symbol")
    silent = server.get("/ticker/ETHUSDT")
    assert (silent.status, silent.code) == (404, "no_ticker_yet")
    assert server.get("/tickers").json() == {}


def test_health_is_about_the_process_only(server: Any) -> None:
    server.feed.reasons = ["the feed is dead"]
    server.state.beat(0.003)
    answer = server.get("/health")
    assert answer.status == 200
    health = msgspec.json.decode(answer.body, type=types.Health)
    assert (health.status, health.time, health.loop_lag_ms) == ("healthy", START_MS // 1000, 3.0)


def test_health_fails_when_the_loop_no_longer_beats(server: Any) -> None:
    server.clock.now_ms += 6000
    answer = server.get("/health")
    assert (answer.status, answer.json()["status"]) == (503, "stuck")


def keep_current(server: Any, now_ms: int) -> None:
    """Every series has its newest close shortly before ``now_ms``."""
    for series in server.market:
        length = 60_000 if series.interval == "1m" else 3_600_000
        start = now_ms // length * length - length
        server.market.push(
            series.symbol,
            series.interval,
            server.row(0)._replace(open_time_ms=start, close_time_ms=start + length - 1),
        )
    server.clock.now_ms = now_ms


def test_ready_when_the_feed_is_and_every_series_is_current(make_server: Make) -> None:
    server = make_server().serve()
    keep_current(server, START_MS)
    server.state.beat(0.0)
    answer = server.get("/ready")
    assert answer.status == 200
    readiness = msgspec.json.decode(answer.body, type=types.Readiness)
    assert readiness.ready
    assert readiness.reasons == []
    spot = readiness.markets["spot"]
    assert (spot.data_age_ms, spot.series.total, spot.series.complete) == (100, 6, 6)
    assert (spot.series.stale, spot.series.empty) == (0, 0)
    assert spot.unknown_symbols == ["NOPEUSDT"]


def test_not_ready_while_starting_and_says_what_for(make_server: Make) -> None:
    server = make_server()
    server.state.waiting_for[:] = ["spot: asking the exchange for its symbols"]
    answer = server.get("/ready")
    assert answer.status == 503
    assert answer.json()["reasons"] == ["spot: asking the exchange for its symbols"]


def test_not_ready_when_the_feed_is_dead(make_server: Make) -> None:
    """K13: the original never looked at its data."""
    server = make_server().serve()
    keep_current(server, START_MS)
    server.feed.reasons = ["connection 0 brings no data for 40 s"]
    server.feed.age_ms = 40_000
    server.state.beat(0.0)
    answer = server.get("/ready")
    assert answer.status == 503
    assert answer.json()["reasons"] == ["spot: connection 0 brings no data for 40 s"]
    assert answer.json()["markets"]["spot"]["stale"] is True


def test_not_ready_when_a_series_is_too_old_whatever_the_feed_says(make_server: Make) -> None:
    """K13."""
    server = make_server(stale_after_s=30.0).serve()
    keep_current(server, START_MS)
    server.clock.now_ms = START_MS + 60_000 + 29_000  # the next close came due 29 s ago
    server.state.beat(0.0)
    assert server.get("/ready").status == 200
    server.clock.now_ms += 1_001
    server.state.beat(0.0)
    answer = server.get("/ready")
    assert answer.status == 503
    assert "3 of 6 series" in answer.json()["reasons"][0]


def test_not_ready_while_shutting_down(make_server: Make) -> None:
    server = make_server().serve()
    keep_current(server, START_MS)
    server.state.draining = True
    assert server.get("/ready").status == 503


def test_symbols_names_what_is_held(server: Any) -> None:
    symbols = msgspec.json.decode(server.get("/v1/symbols").body, type=types.Symbols)
    spot = symbols.markets["spot"]
    assert spot.symbols == ["BTCUSDT", "ETHUSDT", "币安人生USDT"]
    assert (spot.intervals, spot.capacity) == (["1m", "1h"], 20)
    assert spot.unknown_symbols == ["NOPEUSDT"]


def test_status_describes_every_series(server: Any) -> None:
    """K22: age, gaps, revisions and drops are visible."""
    hole = server.row(33)
    server.market.push("BTCUSDT", "1m", hole)
    status = msgspec.json.decode(server.get("/v1/status").body, type=types.Status)
    spot = status.markets["spot"]
    assert len(spot.series) == 6
    series = next(s for s in spot.series if (s.symbol, s.interval) == ("BTCUSDT", "1m"))
    assert (series.rows, series.closed_count) == (len(server.market["BTCUSDT", "1m"]), 31)
    assert series.last_close_ms == hole.close_time_ms
    hole_ms = (START_MS + 30 * 60_000, START_MS + 32 * 60_000)
    assert (series.holes, series.absences) == ([hole_ms], [])
    assert series.states == {"pushed": series.rows}
    assert {"revisions", "duplicates", "stale", "too_old"} <= series.counters.keys()
    assert spot.feed.streams_delivering == 6
    assert spot.counters["unknown_symbol"] == 0


def test_status_tells_a_confirmed_absence_from_a_hole(server: Any) -> None:
    server.market.push("BTCUSDT", "1m", server.row(33))
    hole_ms = (START_MS + 30 * 60_000, START_MS + 32 * 60_000)
    assert server.market.confirm_absent("BTCUSDT", "1m", *hole_ms)
    answer = server.get("/v1/status?symbol=BTCUSDT&interval=1m").body
    (series,) = msgspec.json.decode(answer, type=types.Status).markets["spot"].series
    assert (series.holes, series.absences) == ([], [hole_ms])


@pytest.mark.parametrize(
    ("query", "count"),
    [
        ("", 6),
        ("?symbol=btcusdt", 2),
        ("?interval=1h", 3),
        ("?symbol=ETHUSDT&interval=1m", 1),
        ("?market=spot", 6),
    ],
)
def test_status_can_be_narrowed(server: Any, query: str, count: int) -> None:
    answer = server.get("/v1/status" + query)
    assert len(answer.json()["markets"]["spot"]["series"]) == count


@pytest.mark.parametrize(
    ("query", "status", "code"),
    [
        ("symbol=X", 404, "unknown_symbol"),
        ("interval=x", 400, "invalid_interval"),
        ("interval=5m", 404, "interval_not_served"),
        ("market=um", 400, "invalid_market"),
    ],
)
def test_status_refuses_what_it_does_not_know(
    server: Any, query: str, status: int, code: str
) -> None:
    answer = server.get("/v1/status?" + query)
    assert (answer.status, answer.code) == (status, code)


def test_metrics_count_requests_by_route_and_status(server: Any) -> None:
    """K22."""
    for _ in range(3):
        server.get("/klines/BTCUSDT/1m")
    server.get("/klines/NOPE/1m")
    server.get("/nothing")
    counted = metrics_of(server)
    assert counted["http_requests_total{/klines/{symbol}/{interval}}{200}"] == 3
    assert counted["http_requests_total{/klines/{symbol}/{interval}}{404}"] == 1
    assert counted["http_requests_total{none}{404}"] == 1
    assert counted["http_request_duration_seconds_count{/klines/{symbol}/{interval}}"] == 4
    assert counted["http_cache_hits"] == 2
    assert counted["ws_clients"] == 0
    assert counted["http_failures_total"] == 0


def test_metrics_name_no_symbol_a_client_made_up(server: Any) -> None:
    for i in range(300):
        server.get(f"/klines/MADEUP{i}/1m")
        server.get(f"/made/up/{i}")
    assert b"MADEUP" not in server.get("/metrics").body


def test_the_page_of_routes_names_every_one_and_loads_nothing(server: Any) -> None:
    answer = server.get("/docs")
    page = answer.body.decode()
    for route in server.api.routes:
        assert route.path in page
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert "http://" not in page
    assert "https://" not in page
    assert "<script" not in page


def test_the_description_is_valid_openapi_and_covers_every_route(server: Any) -> None:
    description = server.get("/openapi.json").json()
    validate(description)
    assert set(description["paths"]) == {route.path for route in server.api.routes}
    parameters = description["paths"]["/klines/{symbol}/{interval}"]["get"]["parameters"]
    assert [p["name"] for p in parameters if p["in"] == "path"] == ["symbol", "interval"]
    assert {p["name"] for p in parameters if p["in"] == "query"} == {
        "limit", "forming", "startTime", "endTime", "market",
    }  # fmt: skip


@pytest.mark.parametrize("target", ["/klines/BTCUSDT/1m?forming=true", "/tickers", "/v1/symbols"])
def test_answers_are_what_the_description_promises(server: Any, target: str) -> None:
    send_ticker(server, "BTCUSDT", "2.00")
    kinds: dict[str, Any] = {
        "/klines": types.Klines, "/tickers": dict[str, types.Ticker], "/v1": types.Symbols,
    }  # fmt: skip
    kind = next(kind for prefix, kind in kinds.items() if target.startswith(prefix))
    body = server.get(target).body
    assert json.loads(msgspec.json.encode(msgspec.json.decode(body, type=kind))) == json.loads(body)


def test_cross_origin_reading_is_off_by_default(server: Any) -> None:
    answer = server.get("/tickers", ("Origin", "https://a.example"))
    assert not [name for name in answer.headers if name.startswith("access-control")]
    preflight = server.get(
        "/tickers",
        ("Origin", "https://a.example"),
        ("Access-Control-Request-Method", "GET"),
        method="OPTIONS",
    )
    assert not [name for name in preflight.headers if name.startswith("access-control")]


@pytest.mark.parametrize(
    ("origin", "allowed"), [("https://a.example", True), ("https://b.example", False)]
)
def test_listed_origins_may_read(make_server: Make, origin: str, allowed: bool) -> None:
    """K15: the original allowed every origin."""
    server = make_server(cors_origins=["https://a.example"], api_key="k").serve()
    for answer in (
        server.get("/tickers", ("Origin", origin), ("X-API-Key", "k")),
        server.get("/tickers", ("Origin", origin)),  # the page must see that the key was wrong
    ):
        assert answer.headers.get("access-control-allow-origin") == (origin if allowed else None)
        assert answer.headers["vary"] == "origin"
    preflight = server.get(
        "/tickers", ("Origin", origin), ("Access-Control-Request-Method", "GET"), method="OPTIONS"
    )
    assert preflight.status == 204
    named = preflight.headers.get("access-control-allow-headers", "").split(", ")
    # Its key, and where a page's event stream goes on.
    assert ({"x-api-key", "last-event-id"} <= set(named)) == allowed
