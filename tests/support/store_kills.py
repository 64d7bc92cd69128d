"""Forks servers' stores, kills each at a random moment, and has the next one look.

FOLDER KILLS SIGNALS: at least so many kills, and on until so many signals were written. A process
of its own, with the modules loaded once. Prints one line of JSON: how many were killed
at what, how much was acknowledged, and what was wrong, if anything.
"""

from __future__ import annotations

import asyncio
import json
import random
import sqlite3
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from lives import WRONG, Life, Tell, first_round_s, tell_wrong
from shelves import execution, mistake, opened, settled, signal, trader

from server.store.base import Store

#: Signals a life tells at once; the second half of them is told again by the next one.
BURST = 200


class Known(NamedTuple):
    """What a life was told to be kept, by the one before."""

    traders: int = 0  # by number, all that were acknowledged and not deleted
    signals: int = 0  # the next number; those before it were written for sure


async def faults(store: Store, known: Known) -> list[str]:
    """What is wrong with a file that was found."""
    found = []
    if store.database.damaged is not None:
        found.append(f"the file was set aside as {store.database.damaged}")
    there = {one.id: one for one in await store.traders.load()}
    for number in range(1, known.traders + 1):
        one = trader(number)
        if number % 5 == 0:
            if one.id in there:
                found.append(f"trader {number} was deleted, and is there")
        elif there.get(one.id) != (trader(number, name="changed") if number % 3 == 0 else one):
            found.append(f"trader {number} was acknowledged, and is {there.get(one.id)}")
    found += await store.database.read(lambda connection: wrong_rows(connection, known))
    return found


def wrong_rows(connection: sqlite3.Connection, known: Known) -> list[str]:
    found = []
    rows = connection.execute(
        "SELECT open_time_ms, count(*), min(revision) FROM signals GROUP BY open_time_ms"
    ).fetchall()
    there = {open_ms: (count, revision) for open_ms, count, revision in rows}
    for number in range(known.signals):
        if there.get(signal(number).open_time_ms, (0, 0))[0] != 1:
            found.append(f"signal {number} was written, and is there {there.get(number)}")
            break
    if any(count != 1 for count, _ in there.values()):
        found.append("a signal is there twice")
    (runs,) = connection.execute("SELECT count(*) FROM executions").fetchone()
    (added,) = connection.execute("SELECT coalesce(sum(runs), 0) FROM execution_hours").fetchone()
    if runs != added:
        found.append(f"{runs} executions are added up as {added}")
    waiting, size = connection.execute(
        "SELECT count(*), coalesce(sum(length(CAST(body AS BLOB))), 0) FROM outbox"
    ).fetchone()
    counted = connection.execute("SELECT * FROM outbox_size").fetchall()
    if counted != [(waiting, size)]:
        found.append(f"the outbox has {waiting} rows of {size} bytes, counted {counted}")
    # Every signal is in the outbox or was taken from it, in the transaction that wrote it.
    (orphans,) = connection.execute(
        "SELECT count(*) FROM signals WHERE id NOT IN"
        " (SELECT key FROM outbox WHERE kind = 'signals')"
    ).fetchone()
    if orphans:
        found.append(f"{orphans} signals are not in the outbox")
    if (check := connection.execute("PRAGMA quick_check").fetchone()) != ("ok",):
        found.append(f"SQLite says: {check}")
    return found


async def live(tell: Tell, folder: Path, known: Known) -> None:
    """Start as a server does, look at what is there, then work until the end."""
    tell("O", 0)
    async with opened(folder, with_outbox=True) as store:
        wrong = await faults(store, known)
        if wrong:
            tell_wrong(tell, wrong)
            return
        number, first = known.traders, max(0, known.signals - BURST // 2)
        while True:
            tell("T", 0)
            number += 1
            try:
                await store.traders.insert(trader(number), None)
            except Exception:  # it was written, and the kill came before anybody was told
                await store.traders.update(trader(number), None)
            if number % 3 == 0:
                await store.traders.update(trader(number, name="changed"), None)
            if number % 5 == 0:
                await store.traders.delete(trader(number).id)
            tell("A", number)
            for one in range(first, first + BURST, 20):
                store.signals.put([signal(each, revision=1) for each in range(one, one + 20)])
                store.executions.put([execution(each) for each in range(one, one + 5)])
                store.errors.put([mistake(one, count=one + 1)])
                await asyncio.sleep(0)
            await settled(store)
            first += BURST
            tell("S", first)


def learn(known: Known, told: list[tuple[str, int]]) -> Known:
    for letter, number in told:
        if letter == "A":
            known = known._replace(traders=number)
        elif letter == "S":
            known = known._replace(signals=number)
    return known


def main(folder: Path, kills: int, signals_min: int) -> dict[str, Any]:
    noise = random.Random(6)
    round_s, told = first_round_s(partial(live, folder=folder, known=Known()), "S")
    known = learn(Known(), told)
    killed_at: dict[str, int] = {}
    while sum(killed_at.values()) < kills or known.signals < signals_min:
        life = Life(partial(live, folder=folder, known=known))
        if noise.random() < 0.7:  # past the look at what is there
            life.wait_for("T")
        time.sleep(noise.uniform(0.0, round_s))
        told = life.kill()
        if (WRONG, 0) in told:
            return {"wrong": True}
        known = learn(known, told)
        last = told[-1][0] if told else "start"
        killed_at[last] = killed_at.get(last, 0) + 1

    async def last_look() -> list[str]:
        async with opened(folder, with_outbox=True) as store:
            return await faults(store, known)

    wrong = asyncio.run(last_look())
    return {"wrong": wrong, "killed_at": killed_at, **known._asdict()}


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]), *map(int, sys.argv[2:]))))
