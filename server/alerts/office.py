"""The alert office: takes signals, keeps them, and sees to it that they are delivered.

Nothing here is waited for by whoever has signals to tell. A target that does not answer is asked
less and less often; what waits for it is kept in the store, up to a bound, for a day.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from random import Random
from typing import Any

import msgspec

from server.alerts.addresses import RefusedError
from server.alerts.messages import Alert, TraderName, alert_body, read_alert
from server.alerts.model import (
    Delivery,
    Kind,
    Outcome,
    Result,
    State,
    Target,
    TargetStatus,
)
from server.alerts.senders import Sender
from server.alerts.slots import Slots
from server.alerts.table import AlertTable, DeadLetter
from server.clock import Clock
from server.errors import StoreError
from server.metrics import Registry
from server.signals.model import Signal
from server.traders.model import Trader

__all__ = ["AlertOffice"]

log = logging.getLogger(__name__)

#: Seconds between two attempts at a target that fails; they double from the first to the second.
BACKOFF_MIN_S, BACKOFF_MAX_S = 5.0, 3600.0
#: Milliseconds after which a signal is given up.
GIVE_UP_MS = 86_400_000
#: Alerts that may wait for the store itself, while that cannot be written.
INCOMING_MAX = 20_000
#: Of those that are put in at once.
CHUNK = 500
#: Seconds between two attempts at a store that fails, and between two looks at what is oldest.
STORE_RETRY_S, LOOK_S = 1.0, 10.0
#: Requests at once: to one host, and for one owner.
HOST_MAX, OWNER_MAX = 2, 4
#: Requests at once to one target that takes one signal each.
PARALLEL = 2
#: Seconds for what is under way when the server stops: cut off, it would be sent again.
CLOSE_S = 4.0
CLOSE_LOOK_S = 0.01


class _Desk:
    """One target's deliveries."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self.status = TargetStatus()
        self.task: asyncio.Task[None] | None = None
        self.stirred = False  # something came since it was last looked for
        self.busy = False  # requests are under way, or how they ended is being kept
        self.next_s = 0.0  # not before that


