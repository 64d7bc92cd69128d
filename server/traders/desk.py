"""What can be done with traders: made, changed, run, deleted; and what they tell, passed on."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Sequence

import msgspec

from klinecore.errors import FiltersFullError, UnknownSeriesError
from klinecore.filters import Limits
from klinecore.market import Event
from server.clock import Clock
from server.errors import QuotaError, StoreError
from server.identity import Principal, Tier
from server.metrics import Registry
from server.settings import Settings
from server.signals.hub import Hub
from server.traders.book import BUILTIN, LOCAL, Book, Entry, filter_limits
from server.traders.checks import checked, runnable
from server.traders.engine import TraderEngine
from server.traders.gauges import DeskGauges
from server.traders.health import ErrorBook, TraderHealth, describe
from server.traders.keeping import Sinks
from server.traders.memory import OPEN_MAX
from server.traders.model import Execution, RunSource, Trader, TraderError
from server.traders.refusals import NotAllowedError, TraderRefusedError, UnknownTraderError
from server.traders.runs import RunResult, evaluate_copy, past_signals, run_live
from server.traders.telling import Teller
from server.traders.tiers import TIERS

__all__ = [
    "Desk",
    "NotAllowedError",
    "TraderRefusedError",
    "UnknownTraderError",
    "open_desk",
]

log = logging.getLogger(__name__)

#: Traders that are run in one go before others get a turn.
_RUN_CHUNK = 32
#: Likewise, whose boundaries are summed up.
_SETTLE_CHUNK = 100
#: Errors of traders that do not run: over once they do, or should not.
_KEPT_FROM_RUNNING = (
    "engine_fault",
    "engine_full",
    "interval_not_held",
    "market_not_served",
    "refused",
)


def open_desk(
    settings: Settings, sinks: Sinks, *, hub: Hub, clock: Clock, metrics: Registry
) -> Desk:
    """The desk of a server with these settings."""
    return Desk(
        sinks,
        markets=settings.markets,
        limits=filter_limits(settings.capacity),
        traders_max=settings.traders_max,
        owned_max=settings.traders_per_owner_max,
        hub=hub,
        clock=clock,
        metrics=metrics,
    )


class Desk:
    """Traders of all markets of one process."""

    def __init__(
        self,
        sinks: Sinks,
        *,
        markets: Sequence[str],
        limits: Limits,
        traders_max: int,
        owned_max: int,
        hub: Hub,
        clock: Clock,
        metrics: Registry,
    ) -> None:
        """``traders_max`` are held in all, ``owned_max`` of one owner, enabled or not."""
        self.book = Book(limits)
        self.engines: dict[str, TraderEngine] = {}
        self._sinks = sinks
        self._markets = tuple(markets)
        self._traders_max = traders_max
        self._owned_max = owned_max
        self._clock = clock
        self.errors = ErrorBook(sinks.errors)
        self._writing = asyncio.Lock()  # one change at a time: what is checked stays true
        self._runs: dict[str, RunResult] = {}  # newest of the database's clock, by trader
        self._gauges = DeskGauges(metrics, self.book, self.engines, self.errors)
        self.teller = Teller(hub, self.book, sinks.signals, self._gauges)

    # --- start ---------------------------------------------------------------------------------

    async def load(self, builtins: Sequence[Trader] = ()) -> None:
        """Take in what was kept, and what the program brings."""
        self.replace(builtins, BUILTIN)
        self.replace(await self._sinks.keeper.load(), LOCAL)

    async def attach(self, engine: TraderEngine) -> None:
        """A market is there: let its traders run. What ``engine`` runs already goes on."""
        wanted = {entry.trader.id for entry in self._entries_of(engine)}
        for trader_id in [id for id in engine.watches if id not in wanted]:
            engine.drop(trader_id)
        self.engines[engine.name] = engine
        self._gauges.failures.begin(engine.name)
        for place, entry in enumerate(self._entries_of(engine)):
            self._apply(entry)
            if place % _RUN_CHUNK == _RUN_CHUNK - 1:
                await asyncio.sleep(0)

    async def recall(self, engine: TraderEngine) -> None:
        """Let an engine follow up what lives that ended, perhaps at once, told provisionally."""
        try:
            told = await self._sinks.told.provisional(engine.name, OPEN_MAX)
        except StoreError as error:
            log.warning("what %s told provisionally before cannot be read: %s", engine.name, error)
        else:
            engine.memory.take_back(told)

    def _entries_of(self, engine: TraderEngine) -> list[Entry]:
        return [entry for entry in self.book if entry.trader.market == engine.name]

    def replace(self, traders: Sequence[Trader], origin: str) -> None:
        """Let the traders of an origin be these and no others, at once."""
        for entry in self.book.beyond(traders, origin):
            self._stop(entry.trader)
            self.errors.clear(entry.trader.id)
        for entry in self.book.replace(traders, origin):
            self._apply(entry)
        self._use_room()

    # --- what is there -------------------------------------------------------------------------

    def visible(self, principal: Principal) -> list[Trader]:
        """The traders somebody sees: built-in ones first, then by age."""
        return self.book.visible(principal)

    def get(self, principal: Principal, trader_id: str) -> Trader:
        """One of those. Raises UnknownTraderError."""
        return self._find(principal, trader_id).trader

    def health(self, trader: Trader) -> TraderHealth:
        """How a trader is."""
        engine = self.engines.get(trader.market)
        return describe(trader, engine, self.errors.of(trader.id))

    def _find(self, principal: Principal, trader_id: str) -> Entry:
        entry = self.book.find(principal, trader_id)
        if entry is None:
            raise UnknownTraderError(trader_id)
        return entry

    def _own(self, principal: Principal, trader_id: str) -> Entry:
        """One that somebody may change. Raises UnknownTraderError, NotAllowedError."""
        entry = self._find(principal, trader_id)
        if entry.origin != LOCAL:
            raise NotAllowedError(
                "this trader comes with the program and cannot be changed"
                if entry.origin == BUILTIN
                else f"this trader is kept in {entry.origin}; change it there"
            )
        return entry

    # --- changes -------------------------------------------------------------------------------

    async def create(
        self, principal: Principal, trader: Trader, *, past: bool = False
    ) -> RunResult | None:
        """Make a trader, which runs at once; what it says now, None while its market is not up.

        Its owner is ``principal``. With ``past`` the signals it would have given on the klines in
        memory are kept, marked historical. Raises FilterError, TraderRefusedError, QuotaError,
        UnknownTraderError: it was deleted meanwhile; NotAllowedError: nobody in particular asks.
        """
        owner = principal.owner
        if owner is None:
            raise NotAllowedError("traders belong to somebody: a key or a token is needed")
        trader = self._checked(msgspec.structs.replace(trader, owner=owner))
        async with self._writing:
            self._check_room(owner)
            await self._sinks.keeper.insert(trader, self._quota(principal))
            entry = self.book.put(trader)
            try:
                self._follow(entry)
            except FiltersFullError as error:
                self.book.remove(trader.id)
                await self._sinks.keeper.delete(trader.id)
                raise _full(error) from None
        if past:
            await self._tell_past(entry)
            entry = self._find(principal, trader.id)
        engine = self.engines.get(entry.trader.market)
        return None if engine is None else await self._run(entry, engine, RunSource.REQUEST, None)

    async def update(
        self, principal: Principal, trader_id: str, change: Callable[[Trader], Trader]
    ) -> Trader:
        """Change a trader as it is by then; its id, owner and age stay.

        Raises UnknownTraderError, NotAllowedError, FilterError, TraderRefusedError, QuotaError.
        """
        async with self._writing:
            entry = self._own(principal, trader_id)
            before = entry.trader
            trader = self._checked(
                msgspec.structs.replace(
                    change(before), id=before.id, owner=before.owner, created_ms=before.created_ms
                )
            )
            wakes = trader.enabled and not before.enabled
            await self._sinks.keeper.update(trader, self._quota(principal) if wakes else None)
            self.errors.clear(trader.id)
            self._apply(self.book.put(trader))
            self._use_room()
            return trader

    async def delete(self, principal: Principal, trader_id: str) -> None:
        """Forget a trader and what was kept of it.

        Raises UnknownTraderError, NotAllowedError.
        """
        async with self._writing:
            entry = self._own(principal, trader_id)
            await self._sinks.keeper.delete(trader_id)
            self._stop(entry.trader)
            self.book.remove(trader_id)
            self.errors.clear(trader_id)
            self._use_room()

    async def enforce(self, owner: str, tier: Tier) -> list[Trader]:
        """Somebody has another tier: the oldest traders it allows run, the newer ones are paused.

        As the database does with those that live there. Returns the traders that are paused now.
        """
        limit = TIERS[tier].custom_traders
        async with self._writing:
            own = [e.trader for e in self.book if e.trader.owner == owner and e.origin == LOCAL]
            enabled = sorted((t for t in own if t.enabled), key=lambda t: (t.created_ms, t.id))
            allowed = len(enabled) if limit is None else limit
            paused = []
            for place, trader in enumerate(enabled):
                reason = f"{tier} allows {limit} traders" if place >= allowed else None
                if trader.paused_reason != reason:
                    trader = msgspec.structs.replace(trader, paused_reason=reason)
                    await self._sinks.keeper.update(trader, None)
                    self._apply(self.book.put(trader))
                if reason is not None:
                    paused.append(trader)
            self._use_room()
        return paused

    def _quota(self, principal: Principal) -> int | None:
        return TIERS[principal.tier].custom_traders

    def _check_room(self, owner: str) -> None:
        if len(self.book) >= self._traders_max:
            raise TraderRefusedError("too_many_traders", "this server holds no more traders")
        if sum(entry.trader.owner == owner for entry in self.book) >= self._owned_max:
            raise QuotaError(self._owned_max)

    def _checked(self, trader: Trader) -> Trader:
        """A trader that could run. Raises FilterError, TraderRefusedError."""
        engine = self.engines.get(trader.market)
        market = None if engine is None else engine.market
        return checked(trader, self._markets, market, self.book.limits)

    # --- running -------------------------------------------------------------------------------

    def _apply(self, entry: Entry) -> bool:
        """Let a trader run, or not, as it is now; what prevents it is noted.

        False if it should run and there is no room.
        """
        try:
            self._follow(entry)
        except FiltersFullError as error:
            self._note(entry, "engine_full", str(_full(error)))
            return False
        except Exception:
            log.exception("trader %s cannot be run", entry.trader.id)
            self._note(entry, "engine_fault", "a fault of the server; its log says more")
        return True

    def _follow(self, entry: Entry) -> None:
        """Likewise. Raises FiltersFullError."""
        trader, filter = entry.trader, entry.filter
        if filter is None:
            self._stop(trader)
            refusal = entry.refusal
            self._note(entry, "refused", refusal.message if refusal else "it cannot be read")
            return
        if not trader.enabled or trader.paused_reason is not None:
            self._stop(trader)
            self.errors.mend(trader.id, *_KEPT_FROM_RUNNING)
            return
        engine = self.engines.get(trader.market)
        if engine is None:
            if trader.market not in self._markets:
                self._note(entry, "market_not_served", f"{trader.market} is not served here")
            return
        try:
            watch = engine.follow(trader, filter)
        except FiltersFullError:
            engine.drop(trader.id)  # what it was before is not what it should be
            raise
        except UnknownSeriesError as error:
            engine.drop(trader.id)
            self._note(entry, "interval_not_held", str(error))
        except ValueError as error:
            engine.drop(trader.id)
            self._note(entry, "refused", str(error))
        else:
            self.errors.mend(trader.id, *_KEPT_FROM_RUNNING)
            if watch.unheld:
                self._note(entry, "unknown_symbol", f"not held: {', '.join(watch.unheld[:10])}")
            else:
                self.errors.mend(trader.id, "unknown_symbol")

    def _use_room(self) -> None:
        """Try again what an engine was too full for, until it is full again."""
        full: set[str] = set()
        for entry in self.book:
            trader = entry.trader
            if trader.market in full or not self.errors.has(trader.id, "engine_full"):
                continue
            if not self._apply(entry):
                full.add(trader.market)

    def _stop(self, trader: Trader) -> None:
        """Let a trader that is still in the book run no longer."""
        for engine in self.engines.values():
            if trader.id in engine.watches:
                engine.drop(trader.id)
                now_ms = self._clock.time_ms()
                self.teller.tell(engine.retract(trader.id, now_ms), now_ms)
        self._runs.pop(trader.id, None)

    def _note(self, entry: Entry, kind: str, message: str) -> TraderError:
        hash = entry.filter.hash if entry.filter is not None else ""
        is_builtin = entry.origin == BUILTIN
        is_fault = not is_builtin or kind != "interval_not_held"  # the operator has chosen them
        now_ms = self._clock.time_ms()
        error = self.errors.note(entry.trader, kind, message, now_ms, hash, counts=is_fault)
        if error.count == 1 and is_fault:
            level = logging.INFO if is_builtin else logging.WARNING
            log.log(level, "trader %s: %s: %s", entry.trader.id, kind, message)
        return error

    async def run(
        self,
        principal: Principal,
        trader_ids: Sequence[str],
        source: RunSource = RunSource.REQUEST,
        symbols: Collection[str] | None = None,
    ) -> list[RunResult]:
        """What traders say now, from memory: nothing is asked of the exchange.

        No signals come of it: those are the engine's, once per kline. Of the database's clock the
        second run of a kline is the first one again. Raises UnknownTraderError, FilterError,
        TraderRefusedError: a trader cannot run here.
        """
        for trader_id in trader_ids:
            self._find(principal, trader_id)
        results = []
        for place, trader_id in enumerate(trader_ids):
            entry = self._find(principal, trader_id)  # others had their turns
            engine = self.engines.get(entry.trader.market)
            if engine is None:
                raise TraderRefusedError("starting", f"{entry.trader.market} is not served yet")
            results.append(await self._run(entry, engine, source, symbols))
            if place % _RUN_CHUNK == _RUN_CHUNK - 1:
                await asyncio.sleep(0)
        return results

    async def _run(
        self,
        entry: Entry,
        engine: TraderEngine,
        source: RunSource,
        symbols: Collection[str] | None,
    ) -> RunResult:
        trader, now_ms, timer = entry.trader, self._clock.time_ms(), self._clock.monotonic
        self.catch_up(engine)
        watch = engine.watches.get(trader.id)
        if watch is not None:
            result = run_live(engine, watch, source, symbols, now_ms, timer)
        else:
            filter = runnable(entry, engine.market)
            result = await evaluate_copy(engine, trader, filter, source, symbols, now_ms, timer)
            current = self.book.get(trader.id)
            if current is None:
                raise UnknownTraderError(trader.id)
            if not current.means(entry):
                return result  # of what it was when somebody asked: no news of what it is
        if source is RunSource.CRON:
            before = self._runs.get(trader.id)
            if (
                before is not None
                and before.filter_hash == result.filter_hash
                and before.open_time_ms == result.open_time_ms
            ):
                return msgspec.structs.replace(before, repeated=True)
            self._runs[trader.id] = result
        if result.error is not None and symbols is None:
            self._note(entry, "no_symbols", result.error)
        elif result.error is None:
            self.errors.mend(trader.id, "no_symbols")
        self._gauges.ran(result)
        self._sinks.executions.put([result.execution()])
        return result

    async def _tell_past(self, entry: Entry) -> None:
        engine = self.engines.get(entry.trader.market)
        if engine is not None and entry.filter is not None:
            now_ms = self._clock.time_ms()
            found = await past_signals(engine, entry.trader, entry.filter, now_ms)
            current = self.book.get(entry.trader.id)
            if current is None or not current.means(entry):
                return
            wanted = frozenset(current.trader.symbols)
            self._sinks.signals.put([s for s in found if not wanted or s.symbol in wanted])

    # --- passing on ----------------------------------------------------------------------------

    def pump(self, name: str, events: Sequence[Event]) -> bool:
        """Evaluate what a market told of, and pass on what comes of it. Never waits or raises.

        True if ``settle`` is wanted when there is time.
        """
        engine = self.engines.get(name)
        if engine is None:
            return False
        now_ms = self._clock.time_ms()
        try:
            signals = engine.pump(events, now_ms, self._clock.monotonic)
        except Exception:
            log.exception("the traders of %s failed; they start anew", name)
            self._revive(engine)
            return False
        self.teller.tell(signals, now_ms)
        return engine.unsettled > 0

    def settle(self, name: str) -> bool:
        """Sum up boundaries for some traders: their history, and which symbols came and went.

        After the signals, which somebody waits for. True if there is more.
        """
        engine = self.engines.get(name)
        if engine is None:
            return False
        executions, changes = engine.settle(_SETTLE_CHUNK)
        for change in changes:
            self.teller.tell_change(change)
        self._gauges.settled(executions, changes)
        if executions:
            self._sinks.executions.put(executions)
        for execution in executions:
            watch = engine.watches.get(execution.trader_id)
            if watch is not None and not watch.unheld:
                self.errors.mend(execution.trader_id, "unknown_symbol")
            if execution.error is not None:
                self._note_run(execution)
            else:
                self.errors.mend(execution.trader_id, "no_symbols")
        return engine.unsettled > 0

    def _note_run(self, execution: Execution) -> None:
        entry = self.book.get(execution.trader_id)
        if entry is not None and execution.error is not None:
            self._note(entry, "no_symbols", execution.error)

    def catch_up(self, engine: TraderEngine) -> None:
        """Evaluate rows that no event told of: those of a snapshot, before the feed adds others."""
        now_ms = self._clock.time_ms()
        self.teller.tell(engine.catch_up(now_ms), now_ms)

    def _revive(self, engine: TraderEngine) -> None:
        """What an engine remembers may be wrong after a fault: begin with the rows in memory."""
        self._gauges.failures.inc(engine.name)
        try:
            fresh = engine.anew()
        except Exception:
            log.exception("the traders of %s go on as they are", engine.name)
            return
        self.engines[engine.name] = fresh
        for entry in self._entries_of(fresh):
            self._apply(entry)


def _full(error: FiltersFullError) -> TraderRefusedError:
    return TraderRefusedError("engine_full", f"this server can run no more traders: {error}")
