"""Keys: every route and the socket, every way to show a wrong one, and the bound on guesses."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest

from server.api.auth import ADDRESSES_MAX, FAILURES_MAX, Gate
from server.api.problems import ApiError
from server.api.router import Access
from server.clock import Clock

Make = Callable[..., Any]
KEY = "correct-horse-battery-staple"

#: Every way to be wrong. All must look the same from outside.
WRONG: dict[str, list[tuple[str, str | bytes]]] = {
    "none": [],
    "empty": [("X-API-Key", "")],
    "wrong": [("X-API-Key", "wrong")],
    "prefix": [("X-API-Key", KEY[:-1])],
    "longer": [("X-API-Key", KEY + "x")],
    "trailing space": [("X-API-Key", KEY + " ")],
    "leading space": [("X-API-Key", " " + KEY)],
    "other case": [("X-API-Key", KEY.upper())],
    "homoglyph": [("X-API-Key", KEY.replace("o", "о"))],
    "not UTF-8": [("X-API-Key", b"\xff\xfe")],
    "huge": [("X-API-Key", "x" * 1_000_000)],
    "two in conflict": [("X-API-Key", KEY), ("X-API-Key", "wrong")],
    "two headers in conflict": [("X-API-Key", KEY), ("Authorization", "Bearer wrong")],
    "alias in conflict": [("X-API-Key", KEY), ("X-MBX-APIKEY", "wrong")],
    "Bearer without token": [("Authorization", "Bearer")],
    "Bearer with empty token": [("Authorization", "Bearer ")],
    "Basic": [("Authorization", f"Basic {KEY}")],
    "no scheme": [("Authorization", KEY)],
    "right key beside Basic": [("X-API-Key", KEY), ("Authorization", "Basic eDp5")],
    "alias wrong": [("X-MBX-APIKEY", "wrong")],
}

RIGHT: dict[str, list[tuple[str, str | bytes]]] = {
    "X-API-Key": [("X-API-Key", KEY)],
    "Bearer": [("Authorization", f"Bearer {KEY}")],
    "bearer": [("Authorization", f"bearer {KEY}")],
    "X-MBX-APIKEY": [("X-MBX-APIKEY", KEY)],
    "the same twice": [("X-API-Key", KEY), ("Authorization", f"Bearer {KEY}")],
}

OPEN = {"/", "/health", "/ready", "/openapi.json"}
CLOSED = {
    "/klines/{symbol}/{interval}", "/ticker/{symbol}", "/tickers", "/ws", "/v1/symbols",
    "/v1/status", "/metrics", "/v1/filters/vocabulary", "/v1/filters/check",
    "/v1/filters/evaluate", "/v1/filters/replay", "/v1/indicators/{symbol}/{interval}",
    "/functions/v1/get-klines", "/functions/v1/execute-trader",
    "/functions/v1/trigger-executions",
}  # fmt: skip
#: Bodies of the paths that are only posted to.
POSTED = {
    f"/v1/filters/{name}": {"filter": "close > 1", "interval": "1m"}
    for name in ("check", "evaluate", "replay")
} | {
    "/functions/v1/get-klines": {"symbol": "BTCUSDT", "timeframe": "1m", "limit": 5},
    "/functions/v1/execute-trader": {"traderId": str(UUID(int=1)), "symbols": ["BTCUSDT"]},
    "/functions/v1/trigger-executions": {},
}
#: Paths that refuse what is asked here for another reason than a key.
REFUSING = {
    "/ticker/{symbol}": "no_ticker_yet",
    "/ws": "upgrade_required",
    "/functions/v1/execute-trader": "trader_not_found",
}


def target(path: str) -> str:
    query = "?expr=close" if path.startswith("/v1/indicators") else ""
    return path.replace("{symbol}", "BTCUSDT").replace("{interval}", "1m") + query


def ask(server: Any, path: str, *headers: tuple[str, str | bytes], address: str = "::1") -> Any:
    """Get a path, or post to it what it takes."""
    if path not in POSTED:
        return server.get(target(path), *headers, address=address)
    body = json.dumps(POSTED[path]).encode()
    headers = (*headers, ("Content-Type", "application/json"))
    return server.get(target(path), *headers, method="POST", body=[body], address=address)


@pytest.fixture
def locked(make_server: Make) -> Any:
    return make_server(api_key=KEY, capacity=20).serve().fill(5)


def test_the_matrix_covers_every_route(locked: Any) -> None:
    routes = {
        route.path: route.access
        for route in locked.api.routes
        if not route.path.startswith("/v1/traders")  # see test_traders.py
    }
    assert {path for path, access in routes.items() if access is Access.OPEN} == OPEN
    assert {path for path, access in routes.items() if access is not Access.OPEN} == CLOSED


@pytest.mark.parametrize("path", sorted(CLOSED))
def test_every_wrong_key_gets_the_same_401(locked: Any, path: str) -> None:
    """K14, K15."""
    answers = [
        ask(locked, path, *headers, address=f"10.0.0.{i}")
        for i, headers in enumerate(WRONG.values())
    ]
    assert {answer.status for answer in answers} == {401}
    assert len({answer.body for answer in answers}) == 1
    assert all(answer.raw_headers == answers[0].raw_headers for answer in answers)
    assert answers[0].code == "unauthorized"
    assert answers[0].headers["www-authenticate"] == 'Bearer realm="klinecore"'
    assert KEY not in answers[0].body.decode()


@pytest.mark.parametrize("how", RIGHT)
@pytest.mark.parametrize("path", sorted(CLOSED))
def test_the_right_key_opens_every_route(locked: Any, path: str, how: str) -> None:
    answer = ask(locked, path, *RIGHT[how])
    assert answer.status != 401
    if path in REFUSING:
        assert answer.code == REFUSING[path]
    else:
        assert answer.status == 200


@pytest.mark.parametrize("path", sorted(OPEN))
def test_open_routes_need_no_key_and_tell_none(locked: Any, path: str) -> None:
    answer = locked.get(path)
    assert answer.status == 200
    assert KEY not in answer.body.decode()


@pytest.mark.parametrize("method", ["HEAD", "POST", "OPTIONS"])
def test_other_methods_give_no_data_without_a_key(locked: Any, method: str) -> None:
    answer = locked.get("/klines/BTCUSDT/1m", method=method)
    assert answer.status == {"HEAD": 401, "POST": 405, "OPTIONS": 204}[method]
    assert b"klines" not in answer.body.replace(b"/klines/BTCUSDT", b"")


@pytest.mark.parametrize("name", ["key", "api_key", "apikey", "token", "X-API-Key"])
def test_a_key_in_the_query_string_counts_for_nothing(locked: Any, name: str) -> None:
    assert locked.get(f"/klines/BTCUSDT/1m?{name}={KEY}").status == 401
    both = locked.get(f"/klines/BTCUSDT/1m?{name}={KEY}", ("X-API-Key", KEY))
    assert (both.status, both.code) == (400, "unknown_parameter")
    assert KEY not in both.body.decode()


def test_without_a_key_configured_everything_is_open_on_loopback(server: Any) -> None:
    for path in CLOSED - REFUSING.keys():
        assert ask(server, path).status == 200
        assert ask(server, path, ("X-API-Key", "anything")).status == 200


def test_too_many_failures_of_an_address_are_told_to_wait(locked: Any) -> None:
    for _ in range(FAILURES_MAX):
        assert locked.get("/tickers", address="10.1.1.1").status == 401
    answer = locked.get("/tickers", address="10.1.1.1")
    assert (answer.status, answer.code) == (429, "too_many_failures")
    assert 1 <= int(answer.headers["retry-after"]) <= 61
    # Also the right one: else the limit would not limit guessing.
    assert locked.get("/tickers", ("X-API-Key", KEY), address="10.1.1.1").status == 429
    assert locked.get("/tickers", ("X-API-Key", KEY), address="10.1.1.2").status == 200
    locked.clock.now_ms += 61_000
    assert locked.get("/tickers", ("X-API-Key", KEY), address="10.1.1.1").status == 200


def test_open_routes_stay_open_to_an_address_that_failed(locked: Any) -> None:
    for _ in range(FAILURES_MAX + 1):
        locked.get("/tickers")
    assert locked.get("/health").status == 200


def check(gate: Gate, key: str, address: str = "a") -> bool:
    try:
        gate.check([(b"x-api-key", key.encode())], address)
    except ApiError:
        return False
    return True


def test_two_keys_live_side_by_side(server: Any) -> None:
    """K14: a key can be replaced without a gap."""
    gate = Gate(["old", "new"], server.clock)
    assert check(gate, "old")
    assert check(gate, "new")
    assert not check(gate, "neither")


def test_an_empty_key_is_refused_at_the_start(server: Any) -> None:
    with pytest.raises(ValueError, match="must not be empty"):
        Gate([""], server.clock)


def test_remembered_addresses_are_bounded(server: Any) -> None:
    clock: Clock = server.clock
    gate = Gate([KEY], clock)
    for i in range(ADDRESSES_MAX + 100):
        assert not check(gate, "wrong", str(i))
    assert len(gate._failures) == ADDRESSES_MAX
    assert gate.failures == ADDRESSES_MAX + 100


# --- the socket ------------------------------------------------------------------------------


def dial(
    server: Any,
    headers: list[tuple[str, str | bytes]],
    subprotocols: tuple[str, ...] = (),
    path: bytes = b"/ws",
    address: str = "127.0.0.1",
) -> list[dict[str, Any]]:
    """What the server says to a handshake; the client leaves as soon as it was accepted."""
    sent: list[dict[str, Any]] = []
    events = [{"type": "websocket.connect"}, {"type": "websocket.disconnect"}]

    async def receive() -> dict[str, Any]:
        return events.pop(0)

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    raw, _, query = path.partition(b"?")
    listed = [(n.lower().encode(), v if isinstance(v, bytes) else v.encode()) for n, v in headers]
    scope = {
        "type": "websocket",
        "http_version": "1.1",
        "path": raw.decode(),
        "raw_path": raw,
        "query_string": query,
        "headers": [(b"host", b"127.0.0.1:8080"), *listed],
        "client": (address, "1"),
        "subprotocols": list(subprotocols),
        "extensions": {"websocket.http.response": {}},
    }

    async def run() -> None:
        await server.api(scope, receive, send)

    asyncio.run(asyncio.wait_for(run(), 5))
    return sent


@pytest.mark.parametrize("how", WRONG)
def test_the_socket_refuses_every_wrong_key_before_the_handshake(locked: Any, how: str) -> None:
    """K15: the original's socket was open to all."""
    start, body = dial(locked, WRONG[how])
    assert (start["type"], start["status"]) == ("websocket.http.response.start", 401)
    assert body["body"] == dial(locked, [], address="10.9.9.9")[1]["body"]
    assert len(locked.hub) == 0


