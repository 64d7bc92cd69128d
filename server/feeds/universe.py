"""Which symbols there are, which of them are held, and what becomes of each.

The exchange pushes nothing of this on spot, so its list is read again and again. A list that
cannot be trusted changes nothing: what is held stays held.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import msgspec

from server.clock import Clock, wait_event
from server.errors import FeedError
from server.feeds.binance import Api
from server.feeds.budget import Priority
from server.settings import Settings

__all__ = [
    "GONE",
    "REASONS",
    "TRADING",
    "Holder",
    "NoRoomError",
    "Selection",
    "SymbolChange",
    "Universe",
    "UnknownSymbolsError",
    "assume_symbols",
    "resolve_symbols",
]

log = logging.getLogger(__name__)

TRADING = "TRADING"
GONE = "GONE"  # our word: the exchange does not list it any more

#: What can happen to a symbol.
REASONS = ("status", "gone", "back", "added", "removed", "no room")

#: Lists in a row that must lack a symbol before it counts as gone.
MISSING_LISTS = 2

#: Lists in a row in which a symbol of ``top:N`` must rank behind N and the margin before it goes.
OUT_LISTS = 5
#: The margin as a share of N, and at least.
MARGIN = (0.1, 2)

#: A list with less than this share of the symbols known, or of those held, is not believed.
BELIEVED_SHARE = 0.5

#: A symbol that is gone keeps its streams so long, s, and its rows so long unless room is needed.
STREAMS_KEPT_S = 600.0
ROWS_KEPT_S = 86_400.0

#: Between two lists that were asked for out of turn, s.
EARLY_S = 30.0

#: Places a market can have beside its first symbols.
ROOM_MAX = 10_000

#: Names without room that are remembered.
_TURNED_AWAY_MAX = 1000


class Selection(NamedTuple):
    """Which symbols to hold at the start."""

    symbols: tuple[str, ...]
    unknown: tuple[str, ...]  # configured ones the exchange does not list
    statuses: dict[str, str]  # of every symbol it lists
    assumed: str = ""  # why no list could be read; empty: one was
    room: int = 0  # places for symbols that are wanted and not among these yet
    details: Mapping[str, bytes] | None = None  # what the exchange said of each, as JSON


class SymbolChange(msgspec.Struct):
    """Something happened to a symbol."""

    symbol: str
    status: str  # the exchange's word, or GONE
    was: str  # empty: it was not held
    time: int  # when it was noticed, the exchange's time, ms
    reason: str  # one of REASONS


class UnknownSymbolsError(ValueError):
    """Symbols that cannot be added or removed; nothing was done."""

    def __init__(self, names: Sequence[str], what: str) -> None:
        super().__init__(f"{what}: {', '.join(names)}")
        self.names = tuple(names)


class NoRoomError(ValueError):
    """More symbols than there is memory for; nothing was done."""


class Holder(Protocol):
    """Who holds the symbols: a feed."""

    @property
    def room(self) -> int:
        """How many more symbols fit."""
        ...

    def hold(self, symbol: str) -> None:
        """Hold a symbol: memory, streams, windows. Raises ValueError: it cannot be held."""
        ...

    def drop(self, symbol: str) -> None:
        """Hold it no longer."""
        ...

    def listen(self, symbol: str, listening: bool) -> None:
        """Subscribe or unsubscribe its streams; its rows stay."""
        ...

    def expect(self, symbol: str, expected: bool) -> None:
        """Whether klines of it are to be expected."""
        ...


@dataclass(slots=True)
class _Held:
    """A symbol that is held."""

    status: str
    missing: int = 0  # lists in a row without it
    out: int = 0  # lists in a row in which it ranked too far behind
    gone_s: float | None = None  # since when it is gone
    listening: bool = True


async def resolve_symbols(settings: Settings, api: Api) -> Selection:
    """Pick the symbols to hold from what the exchange lists.

    Raises FeedError: the exchange did not answer, or nothing that was asked for is there.
    """
    info = await api.exchange_info()
    statuses = {symbol.symbol: symbol.status for symbol in info.symbols}
    quotes = {symbol.symbol: symbol.quoteAsset for symbol in info.symbols}
    kind, _, _ = settings.symbols.partition(":")
    unknown: tuple[str, ...] = ()
    if kind in ("all", "top"):
        volumes = await api.volumes() if kind == "top" else {}
        found = tuple(_candidates(settings.symbols, statuses, quotes, volumes))
        if kind == "top":
            found = found[: _count(settings.symbols)]
    else:
        asked = _names(settings.symbols)
        found = tuple(name for name in asked if name in statuses)
        unknown = tuple(name for name in asked if name not in statuses)
    if not found:
        raise FeedError(
            f"{api.venue.name} trades none of what SYMBOLS={settings.symbols!r} asks for"
        )
    return Selection(found, unknown, statuses, details=info.details(frozenset(found)))


def assume_symbols(settings: Settings, symbols: Sequence[str], why: str) -> Selection | None:
    """Pick the symbols to hold from those of a snapshot; None if the settings ask for none of them.

    For a start at which no list can be had. All count as trading; the first list that is believed
    corrects what is held.
    """
    kind, _, _ = settings.symbols.partition(":")
    found, asked = tuple(symbols), len(symbols)
    if kind == "top":
        asked = _count(settings.symbols)
    elif kind != "all":
        names = _names(settings.symbols)
        found, asked = tuple(name for name in names if name in symbols), len(names)
    if not found:
        return None
    room = min(max(0, asked - len(found)), ROOM_MAX - settings.symbols_room)
    return Selection(found, (), dict.fromkeys(found, TRADING), why, room)


def _names(text: str) -> list[str]:
    return list(dict.fromkeys(n.strip().upper() for n in text.split(",") if n.strip()))


def _count(text: str) -> int:
    return int(text.split(":")[1])


def _candidates(
    text: str,
    statuses: Mapping[str, str],
    quotes: Mapping[str, str],
    volumes: Mapping[str, float],
) -> list[str]:
    """Symbols that ``all:QUOTE`` or ``top:N:QUOTE`` is about and that trade, best first."""
    quote = text.rpartition(":")[2].upper()
    names = [n for n, status in statuses.items() if status == TRADING and quotes[n] == quote]
    if text.startswith("top:"):
        names = sorted((n for n in names if n in volumes), key=lambda n: (-volumes[n], n))
    return names


class Universe:
    """Follows the exchange's list for one market: see ``take`` for what each list does.

    ``on_change`` hears of everything that happens to a symbol that is held, or should be.
    """

    def __init__(
        self,
        selection: Selection,
        api: Api,
        holder: Holder,
        *,
        settings: Settings,
        clock: Clock,
        on_change: Callable[[SymbolChange], None],
    ) -> None:
        self.counts = dict.fromkeys(("asked", "failed", "disbelieved"), 0)  # lists
        self.changes = dict.fromkeys(REASONS, 0)
        self.turned_away: dict[str, None] = {}  # symbols that should be held and have no room
        self.assumed = selection.assumed  # why no list was believed since the start; empty: one was
        self.details = dict(selection.details or {})  # what the exchange said of symbols, as JSON
        self._text = settings.symbols
        self._kind = settings.symbols.partition(":")[0]
        self._asked = _names(settings.symbols) if self._kind not in ("all", "top") else []
        self._interval_s = settings.universe_interval_s
        self._retry_s = (settings.backoff_min_s, settings.backoff_max_s)
        self._api = api
        self._holder = holder
        self._clock = clock
        self._on_change = on_change
        self._listed = selection.statuses
        self._held = {s: _Held(selection.statuses.get(s, TRADING)) for s in selection.symbols}
        self._by_hand: dict[str, bool] = {}  # added (True) or removed (False) by somebody
        self._wake = asyncio.Event()
        self._polled_s = clock.monotonic()
        self._polling = asyncio.Lock()
        for symbol, held in self._held.items():
            if held.status != TRADING:
                holder.expect(symbol, False)

    # --- what it knows -------------------------------------------------------------------------

    @property
    def statuses(self) -> dict[str, str]:
        """Status of every symbol held."""
        return {symbol: held.status for symbol, held in self._held.items()}

    @property
    def unknown(self) -> list[str]:
        """Configured symbols the exchange does not list; none before a list was read."""
        if self.assumed:
            return []
        return [name for name in self._asked if name not in self._held and self._wants(name)]

    def is_trading(self, symbol: str) -> bool:
        """True if klines of this symbol are to be expected."""
        held = self._held.get(symbol)
        return held is not None and held.status == TRADING

    def _wants(self, name: str) -> bool:
        return self._by_hand.get(name, True)

    # --- reading the list ----------------------------------------------------------------------

    async def run(self) -> None:
        """Read the list every now and then, until cancelled; sooner while none was believed."""
        retry_s, retry_max_s = self._retry_s
        while True:
            self._wake.clear()
            interval_s = self._interval_s
            if self.assumed:
                interval_s = min(retry_s, interval_s)
                retry_s = min(2 * retry_s + 0.1, retry_max_s)
            wait_s = interval_s - (self._clock.monotonic() - self._polled_s)
            if await wait_event(self._wake, self._clock, max(wait_s, 0.0)):
                early_s = EARLY_S - (self._clock.monotonic() - self._polled_s)
                await self._clock.sleep(min(max(early_s, 0.0), interval_s))
            await self.poll()

    def poll_soon(self) -> None:
        """Something is odd about a symbol: do not wait for the next turn."""
        self._wake.set()

    async def poll(self) -> bool:
        """Read the list once; False if it could not be had, or not be believed."""
        async with self._polling:
            self._polled_s = self._clock.monotonic()
            self.counts["asked"] += 1
            try:
                info = await self._api.exchange_info(
                    Priority.START if self.assumed else Priority.HISTORY
                )
            except FeedError as error:
                self.counts["failed"] += 1
                self.assumed = self.assumed and str(error)
                log.warning("list of symbols not read: %s", error)
                return False
            statuses = {symbol.symbol: symbol.status for symbol in info.symbols}
            quotes = {symbol.symbol: symbol.quoteAsset for symbol in info.symbols}
            believed = self.take(statuses, quotes, await self._volumes(len(statuses)))
            if believed:
                self.details = info.details(self._held)
            return believed

    async def _volumes(self, listed: int) -> dict[str, float]:
        """24 h volumes if the selection needs them; none if they cannot be all."""
        if self._kind != "top":
            return {}
        try:
            volumes = await self._api.volumes(Priority.HISTORY)
        except FeedError as error:
            log.warning("24 h volumes not read: %s", error)
            return {}
        return volumes if len(volumes) >= BELIEVED_SHARE * listed else {}

    def take(
        self, statuses: Mapping[str, str], quotes: Mapping[str, str], volumes: Mapping[str, float]
    ) -> bool:
        """Follow one list: status of each symbol, its quote asset, its 24 h volume (``top:``).

        False, and nothing happens, if it lacks so much that it cannot be the whole list.
        """
        held_there = sum(s in statuses for s in self._held if self._held[s].gone_s is None)
        held_known = sum(held.gone_s is None for held in self._held.values())
        if (
            len(statuses) < BELIEVED_SHARE * len(self._listed)
            or held_there < BELIEVED_SHARE * held_known
        ):
            self.counts["disbelieved"] += 1
            why = f"a list of {len(statuses)} symbols is not believed"
            log.warning("%s, %d were known", why, len(self._listed))
            self.assumed = self.assumed and why
            return False
        self._listed = dict(statuses)
        for symbol in tuple(self._held):
            self._follow(symbol, statuses.get(symbol))
        self._let_go()
        self._choose(statuses, quotes, volumes)
        return True

    def _follow(self, symbol: str, status: str | None) -> None:
        held = self._held[symbol]
        if status is None:
            held.missing += 1
            if held.missing >= MISSING_LISTS and held.gone_s is None:
                held.gone_s = self._clock.monotonic()
                self._set_status(symbol, GONE, "gone")
            return
        held.missing = 0
        if held.gone_s is not None:
            held.gone_s = None
            if not held.listening:
                held.listening = True
                self._holder.listen(symbol, True)
        if status != held.status:
            self._set_status(symbol, status, "back" if held.status == GONE else "status")

    def _set_status(self, symbol: str, status: str, reason: str) -> None:
        held = self._held[symbol]
        was, held.status = held.status, status
        if (was == TRADING) != (status == TRADING):
            self._holder.expect(symbol, status == TRADING)
        self._tell(symbol, status, was, reason)

    def _let_go(self) -> None:
        """Symbols that are gone lose their streams first, and their rows much later."""
        now_s = self._clock.monotonic()
        for symbol, held in tuple(self._held.items()):
            if held.gone_s is None:
                continue
            gone_s = now_s - held.gone_s
            if held.listening and gone_s >= STREAMS_KEPT_S:
                held.listening = False
                self._holder.listen(symbol, False)
            if gone_s >= ROWS_KEPT_S and len(self._held) > 1:
                self._drop(symbol)

    # --- which symbols to hold -----------------------------------------------------------------

    def _choose(
        self, statuses: Mapping[str, str], quotes: Mapping[str, str], volumes: Mapping[str, float]
    ) -> None:
        """Add what should be held by now, and drop what has long been out of the first N."""
        by_hand = [name for name, added in self._by_hand.items() if added]
        kept: dict[str, None] | None = None  # of ``top:``, those that rank well enough to stay
        if self._kind == "top":
            ranked = _candidates(self._text, statuses, quotes, volumes)
            if not ranked:
                return  # volumes of nothing: no ranking, rather than an empty one
            count = _count(self._text)
            kept = dict.fromkeys(ranked[: count + max(MARGIN[1], int(count * MARGIN[0]))])
            self._drop_outranked(kept)
            wanted = [*ranked[:count], *by_hand]
        elif self._kind == "all":
            wanted = [*_candidates(self._text, statuses, quotes, volumes), *by_hand]
        else:
            wanted = [*self._asked, *by_hand]
        wanted = list(dict.fromkeys(wanted))
        assumed, self.assumed = self.assumed, ""
        if assumed:
            self._correct(statuses, quotes, kept)
        self.turned_away = dict.fromkeys(n for n in wanted if n in self.turned_away)
        for name in wanted:
            if name not in self._held and statuses.get(name) == TRADING and self._wants(name):
                self._add(name, statuses[name])
        if assumed:
            self._correct(statuses, quotes, kept)  # the last one goes when others are there

    def _correct(
        self,
        statuses: Mapping[str, str],
        quotes: Mapping[str, str],
        kept: Collection[str] | None,
    ) -> None:
        """Drop what came from a snapshot and would not have been chosen from this list."""
        quote = self._text.rpartition(":")[2].upper()
        for symbol in tuple(self._held):
            chosen = symbol in statuses
            if chosen and self._kind in ("all", "top") and symbol not in self._by_hand:
                outranked = kept is not None and symbol not in kept
                chosen = quotes[symbol] == quote
                chosen &= not (outranked and statuses[symbol] == TRADING)
            if not chosen and len(self._held) > 1:
                self._drop(symbol)

    def _drop_outranked(self, kept: Collection[str]) -> None:
        for symbol, held in tuple(self._held.items()):
            out = symbol not in kept and held.status == TRADING and symbol not in self._by_hand
            held.out = held.out + 1 if out else 0
            if held.out >= OUT_LISTS and len(self._held) > 1:
                self._drop(symbol)

    def _add(self, name: str, status: str) -> bool:
        """Hold a symbol; False, counted and told once, if there is no room."""
        try:
            if not self._holder.room and not self._make_room():
                raise ValueError("there is no room")
            self._holder.hold(name)
        except ValueError as error:
            self._turn_away(name, status, error)
            return False
        self._held[name] = _Held(status)
        self.turned_away.pop(name, None)
        if status != TRADING:
            self._holder.expect(name, False)
        self._tell(name, status, "", "added")
        return True

    def _make_room(self) -> bool:
        """Drop the symbol that has been gone for longest; False without one."""
        gone = [(held.gone_s, s) for s, held in self._held.items() if held.gone_s is not None]
        if not gone or len(self._held) < 2:
            return False
        self._drop(min(gone)[1])
        return True

    def _turn_away(self, name: str, status: str, error: ValueError) -> None:
        if name in self.turned_away or len(self.turned_away) >= _TURNED_AWAY_MAX:
            return
        self.turned_away[name] = None
        log.warning("%s cannot be held: %s", name, error)
        self._tell(name, status, "", "no room")

    def _drop(self, symbol: str) -> None:
        held = self._held.pop(symbol)
        self._holder.drop(symbol)
        self._tell(symbol, held.status, held.status, "removed")

    def _tell(self, symbol: str, status: str, was: str, reason: str) -> None:
        self.changes[reason] += 1
        change = SymbolChange(symbol, status, was, self._api.time.now_ms(), reason)
        log.info("symbol %s: %s", symbol, reason, extra={"fields": msgspec.to_builtins(change)})
        self._on_change(change)

    # --- by hand -------------------------------------------------------------------------------

    async def change(self, add: Iterable[str], remove: Iterable[str]) -> None:
        """Hold and drop symbols as somebody says; lists do not undo it. All or nothing.

        Raises UnknownSymbolsError: a name the exchange does not list, or that is not held;
        NoRoomError: more than fit; FeedError: the list could not be read to check a new name.
        """
        adding = [n for n in dict.fromkeys(s.strip().upper() for s in add) if n not in self._held]
        removing = list(dict.fromkeys(s.strip().upper() for s in remove))
        self._check_held(removing, adding)
        if any(name not in self._listed for name in adding) and not await self.poll():
            raise FeedError("the exchange's list of symbols could not be read; try again")
        # Another list may have come while this one was waited for.
        adding = [name for name in adding if name not in self._held]
        self._check_held(removing, adding)
        unknown = [name for name in adding if name not in self._listed]
        if unknown:
            raise UnknownSymbolsError(unknown, "the exchange does not list")
        gone = sum(held.gone_s is not None and s not in removing for s, held in self._held.items())
        room = self._holder.room + len(removing) + gone
        if len(adding) > room:
            raise NoRoomError(f"there is room for {room} more symbols, not for {len(adding)}")
        for name in removing:
            self._by_hand[name] = False
            self._drop(name)
        for name in adding:
            self._by_hand[name] = True
            if not self._add(name, self._listed[name]):
                raise NoRoomError(f"{name} cannot be held")

    def _check_held(self, names: Sequence[str], adding: Sequence[str]) -> None:
        missing = [name for name in names if name not in self._held]
        if missing:
            raise UnknownSymbolsError(missing, "not held")
        if names and len(names) >= len(self._held) + len(adding):
            raise UnknownSymbolsError(names, "a market holds at least one symbol; it has only")
