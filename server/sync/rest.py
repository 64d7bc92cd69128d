"""A small client of PostgREST: one request, one answer, nothing is tried twice in here."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from typing import Any, Protocol

import msgspec

from server.sync.answers import NO_ANSWER, Answer

__all__ = ["ANSWER_BYTES_MAX", "CONNECT_S", "REQUEST_S", "HttpRest", "Rest", "refusal"]

#: Seconds an answer may take, and of those the connection.
REQUEST_S = 10.0
CONNECT_S = 3.0
#: Seconds it may trickle in.
WHOLE_S = 30.0
#: Bytes of one answer; a page of a thousand traders has a few MB at most.
ANSWER_BYTES_MAX = 64 << 20

#: Seconds a server may ask us to wait; beyond it we ask again all the same.
_RETRY_AFTER_MAX_S = 300.0
_DETAIL_MAX = 400


class Rest(Protocol):
    """Tables behind HTTP."""

    async def upsert(self, table: str, conflict: str, rows: Sequence[bytes]) -> Answer:
        """Merge rows, each a JSON object, into those with the same ``conflict`` columns."""
        ...

    async def delete(self, table: str, parameters: dict[str, str]) -> Answer:
        """Delete the rows that ``parameters`` choose."""
        ...

    async def read(self, table: str, parameters: dict[str, str]) -> Answer:
        """Rows as a JSON array."""
        ...


class _Refusal(msgspec.Struct):
    """The body of PostgREST's errors."""

    code: Any = None  # a number, of some gateways
    message: Any = None
    details: Any = None


_refusals = msgspec.json.Decoder(_Refusal)


class HttpRest:
    """PostgREST over httpx. ``counts`` are requests by status since somebody took them."""

    def __init__(self, url: str, key: str) -> None:
        # Only the sync process has it; the server does not import it.
        import httpx

        self._httpx = httpx
        headers = {"apikey": key}
        if not key.startswith("sb_"):  # an old key is a token of the role itself
            headers["Authorization"] = f"Bearer {key}"
        self._client = httpx.AsyncClient(
            base_url=url.rstrip("/") + "/rest/v1/",
            headers=headers,
            timeout=httpx.Timeout(REQUEST_S, connect=CONNECT_S),
            limits=httpx.Limits(max_connections=8, max_keepalive_connections=8),
        )
        self.counts: Counter[str] = Counter()

    async def upsert(self, table: str, conflict: str, rows: Sequence[bytes]) -> Answer:
        return await self._send(
            "POST",
            table,
            {"on_conflict": conflict},
            {
                "Content-Type": "application/json",
                "Prefer": "resolution=merge-duplicates,return=minimal,missing=default",
            },
            b"[" + b",".join(rows) + b"]",
        )

    async def delete(self, table: str, parameters: dict[str, str]) -> Answer:
        return await self._send("DELETE", table, parameters, {"Prefer": "return=minimal"}, None)

    async def read(self, table: str, parameters: dict[str, str]) -> Answer:
        return await self._send("GET", table, parameters, {}, None)

    async def close(self) -> None:
        await self._client.aclose()

    async def _send(
        self,
        method: str,
        table: str,
        parameters: dict[str, str],
        headers: dict[str, str],
        body: bytes | None,
    ) -> Answer:
        httpx = self._httpx
        try:
            content = bytearray()
            async with (
                asyncio.timeout(WHOLE_S),
                self._client.stream(
                    method, table, params=parameters, headers=headers, content=body
                ) as response,
            ):
                async for part in response.aiter_bytes():
                    content += part
                    if len(content) > ANSWER_BYTES_MAX:
                        raise httpx.ReadError(f"an answer of more than {ANSWER_BYTES_MAX} bytes")
        except (httpx.TimeoutException, TimeoutError) as error:
            self.counts["timeout"] += 1
            # Not having connected says nothing about what was sent.
            late = not isinstance(error, httpx.ConnectTimeout | httpx.PoolTimeout)
            return Answer(status=NO_ANSWER, detail=type(error).__name__, late=late)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            self.counts["transport"] += 1
            return Answer(status=NO_ANSWER, detail=f"{type(error).__name__}: {error}"[:_DETAIL_MAX])
        self.counts[str(response.status_code)] += 1
        return refusal(
            response.status_code, bytes(content), response.headers.get("Retry-After", "")
        )


def refusal(status: int, body: bytes, retry_after: str = "") -> Answer:
    """An answer; if it is none of success, with what its body says about it."""
    if 200 <= status < 300:
        return Answer(status=status, body=body)
    wait_s = float(retry_after) if retry_after.isdecimal() else 0.0
    try:
        said = _refusals.decode(body)
    except msgspec.DecodeError:
        said = _Refusal(message=body[:_DETAIL_MAX].decode("utf-8", "replace"))
    parts = [part for part in (said.message, said.details) if isinstance(part, str)]
    return Answer(
        status=status,
        code=said.code[:20] if isinstance(said.code, str) else "",
        detail=" - ".join(parts)[:_DETAIL_MAX],
        retry_after_s=min(wait_s, _RETRY_AFTER_MAX_S),
    )