class AlertOffice:
    """A ``SignalSink``. ``open`` it before the first signal, ``close`` it before the store."""

    def __init__(
        self,
        table: AlertTable,
        senders: Mapping[Kind, Sender],
        *,
        trader_of: Callable[[str], Trader | None],
        waiting_max: int,
        clock: Clock,
        random: Random,
        metrics: Registry,
    ) -> None:
        """``waiting_max`` signals may wait for a target; ``trader_of`` an id."""
        self._table = table
        self.senders = senders
        self._trader_of = trader_of
        self._waiting_max = waiting_max
        self._clock = clock
        self._random = random
        self._desks: dict[str, _Desk] = {}
        self._by_owner: dict[str, list[Target]] = {}
        self._by_trader: dict[str, list[Target]] = {}
        self._incoming: deque[Delivery] = deque()
        self._came = asyncio.Event()
        self._loaded = False
        self._early: deque[Sequence[Signal]] = deque(maxlen=INCOMING_MAX)
        self._keeping: list[asyncio.Task[None]] = []
        self._slots = Slots()
        self._changing = asyncio.Lock()  # targets, by one at a time: none undoes another
        self._oldest_ms: int | None = None
        self._closing = False
        self._fault: str | None = None
        self._measure(metrics)

    def _measure(self, metrics: Registry) -> None:
        self._counts = metrics.counter(
            "alerts_total",
            "Signals towards targets, by kind of target and what became of them.",
            ["kind", "result"],
        )
        metrics.gauge("alerts_waiting", "Signals that wait for targets.").read(self._depth)
        metrics.gauge("alerts_oldest_seconds", "Age of the oldest of those.").read(self._age_s)
        metrics.gauge("alerts_targets", "Targets.").read(lambda: float(len(self._desks)))
        metrics.gauge("alerts_targets_failing", "Targets whose last attempt failed.").read(
            lambda: float(sum(desk.status.failures > 0 for desk in self._desks.values()))
        )
        self._seconds = metrics.histogram(
            "alerts_request_seconds", "One attempt, by kind.", ["kind"]
        )

    def _depth(self) -> float:
        waiting = sum(desk.status.waiting for desk in self._desks.values())
        return float(waiting + len(self._incoming))

    def _age_s(self) -> float:
        oldest = self._oldest_ms
        return 0.0 if oldest is None else max(0.0, (self._clock.time_ms() - oldest) / 1000)

    # --- life ----------------------------------------------------------------------------------

    def open(self) -> None:
        """Begin; what was on its way when the last process ended goes on."""
        self._keeping = [asyncio.create_task(work) for work in (self._keep(), self._look())]
        for task in self._keeping:
            task.add_done_callback(_ended)

    async def close(self) -> None:
        """Stop; what was not delivered is delivered by the next process."""
        self._closing = True
        idle = [d.task for d in self._desks.values() if d.task is not None and not d.busy]
        for task in idle:
            task.cancel()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_S):
                while (self._incoming and self._loaded) or self._busy():
                    await asyncio.sleep(CLOSE_LOOK_S)
        tasks = [*self._keeping, *(d.task for d in self._desks.values() if d.task is not None)]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for sender in self.senders.values():
            await sender.close()

    def _busy(self) -> bool:
        return any(desk.busy for desk in self._desks.values())

    async def _load(self) -> None:
        while not self._loaded:
            try:
                async with self._changing:  # else what is read may be older than what is here
                    await self._read_targets()
                self._loaded = True
            except StoreError as error:
                self._note(str(error))
                await self._clock.sleep(STORE_RETRY_S)
        while self._early:
            self.put(self._early.popleft())

    async def _read_targets(self) -> None:
        targets = await self._table.load()
        waiting = await self._table.waiting()
        for target in targets:
            self._enter(target)
            self._desks[target.id].status.waiting = waiting.get(target.id, 0)
            self._stir(target.id)

    async def _look(self) -> None:
        """Now and then: how old the oldest is."""
        while True:
            with contextlib.suppress(StoreError):
                self._oldest_ms = await self._table.oldest_ms()
            await self._clock.sleep(LOOK_S)

    # --- what comes in -------------------------------------------------------------------------

    def put(self, signals: Sequence[Signal]) -> None:
        """Take signals. Never waits; what is from before a trader was there alerts nobody."""
        if not self._loaded:
            self._early.append(signals)
            return
        if not self._desks:
            return
        now_ms = self._clock.time_ms()
        for signal in signals:
            if signal.historical:
                continue
            trader = self._trader_of(signal.trader_id)
            if trader is None:
                continue
            targets = self._targets(trader)
            if not targets:
                continue
            body = alert_body(signal, TraderName(trader.id, trader.name))
            for target in targets:
                if len(self._incoming) >= INCOMING_MAX:
                    self._counts.inc(target.kind, "dropped")
                    continue
                self._incoming.append(
                    Delivery(
                        target_id=target.id,
                        signal_id=signal.id,
                        revision=signal.revision,
                        at_ms=now_ms,
                        body=body,
                    )
                )
        self._came.set()

    def _targets(self, trader: Trader) -> list[Target]:
        """Who wants a trader's signals: its owner, and of a built-in one whoever names it."""
        if trader.owner is None:
            return self._by_trader.get(trader.id, [])
        return [
            target
            for target in self._by_owner.get(trader.owner, [])
            if not target.traders or trader.id in target.traders
        ]

    async def _keep(self) -> None:
        """Bring what came in to the store."""
        await self._load()
        while True:
            await self._came.wait()
            self._came.clear()
            while self._incoming:
                chunk = [self._incoming[i] for i in range(min(CHUNK, len(self._incoming)))]
                try:
                    counts = await self._table.put(chunk, self._waiting_max)
                except StoreError as error:
                    self._note(str(error))
                    await self._clock.sleep(STORE_RETRY_S)
                    continue
                self._note(None)
                for _ in chunk:
                    self._incoming.popleft()
                for target_id, (new, dropped) in counts.items():
                    self._arrived(target_id, new, dropped)

    def _note(self, fault: str | None) -> None:
        """What is wrong with the store is said once, not with every attempt."""
        if fault is not None and fault != self._fault:
            log.warning("alerts wait for the store: %s", fault)
        self._fault = fault

    def _arrived(self, target_id: str, new: int, dropped: int) -> None:
        desk = self._desks.get(target_id)
        if desk is None:
            return
        self._counts.inc(desk.target.kind, "queued", by=new)
        if dropped:
            self._counts.inc(desk.target.kind, "dropped", by=dropped)
            log.warning("alerts: %d signals for target %s found no room", dropped, target_id)
        desk.status.waiting += new
        desk.status.dropped += dropped
        if new:
            self._stir(target_id)

    # --- targets -------------------------------------------------------------------------------

    async def add(self, target: Target, most: int) -> None:
        """Take a new target. Raises RefusedError, QuotaError, StoreError."""
        self.senders[target.kind].check(target)
        async with self._changing:
            await self._table.insert(target, most)
            self._enter(target)

    async def change(self, id: str, change: Callable[[Target], Target]) -> Target | None:
        """Change a target as it is by then; None: it is gone. Raises StoreError."""
        async with self._changing:
            desk = self._desks.get(id)
            if desk is None:
                return None
            target = change(desk.target)
            await self._table.update(target)
            if id not in self._desks:
                return None
            self._enter(target)
            self._stir(id)
            return target

    async def remove(self, target_id: str) -> None:
        """Forget a target, and what was on its way to it. Raises StoreError."""
        async with self._changing:
            desk = self._desks.pop(target_id, None)
            if desk is None:
                return  # by another request
            self._index()
            if desk.task is not None:
                desk.task.cancel()
                await asyncio.gather(desk.task, return_exceptions=True)
            try:
                await self._table.delete(target_id)
            except StoreError:
                self._enter(desk.target)
                self._stir(target_id)
                raise

    def of(self, owner: str) -> list[Target]:
        """Somebody's targets, the oldest first."""
        found = [desk.target for desk in self._desks.values() if desk.target.owner == owner]
        return sorted(found, key=lambda target: (target.created_ms, target.id))

    def get(self, owner: str, target_id: str) -> Target | None:
        """One of those."""
        desk = self._desks.get(target_id)
        return desk.target if desk is not None and desk.target.owner == owner else None

    async def statuses(self, targets: Sequence[Target]) -> list[TargetStatus]:
        """How targets do. Raises StoreError."""
        tallies = await self._table.tallies([target.id for target in targets])
        found = []
        for target in targets:
            tally, desk = tallies[target.id], self._desks.get(target.id)
            status = desk.status if desk is not None else TargetStatus()  # it went meanwhile
            found.append(
                msgspec.structs.replace(
                    status,
                    waiting=tally.waiting,
                    oldest_ms=tally.oldest_ms,
                    dead=tally.dead,
                    dropped=tally.dropped,
                )
            )
        return found

    async def dead(self, target: Target) -> list[DeadLetter]:
        """What was given up of a target, the newest first. Raises StoreError."""
        return await self._table.dead(target.id)

    async def test(self, target: Target, alert: Alert) -> Outcome:
        """Send one message now, which is not kept."""
        async with self._slot(target):
            return await self._attempt(target, [alert])

    def _enter(self, target: Target) -> None:
        desk = self._desks.get(target.id)
        if desk is None:
            self._desks[target.id] = _Desk(target)
        else:
            desk.target = target
        self._index()

    def _index(self) -> None:
        self._by_owner, self._by_trader = {}, {}
        for desk in self._desks.values():
            target = desk.target
            if target.enabled:
                self._by_owner.setdefault(target.owner, []).append(target)
                for trader_id in target.traders:
                    self._by_trader.setdefault(trader_id, []).append(target)

    # --- what goes out -------------------------------------------------------------------------

    def _stir(self, target_id: str) -> None:
        """See to a target's deliveries, if any wait."""
        desk = self._desks[target_id]
        if not desk.status.waiting or not desk.target.enabled:
            return
        desk.stirred = True
        if desk.task is None or desk.task.done():
            desk.task = asyncio.create_task(self._deliver(desk))
            desk.task.add_done_callback(_ended)

    async def _deliver(self, desk: _Desk) -> None:
        """Until nothing waits for a target."""
        while desk.target.enabled and not self._closing:
            wait_s = desk.next_s - self._clock.monotonic()
            if wait_s > 0:
                await self._clock.sleep(wait_s)
            try:
                desk.busy, desk.stirred = True, False
                if not await self._round(desk) and not desk.stirred:
                    desk.status.waiting = 0
                    return
            except StoreError as error:
                self._note(str(error))
                await self._clock.sleep(STORE_RETRY_S)
            finally:
                desk.busy = False

    async def _round(self, desk: _Desk) -> bool:
        """One message, or a few at once. False: nothing waited. Raises StoreError."""
        sender = self.senders[desk.target.kind]
        single = sender.batch_max == 1
        found = await self._table.next(desk.target.id, PARALLEL if single else sender.batch_max)
        if not found:
            return False
        now_ms = self._clock.time_ms()
        expired_ms = now_ms - GIVE_UP_MS
        if any(one.at_ms < expired_ms for one in found):  # the target, or the server, was off
            self._expire(desk, await self._table.settle(desk.target.id, [], now_ms, expired_ms))
            return True
        groups = [[one] for one in found] if single else [found]
        outcomes = await asyncio.gather(*(self._send(desk.target, group) for group in groups))
        await self._settle(desk, groups, outcomes)
        return True

    async def _send(self, target: Target, group: list[Delivery]) -> Outcome:
        async with self._slot(target):
            try:
                return await self._attempt(target, [read_alert(one) for one in group])
            except Exception:  # later, and in the end never: the target's other alerts go on
                log.exception("alerts: a message to target %s failed", target.id)
                return Outcome(Result.RETRY, "the server failed on it")

    async def _attempt(self, target: Target, alerts: Sequence[Alert]) -> Outcome:
        started_s = self._clock.monotonic()
        try:
            return await self.senders[target.kind].send(target, alerts, self._clock.time_ms())
        except RefusedError as error:
            return Outcome(Result.DEAD, str(error))
        finally:
            self._seconds.observe(self._clock.monotonic() - started_s, target.kind)

    async def _settle(
        self, desk: _Desk, groups: list[list[Delivery]], outcomes: list[Outcome]
    ) -> None:
        """Keep how attempts ended, however long the store takes: what was sent was sent."""
        now_ms = self._clock.time_ms()
        kind, status = desk.target.kind, desk.status
        states = {
            Result.SENT: State.DONE,
            Result.RETRY: State.WAITING,
            Result.DEAD: State.DEAD,
        }
        ended = [
            (one, states[outcome.result], outcome.reason)
            for group, outcome in zip(groups, outcomes, strict=True)
            for one in group
        ]
        self._pace(desk, outcomes)
        for _, state, _ in ended:
            status.waiting -= state is not State.WAITING
        while True:
            try:
                late = await self._table.settle(desk.target.id, ended, now_ms, now_ms - GIVE_UP_MS)
                break
            except StoreError as error:
                self._note(str(error))
                await self._clock.sleep(STORE_RETRY_S)
        for group, outcome in zip(groups, outcomes, strict=True):
            self._counts.inc(kind, str(outcome.result), by=len(group))
        self._expire(desk, late)
        if any(outcome.disable for outcome in outcomes):
            await self._disable(desk, "the target says that it is gone")

    def _expire(self, desk: _Desk, late: int) -> None:
        if late:
            self._counts.inc(desk.target.kind, "expired", by=late)
            desk.status.waiting -= late

    def _pace(self, desk: _Desk, outcomes: Sequence[Outcome]) -> None:
        """When the target is spoken to next."""
        status, now_s = desk.status, self._clock.monotonic()
        failed = [outcome for outcome in outcomes if outcome.result is not Result.SENT]
        retried = [outcome for outcome in outcomes if outcome.result is Result.RETRY]
        wait_s = self.senders[desk.target.kind].pace_s
        if failed:
            status.last_error = failed[-1].reason
        if len(failed) < len(outcomes):
            status.last_sent_ms = self._clock.time_ms()
        if retried:
            backoff_s = min(BACKOFF_MAX_S, BACKOFF_MIN_S * 2.0 ** min(status.failures, 16))
            backoff_s *= self._random.uniform(0.5, 1.0)
            wait_s = max(wait_s, backoff_s, *(outcome.wait_s for outcome in retried))
            status.failures += 1
        else:
            status.failures = 0
        desk.next_s = now_s + wait_s
        status.next_try_ms = self._clock.time_ms() + int(wait_s * 1000) if retried else None

    async def _disable(self, desk: _Desk, reason: str) -> None:
        id = desk.target.id
        log.warning("alerts: target %s is disabled: %s", id, reason)
        off = {"enabled": False, "disabled_reason": reason}
        await self.change(id, lambda target: msgspec.structs.replace(target, **off))
        given_up = await self._table.give_up(id, reason, self._clock.time_ms())
        self._counts.inc(desk.target.kind, str(Result.DEAD), by=given_up)
        desk.status.waiting = 0

    @contextlib.asynccontextmanager
    async def _slot(self, target: Target) -> AsyncIterator[None]:
        """So many requests at once to a host, and so many for an owner."""
        try:
            host = self.senders[target.kind].host(target)
        except RefusedError:
            host = target.id  # nothing is sent there
        owner = f"owner {target.owner}"
        async with self._slots.of(owner, OWNER_MAX), self._slots.of(host, HOST_MAX):
            yield


def _ended(task: asyncio.Task[Any]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        log.critical("alerts: a part failed", exc_info=error)
