"""What one may do who may: requests by tier, connections by key, and what ends with a key."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from event_reader import read_events
from supabase_project import URL, USER, Project

from server.access.keys import KeysFile
from server.api.auth import LOOK_S, open_gate
from server.api.leases import UNAUTHORIZED_CODE
from server.clock import SystemClock
from server.errors import SettingsError
from server.identity import OPERATOR, Principal, Scope, Tier
from server.metrics import Registry
from server.settings import Settings

START_MS = 1_700_000_040_000
Make = Callable[..., Any]


@pytest.fixture
def file(tmp_path: Path) -> KeysFile:
    return KeysFile(str(tmp_path / "keys.json"))


def make(file: KeysFile, tier: Tier = Tier.FREE, scope: Scope = Scope.READ) -> str:
    return file.add("ann", tier, scope, now_ms=START_MS)[0]


def id_of(key: str) -> str:
    return key.split("_")[1]


# --- requests ----------------------------------------------------------------------------------


def test_requests_beyond_the_tier_are_429_and_say_how_long_to_wait(
    make_server: Make, file: KeysFile
) -> None:
    key = ("X-API-Key", make(file))
    server = make_server(api_keys_file=file.path).serve().fill(5)
    for left in range(99, -1, -1):
        answer = server.get("/klines/BTCUSDT/1m", key)
        assert (answer.status, answer.headers["x-ratelimit-remaining"]) == (200, str(left))
        assert answer.headers["x-ratelimit-limit"] == "100"
        assert answer.headers["x-ratelimit-weight"] == "1"
    answer = server.get("/klines/ETHUSDT/1h?limit=1", key)  # the route counts, not the target
    assert (answer.status, answer.code) == (429, "rate_limited")
    assert answer.headers["retry-after"] == "1"
    assert answer.headers["x-ratelimit-reset"] == "60"
    assert server.get("/tickers", key).status == 200
    assert server.get("/health", key).status == 200
    server.clock.now_ms += 1000
    assert server.get("/klines/BTCUSDT/1m", key).status == 200
    metrics = server.metrics.render().decode()
    assert 'rate_limited_total{scope="key"} 1' in metrics


def test_errors_and_known_answers_count_and_say_what_is_left(
    make_server: Make, file: KeysFile
) -> None:
    key = ("X-API-Key", make(file))
    server = make_server(api_keys_file=file.path).serve().fill(5)
    first = server.get("/klines/BTCUSDT/1m", key)
    for extra, status in (((("If-None-Match", first.headers["etag"]),), 304), ((), 404)):
        symbol = "BTCUSDT" if status == 304 else "NOPEUSDT"
        answer = server.get(f"/klines/{symbol}/1m", key, *extra)
        assert answer.status == status
        assert int(answer.headers["x-ratelimit-remaining"]) < 99
    # What one client is told is not kept for another.
    assert "x-ratelimit-limit" not in dict(server.api._cache._entries.popitem()[1][1].headers)


def test_what_computes_counts_as_several(make_server: Make, file: KeysFile) -> None:
    key = ("X-API-Key", make(file))
    server = make_server(api_keys_file=file.path).serve().fill(5)
    asked = {"filter": "close > 1", "interval": "1m"}
    body, json_type = [json.dumps(asked).encode()], ("Content-Type", "application/json")
    answers = [
        server.get("/v1/filters/replay", key, json_type, method="POST", body=body)
        for _ in range(11)
    ]
    assert [answer.status for answer in answers] == [200] * 10 + [429]
    assert answers[0].headers["x-ratelimit-weight"] == "10"


def test_the_operator_and_a_server_without_keys_have_no_limit(
    make_server: Make, file: KeysFile
) -> None:
    admin = ("X-API-Key", make(file, scope=Scope.ADMIN))
    closed = make_server(api_key="k", api_keys_file=file.path).serve().fill(5)
    opened = make_server().serve().fill(5)
    for server, headers in ((closed, [("X-API-Key", "k")]), (closed, [admin]), (opened, [])):
        answers = [server.get("/klines/BTCUSDT/1m", *headers) for _ in range(1100)]
        assert {answer.status for answer in answers} == {200}
        assert not any(name.startswith("x-ratelimit") for name in answers[-1].headers)


def test_pages_of_listed_sites_may_read_what_is_left(make_server: Make, file: KeysFile) -> None:
    key = make(file)
    server = make_server(api_keys_file=file.path, cors_origins=["https://a.example"]).serve()
    answer = server.get("/tickers", ("X-API-Key", key), ("Origin", "https://a.example"))
    assert answer.headers["x-ratelimit-remaining"] == "99"
    exposed = answer.headers["access-control-expose-headers"].split(", ")
    assert {"x-ratelimit-limit", "x-ratelimit-remaining", "retry-after"} <= set(exposed)


# --- users -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def project() -> Project:
    project = Project()
    project.clock.now_ms = START_MS
    return project


def bearer(token: bytes) -> tuple[str, bytes]:
    return ("Authorization", b"Bearer " + token)


def test_users_are_counted_each_for_themselves_whatever_token_they_show(
    make_server: Make, project: Project
) -> None:
    """E10: logged in or not, all shared one anonymous bucket."""
    server = make_server(api_key="k", supabase_url=URL).serve().fill(5)
    project.publish(server.state.gate.tokens)
    for index in range(100):
        token = project.token(session_id=str(index % 2))
        assert server.get("/klines/BTCUSDT/1m", bearer(token)).status == 200
    assert server.get("/klines/BTCUSDT/1m", bearer(project.token())).status == 429
    other = project.token(sub=USER.replace("5", "6"))
    assert server.get("/klines/BTCUSDT/1m", bearer(other)).status == 200


def test_on_a_server_without_keys_a_token_is_its_users_and_none_the_operator(
    make_server: Make, project: Project
) -> None:
    server = make_server(supabase_url=URL).serve()
    gate = server.state.gate
    project.publish(gate.tokens)

    def who(*headers: tuple[bytes, bytes]) -> Principal:
        async def ask() -> Principal:
            found = gate.check(headers, "127.0.0.1")
            return found if isinstance(found, Principal) else await found

        return asyncio.run(ask())

    assert who().owner == OPERATOR
    assert who((b"authorization", b"Bearer " + project.token())).owner == USER
    assert who((b"authorization", b"Bearer sb_publishable_x")).owner == OPERATOR
    assert who((b"x-api-key", b"whatever")).owner == OPERATOR
    assert server.get("/tickers", bearer(project.token(role="anon"))).status == 401


def test_before_the_projects_keys_are_there_tokens_are_503(
    make_server: Make, project: Project
) -> None:
    server = make_server(api_key="k", supabase_url=URL).serve()
    answer = server.get("/tickers", bearer(project.token()))
    assert (answer.status, answer.code) == (503, "tokens_unavailable")
    assert answer.headers["retry-after"] == "5"


def test_what_was_genuine_once_is_no_guess(make_server: Make, project: Project) -> None:
    """Behind one address, one client's stale token must not shut the others out."""
    server = make_server(api_key="k", supabase_url=URL).serve()
    project.publish(server.state.gate.tokens)
    stale = project.token(exp=START_MS // 1000 - 60, iat=0)
    for _ in range(30):
        assert server.get("/tickers", bearer(stale)).status == 401
    assert server.get("/tickers", bearer(project.token())).status == 200
    assert 'auth_failures_total{reason="expired"} 30' in server.metrics.render().decode()


# --- connections -------------------------------------------------------------------------------


class Socket:
    """A WebSocket's other end, in this process."""

    def __init__(self) -> None:
        self.events: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.sent: list[dict[str, Any]] = []
        self.events.put_nowait({"type": "websocket.connect"})

    async def send(self, message: dict[str, Any]) -> None:
        self.sent.append(message)

    @property
    def status(self) -> int:
        """101 once it is open, or what it was refused with."""
        first = self.sent[0]
        return 101 if first["type"] == "websocket.accept" else int(first["status"])

    @property
    def closed(self) -> tuple[int, str] | None:
        last = self.sent[-1]
        return (last["code"], last["reason"]) if last["type"] == "websocket.close" else None


@asynccontextmanager
async def sockets(server: Any, *shown: tuple[str, str | bytes]) -> Any:
    """A socket for each key shown, and the gate at work in real time."""
    gate = server.state.gate
    gate._clock = FastClock(server.clock)
    if gate.tokens is not None:
        gate.tokens.signers._clock = gate._clock
    tasks = [asyncio.create_task(job) for job in gate.jobs()]
    opened = []
    for name, value in shown:
        socket = Socket()
        data = value if isinstance(value, bytes) else value.encode()
        scope = {
            "type": "websocket", "http_version": "1.1", "raw_path": b"/ws", "query_string": b"",
            "headers": [(b"host", b"127.0.0.1"), (name.lower().encode(), data)],
            "client": ("127.0.0.1", "1"), "subprotocols": [],
            "extensions": {"websocket.http.response": {}},
        }  # fmt: skip
        tasks.append(asyncio.create_task(server.api(scope, socket.events.get, socket.send)))
        await until(lambda socket=socket: socket.sent)
        opened.append(socket)
    yield opened
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


class FastClock:
    """The server's clock, whose sleeps are short."""

    def __init__(self, clock: Any) -> None:
        self.time_ms, self.monotonic = clock.time_ms, clock.monotonic

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(0.005 * seconds)

    def call_later(self, seconds: float, callback: Callable[[], object]) -> asyncio.TimerHandle:
        return asyncio.get_running_loop().call_later(0.005 * seconds, callback)


async def until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.002)


