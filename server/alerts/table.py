"""Targets and deliveries in the store's file: what is to be sent, was sent, never will be."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol, TypeVar

import msgspec

from server.alerts.model import Delivery, State, Target
from server.errors import QuotaError

__all__ = ["AlertTable", "Database", "DeadLetter", "Tally"]

Result = TypeVar("Result")
Work = Callable[[sqlite3.Connection], Result]

#: Delivered ones that are remembered of a target, so that a signal that comes again after a restart
#: is not sent again; and those that were given up.
DONE_MAX = 5000
DEAD_MAX = 100

_GIVE_UP = (
    "UPDATE alert_deliveries SET state = 'dead', reason = ?, ended_ms = ?"
    " WHERE target_id = ? AND state = 'waiting'"
)


class Database(Protocol):
    """What is needed of the store's file."""

    async def write(self, work: Work[Result]) -> Result:
        """Do ``work`` and return what it returned, once it is kept. Raises StoreError."""
        ...

    async def read(self, work: Work[Result]) -> Result:
        """Do ``work``, which only reads. Raises StoreError."""
        ...


class Tally(NamedTuple):
    """Of one target."""

    waiting: int
    oldest_ms: int | None
    dead: int
    dropped: int


class DeadLetter(msgspec.Struct, frozen=True):
    """A signal that will never be delivered, and why."""

    signal_id: str
    revision: int
    reason: str
    attempts: int
    at_ms: int
    ended_ms: int


