"""A store, and life after life an alert office on it, whose targets do as they are told."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import shelves
from alert_samples import NOW_MS, make_trader

from server.alerts.addresses import RefusedError
from server.alerts.messages import Alert
from server.alerts.model import Kind, Outcome, Result, Target
from server.alerts.office import AlertOffice
from server.alerts.table import AlertTable
from server.clock import ScaledClock
from server.metrics import Registry

ANNAS, BERTS, BUILTIN = make_trader(1), make_trader(2, "bert"), make_trader(3, None)
OTHER = make_trader(4)
TRADERS = {one.id: one for one in (ANNAS, BERTS, BUILTIN, OTHER)}
#: Seconds of the office's clock in a real one.
RATE = 20_000.0


class Mouth:
    """A sender whose targets do as they are told."""

    pace_s = 0.0

    def __init__(self, batch_max: int = 1) -> None:
        self.batch_max = batch_max
        self.sent: list[tuple[str, str, int]] = []  # target, signal, revision
        self.attempts = 0
        self.script: Any = lambda target, alerts: Outcome(Result.SENT)
        self.delay_s = 0.0
        self.under_way = 0
        self.under_way_max = 0

    def check(self, target: Target) -> None:
        if "10.0.0.1" in target.address:
            raise RefusedError("not there")

    def host(self, target: Target) -> str:
        return target.address

    async def send(self, target: Target, alerts: Sequence[Alert], now_ms: int) -> Outcome:
        self.attempts += 1
        self.under_way += 1
        self.under_way_max = max(self.under_way_max, self.under_way)
        try:
            await asyncio.sleep(self.delay_s)
            outcome: Outcome = self.script(target, alerts)
        finally:
            self.under_way -= 1
        if outcome.result is Result.SENT:
            self.sent += [(target.id, one.signal.id, one.signal.revision) for one in alerts]
        return outcome

    async def close(self) -> None:
        pass


class House:
    """A store and, life after life, an office on it."""

    def __init__(self, store: Any, mouth: Any, clock: Any, waiting_max: int = 1000) -> None:
        self.store = store
        self.mouth = mouth
        self.clock = clock
        self.metrics = Registry()
        self.table = AlertTable(store.database)
        self.waiting_max = waiting_max
        self.begin()

    def begin(self) -> None:
        self.office = AlertOffice(
            self.table,
            dict.fromkeys(Kind, self.mouth),
            trader_of=TRADERS.get,
            waiting_max=self.waiting_max,
            clock=self.clock,
            random=random.Random(5),
            metrics=self.metrics,
        )
        self.office.open()

    async def kill(self) -> None:
        """As SIGKILL would: nothing is finished, nothing noted."""
        office = self.office
        tasks = [*office._keeping, *(d.task for d in office._desks.values() if d.task)]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def quiet(self, timeout_s: float = 60.0) -> None:
        """Until nothing waits."""
        async with asyncio.timeout(timeout_s):
            while not self._is_quiet() or await self.table.waiting():
                await asyncio.sleep(0.005)

    def _is_quiet(self) -> bool:
        office = self.office
        counted = any(desk.status.waiting for desk in office._desks.values())
        return office._loaded and not office._incoming and not counted

    async def status(self, target: Target) -> Any:
        (status,) = await self.office.statuses([target])
        return status

    def count(self, result: str, kind: str = "webhook") -> float:
        return self.metrics.counter("alerts_total", "", ["kind", "result"]).value(kind, result)


@asynccontextmanager
async def house(
    folder: Path, mouth: Any = None, *, rate: float = RATE, connect: Any = None, **options: Any
) -> AsyncIterator[House]:
    more = {} if connect is None else {"connect": connect}
    async with shelves.opened(folder, **more) as store:
        one = House(store, mouth or Mouth(), ScaledClock(NOW_MS, rate), **options)
        try:
            yield one
        finally:
            await one.office.close()


def fail(reason: str = "status 503", wait_s: float = 0.0) -> Outcome:
    return Outcome(Result.RETRY, reason, wait_s)


def run(scenario: Any) -> None:
    asyncio.run(asyncio.wait_for(scenario, 120))
