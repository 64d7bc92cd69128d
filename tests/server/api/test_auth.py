"""Keys: every route and the socket, every way to show a wrong one, and the bound on guesses."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import pytest
from every_key import KEY, Header, Keys

from server.api.application import create_api
from server.api.auth import ADDRESSES_MAX, FAILURES_MAX, Gate
from server.api.problems import FUNCTIONS, ApiError
from server.api.router import Access, Route
from server.api.state import ServerState
from server.clock import Clock, SystemClock
from server.metrics import Registry
from server.settings import Settings
from server.signals.hub import Hub
from server.web.site import Site, find_chart

Make = Callable[..., Any]
NOBODY = "00000000-0000-4000-8000-000000000000"

#: Everything else asks who is there.
OPEN = {
    ("GET", "/"),
    ("GET", "/health"),
    ("GET", "/ready"),
    ("GET", "/docs"),
    ("GET", "/assets/{build}/{file}"),
    ("GET", "/openapi.json"),
} | {
    ("GET", path)
    for path in (
        *(f"{prefix}/{name}" for prefix in ("/api/v3", "/fapi/v1") for name in ("ping", "time")),
        "/dapi/v1/exchangeInfo",
        "/sapi/v1/system/status",
    )
}
BUILD = Site(chart=find_chart()).build
#: What anybody may ask; a wrong key is refused there all the same.
OPEN_TO_GUESTS = {
    ("GET", "/v1/traders"),  # built-in ones
    ("GET", "/v1/traders/{id}"),
    ("GET", "/v1/me"),  # tells them that they are nobody
}


def all_routes() -> dict[tuple[str, str], Route]:
    """The whole table, so that no route can be forgotten."""
    state = ServerState(Settings(), SystemClock(), Registry(), Hub())
    return {(route.method, route.path): route for route in create_api(state).routes}


ROUTES = all_routes()
CLOSED = sorted(ROUTES.keys() - OPEN)
SCOPED = sorted(
    where for where, route in ROUTES.items() if route.access in (Access.TRADE, Access.ADMIN)
)
BEARER: list[Header] = [("Authorization", f"Bearer {KEY}")]


WRONG = sorted(Keys(Path(mkdtemp())).wrong())  # their names; each test module has its own
RIGHT = ["X-API-Key", "Bearer", "bearer", "X-MBX-APIKEY", "the same twice", "key of the file",
         "key of the file as Bearer", "beside the public key"]  # fmt: skip


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    return Keys(tmp_path_factory.mktemp("keys"))


@pytest.fixture
def locked(make_server: Make, keys: Keys) -> Any:
    """A server that takes its own key, keys of a file and tokens of a project."""
    return keys.serve(make_server)


def target(path: str) -> str:
    known = {"symbol": "BTCUSDT", "interval": "1m", "build": BUILD, "file": "app.css"}
    filled = re.sub(r"\{(\w+)\}", lambda match: known.get(match[1], NOBODY), path)
    return filled + ("?expr=close" if path.startswith("/v1/indicators") else "")


def ask(server: Any, where: tuple[str, str], *headers: Header, address: str = "::1") -> Any:
    """Ask a route as it wants to be asked; of a body only that it is JSON."""
    method, path = where
    if ROUTES[where].body is not None:
        headers = (*headers, ("Content-Type", "application/json"))
    return server.get(target(path), *headers, method=method, body=[b"{}"], address=address)


def test_the_open_routes_are_these_and_no_others() -> None:
    opened = {where for where, route in ROUTES.items() if route.access is Access.OPEN}
    guests = {where for where in opened if ROUTES[where].personal}
    assert (opened - guests, guests) == (OPEN, OPEN_TO_GUESTS)
    assert {path for method, path in ROUTES if method == "GET"} >= {"/ws", "/metrics", "/tickers"}


@pytest.mark.parametrize("where", CLOSED, ids=" ".join)
def test_every_wrong_key_gets_the_same_401(locked: Any, keys: Keys, where: tuple[str, str]) -> None:
    """K14, K15, E1."""
    guests = where in OPEN_TO_GUESTS
    without = {"none", "the project's public key", "the project's old public key"}
    answers = {
        how: ask(locked, where, *headers, address=f"10.0.0.{i}")
        for i, (how, headers) in enumerate(keys.wrong().items())
        if not (guests and how in without)
    }
    first = answers["wrong"]
    assert {how: answer.status for how, answer in answers.items() if answer.status != 401} == {}
    assert {answer.body for answer in answers.values()} == {first.body}
    assert all(answer.raw_headers == first.raw_headers for answer in answers.values())
    assert first.code == "unauthorized"
    assert first.headers["www-authenticate"] == 'Bearer realm="klinecore"'


@pytest.mark.parametrize("where", SCOPED, ids=" ".join)
def test_a_key_of_too_small_a_scope_gets_the_same_403(
    locked: Any, keys: Keys, where: tuple[str, str]
) -> None:
    small = [("X-API-Key", keys.read)]
    trading = [
        [("X-API-Key", keys.trade)],
        [("X-API-Key", keys.other)],
        [("Authorization", f"Bearer {keys.token}")],
    ]
    for equals in ([small], trading if ROUTES[where].access is Access.ADMIN else [small]):
        answers = [ask(locked, where, *headers) for headers in equals]
        assert {answer.status for answer in answers} == {403}
        own = "forbidden" if where[1].startswith(FUNCTIONS) else "insufficient_scope"
        assert {answer.code for answer in answers} == {own}
        assert len({answer.body for answer in answers}) == 1


@pytest.mark.parametrize("how", RIGHT)
@pytest.mark.parametrize("where", CLOSED, ids=" ".join)
def test_the_right_key_opens_every_route(
    locked: Any, keys: Keys, where: tuple[str, str], how: str
) -> None:
    answer = ask(locked, where, *keys.right()[how])
    assert answer.status not in (401, 403, 500)
    if where[1] == "/ws":
        assert answer.code == "upgrade_required"


@pytest.mark.parametrize("where", CLOSED, ids=" ".join)
def test_a_token_opens_what_its_user_may(locked: Any, keys: Keys, where: tuple[str, str]) -> None:
    answer = ask(locked, where, ("Authorization", f"Bearer {keys.token}"))
    assert (answer.status == 403) == (ROUTES[where].access is Access.ADMIN)
    assert answer.status not in (401, 500)


def test_no_secret_is_in_any_answer_log_or_metric(
    locked: Any, keys: Keys, caplog: pytest.LogCaptureFixture
) -> None:
    """The canary, with every kind of key and token on every route."""
    caplog.set_level(logging.DEBUG)
    said = []
    shown = {**keys.wrong(), **keys.right(), "token": [("Authorization", f"Bearer {keys.token}")]}
    for number, headers in enumerate(shown.values()):
        for where in ROUTES:
            answer = ask(locked, where, *headers, address=f"10.0.0.{number}")
            said += [answer.body.decode(), str(answer.raw_headers)]
    said += [caplog.text, locked.metrics.render().decode(), repr(locked.settings)]
    text = "\n".join(said)
    assert "unauthorized" in text
    assert {secret for secret in keys.secrets() if secret in text} == set()


@pytest.mark.parametrize("path", sorted(path for _, path in OPEN))
def test_open_routes_need_no_key_and_tell_none(locked: Any, path: str) -> None:
    answer = locked.get(target(path), ("X-API-Key", "wrong"))
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
    for where in CLOSED:
        for headers in ([], [("X-API-Key", "anything")], [("Authorization", "Basic eDp5")]):
            assert ask(server, where, *headers).status not in (401, 403, 429, 500)


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


def test_guesses_behind_a_proxy_shut_out_who_made_them_and_nobody_else(make_server: Any) -> None:
    server = make_server(api_key=KEY, trusted_proxies=("10.0.0.1",)).serve()

    def ask(key: str, said: str, address: str = "10.0.0.1") -> int:
        shown = [("X-API-Key", key), ("X-Forwarded-For", said)]
        return int(server.get("/tickers", *shown, address=address).status)

    for number in range(FAILURES_MAX):
        assert ask("wrong", f"192.0.2.{number}, 203.0.113.7") == 401
    assert ask(KEY, "192.0.2.99, 203.0.113.7") == 429
    assert ask(KEY, "203.0.113.8") == 200
    for number in range(FAILURES_MAX):  # it is no proxy, and says so of itself
        assert ask("wrong", f"192.0.2.{number}", "203.0.113.9") == 401
    assert ask(KEY, "192.0.2.99", "203.0.113.9") == 429


def test_the_log_names_who_is_told_to_wait_once_a_minute(
    locked: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """Behind a proxy that is not named it is everybody: its operator must be able to see it."""
    for address in ("10.3.3.1", "10.3.3.2"):
        for _ in range(FAILURES_MAX + 5):
            locked.get("/tickers", ("X-API-Key", "guessed"), address=address)
    (record,) = caplog.records
    assert "10.3.3.1" in record.getMessage()
    assert "KLINE_TRUSTED_PROXIES" in record.getMessage()
    locked.clock.now_ms += 61_000
    for _ in range(FAILURES_MAX):
        locked.get("/tickers", address="10.3.3.3")
    assert "10.3.3.3" in caplog.records[-1].getMessage()
    assert "guessed" not in caplog.text


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

    asyncio.run(asyncio.wait_for(run(), 30))
    return sent


@pytest.mark.parametrize("how", WRONG)
def test_the_socket_refuses_every_wrong_key_before_the_handshake(
    locked: Any, keys: Keys, how: str
) -> None:
    """K15: the original's socket was open to all."""
    start, body = dial(locked, keys.wrong()[how])
    assert (start["type"], start["status"]) == ("websocket.http.response.start", 401)
    assert body["body"] == dial(locked, [], address="10.9.9.9")[1]["body"]
    assert len(locked.hub) == 0


@pytest.mark.parametrize("how", RIGHT)
def test_the_socket_takes_the_right_key(locked: Any, keys: Keys, how: str) -> None:
    assert dial(locked, keys.right()[how])[0]["type"] == "websocket.accept"


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
    assert dial(locked, BEARER, ("klinecore.key.wrong",))[0]["status"] == 401


def test_socket_failures_count_with_the_others(locked: Any) -> None:
    for _ in range(FAILURES_MAX):
        assert dial(locked, [], address="10.2.2.2")[0]["status"] == 401
    assert dial(locked, BEARER, address="10.2.2.2")[0]["status"] == 429
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
    assert dial(locked, BEARER, path=b"/other")[0]["status"] == 404
    assert dial(locked, BEARER, path=b"/ws?market=um")[0]["status"] == 400
    assert dial(locked, BEARER, path=b"/ws?x=1")[0]["status"] == 400
