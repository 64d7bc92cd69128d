"""Stand-in for pg_net's worker: sends what ``net.http_post`` queued, and writes the answers."""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import Any

import httpx
import psycopg
from psycopg.rows import dict_row

POLL_S = 0.5
QUEUE = "net_http_request_queue"


class NetworkWorker:
    """Two connections: one listens for what was committed, one takes from the queue."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._task: asyncio.Task[None] | None = None
        self._sending: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        for task in [*self._sending, *([self._task] if self._task else [])]:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def _run(self) -> None:
        connect = psycopg.AsyncConnection.connect
        async with (
            await connect(self._url, autocommit=True) as ears,
            await connect(self._url, autocommit=True) as hands,
            httpx.AsyncClient(trust_env=False) as client,
        ):
            await ears.execute(f"listen {QUEUE}")
            while True:
                await self._empty(hands, client)
                async for _ in ears.notifies(timeout=POLL_S, stop_after=1):
                    pass

    async def _empty(
        self, hands: psycopg.AsyncConnection[tuple[Any, ...]], client: httpx.AsyncClient
    ) -> None:
        async with hands.cursor(row_factory=dict_row) as cursor:
            await cursor.execute("delete from net.http_request_queue returning *")
            for request in sorted(await cursor.fetchall(), key=lambda row: row["id"]):
                task = asyncio.create_task(self._send(hands, client, request))
                self._sending.add(task)
                task.add_done_callback(self._sending.discard)

    @staticmethod
    async def _send(
        hands: psycopg.AsyncConnection[tuple[Any, ...]],
        client: httpx.AsyncClient,
        request: dict[str, Any],
    ) -> None:
        status = kind = said = content = None
        timed_out, error = False, None
        try:
            answer = await client.request(
                request["method"],
                request["url"],
                headers=request["headers"],
                content=request["body"],
                timeout=request["timeout_milliseconds"] / 1000,
            )
            status, content = answer.status_code, answer.text
            kind, said = answer.headers.get("content-type"), json.dumps(dict(answer.headers))
        except httpx.TimeoutException:
            timed_out, error = True, "Timeout was reached"
        except httpx.HTTPError as failure:
            error = str(failure) or type(failure).__name__
        await hands.execute(
            "insert into net._http_response"
            " (id, status_code, content_type, headers, content, timed_out, error_msg)"
            " values (%s, %s, %s, %s, %s, %s, %s)",
            (request["id"], status, kind, said, content, timed_out, error),
        )
