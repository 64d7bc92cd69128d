"""A Supabase that exists in memory only, an outbox of it, and what the sync process said."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Any

from simulation.clock import SimulatedClock

from server.store.outbox import OutboxRow
from server.sync.answers import Answer
from server.sync.tables import TABLES, Table
from server.sync.uploader import Lane
from server.sync.wire import Acknowledged, Alive, Dead, DeadLetter, Drain, TradersChanged

__all__ = [
    "BOUND", "TRADER", "USER", "Book", "MemoryOutbox", "MemoryRest", "Parent", "open_lane", "row",
    "trader_row",
]  # fmt: skip

TRADER = "00000000-0000-0000-0000-000000000001"
#: A page that the server gives at most, whatever is asked for.
BOUND = 7

Fault = Callable[[list[dict[str, Any]]], Answer | None]


def row(
    seq: int, key: str = "", *, trader: str = TRADER, revision: int = 1, **more: Any
) -> OutboxRow:
    """A row that waits; in ``more`` are columns."""
    key = key or f"k{seq}"
    body = {"id": key, "trader_id": trader, "revision": revision, **more}
    return OutboxRow(seq, key, trader, 0, json.dumps(body).encode())


USER = "11111111-1111-1111-1111-111111111111"


def trader_row(n: int, version: int = 0, **more: Any) -> dict[str, Any]:
    """A row of traders, as PostgREST tells it."""
    row = {
        "id": f"00000000-0000-0000-0000-{n:012d}",
        "user_id": USER,
        "name": f"trader {n}",
        "filter": "close > 1",
        "interval": "1m",
        "market": "spot",
        "symbols": ["BTCUSDT"],
        "mode": "edge",
        "cooldown_bars": 0,
        "evaluate_on": "closed",
        "enabled": True,
        "paused_reason": None,
        "description": "",
        "conditions": [],
        "indicators": [{"expr": "sma(5)"}],
        "access_tier": "anonymous",
        "category": None,
        "difficulty": None,
        "created_at": "2026-11-26T03:00:00+00:00",
        "updated_at": f"2026-11-26T03:00:00.{version:06d}+00:00",
    }
    return row | more


class MemoryOutbox:
    """Rows that wait, until somebody deletes them."""

    def __init__(self, rows: Sequence[OutboxRow] = ()) -> None:
        self.rows = {row.seq: row for row in rows}

    def read(self, kind: str, after: int, limit: int) -> list[OutboxRow]:
        later = (row for seq, row in self.rows.items() if seq > after)  # they were put in by seq
        return list(islice(later, limit))


class Book:
    """Which traders there are."""

    def __init__(self, ids: set[str] | None = None) -> None:
        self.ids: set[str] | None = {TRADER} if ids is None else ids
        self.looks = 0
        self.found: set[str] | None = None  # what a look finds

    async def look(self) -> bool:
        self.looks += 1
        if self.found is not None:
            self.ids = self.found
        return True


class MemoryRest:
    """Tables as PostgREST shows them. ``faults`` happen to requests in turn, before or after."""

    def __init__(self, clock: SimulatedClock) -> None:
        self.clock = clock
        self.tables: dict[str, dict[str, dict[str, Any]]] = {}
        self.writes: dict[str, int] = {}  # times each key was really written
        self.requests: list[tuple[float, str, int]] = []
        self.before: list[Answer | None] = []  # the answers of the next requests; None: a true one
        self.after: list[Answer | None] = []  # said although the rows were taken
        self.poison: dict[str, Answer] = {}  # key of a row -> what happens to a request with it
        self.rule: Fault = lambda rows: None
        self.read_answer: Answer | None = None
        self.counts: Counter[str] = Counter()

    async def upsert(self, table: str, conflict: str, rows: Sequence[bytes]) -> Answer:
        parsed = [json.loads(row) for row in rows]
        self.requests.append((self.clock.monotonic(), table, len(parsed)))
        await self.clock.sleep(0.02)
        if self.before and (answer := self.before.pop(0)) is not None:
            return answer
        if (answer := self.rule(parsed)) is not None:
            return answer
        for found in parsed:
            if (answer := self.poison.get(found["id"])) is not None:
                return answer
        assert len({found["id"] for found in parsed}) == len(parsed), "21000: one key twice"
        stored = self.tables.setdefault(table, {})
        for found in parsed:
            held = stored.get(found["id"])
            if held is None or held["revision"] < found["revision"]:
                stored[found["id"]] = found
                self.writes[found["id"]] = self.writes.get(found["id"], 0) + 1
        if self.after and (answer := self.after.pop(0)) is not None:
            return answer
        return Answer(status=201)

    async def delete(self, table: str, parameters: dict[str, str]) -> Answer:
        raise AssertionError("only cleared errors are deleted")

    async def read(self, table: str, parameters: dict[str, str]) -> Answer:
        self.requests.append((self.clock.monotonic(), table, 0))
        await self.clock.sleep(0.01)
        if self.read_answer is not None:
            return self.read_answer
        rows = self.tables.get(table, {})
        key = "user_id" if table == "user_tiers" else "id"
        asked = parameters.get(key, "")
        if asked.startswith("in.("):
            ids = asked[4:-1].split(",")
            keys = [id for id in ids if id in rows]
        else:
            keys = [id for id in sorted(rows) if id > asked.removeprefix("gt.")][:BOUND]
        columns = parameters["select"].split(",")
        body = [{column: rows[id][column] for column in columns} for id in keys]
        return Answer(status=200, body=json.dumps(body).encode())


class Parent:
    """Hears what is said, and deletes what is done with, as the server does."""

    def __init__(self, outbox: MemoryOutbox | None = None) -> None:
        self.outbox = outbox
        self.stored: list[int] = []
        self.skipped: list[int] = []
        self.letters: list[DeadLetter] = []
        self.changes: list[TradersChanged] = []

    async def hear(self, message: Acknowledged | Dead | TradersChanged | Alive | Drain) -> None:
        seqs: list[int] = []
        if isinstance(message, Acknowledged):
            self.stored += message.stored
            self.skipped += message.skipped
            seqs = [*message.stored, *message.skipped]
        elif isinstance(message, Dead):
            self.letters += message.letters
            seqs = [letter.seq for letter in message.letters]
        elif isinstance(message, TradersChanged):
            self.changes.append(message)
        for seq in seqs:
            if self.outbox is not None:
                assert self.outbox.rows.pop(seq, None) is not None, (
                    f"{seq} is said to be done twice"
                )


def open_lane(
    outbox: MemoryOutbox,
    rest: MemoryRest,
    parent: Parent,
    book: Book | None = None,
    *,
    seed: int = 0,
    table: Table | None = None,
) -> Lane:
    """The lane of signals over made-up parts."""
    known = TABLES["signals"]
    return Lane(
        "signals",
        table or Table(known.name, known.conflict, lambda body: body),
        outbox,
        rest,
        book or Book(),
        parent.hear,
        clock=rest.clock,
        random=random.Random(seed),
    )
