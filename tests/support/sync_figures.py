"""What uploading costs and how long it takes: ``PYTHONPATH=tests/support python -m sync_figures``.

Over a real Postgres and PostgREST on this machine: a backlog of 20,000 signals, then signals as
they come, each timed until it is committed to Postgres.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from pathlib import Path

from stack.project import Stack
from sync_bench import Bench, add_traders, child_figures, signals_of

BACKLOG = 20_000
SINGLES = 60
TRADERS = 1000


async def measure(stack: Stack, folder: Path) -> None:
    ids = add_traders(stack, TRADERS)
    async with Bench(stack, folder, realtime=True) as bench:
        took_s = await bench.until(lambda: len(bench.traders) == TRADERS)
        print(f"{TRADERS} traders are there {took_s:.2f} s after the start of the process")
        pid = bench.supervisor.pid
        assert pid is not None
        mb, before_s = child_figures(pid)
        print(f"the process: {mb:.1f} MB, {before_s:.2f} s of CPU so far")
        started_s = time.monotonic()
        bench.put(signals_of(ids, BACKLOG))
        await bench.until(lambda: bench.outbox.depth > 0)
        await bench.until_empty()
        took_s = time.monotonic() - started_s
        mb, after_s = child_figures(pid)
        print(f"backlog: {BACKLOG / took_s:.0f} signals/s, {mb:.1f} MB, "
              f"{(after_s - before_s) / BACKLOG * 1e6:.0f} us of CPU a signal")  # fmt: skip
        times = []
        for n in range(SINGLES):
            await asyncio.sleep(0.25 + 0.013 * (n % 7))
            started_s = time.monotonic()
            bench.put(signals_of(ids, 1, first=BACKLOG + n))
            while not stack.rows(
                "select from trader_signals where open_time_ms = %s", [(BACKLOG + n) * 60_000]
            ):
                await asyncio.sleep(0.005)
            times.append((time.monotonic() - started_s) * 1000)
        times.sort()
        print(f"one signal, from the engine to Postgres: p50 {times[len(times) // 2]:.0f} ms, "
              f"p95 {times[int(0.95 * len(times))]:.0f} ms, worst {times[-1]:.0f} ms")  # fmt: skip
        _, before_s = child_figures(pid)
        await asyncio.sleep(20)
        mb, after_s = child_figures(pid)
        print(f"idle: {mb:.1f} MB, {(after_s - before_s) / 20 * 100:.1f} % of a core")


def main() -> None:
    with (
        tempfile.TemporaryDirectory() as folder,
        Stack(Path(folder), realtime=True) as stack,
    ):
        (Path(folder) / "data").mkdir()
        asyncio.run(measure(stack, Path(folder) / "data"))


if __name__ == "__main__":
    main()
