"""Reads traders and tiers from Supabase, and tells the parent what became otherwise."""

from __future__ import annotations

import asyncio
import logging
import random as random_module
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import NamedTuple

import msgspec

from server.clock import Clock, wait_event
from server.store.tiers import UserTier
from server.sync.answers import Answer, Verdict, judge
from server.sync.rest import Rest
from server.sync.tables import TIER_COLUMNS, TRADER_COLUMNS, read_tier, read_trader
from server.sync.uploader import retry_delay
from server.sync.wire import DETAIL_MAX, BrokenRow, TradersChanged
from server.traders.model import Trader

__all__ = ["READ_EVERY_S", "Reader"]

log = logging.getLogger(__name__)

#: Seconds between two looks, and looks between two readings of everything.
READ_EVERY_S = 60.0
_WHOLE_EVERY = 15
#: Seconds to wait for more changes after the first was told of.
SETTLE_S = 0.1
#: Rows of a page; ids of one request, which stand in its URL; rows of one message, bytes of it.
_PAGE_ROWS = 1000
_IDS_MAX = 80
_MESSAGE_ROWS = 200
_MESSAGE_BYTES = 128 << 10
#: A trader whose row is larger is broken: it would not fit the line to the parent.
_TRADER_BYTES_MAX = 256 << 10
#: Traders, and users with a tier, that are read; more are left out and said.
ROWS_MAX = 50_000


class _Refused(Exception):  # noqa: N818 - it carries an answer up to where it is dealt with
    def __init__(self, answer: Answer) -> None:
        super().__init__(f"{answer.reason} {answer.detail}")
        self.answer = answer


class _Version(msgspec.Struct):
    id: str
    updated_at: str


_versions = msgspec.json.Decoder(list[_Version])
_raws = msgspec.json.Decoder(list[msgspec.Raw])


class _Held(NamedTuple):
    """A row as it was read last: a trader, or what is wrong with it."""

    version: str
    trader: Trader | BrokenRow


class Reader:
    """The set of traders, kept equal to the one of Supabase.

    A look compares what each row says of its last change, and reads the rows that say otherwise;
    everything is read at the start, when asked, and from time to time.
    """

    def __init__(
        self,
        rest: Rest,
        tell: Callable[[TradersChanged], Awaitable[None]],
        *,
        clock: Clock,
        random: random_module.Random,
    ) -> None:
        #: Traders that Supabase has, broken or not; None before they were read.
        self.ids: set[str] | None = None
        #: Why the last look failed; empty if it did not.
        self.fault = ""
        self._rest = rest
        self._tell = tell
        self._clock = clock
        self._random = random
        self._held: dict[str, _Held] = {}
        self._tiers: dict[str, UserTier] = {}
        self._told = False
        self._wanted = asyncio.Event()
        self._whole = True
        self._lock = asyncio.Lock()
        self._read_s: float | None = None

    @property
    def age_ms(self) -> int | None:
        """Since the set was last known to be that of Supabase; None: never."""
        if self._read_s is None:
            return None
        return int((self._clock.monotonic() - self._read_s) * 1000)

    def want(self, *, whole: bool = False) -> None:
        """Look soon. Never waits."""
        self._whole = self._whole or whole
        self._wanted.set()

    async def run(self) -> None:
        """For ever."""
        failures = looks = 0
        while True:
            looks += 1
            if looks % _WHOLE_EVERY == 0:
                self._whole = True
            if await self.look():
                failures = 0
                wait_s = READ_EVERY_S
            else:
                wait_s = retry_delay(failures, self._random)
                failures += 1
            if await wait_event(self._wanted, self._clock, wait_s):
                # Changes come in crowds; one look sees them all.
                await self._clock.sleep(SETTLE_S if not failures else wait_s)

    async def look(self) -> bool:
        """Read what may have changed. False: that was not possible."""
        async with self._lock:
            self._wanted.clear()
            whole, self._whole = self._whole, False
            try:
                await self._look(whole or self.ids is None)
            except _Refused as refused:
                self._whole = self._whole or whole
                self._say(str(refused))
                return False
            if self.fault:
                log.info("traders are read again")
            self.fault = ""
            self._read_s = self._clock.monotonic()
            return True

    async def _look(self, whole: bool) -> None:
        if whole:
            rows = await self._pages("traders", TRADER_COLUMNS, "id")
            found = dict(_read_row(row) for row in rows)
        else:
            found = await self._changed()
        tiers = {}
        for row in await self._pages("user_tiers", TIER_COLUMNS, "user_id"):
            try:
                if (tier := read_tier(row)) is not None:
                    tiers[tier.user_id] = tier
            except ValueError as error:
                log.warning("a row of user_tiers is left out: %s", error)
        await self._report(found, tiers)

    async def _changed(self) -> dict[str, _Held]:
        """The set as it is now, read where its rows have changed."""
        versions = {}
        for row in await self._pages("traders", "id,updated_at", "id"):
            version = msgspec.json.decode(row, type=_Version)
            versions[version.id] = version.updated_at
        found = {id: held for id, held in self._held.items() if versions.get(id) == held.version}
        missing = [id for id in versions if id not in found]
        for start in range(0, len(missing), _IDS_MAX):
            ids = ",".join(missing[start : start + _IDS_MAX])
            parameters = {"select": TRADER_COLUMNS, "id": f"in.({ids})", "limit": str(_IDS_MAX)}
            found.update(_read_row(row) for row in await self._page("traders", parameters))
        return found

    async def _pages(self, table: str, columns: str, key: str) -> list[msgspec.Raw]:
        """All rows, by key: rows that come and go meanwhile move no other one out of sight."""
        rows: list[msgspec.Raw] = []
        parameters = {"select": columns, "order": key, "limit": str(_PAGE_ROWS)}
        while True:
            # The server may give fewer than asked for; only a page without rows is the end.
            page = await self._page(table, parameters)
            if not page:
                return rows
            rows += page
            if len(rows) > ROWS_MAX:
                raise _Refused(Answer(status=200, code="rows", detail=f"{table} has too many"))
            parameters[key] = f"gt.{_value(page[-1], key)}"

    async def _page(self, table: str, parameters: dict[str, str]) -> Sequence[msgspec.Raw]:
        answer = await self._rest.read(table, parameters)
        if judge(answer) is not Verdict.DONE:
            raise _Refused(answer)
        try:
            return _raws.decode(answer.body)
        except msgspec.DecodeError as error:
            raise _Refused(Answer(status=answer.status, code="body", detail=str(error))) from None

    async def _report(self, found: dict[str, _Held], tiers: dict[str, UserTier]) -> None:
        """Tell what is otherwise than before."""
        changed = [held.trader for id, held in found.items() if self._held.get(id) != held]
        gone = [id for id in self._held if id not in found]
        rows = [row for id, row in tiers.items() if self._tiers.get(id) != row]
        free = [id for id in self._tiers if id not in tiers]
        whole, self._told = not self._told, True
        self._held, self._tiers = found, tiers
        if changed or gone or rows or free or whole:
            items: list[Trader | BrokenRow | UserTier] = [*changed, *rows]
            for message in _messages(items, gone, free, whole):
                await self._tell(message)
        self.ids = set(found)  # from here on their rows go up

    def _say(self, fault: str) -> None:
        if fault != self.fault:
            log.warning("traders cannot be read: %s", fault)
        self.fault = fault


