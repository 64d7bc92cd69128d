"""The exchange's REST face without HTTP: latency, then the answer or what went wrong with it."""

from __future__ import annotations

import asyncio
import email.utils
import urllib.parse
import zlib
from collections import deque
from collections.abc import Callable, Mapping
from typing import NamedTuple

from server.errors import RestError
from server.exchange.app import Exchange
from server.feeds.rest import RestResponse
from simulation.network import Network

__all__ = ["IN_A_MINUTE", "Mishap", "SimulatedRest"]

#: Stands for a date a minute after the answer, in a header.
IN_A_MINUTE = "in a minute"

#: A whole answer is waited for so long, s.
_TIMEOUT_S = 10.0


class Mishap(NamedTuple):
    """What happens to one request instead of a good answer.

    ``status`` 0 is no answer at all. ``body`` None is the right body, of which ``kept`` (a share)
    arrives: with a status of 200 the client cannot tell unless it reads it.
    """

    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes | None = None
    kept: float = 1.0
    delay_s: float = 0.0
    trouble_s: float = 15.0  # how long it keeps the server from being whole, from then on


class SimulatedRest:
    """One client of ``exchange``; ``mishaps`` befall the next requests, one each."""

    def __init__(
        self,
        exchange: Exchange,
        network: Network,
        mishaps: deque[Mishap],
        on_mishap: Callable[[Mishap], None],
        address: str = "127.0.0.1",
    ) -> None:
        self._exchange = exchange
        self._network = network
        self._mishaps = mishaps
        self._on_mishap = on_mishap
        self._address = address
        self._closed = False

    async def get(self, path: str, query: Mapping[str, str | int]) -> RestResponse:
        """Raises RestError: no answer came."""
        target = path + ("?" + urllib.parse.urlencode(query) if query else "")
        await self._travel()
        network = self._network
        if network.conditions.blackhole:
            await asyncio.sleep(_TIMEOUT_S)
        if self._closed or network.conditions.refuse or network.conditions.blackhole:
            network.note("asked", target, "unreachable")
            raise RestError("no answer from the exchange: connection refused")
        if network.conditions.failure is not None:
            network.note("asked", target, "failed")
            raise RestError(f"no answer from the exchange: {network.conditions.failure!r}")
        mishap = self._mishaps.popleft() if self._mishaps else None
        if mishap is None or mishap.body is None:
            answer = self._exchange.rest.handle(target, self._exchange.now_ms, self._address)
            response = RestResponse(
                answer.status,
                {name.lower(): value for name, value in answer.headers.items()},
                answer.body,
            )
        else:
            response = RestResponse(mishap.status, {}, mishap.body)
        if mishap is not None:
            self._on_mishap(mishap)
            await asyncio.sleep(min(mishap.delay_s, _TIMEOUT_S))
            response = self._spoil(response, mishap)
        network.note("asked", target, response.status, zlib.crc32(response.body))
        await self._travel()
        return response

    async def close(self) -> None:
        """Later requests fail."""
        self._closed = True

    async def _travel(self) -> None:
        await asyncio.sleep(self._network.delay_s())

    def _spoil(self, response: RestResponse, mishap: Mishap) -> RestResponse:
        if not mishap.status or mishap.delay_s >= _TIMEOUT_S:
            self._network.note("asked", "mishap", mishap.status)
            raise RestError("no answer from the exchange: timed out")
        body = response.body[: int(len(response.body) * mishap.kept)]
        status = mishap.status if response.status == 200 else response.status
        headers = response.headers | dict(mishap.headers)
        if headers.get("retry-after") == IN_A_MINUTE:
            moment_s = self._exchange.now_ms / 1000 + 60.0
            headers["retry-after"] = email.utils.formatdate(moment_s, usegmt=True)
        return RestResponse(status, headers, body)
