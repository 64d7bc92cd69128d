"""What the server knows of Supabase: traders and tiers, their last good set, what was uploaded."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from server.clock import Clock
from server.errors import StoreError
from server.identity import Tier
from server.metrics import Registry
from server.store.tiers import UserTier
from server.sync.wire import (
    Acknowledged,
    Alive,
    Dead,
    DeadLetter,
    FromChild,
    TradersChanged,
)
from server.traders.model import Trader, TraderError
from server.traders.ports import ErrorSink

__all__ = ["FIRST_READ_S", "SUPABASE", "Mirror"]

log = logging.getLogger(__name__)

#: Origin of the traders that live there.
SUPABASE = "supabase"
#: Traders that change at once at most, and seconds beyond which fewer do.
_STEP_MAX = 32
_STEP_S = 0.005
#: Seconds until the store is asked again that could not.
_STORE_AGAIN_S = 1.0
#: Seconds that a server which never read Supabase waits for its tiers, before all users are free.
FIRST_READ_S = 30.0

#: Kind of the errors of traders whose row cannot be read.
MALFORMED = "malformed_row"


class Outbox(Protocol):
    """Rows on their way."""

    async def acknowledge(self, seqs: Sequence[int], /) -> None:
        """They are there, or need not be."""
        ...

    async def bury(self, letters: Sequence[DeadLetter], /) -> None:
        """They will never be."""
        ...


class TraderKeeper(Protocol):
    """Keeps the last good set of traders."""

    async def load(self, origin: str, /) -> Sequence[Trader]: ...

    async def replace(self, traders: Sequence[Trader], origin: str, /) -> None: ...


class TierKeeper(Protocol):
    """Keeps the last good set of tiers."""

    async def load(self) -> Sequence[UserTier]: ...

    async def replace(self, tiers: Sequence[UserTier], /) -> None: ...


class Mirror:
    """Takes in what the sync process says, message by message."""

    def __init__(
        self,
        *,
        outbox: Outbox,
        traders: TraderKeeper,
        tiers: TierKeeper,
        replace: Callable[[Sequence[Trader], str], None],
        errors: ErrorSink,
        clock: Clock,
        metrics: Registry,
    ) -> None:
        """``replace`` is given all traders of Supabase, and that name, whenever they are others."""
        self._outbox = outbox
        self._trader_keeper = traders
        self._tier_keeper = tiers
        self._replace = replace
        self._errors = errors
        self._clock = clock
        self._traders: dict[str, Trader] = {}
        self._broken: dict[str, str] = {}
        self._tiers: dict[str, UserTier] = {}
        self._parts: list[TradersChanged] = []
        self._read_age_ms: int | None = None
        self._heard_s = 0.0
        self._began_s = clock.monotonic()
        self._read_once = False  # in this life or an earlier one
        self._store_failed = False
        self._realtime = "off"
        #: Kind of rows, or "traders", -> why none is taken or read at the moment.
        self.blocked: dict[str, str] = {}
        self._count(metrics)

    def _count(self, metrics: Registry) -> None:
        self._requests = metrics.counter(
            "supabase_requests_total", "Requests to Supabase, by what came back.", ["code"]
        )
        self._stored = metrics.counter("outbox_stored_total", "Rows Supabase took.", ["kind"])
        self._skipped = metrics.counter(
            "outbox_skipped_total", "Rows of traders that Supabase does not have.", ["kind"]
        )
        self._lag = metrics.histogram(
            "outbox_lag_seconds",
            "From the outbox to Supabase, of the oldest row of each request.",
            buckets=(0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 600.0, 3600.0),
        )
        metrics.gauge("supabase_traders", "Traders read from Supabase.").read(
            lambda: float(len(self._traders))
        )
        metrics.gauge("supabase_traders_broken", "Rows of traders that cannot be read.").read(
            lambda: float(len(self._broken))
        )
        metrics.gauge("supabase_read_age_seconds", "Since traders were known to be right.").read(
            self._read_age_s
        )
        metrics.gauge("supabase_realtime_joined", "1 while changes are told.").read(
            lambda: float(self._realtime == "joined")
        )
        metrics.gauge("supabase_blocked", "Kinds of rows of which none is taken.").read(
            lambda: float(len(self.blocked))
        )

    # --- what others ask ------------------------------------------------------------------------

    def tier_of(self, owner: str) -> Tier | None:
        """The tier of a user of Supabase at the moment; None while the first ones are awaited."""
        if not self._read_once and self._clock.monotonic() - self._began_s < FIRST_READ_S:
            return None
        row = self._tiers.get(owner)
        if row is None or (row.expires_ms is not None and row.expires_ms <= self._clock.time_ms()):
            return Tier.FREE
        return row.tier

    async def load(self) -> None:
        """Begin with the last good set: the server starts without Supabase."""
        await self._insist(self._load)

    async def _load(self) -> None:
        traders = await self._trader_keeper.load(SUPABASE)
        self._tiers = {row.user_id: row for row in await self._tier_keeper.load()}
        self._read_once = bool(traders or self._tiers)
        await self._hand_over({trader.id: trader for trader in traders})

    # --- what the process says ------------------------------------------------------------------

    async def receive(self, message: FromChild) -> None:
        """Take in a message; it is done when this returns."""
        self._heard_s = self._clock.monotonic()
        match message:
            case Acknowledged():
                await self._take_acknowledged(message)
            case Dead():
                await self._insist(lambda: self._outbox.bury(message.letters))
            case TradersChanged():
                await self._take_part(message)
            case Alive():
                self._take_alive(message)

    async def _take_acknowledged(self, message: Acknowledged) -> None:
        seqs = [*message.stored, *message.skipped]
        await self._insist(lambda: self._outbox.acknowledge(seqs))
        if message.stored:
            self._stored.inc(message.kind, by=len(message.stored))
            self._lag.observe(message.lag_ms / 1000)
        if message.skipped:
            self._skipped.inc(message.kind, by=len(message.skipped))

    async def _take_part(self, part: TradersChanged) -> None:
        if part.first:
            self._parts.clear()
        self._parts.append(part)
        if not part.last:
            return
        parts, self._parts = self._parts, []
        self._read_once = True
        traders, broken, tiers = dict(self._traders), dict(self._broken), dict(self._tiers)
        if part.whole:
            traders, broken, tiers = {}, {}, {}
        for change in parts:
            _apply(change, traders, broken, tiers)
        self._say_broken(broken)
        self._broken = broken
        if tiers != self._tiers:
            self._tiers = tiers
            await self._insist(lambda: self._tier_keeper.replace(list(tiers.values())))
        if traders != self._traders:
            await self._hand_over(traders)
            kept = list(traders.values())
            await self._insist(lambda: self._trader_keeper.replace(kept, SUPABASE))

    async def _insist(self, work: Callable[[], Awaitable[None]]) -> None:
        """Do it once the store can. Meanwhile the process is not heard, and soon waits too."""
        while True:
            try:
                await work()
            except StoreError as error:
                if not self._store_failed:
                    log.warning("what Supabase took or changed is noted later: %s", error)
                self._store_failed = True
                await self._clock.sleep(_STORE_AGAIN_S)
            else:
                self._store_failed = False
                return

    async def _hand_over(self, traders: dict[str, Trader]) -> None:
        """Let the desk have another set, in steps that do not hold up the loop.

        Each step is a whole set, of which more and more is as it is now: a trader that is new may
        take tens of ms, since its filter is computed over the rows of every symbol.
        """
        before, self._traders = self._traders, traders
        changed = [id for id, trader in traders.items() if before.get(id) != trader]
        step = {id: trader for id, trader in before.items() if id in traders}
        done, size = 0, 1
        while True:
            step.update((id, traders[id]) for id in changed[done : done + size])
            started_s = self._clock.monotonic()
            self._replace(tuple(step.values()), SUPABASE)
            took_s = self._clock.monotonic() - started_s
            done += size
            if done >= len(changed):
                return
            size = max(1, size // 2) if took_s > _STEP_S else min(2 * size, _STEP_MAX)
            await asyncio.sleep(0)

    def _say_broken(self, broken: dict[str, str]) -> None:
        """A row that cannot be read is an error of that trader, until it can."""
        now_ms = self._clock.time_ms()
        for id in self._broken:
            if id not in broken:
                self._errors.clear(id)
        fresh = [(id, detail) for id, detail in broken.items() if self._broken.get(id) != detail]
        if fresh:
            log.warning("%d traders cannot be read; the first, %s: %s", len(fresh), *fresh[0])
            self._errors.put(
                [
                    TraderError(
                        trader_id=id,
                        filter_hash="",
                        kind=MALFORMED,
                        message=detail,
                        first_ms=now_ms,
                        last_ms=now_ms,
                    )
                    for id, detail in fresh
                ]
            )

    def _take_alive(self, message: Alive) -> None:
        for code, count in message.requests.items():
            self._requests.inc(code, by=count)
        self._realtime = message.realtime
        self._read_age_ms = message.read_age_ms
        self.blocked = message.blocked

    def _read_age_s(self) -> float:
        if self._read_age_ms is None:
            return float("nan")
        return self._read_age_ms / 1000 + self._clock.monotonic() - self._heard_s


def _apply(
    change: TradersChanged,
    traders: dict[str, Trader],
    broken: dict[str, str],
    tiers: dict[str, UserTier],
) -> None:
    for id in (*change.gone, *(row.trader_id for row in change.broken)):
        traders.pop(id, None)
        broken.pop(id, None)
    broken.update((row.trader_id, row.detail) for row in change.broken)
    for trader in change.traders:
        broken.pop(trader.id, None)
        traders[trader.id] = trader
    for id in change.free:
        tiers.pop(id, None)
    tiers.update((row.user_id, row) for row in change.tiers)