def _read_row(row: msgspec.Raw) -> tuple[str, _Held]:
    """Raises _Refused: not even an id; then it is no row of ours."""
    try:
        version = msgspec.json.decode(row, type=_Version)
    except msgspec.DecodeError as error:
        raise _Refused(Answer(status=200, code="body", detail=str(error))) from None
    trader: Trader | BrokenRow
    try:
        if len(row) > _TRADER_BYTES_MAX:
            raise ValueError(f"the row has {len(row)} bytes, at most {_TRADER_BYTES_MAX} are read")
        trader = read_trader(row)
    except ValueError as error:
        trader = BrokenRow(trader_id=version.id, detail=str(error)[:DETAIL_MAX])
    return version.id, _Held(version.updated_at, trader)


def _value(row: msgspec.Raw, key: str) -> str:
    value: str = msgspec.json.decode(row)[key]
    return value


def _messages(
    items: Sequence[Trader | BrokenRow | UserTier],
    gone: Sequence[str],
    free: Sequence[str],
    whole: bool,
) -> Iterator[TradersChanged]:
    """A change in parts of which each fits a line."""
    pieces: list[list[Trader | BrokenRow | UserTier]] = [[]]
    size = 0
    for item in items:
        length = len(msgspec.json.encode(item))
        if pieces[-1] and (size + length > _MESSAGE_BYTES or len(pieces[-1]) >= _MESSAGE_ROWS):
            pieces.append([])
            size = 0
        pieces[-1].append(item)
        size += length
    names = [("gone", id) for id in gone] + [("free", id) for id in free]
    lists = [names[start : start + 1000] for start in range(0, len(names), 1000)]
    count = len(pieces) + len(lists)
    for place, piece in enumerate(pieces):
        yield TradersChanged(
            first=place == 0,
            whole=whole,
            last=place == count - 1,
            traders=[item for item in piece if isinstance(item, Trader)],
            broken=[item for item in piece if isinstance(item, BrokenRow)],
            tiers=[item for item in piece if isinstance(item, UserTier)],
        )
    for place, part in enumerate(lists, len(pieces)):
        yield TradersChanged(
            first=False,
            whole=whole,
            last=place == count - 1,
            gone=[id for kind, id in part if kind == "gone"],
            free=[id for kind, id in part if kind == "free"],
        )
