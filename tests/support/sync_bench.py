"""The store, the sync process and what the server knows of Supabase, over a real project."""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from server.clock import SystemClock
from server.metrics import Registry
from server.signals.model import Signal, SignalStatus, signal_id
from server.store.database import Database
from server.store.executions import ErrorStore, ExecutionStore
from server.store.outbox import Outbox
from server.store.signals import SignalStore
from server.store.tiers import TierStore
from server.store.traders import TraderStore
from server.sync.mirror import Mirror
from server.sync.options import Options
from server.sync.supervisor import Supervisor
from server.traders.model import Trader

if TYPE_CHECKING:
    from stack.project import Stack

__all__ = ["PARENT", "Bench", "add_traders", "child_figures", "signals_of"]

MINUTE_MS = 60_000

#: A server that lives for a minute with a sync process, whose pid it says. Arguments: folder of the
#: project, address, outbox.
PARENT = """
import asyncio, sys
sys.path.insert(0, sys.argv[1])
from server.clock import SystemClock
from server.metrics import Registry
from server.sync.options import Options
from server.sync.supervisor import Supervisor
import random
async def main():
    async def receive(message): pass
    options = Options(url=sys.argv[2], outbox=sys.argv[3], realtime=False)
    s = Supervisor(options, 'sb_secret_x', receive, clock=SystemClock(), random=random.Random(0),
                   metrics=Registry())
    s.start()
    while s.pid is None:
        await asyncio.sleep(0.01)
    print(s.pid, flush=True)
    await asyncio.sleep(60)
asyncio.run(main())
"""


def add_traders(stack: Stack, count: int, owner: str | None = None) -> list[str]:
    """Traders of a new user of the highest tier, by id."""
    owner = owner or stack.user(tier="elite").id
    rows = stack.rows(
        "insert into traders (user_id, name, filter, interval)"
        " select %s, 'trader ' || n, 'close > ' || n, '1m' from generate_series(1, %s) n"
        " returning id::text",
        (owner, count),
    )
    return [row["id"] for row in rows]


def signals_of(
    traders: Sequence[str], count: int, *, first: int = 0, price: str = "97000.10"
) -> Iterator[Signal]:
    """Different signals, one after another."""
    for n in range(first, first + count):
        trader_id, open_time_ms = traders[n % len(traders)], n * MINUTE_MS
        yield Signal(
            id=signal_id(trader_id, "hash", "spot", "BTCUSDT", "1m", open_time_ms),
            trader_id=trader_id,
            filter_hash="hash",
            market="spot",
            symbol="BTCUSDT",
            interval="1m",
            open_time_ms=open_time_ms,
            price=price,
            status=SignalStatus.FIRED,
            revision=1,
            data_revision=n,
            complete=True,
            values={"close": 97000.1, "rsi(14)": None},
            anchors={"1m": 0},
            at_ms=time.time_ns() // 1_000_000,
        )


class Bench:
    """One life of the server's side; another one may follow on the same file."""

    def __init__(self, stack: Stack, folder: Path, *, realtime: bool = False) -> None:
        clock, self.metrics = SystemClock(), Registry()
        path = str(folder / "klinecore.sqlite")
        self.database = Database(path, clock=clock, metrics=self.metrics, queue_max=200_000)
        self.outbox = Outbox(
            self.database,
            clock=clock,
            metrics=self.metrics,
            enabled=True,
            rows_max=500_000,
            bytes_max=1 << 30,
        )
        self.signals = SignalStore(self.database, self.outbox)
        self.executions = ExecutionStore(self.database, self.outbox, clock)
        self.errors = ErrorStore(self.database, self.outbox)
        self.traders: dict[str, Trader] = {}  # users' own
        self.mirror = Mirror(
            outbox=self.outbox,
            traders=TraderStore(self.database),
            tiers=TierStore(self.database),
            replace=self._replace,
            errors=self.errors,
            clock=clock,
            metrics=self.metrics,
        )
        self.supervisor = Supervisor(
            Options(url=stack.url, outbox=path, realtime=realtime),
            stack.secret_key,
            self.mirror.receive,
            clock=clock,
            random=random.Random(0),
            metrics=self.metrics,
        )

    async def __aenter__(self) -> Bench:
        await self.database.open()
        await self.mirror.load()
        self.supervisor.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.supervisor.stop()
        await self.database.close()

    def _replace(self, traders: Sequence[Trader], origin: str) -> None:
        assert origin == "supabase"
        self.traders = {trader.id: trader for trader in traders if trader.owner is not None}

    def put(self, signals: Iterable[Signal]) -> int:
        """As the engine does; how many there were."""
        batch = list(signals)
        self.signals.put(batch)
        return len(batch)

    async def until(self, happened: Callable[[], bool], within_s: float = 60.0) -> float:
        """Wait; how long it took."""
        started_s = time.monotonic()
        while not happened():
            if time.monotonic() - started_s > within_s:
                raise TimeoutError(f"not within {within_s} s")
            await asyncio.sleep(0.02)
        return time.monotonic() - started_s

    async def until_empty(self, within_s: float = 120.0) -> float:
        """Until nothing waits any more, neither for the disk nor for Supabase."""
        return await self.until(
            lambda: self.database.waiting == 0 and self.outbox.depth == 0, within_s
        )

    async def dead(self) -> list[tuple[str, str]]:
        """Key and code of each dead letter."""
        return [(letter.key, letter.code) for letter in await self.outbox.dead_letters(limit=1000)]

    def metric(self, line: str) -> float:
        """A sample of the exposition, by its name and labels."""
        for text in self.metrics.render().decode().splitlines():
            name, _, value = text.rpartition(" ")
            if name == line:
                return float(value)
        return 0.0

    def kill_child(self) -> None:
        pid = self.supervisor.pid
        assert pid is not None
        os.kill(pid, 9)


def child_figures(pid: int) -> tuple[float, float]:
    """MB of memory and seconds of CPU of a process."""
    status = Path(f"/proc/{pid}/status").read_text()
    (resident,) = [line.split()[1] for line in status.splitlines() if line.startswith("VmRSS")]
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    ticks = int(fields[11]) + int(fields[12])
    return int(resident) / 1024, ticks / os.sysconf("SC_CLK_TCK")
