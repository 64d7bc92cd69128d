"""The stack itself: what is real answers as on the platform, and stand-ins behave as named."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from stack.project import Stack, User

httpx = pytest.importorskip("httpx", reason="pip install -e '.[stack]'")
jwt = pytest.importorskip("jwt", reason="pip install -e '.[stack]'")

pytestmark = pytest.mark.rest
#: Seconds anything may take on a slow machine.
PATIENCE_S = 60.0
TRADER = {"name": "Rising", "filter": "close > open", "interval": "1m"}


def get(stack: Stack, path: str, key: str | None = None, token: str | None = None) -> Any:
    headers = {"apikey": key} if key else {}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    return httpx.get(stack.url + path, headers=headers, timeout=PATIENCE_S)


def test_the_schema_comes_by_the_real_command(stack: Stack) -> None:
    assert stack.pushed_with == "supabase db push"


def test_a_request_without_a_key_or_with_a_wrong_one_is_refused(stack: Stack) -> None:
    assert get(stack, "/rest/v1/traders").status_code == 401
    assert get(stack, "/rest/v1/traders", "sb_publishable_wrong").status_code == 401
    assert get(stack, "/rest/v1/traders", stack.publishable_key).status_code == 200


def test_a_key_stands_for_its_role(stack: Stack) -> None:
    path = "/rest/v1/user_tiers"
    refused = get(stack, path, stack.publishable_key)
    assert (refused.status_code, refused.json()["code"]) == (401, "42501")
    assert get(stack, path, stack.secret_key).status_code == 200


@pytest.mark.parametrize("algorithm", ["ES256", "HS256"])
def test_a_users_token_goes_through_and_an_expired_one_does_not(
    stack: Stack, algorithm: str
) -> None:
    user = stack.user(tier="pro", algorithm=algorithm)
    path, key = "/rest/v1/user_tiers?select=user_id", stack.publishable_key
    assert get(stack, path, key, user.token).json() == [{"user_id": user.id}]
    # PostgREST forgives 30 s.
    old = stack.token(user.id, algorithm=algorithm, expires_in=-90)
    refused = get(stack, path, key, old)
    assert (refused.status_code, refused.json()["code"]) == (401, "PGRST301")
    changed = get(stack, path, key, user.token[:-8] + "AAAAAAAA")
    assert changed.status_code == 401


def test_the_public_keys_verify_what_users_hold(stack: Stack) -> None:
    address = f"{stack.url}/auth/v1/.well-known/jwks.json"
    keys = jwt.PyJWKSet.from_dict(httpx.get(address, timeout=PATIENCE_S).json())
    user = stack.user()
    key = keys[jwt.get_unverified_header(user.token)["kid"]]
    said = jwt.decode(
        user.token,
        key,
        algorithms=["ES256"],
        audience="authenticated",
        issuer=f"{stack.url}/auth/v1",
    )
    assert (said["sub"], said["role"]) == (user.id, "authenticated")


def test_the_gateway_does_what_a_test_tells_it(stack: Stack) -> None:
    from stack.gateway import Fault

    faults = [
        Fault(status=429, headers={"Retry-After": "7"}),
        Fault(status=503),
        Fault(drop=True),
        None,
    ]
    stack.set_fault(lambda _method, _path: faults.pop(0))
    try:
        limited = get(stack, "/rest/v1/tier_limits", stack.publishable_key)
        assert (limited.status_code, limited.headers["retry-after"]) == (429, "7")
        assert get(stack, "/rest/v1/tier_limits", stack.publishable_key).status_code == 503
        with pytest.raises(httpx.TransportError):
            get(stack, "/rest/v1/tier_limits", stack.publishable_key)
        assert get(stack, "/rest/v1/tier_limits", stack.publishable_key).status_code == 200
    finally:
        stack.set_fault(None)


def test_postgrest_can_die_and_come_again(stack: Stack) -> None:
    stack.kill_rest()
    assert get(stack, "/rest/v1/tier_limits", stack.publishable_key).status_code == 503
    stack.start_rest()
    assert get(stack, "/rest/v1/tier_limits", stack.publishable_key).status_code == 200


# What others make of it --------------------------------------------------------------------------


def test_the_python_client_makes_and_reads_a_trader(stack: Stack) -> None:
    from supabase import create_client
    from supabase.lib.client_options import SyncClientOptions

    user = stack.user(tier="pro")
    http = httpx.Client(timeout=PATIENCE_S)
    options = SyncClientOptions(
        headers={"Authorization": f"Bearer {user.token}"}, httpx_client=http
    )
    client = create_client(stack.url, stack.publishable_key, options)
    made = client.table("traders").insert(TRADER).execute().data[0]
    assert made["user_id"] == user.id
    read = client.table("traders").select("id,name").eq("user_id", user.id).execute().data
    assert read == [{"id": made["id"], "name": "Rising"}]
    http.close()


class Echo(BaseHTTPRequestHandler):
    """Answers a POST with what it was sent."""

    def do_POST(self) -> None:
        sent = self.rfile.read(int(self.headers["Content-Length"])).decode()
        said = json.dumps({"path": self.path, "key": self.headers["apikey"], "body": sent})
        self.send_response(207)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(said.encode())

    def log_message(self, *_: object) -> None:
        """Silent."""


def until(condition: Callable[[], Any], seconds: float = PATIENCE_S) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.02)
    return found


def test_what_the_database_posts_is_sent_after_the_commit_and_its_answer_kept(
    stack: Stack,
) -> None:
    server = HTTPServer(("127.0.0.1", 0), Echo)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        with stack.postgres.connect() as connection:
            number = connection.execute(
                "select net.http_post(url := %s, body := '{\"a\": 1}', headers := %s)",
                (f"http://127.0.0.1:{server.server_port}/x", json.dumps({"apikey": "k"})),
            ).fetchone()[0]
        answered = until(
            lambda: stack.rows("select * from net._http_response where id = %s", (number,))
        )
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    assert answered[0]["status_code"] == 207
    assert json.loads(answered[0]["content"]) == {"path": "/x", "key": "k", "body": '{"a": 1}'}
    left = "select * from net.http_request_queue where id = %s"
    assert stack.rows(left, (number,)) == []


def test_a_post_that_nobody_takes_leaves_its_reason(stack: Stack) -> None:
    with stack.postgres.connect() as connection:
        number = connection.execute(
            "select net.http_post(url := 'http://127.0.0.1:9/x')"
        ).fetchone()[0]
    answered = until(
        lambda: stack.rows("select * from net._http_response where id = %s", (number,))
    )
    assert (answered[0]["status_code"], answered[0]["timed_out"]) == (None, False)
    assert answered[0]["error_msg"]


def test_a_secret_of_the_vault_is_read_by_the_database_alone(stack: Stack) -> None:
    import psycopg

    stack.secret("test_secret", "so it is")
    with stack.postgres.connect() as connection:
        found = connection.execute(
            "select decrypted_secret from vault.decrypted_secrets where name = 'test_secret'"
        ).fetchone()
    assert found == ("so it is",)
    for role in ("anon", "authenticated", "service_role"):
        with stack.as_role(role) as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("select * from vault.decrypted_secrets")


# Realtime ----------------------------------------------------------------------------------------


def make_trader(stack: Stack, user: User, name: str) -> str:
    with stack.as_role("authenticated", user.id) as connection:
        return str(
            connection.execute(
                "insert into traders (name, filter, interval) values (%s, 'close > open', '1m')"
                " returning id",
                (name,),
            ).fetchone()[0]
        )


def change(stack: Stack, user: User, statement: str, number: str) -> None:
    with stack.as_role("authenticated", user.id) as connection:
        connection.execute(statement, (number,))


def types_of(changes: list[Any], number: str) -> list[str]:
    """What was heard of one trader: deletions of others are told to everybody, at any time."""
    return [
        change["data"]["type"]
        for change in changes
        if (change["data"].get("record") or change["data"]["old_record"])["id"] == number
    ]


async def heard_of(changes: list[Any], kind: str, number: str) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while kind not in types_of(changes, number):
            await asyncio.sleep(0.02)


@pytest.mark.realtime
def test_the_python_client_hears_changes_of_traders_its_user_may_read(stack: Stack) -> None:
    from realtime import AsyncRealtimeClient

    owner, other = stack.user(tier="pro"), stack.user(tier="pro")

    async def listen() -> tuple[str, dict[str, list[Any]]]:
        heard: dict[str, list[Any]] = {"owner": [], "other": []}
        clients = []
        for name, user in (("owner", owner), ("other", other)):
            client = AsyncRealtimeClient(f"{stack.url}/realtime/v1", stack.publishable_key)
            await client.connect()
            await client.set_auth(user.token)
            joined = asyncio.Event()
            channel = client.channel("traders")
            channel.on_postgres_changes(
                "*", schema="public", table="traders", callback=heard[name].append
            )
            await channel.subscribe(lambda state, _, joined=joined: joined.set())
            await asyncio.wait_for(joined.wait(), PATIENCE_S)
            clients.append(client)
        number = await asyncio.to_thread(make_trader, stack, owner, "Heard")
        await heard_of(heard["owner"], "INSERT", number)
        change(stack, owner, "update traders set name = 'Changed' where id = %s", number)
        await heard_of(heard["owner"], "UPDATE", number)
        change(stack, owner, "delete from traders where id = %s", number)
        await heard_of(heard["other"], "DELETE", number)
        await heard_of(heard["owner"], "DELETE", number)
        for client in clients:
            await client.close()
        return number, heard

    number, heard = asyncio.run(listen())
    types = {name: types_of(changes, number) for name, changes in heard.items()}
    # A row that is gone has no policy: everybody hears of its key, as on the platform.
    assert types == {"owner": ["INSERT", "UPDATE", "DELETE"], "other": ["DELETE"]}
    assert all(set(change["data"]["old_record"]) == {"id"} for change in heard["other"])


@pytest.mark.realtime
def test_messages_as_arrays_serve_the_javascript_client(stack: Stack) -> None:
    from websockets.asyncio.client import connect

    owner = stack.user(tier="pro")
    address = stack.url.replace("http", "ws") + (
        f"/realtime/v1/websocket?apikey={stack.publishable_key}&vsn=2.0.0"
    )

    async def talk() -> list[Any]:
        async with connect(address) as socket:
            # Not "*": deletions of others are told to everybody, as at Supabase.
            wanted = {"event": "INSERT", "schema": "public", "table": "traders"}

            async def ask(ref: str, token: str) -> Any:
                config = {"config": {"postgres_changes": [wanted]}, "access_token": token}
                await socket.send(json.dumps([ref, ref, "realtime:t", "phx_join", config]))
                return json.loads(await socket.recv())

            await socket.send(json.dumps([None, "0", "phoenix", "heartbeat", {}]))
            beat = json.loads(await socket.recv())
            wrong = await ask("1", owner.token[:-8] + "AAAAAAAA")
            right = await ask("2", owner.token)
            system = json.loads(await socket.recv())
            await socket.recv()  # presence
            await asyncio.to_thread(make_trader, stack, owner, "By array")
            change = json.loads(await asyncio.wait_for(socket.recv(), PATIENCE_S))
            return [beat, wrong, right, system, change]

    beat, wrong, right, system, change = asyncio.run(talk())
    assert beat == [None, "0", "phoenix", "phx_reply", {"status": "ok", "response": {}}]
    assert wrong[4]["status"] == "error"
    assert right[:2] == ["2", "2"]
    assert right[4]["response"]["postgres_changes"][0]["table"] == "traders"
    assert (system[3], system[4]["status"]) == ("system", "ok")
    assert change[3] == "postgres_changes"
    assert change[4]["data"]["record"]["name"] == "By array"


@pytest.mark.realtime
def test_what_changes_while_realtime_is_gone_is_told_to_nobody(stack: Stack) -> None:
    owner = stack.user(tier="pro")
    stack.stop_realtime()
    told = stack.realtime.told
    make_trader(stack, owner, "Unheard")
    stack.start_realtime()
    time.sleep(0.3)
    assert stack.realtime.told == told


# Functions ---------------------------------------------------------------------------------------


@pytest.mark.edge
def test_each_function_answers_behind_the_gateway_with_a_key_of_the_project(stack: Stack) -> None:
    from edge import deno
    from stack.functions import function_names

    if deno() is None:
        pytest.skip("Deno is not installed: pip install -e '.[stack]'")
    stack.start_functions({"KLINE_SERVER_URL": "http://127.0.0.1:9"})
    try:
        assert {"get-klines", "execute-trader", "trigger-executions"} <= set(function_names())
        for name in function_names():
            asked = httpx.post(f"{stack.url}/functions/v1/{name}", json={}, timeout=PATIENCE_S)
            assert asked.status_code in (400, 401), (name, asked.text)
        triggered = httpx.post(
            f"{stack.url}/functions/v1/trigger-executions",
            json={"trigger": "cron"},
            headers={"apikey": stack.secret_key},
            timeout=PATIENCE_S,
        )
        assert triggered.status_code in (502, 503), triggered.text
    finally:
        stack.stop_functions()