@pytest.mark.parametrize("how", RIGHT)
def test_the_socket_takes_the_right_key(locked: Any, how: str) -> None:
    assert dial(locked, RIGHT[how])[0]["type"] == "websocket.accept"


def test_a_browser_shows_its_key_as_a_subprotocol_that_is_never_echoed(locked: Any) -> None:
    (accept,) = dial(locked, [], ("klinecore.v1", f"klinecore.key.{KEY}"))
    assert (accept["type"], accept["subprotocol"]) == ("websocket.accept", "klinecore.v1")
    (accept,) = dial(locked, [], (f"klinecore.key.{KEY}",))
    assert (accept["type"], accept["subprotocol"]) == ("websocket.accept", None)


def test_a_key_in_a_subprotocol_may_be_percent_encoded(make_server: Make) -> None:
    server = make_server(api_key="a/b=c d").serve()
    assert dial(server, [], ("klinecore.key.a%2Fb%3Dc%20d",))[0]["type"] == "websocket.accept"


@pytest.mark.parametrize(
    "offered",
    [
        ("klinecore.v1",),
        ("klinecore.key.",),
        ("klinecore.key.wrong",),
        (f"klinecore.key.{KEY}", "klinecore.key.wrong"),
        (KEY,),
        (f"KLINECORE.KEY.{KEY}",),
    ],
)
def test_a_wrong_subprotocol_is_refused(locked: Any, offered: tuple[str, ...]) -> None:
    assert dial(locked, [], offered)[0]["status"] == 401


