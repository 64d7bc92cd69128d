"""The server with its store: what was made over HTTP outlasts a restart, and a failing disk."""

from __future__ import annotations

import asyncio
import json
import random
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from server.api.types import Message
from server.app import Server
from server.clock import SystemClock
from server.disk import SystemDisk
from server.errors import SettingsError
from server.settings import Settings

BODY = {"name": "bounce", "filter": "rsi(14) < 30", "interval": "1m"}


@asynccontextmanager
async def serving(folder: Path, **settings: Any) -> AsyncIterator[Server]:
    """A server whose exchange nobody can reach."""
    disk = SystemDisk()
    values = {
        "data_dir": str(folder),
        "symbols": "BTCUSDT",
        "snapshot_interval_s": 0.0,
        "spot_rest": "http://127.0.0.1:9",
        "spot_ws": "ws://127.0.0.1:9",
    }
    server = Server(
        Settings(**values | settings),
        clock=SystemClock(),
        random=random.Random(1),
        disk=disk,
        has_store=True,
    )
    await server.start()
    try:
        yield server
    finally:
        await server.stop()
        disk.close()


async def ask(server: Server, method: str, path: str, body: object = None) -> tuple[int, Any]:
    answers: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": json.dumps(body).encode()}

    async def send(message: Message) -> None:
        answers.append(message)

    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": [(b"host", b"localhost"), (b"content-type", b"application/json")],
        "client": ("127.0.0.1", 1),
    }
    await server(scope, receive, send)
    content = answers[1]["body"]
    return answers[0]["status"], json.loads(content) if content else None


async def names(server: Server) -> list[str]:
    status, body = await ask(server, "GET", "/v1/traders")
    assert status == 200
    return [one["name"] for one in body["traders"] if one["owner"] is not None]


def test_a_trader_that_was_made_over_http_is_there_after_a_restart(tmp_path: Path) -> None:
    async def story() -> None:
        async with serving(tmp_path) as server:
            status, made = await ask(server, "POST", "/v1/traders", BODY)
            assert status == 201, made
            status, _ = await ask(server, "POST", "/v1/traders", BODY | {"name": "gone"})
            assert status == 201
            for one in (await ask(server, "GET", "/v1/traders"))[1]["traders"]:
                if one["name"] == "gone":
                    status, _ = await ask(server, "DELETE", f"/v1/traders/{one['id']}")
                    assert status in (200, 204)
            change = {"name": "deep bounce"}
            status, _ = await ask(server, "PATCH", f"/v1/traders/{made['id']}", change)
            assert status == 200
        async with serving(tmp_path) as server:
            await asyncio.sleep(0.05)
            assert await names(server) == ["deep bounce"]
            status, found = await ask(server, "GET", f"/v1/traders/{made['id']}")
            assert (status, found["filter"]) == (200, BODY["filter"])

    asyncio.run(story())


def test_while_another_program_holds_the_file_the_rest_is_served_and_traders_get_503(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.store.database.BUSY_S", 0.05)

    async def story() -> None:
        async with serving(tmp_path) as server:
            assert (await ask(server, "POST", "/v1/traders", BODY))[0] == 201
            other = sqlite3.connect(tmp_path / "klinecore.sqlite", isolation_level=None)
            other.execute("BEGIN IMMEDIATE")
            status, problem = await ask(server, "POST", "/v1/traders", BODY)
            assert (status, problem["code"]) == (503, "store_unavailable")
            assert "locked" not in json.dumps(problem)
            assert await names(server) == ["bounce"]
            assert (await ask(server, "GET", "/health"))[0] == 200
            other.close()
            async with asyncio.timeout(30):  # until the writer has tried again
                while status == 503:
                    status, _ = await ask(server, "POST", "/v1/traders", BODY | {"name": "again"})
                    await asyncio.sleep(0.01)
            assert status == 201

    asyncio.run(story())


def test_a_start_without_the_disk_runs_built_in_traders_and_takes_up_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.store.base.LOAD_AGAIN_S", 0.05)

    async def story() -> None:
        async with serving(tmp_path) as server:
            assert (await ask(server, "POST", "/v1/traders", BODY))[0] == 201
        other = SystemDisk()
        other.claim(str(tmp_path))
        async with serving(tmp_path) as server:
            await asyncio.sleep(0.1)
            assert await names(server) == []
            assert len((await ask(server, "GET", "/v1/traders"))[1]["traders"]) >= 5
            assert (await ask(server, "POST", "/v1/traders", BODY))[0] == 503
            other.close()
            async with asyncio.timeout(30):
                while await names(server) != ["bounce"]:
                    await asyncio.sleep(0.05)

    asyncio.run(story())


def test_a_foreign_file_ends_the_start_with_its_name(tmp_path: Path) -> None:
    path = tmp_path / "klinecore.sqlite"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE photos (name TEXT)")
    connection.close()

    async def story() -> None:
        with pytest.raises(SettingsError, match=str(path)):
            async with serving(tmp_path):
                pass

    asyncio.run(story())