def test_a_revoked_key_ends_what_it_holds_open_and_nothing_else(
    make_server: Make, file: KeysFile
) -> None:
    gone, stays = make(file), make(file)
    server = make_server(api_key="k", api_keys_file=file.path).serve()

    async def scenario() -> None:
        shown = [("X-API-Key", key) for key in (gone, gone, stays, "k")]
        async with sockets(server, *shown) as (one, two, three, four):
            assert [s.status for s in (one, two, three, four)] == [101] * 4
            file.revoke(id_of(gone), now_ms=START_MS)
            await until(lambda: one.closed and two.closed)
            assert one.closed[0] == two.closed[0] == UNAUTHORIZED_CODE
            await asyncio.sleep(0.05)
            assert (three.closed, four.closed) == (None, None)
            assert len(server.hub) == 2

    asyncio.run(scenario())
    assert server.get("/tickers", ("X-API-Key", gone)).status == 401
    assert server.get("/tickers", ("X-API-Key", stays)).status == 200


@pytest.mark.parametrize("change", ["tier", "scope", "owner", "removed", "expired"])
def test_a_key_that_stands_for_something_else_ends_what_it_holds_open(
    make_server: Make, file: KeysFile, change: str
) -> None:
    key = make(file)
    server = make_server(api_key="k", api_keys_file=file.path).serve()
    words = {"tier": "pro", "scope": "trade", "owner": "bob"}

    async def scenario() -> None:
        async with sockets(server, ("X-API-Key", key)) as (socket,):
            contents = json.loads(Path(file.path).read_bytes())
            if change == "removed":
                contents["keys"] = []
            elif change == "expired":
                contents["keys"][0]["expires_ms"] = START_MS
            else:
                contents["keys"][0][change] = words[change]
            Path(file.path).write_text(json.dumps(contents))
            await until(lambda: socket.closed)
            assert socket.closed[0] == UNAUTHORIZED_CODE

    asyncio.run(scenario())


