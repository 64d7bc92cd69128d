"""The exchange's other public answers, passed on to clients as they are, within their share."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from functools import partial
from typing import Final

import msgspec

from server.errors import RestError, SpentError
from server.feeds.binance import Api
from server.feeds.budget import Priority, for_client
from server.metrics import Registry

__all__ = ["Forwards"]

#: Requests under way or waiting at a time; beyond it a client is told to come back.
FLIGHTS_MAX = 32

#: Seconds a client waits for an answer at most.
ANSWER_S = 10.0

#: Bytes of an answer; a longer one is not passed on.
BODY_MAX = 4 << 20

_Asked = tuple[str, tuple[tuple[str, str | int], ...]]
_COUNTED: Final = ("answered", "shared", "refused", "failed")


class Forwards:
    """Of one market. Whoever calls says what may be asked: this passes on whatever it is given."""

    def __init__(self, api: Api, metrics: Registry) -> None:
        self._api = api
        self._flights: dict[_Asked, asyncio.Task[bytes]] = {}
        self._counts = dict.fromkeys(_COUNTED, 0)
        counter = metrics.counter(
            "kline_forwards_total",
            "Requests of clients for the exchange's other answers, by what became of them.",
            ("market", "result"),
        )
        for result in _COUNTED:
            counter.read(partial(self._counts.__getitem__, result), api.venue.name, result)

    async def ask(self, path: str, weight: int, query: Mapping[str, str | int]) -> bytes:
        """The exchange's answer, JSON; equal requests that are under way share one.

        ``path`` is below the market's. Raises SpentError, RestError.
        """
        asked = (path, tuple(sorted(query.items())))
        task = self._flights.get(asked)
        if task is None:
            if len(self._flights) >= FLIGHTS_MAX:
                self._counts["refused"] += 1
                raise SpentError("too much is asked for at a time", 1.0)
            task = self._flights[asked] = asyncio.create_task(self._fetch(path, weight, query))
            task.add_done_callback(partial(self._landed, asked))
        else:
            self._counts["shared"] += 1
        return await asyncio.shield(task)  # others may wait for it as well

    def _landed(self, asked: _Asked, task: asyncio.Task[bytes]) -> None:
        del self._flights[asked]
        if task.cancelled():
            return
        error = task.exception()
        spent = isinstance(error, SpentError)
        self._counts["refused" if spent else "answered" if error is None else "failed"] += 1

    async def _fetch(self, path: str, weight: int, query: Mapping[str, str | int]) -> bytes:
        try:
            async with asyncio.timeout(ANSWER_S):
                with for_client(self._api.budget, weight):
                    response = await self._api.get(path, weight, Priority.CLIENT, **query)
        except TimeoutError:
            raise RestError(f"{path}: no answer within {ANSWER_S:g} s") from None
        if len(response.body) > BODY_MAX:
            raise RestError(f"{path}: an answer of more than {BODY_MAX} bytes")
        try:
            response.body.decode()
            msgspec.json.decode(response.body, type=msgspec.Raw)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise RestError(f"{path}: an answer that is no JSON") from None
        return response.body

    async def close(self) -> None:
        """Wait for no answer any more."""
        for task in self._flights.values():
            task.cancel()
        await asyncio.gather(*self._flights.values(), return_exceptions=True)