def test_a_header_and_a_subprotocol_must_agree(locked: Any) -> None:
    assert dial(locked, RIGHT["Bearer"], ("klinecore.key.wrong",))[0]["status"] == 401


def test_socket_failures_count_with_the_others(locked: Any) -> None:
    for _ in range(FAILURES_MAX):
        assert dial(locked, [], address="10.2.2.2")[0]["status"] == 401
    assert dial(locked, RIGHT["Bearer"], address="10.2.2.2")[0]["status"] == 429
    assert locked.get("/tickers", ("X-API-Key", KEY), address="10.2.2.2").status == 429


@pytest.mark.parametrize(
    ("origin", "accepted"),
    [
        (None, True),
        ("http://127.0.0.1:8080", True),
        ("https://good.example", True),
        ("https://evil.example", False),
        ("http://127.0.0.1:8081", False),
        ("null", False),
        ("https://good.example.evil.example", False),
    ],
)
def test_pages_of_other_sites_may_not_open_the_socket(
    make_server: Make, origin: str | None, accepted: bool
) -> None:
    """K15: the original took any origin."""
    server = make_server(cors_origins=["https://good.example"]).serve()
    first = dial(server, [] if origin is None else [("Origin", origin)])[0]
    assert (first["type"] == "websocket.accept") == accepted
    if not accepted:
        assert first["status"] == 403


def test_the_socket_lives_at_ws_only(locked: Any) -> None:
    assert dial(locked, RIGHT["Bearer"], path=b"/other")[0]["status"] == 404
    assert dial(locked, RIGHT["Bearer"], path=b"/ws?market=um")[0]["status"] == 400
    assert dial(locked, RIGHT["Bearer"], path=b"/ws?x=1")[0]["status"] == 400