def test_a_file_that_breaks_ends_nothing(make_server: Make, file: KeysFile) -> None:
    key = make(file)
    server = make_server(api_key="k", api_keys_file=file.path).serve()

    async def scenario() -> None:
        async with sockets(server, ("X-API-Key", key)) as (socket,):
            Path(file.path).write_text("{")
            await until(lambda: server.state.gate._keys.fault)
            await asyncio.sleep(0.05)
            assert socket.closed is None

    asyncio.run(scenario())
    assert server.get("/tickers", ("X-API-Key", key)).status == 200
    assert "keys_file_fault 1" in server.metrics.render().decode()


def test_a_token_ends_what_it_holds_open_when_it_expires_or_is_taken_back(
    make_server: Make, file: KeysFile, project: Project
) -> None:
    make(file)
    server = make_server(api_keys_file=file.path, supabase_url=URL).serve()
    project.publish(server.state.gate.tokens)
    server.state.gate.tokens.signers._fetch = project.jwks
    now = START_MS // 1000
    other = USER.replace("5", "6")
    tokens = [project.token(exp=now + 60), project.token(sub=other), project.token(exp=now + 9999)]

    async def scenario() -> None:
        async with sockets(server, *map(bearer, tokens)) as (short, other_user, long):
            assert [s.status for s in (short, other_user, long)] == [101] * 3
            server.clock.now_ms += 66_000
            await until(lambda: short.closed)
            assert (other_user.closed, long.closed) == (None, None)
            file.sign_out(other, now_ms=server.clock.now_ms)
            await until(lambda: other_user.closed)
            assert short.closed[0] == other_user.closed[0] == UNAUTHORIZED_CODE
            assert long.closed is None
            server.state.gate.tokens.tier_of = lambda user: Tier.PRO
            await until(lambda: long.closed)

    asyncio.run(scenario())