class AlertTable:
    """Reads and writes; everything raises StoreError while the store cannot do it."""

    def __init__(self, database: Database) -> None:
        self._database = database

    # --- targets -------------------------------------------------------------------------------

    async def load(self) -> list[Target]:
        """Every target."""

        def work(connection: sqlite3.Connection) -> list[Target]:
            rows = connection.execute("SELECT body FROM alert_targets ORDER BY id")
            return [msgspec.json.decode(body, type=Target) for (body,) in rows]

        return await self._database.read(work)

    async def insert(self, target: Target, most: int) -> None:
        """Keep a new one. Raises QuotaError: its owner has ``most`` already."""
        body = msgspec.json.encode(target).decode()

        def work(connection: sqlite3.Connection) -> None:
            (count,) = connection.execute(
                "SELECT count(*) FROM alert_targets WHERE owner = ?", (target.owner,)
            ).fetchone()
            if count >= most:
                raise QuotaError(most, "alert targets are kept for one owner")
            connection.execute(
                "INSERT INTO alert_targets (id, owner, body) VALUES (?, ?, ?)",
                (target.id, target.owner, body),
            )

        await self._database.write(work)

    async def update(self, target: Target) -> None:
        """Keep it as it is now, if it is still there."""
        body = msgspec.json.encode(target).decode()
        await self._database.write(
            lambda connection: connection.execute(
                "UPDATE alert_targets SET body = ? WHERE id = ?", (body, target.id)
            )
        )

    async def delete(self, target_id: str) -> None:
        """Forget it, and what was on its way to it."""

        def work(connection: sqlite3.Connection) -> None:
            connection.execute("DELETE FROM alert_targets WHERE id = ?", (target_id,))
            connection.execute("DELETE FROM alert_deliveries WHERE target_id = ?", (target_id,))

        await self._database.write(work)

    # --- deliveries ----------------------------------------------------------------------------

    async def put(self, deliveries: Sequence[Delivery], most: int) -> dict[str, tuple[int, int]]:
        """Keep new ones; of each target how many are new, and how many found no room.

        At most ``most`` wait for a target. One that is there already, in whatever state, stays.
        """

        def work(connection: sqlite3.Connection) -> dict[str, tuple[int, int]]:
            room: dict[str, int] = {}
            counts: dict[str, tuple[int, int]] = {}
            for one in deliveries:
                target_id = one.target_id
                if target_id not in room:
                    (waiting,) = connection.execute(
                        "SELECT count(*) FROM alert_deliveries"
                        " WHERE target_id = ? AND state = 'waiting'",
                        (target_id,),
                    ).fetchone()
                    room[target_id] = most - waiting
                    counts[target_id] = (0, 0)
                new, dropped = counts[target_id]
                if room[target_id] <= 0:
                    counts[target_id] = (new, dropped + 1)
                    continue
                added = connection.execute(
                    "INSERT INTO alert_deliveries"
                    " (target_id, signal_id, revision, state, at_ms, attempts, reason, body)"
                    " SELECT ?, ?, ?, 'waiting', ?, 0, '', ?"
                    " WHERE EXISTS (SELECT 1 FROM alert_targets WHERE id = ?)"
                    " ON CONFLICT (target_id, signal_id, revision) DO NOTHING",
                    (*one.key, one.at_ms, one.body, target_id),
                ).rowcount
                room[target_id] -= added
                counts[target_id] = (new + added, dropped)
            for target_id, (_, dropped) in counts.items():
                if dropped:
                    connection.execute(
                        "UPDATE alert_targets SET dropped = dropped + ? WHERE id = ?",
                        (dropped, target_id),
                    )
            return counts

        return await self._database.write(work)

    async def next(self, target_id: str, most: int) -> list[Delivery]:
        """Those to send now: never tried ones first, then by age; of a signal one only."""

        def work(connection: sqlite3.Connection) -> list[Delivery]:
            rows = connection.execute(
                "SELECT target_id, signal_id, revision, at_ms, body, attempts"
                " FROM alert_deliveries WHERE target_id = ? AND state = 'waiting'"
                " ORDER BY attempts, seq LIMIT ?",
                (target_id, most),
            )
            found: dict[str, Delivery] = {}
            for target, signal_id, revision, at_ms, body, attempts in rows:
                one = Delivery(
                    target_id=target,
                    signal_id=signal_id,
                    revision=revision,
                    at_ms=at_ms,
                    body=body,
                    attempts=attempts,
                )
                found.setdefault(signal_id, one)
            return list(found.values())

        return await self._database.read(work)

    async def settle(
        self,
        target_id: str,
        ended: Sequence[tuple[Delivery, State, str]],
        now_ms: int,
        expired_ms: int,
    ) -> int:
        """Note how attempts at a target ended, and give up what was put in before ``expired_ms``.

        Returns how many of those there were.
        """

        def work(connection: sqlite3.Connection) -> int:
            for delivery, state, reason in ended:
                done = state is State.DONE
                connection.execute(
                    "UPDATE alert_deliveries SET state = ?, reason = ?, attempts = attempts + 1,"
                    " ended_ms = ?, body = CASE WHEN ? THEN '' ELSE body END"
                    " WHERE target_id = ? AND signal_id = ? AND revision = ? AND state = 'waiting'",
                    (str(state), reason, now_ms, done, *delivery.key),
                )
            late = connection.execute(
                "UPDATE alert_deliveries SET state = 'dead', ended_ms = ?,"
                " reason = 'not delivered in time: ' || reason"
                " WHERE target_id = ? AND state = 'waiting' AND at_ms < ?",
                (now_ms, target_id, expired_ms),
            ).rowcount
            _prune(connection, target_id)
            return late

        return await self._database.write(work)

    async def give_up(self, target_id: str, reason: str, now_ms: int) -> int:
        """Let nothing wait for a target any more; how many did."""

        def work(connection: sqlite3.Connection) -> int:
            count = connection.execute(_GIVE_UP, (reason, now_ms, target_id)).rowcount
            _prune(connection, target_id)
            return count

        return await self._database.write(work)

    # --- what is told of them ------------------------------------------------------------------

    async def tallies(self, target_ids: Sequence[str]) -> dict[str, Tally]:
        """How targets stand."""

        def work(connection: sqlite3.Connection) -> dict[str, Tally]:
            return {target_id: _tally(connection, target_id) for target_id in target_ids}

        return await self._database.read(work)

    async def waiting(self) -> dict[str, int]:
        """How many wait, of each target for which any does."""

        def work(connection: sqlite3.Connection) -> dict[str, int]:
            return dict(
                connection.execute(
                    "SELECT target_id, count(*) FROM alert_deliveries WHERE state = 'waiting'"
                    " GROUP BY target_id"
                ).fetchall()
            )

        return await self._database.read(work)

    async def oldest_ms(self) -> int | None:
        """When the oldest one that waits was put in."""

        def work(connection: sqlite3.Connection) -> int | None:
            (oldest,) = connection.execute(
                "SELECT min(at_ms) FROM alert_deliveries WHERE state = 'waiting'"
            ).fetchone()
            return None if oldest is None else int(oldest)

        return await self._database.read(work)

    async def dead(self, target_id: str) -> list[DeadLetter]:
        """What was given up, the newest first."""

        def work(connection: sqlite3.Connection) -> list[DeadLetter]:
            rows = connection.execute(
                "SELECT signal_id, revision, reason, attempts, at_ms, ended_ms"
                " FROM alert_deliveries WHERE target_id = ? AND state = 'dead'"
                " ORDER BY seq DESC LIMIT ?",
                (target_id, DEAD_MAX),
            )
            return [DeadLetter(*row) for row in rows]

        return await self._database.read(work)


def _tally(connection: sqlite3.Connection, target_id: str) -> Tally:
    waiting, oldest = connection.execute(
        "SELECT count(*), min(at_ms) FROM alert_deliveries"
        " WHERE target_id = ? AND state = 'waiting'",
        (target_id,),
    ).fetchone()
    (dead,) = connection.execute(
        "SELECT count(*) FROM alert_deliveries WHERE target_id = ? AND state = 'dead'",
        (target_id,),
    ).fetchone()
    found = connection.execute(
        "SELECT dropped FROM alert_targets WHERE id = ?", (target_id,)
    ).fetchone()
    return Tally(waiting, oldest, dead, found[0] if found else 0)


def _prune(connection: sqlite3.Connection, target_id: str) -> None:
    """Forget the oldest of what has ended."""
    for state, most in ((State.DONE, DONE_MAX), (State.DEAD, DEAD_MAX)):
        connection.execute(
            "DELETE FROM alert_deliveries WHERE target_id = ? AND state = ? AND seq <="
            " (SELECT seq FROM alert_deliveries WHERE target_id = ? AND state = ?"
            " ORDER BY seq DESC LIMIT 1 OFFSET ?)",
            (target_id, str(state), target_id, str(state), most),
        )
