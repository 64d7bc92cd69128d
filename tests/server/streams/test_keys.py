"""Who is let in at the stream port: every kind of key, on every kind of path."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import pytest
from every_key import KEY, Keys
from stream_port import Running, ask, running
from websockets.exceptions import ConnectionClosed

from server.api.leases import UNAUTHORIZED_CODE
from server.api.problems import ApiError
from server.handshake import Head

PATHS = (
    b"/ws", b"/ws/btcusdt@kline_1m", b"/ws/7", b"/stream", b"/stream?streams=btcusdt@ticker",
    b"/market/ws/btcusdt@ticker", b"/ws?market=um", b"/ws/nope@kline_1m", b"/elsewhere",
)  # fmt: skip
#: Those that have shown nothing may still do so in their first message.
SILENT = {"none", "the project's public key", "the project's old public key"}


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    return Keys(tmp_path_factory.mktemp("keys"), time.time_ns() // 1_000_000)


def head(path: bytes, headers: list[tuple[str, str | bytes]]) -> Head:
    listed = [(n.lower().encode(), v if isinstance(v, bytes) else v.encode()) for n, v in headers]
    fixed = [(b"host", b"127.0.0.1"), (b"upgrade", b"websocket"), (b"connection", b"upgrade")]
    return Head(target=path, headers=[*fixed, *listed], version="1.1")


async def publish(server: Running, keys: Keys) -> None:
    tokens = server.state.gate.tokens
    assert tokens is not None
    tokens.signers._fetch = keys.project.jwks
    await tokens.signers._refresh()


async def refusal(work: Any) -> tuple[int, str, str, Any]:
    with pytest.raises(ApiError) as caught:
        await work
    return (caught.value.status, caught.value.code, caught.value.detail, caught.value.headers)


def test_every_wrong_key_gets_the_same_401_on_every_path(keys: Keys) -> None:
    """K15."""

    async def story() -> None:
        async with running(**keys.settings()) as server:
            await publish(server, keys)
            refused = {}
            for number, (how, headers) in enumerate(keys.wrong().items()):
                for path in PATHS:
                    if how not in SILENT:
                        work = server.streams._admit(head(path, headers), f"10.0.{number}.1")
                        refused[how, path] = await refusal(work)
            assert {one[:2] for one in refused.values()} == {(401, "unauthorized")}
            assert len({str(one) for one in refused.values()}) == 1
            assert len(server.hub) == 0

    asyncio.run(story())


def test_every_wrong_key_is_as_wrong_in_the_first_message(keys: Keys) -> None:
    async def story() -> None:
        async with running(**keys.settings()) as server:
            await publish(server, keys)
            alone = [headers[0] for headers in keys.wrong().values() if len(headers) == 1]
            shown = [value for name, value in alone if name == "X-API-Key"]
            shown += [value[7:] for _, value in alone if value[:7] in ("Bearer ", b"Bearer ")]
            refused = set()
            for number, value in enumerate(shown):
                text = value if isinstance(value, str) else value.decode("latin-1")
                message = json.dumps({"method": "AUTH", "params": [text], "id": 1})
                work = server.streams.authenticate(message, f"10.1.{number}.1")
                refused.add(str(await refusal(work)))
            assert len(refused) == 1

    asyncio.run(story())


def test_the_right_key_opens_every_path_that_there_is(keys: Keys) -> None:
    async def story() -> None:
        async with running(**keys.settings()) as server:
            await publish(server, keys)
            token = [("Authorization", f"Bearer {keys.token}")]
            for headers in (*keys.right().values(), token):
                client, _ = await server.streams._admit(head(PATHS[1], headers), "10.2.0.1")
                assert client.principal is not None
                assert client.principal.owner is not None

    asyncio.run(story())


def test_what_a_key_opened_ends_with_it(tmp_path: Path) -> None:
    keys = Keys(tmp_path, time.time_ns() // 1_000_000)

    async def story() -> None:
        async with running(**keys.settings()) as server:
            job = asyncio.create_task(server.state.gate._look())
            one = {"additional_headers": {"X-API-Key": keys.trade}}
            other = {"additional_headers": {"X-API-Key": KEY}}
            async with (
                server.connect(**one) as gone,
                server.connect(**other) as stays,
                server.connect() as late,
            ):
                assert (await ask(late, "AUTH", keys.trade))["result"] is None
                keys.file.revoke(keys.id_of(keys.trade), now_ms=keys.now_ms)
                for client in (gone, late):
                    with pytest.raises(ConnectionClosed):
                        await asyncio.wait_for(client.recv(), 30)
                    assert client.close_code == UNAUTHORIZED_CODE
                assert stays.close_code is None
            job.cancel()

    asyncio.run(story())