def test_a_revoked_key_ends_its_events(make_server: Make, file: KeysFile) -> None:
    key = make(file)
    server = make_server(api_key="k", api_keys_file=file.path).serve().fill(5)

    async def scenario() -> None:
        async with sockets(server):
            scope = server.scope("/events?streams=btcusdt@kline_1m", ("X-API-Key", key))
            async with read_events(server, scope) as reader:
                assert reader.status == 200
                assert len(server.state.gate.leases) == 1
                file.revoke(id_of(key), now_ms=START_MS)
                while await reader.next() is not None:
                    pass
        assert len(server.state.gate.leases) == 0

    asyncio.run(scenario())


def test_connections_of_one_key_are_bounded(make_server: Make, file: KeysFile) -> None:
    key, other = make(file), make(file)
    server = make_server(
        api_key="k", api_keys_file=file.path, connections_per_key_max=2
    ).serve()  # fmt: skip

    async def scenario() -> None:
        shown = [("X-API-Key", k) for k in (key, key, key, other, "k", "k", "k")]
        async with sockets(server, *shown) as opened:
            assert [s.status for s in opened] == [101, 101, 429, 101, 101, 101, 101]
            assert b"too_many_connections" in opened[2].sent[1]["body"]
            opened[0].events.put_nowait({"type": "websocket.disconnect"})
            await until(lambda: len(server.hub) == 5)
        async with sockets(server, ("X-API-Key", key)) as (again,):
            assert again.status == 101

    asyncio.run(scenario())
    assert len(server.state.gate.leases) == len(server.hub) == 0


def test_handshakes_are_requests(make_server: Make, file: KeysFile) -> None:
    key = make(file)
    server = make_server(api_keys_file=file.path).serve()
    for _ in range(100):
        server.get("/ws", ("X-API-Key", key))

    async def scenario() -> None:
        async with sockets(server, ("X-API-Key", key)) as (socket,):
            assert socket.status == 429

    asyncio.run(scenario())


def test_a_look_comes_in_time_for_what_is_promised() -> None:
    """Changes are noticed within 2 s, and what is open ends within 5 s."""
    assert LOOK_S <= 1.0


# --- the start ---------------------------------------------------------------------------------


def gate_of(**settings: Any) -> Any:
    return open_gate(Settings.load({}, overrides=settings), SystemClock(), Registry())


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
@pytest.mark.parametrize("contents", [None, "", "{", '{"version":1,"keys":[{}]}'])
def test_a_keys_file_that_cannot_be_used_is_no_start(
    tmp_path: Path, host: str, contents: str | None
) -> None:
    path = tmp_path / "keys.json"
    if contents is not None:
        path.write_text(contents)
    with pytest.raises(SettingsError, match="keys file"):
        gate_of(host=host, api_keys_file=str(path))
    with pytest.raises(SettingsError, match="keys file"):
        gate_of(host=host, api_keys_file=str(path), api_key="k")


def test_a_file_without_a_valid_key_is_no_start_where_others_can_reach_it(
    file: KeysFile, caplog: pytest.LogCaptureFixture
) -> None:
    key = make(file)
    assert gate_of(host="0.0.0.0", api_keys_file=file.path).open is False
    file.revoke(id_of(key), now_ms=START_MS)
    with pytest.raises(SettingsError, match="no valid key"):
        gate_of(host="0.0.0.0", api_keys_file=file.path)
    with caplog.at_level(logging.WARNING):
        assert gate_of(api_keys_file=file.path).open is False  # and nobody gets in
    assert "no valid key" in caplog.text
    assert gate_of(host="0.0.0.0", api_keys_file=file.path, api_key="k").open is False


def test_a_project_is_no_key_for_those_who_can_reach_the_server() -> None:
    with pytest.raises(SettingsError, match="set API_KEY or KLINE_API_KEYS_FILE"):
        gate_of(host="0.0.0.0", supabase_url=URL)


def test_secrets_of_the_settings_do_not_show_themselves() -> None:
    secret = "canary-" + "x" * 32
    settings = Settings.load({"SUPABASE_URL": URL, "SUPABASE_JWT_SECRET": secret})
    assert secret not in repr(settings)
    assert Settings.load(settings.environment()) == settings
    assert settings.supabase_jwt_secret == secret
    assert Settings.load({"SUPABASE_URL": "", "SUPABASE_JWT_SECRET": ""}).supabase_url is None
