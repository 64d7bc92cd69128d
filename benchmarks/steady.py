"""What the whole server takes in steady state; ``python -m benchmarks.steady``.

The simulated exchange, a bare client that only counts the same frames, and a page that shows the
dashboard are processes beside the server, and not counted. Exit status 1: over budget.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID, uuid5

import click
import picows

from benchmarks.bench_signals import PREDICATES, Hearing
from benchmarks.processes import ask, free_port, process
from server.clock import SystemClock
from server.disk import SystemDisk
from server.identity import OPERATOR
from server.metrics import Registry
from server.settings import Settings
from server.store.base import Store
from server.traders.model import Trader

HERE = Path(__file__).parent
ROOT = HERE.parent
SYMBOLS = 500
INTERVALS = ("1m", "5m", "15m", "1h")
CAPACITY = 500
TRADERS = 1000
READY_S = 600.0
SETTLE_S = 20.0  # from ready to the first sample
BOUNDARY_S = 5.0  # so long after a minute's end a sample belongs to it

CPU_MAX = 6.25  # % of one core
MEMORY_MAX_MB = 200.0

#: Traders of each interval, of a hundred.
SHARES = {"1m": 40, "5m": 30, "15m": 20, "1h": 10}
#: What the dashboard subscribes to: its market page, one chart beside it, and signals.
SUBSCRIPTIONS = ["!ticker@arr", "!symbols", "!barrier", "coin0usdt@kline_1m", "signals"]

#: How often the exchange says that it updates a stream, and where.
SOURCES = {
    "kline": "each kline stream every 2 s while it is traded (the exchange's stream documentation)",
    "ticker": "each ticker stream every 1 s while it is traded (the same)",
    "close": "each kline once, at its end",
}


class Sample(NamedTuple):
    """Of all the server's processes, and of the bare client, at one moment."""

    at_s: float  # monotonic
    time_s: float  # wall
    cpu_ns: int
    bare_ns: int
    rss_mb: float
    pss_mb: float
    peak_mb: float  # RSS, since the first sample


def tree(pid: int) -> list[int]:
    """A process and all that descend from it."""
    found = [pid]
    for parent in found:
        with contextlib.suppress(OSError):
            for task in Path(f"/proc/{parent}/task").iterdir():
                found += map(int, task.joinpath("children").read_text().split())
    return found


def cpu_ns(pids: list[int]) -> int:
    """Time on a CPU, all threads, those that ended included as far as the kernel tells."""
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            for task in Path(f"/proc/{pid}/task").iterdir():
                total += int(task.joinpath("schedstat").read_text().split()[0])
    return total


def kernel_share(pids: list[int]) -> tuple[int, int]:
    """Ticks in user mode and in the kernel."""
    user = system = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        user, system = user + int(fields[11]), system + int(fields[12])
    return user, system


def memory_mb(pids: list[int]) -> tuple[float, float]:
    """Resident memory, shared pages counted for each process; and counted once."""
    sums = {"Rss:": 0, "Pss:": 0}
    for pid in pids:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]:
            name, size, *_ = line.split()
            if name in sums:
                sums[name] += int(size)
    return sums["Rss:"] * 1024 / 1e6, sums["Pss:"] * 1024 / 1e6


def forget_peaks(pids: list[int]) -> None:
    """Let ``peak_mb`` begin here."""
    for pid in pids:
        Path(f"/proc/{pid}/clear_refs").write_text("5")


def peak_mb(pids: list[int]) -> float:
    """The most that was resident at any moment, however short, as the kernel noted it."""
    found = 0
    for pid in pids:
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                found += int(line.split()[1])
    return found * 1024 / 1e6


# --- traders -------------------------------------------------------------------------------------


def trader(number: int, symbols: int) -> Trader:
    """One of many: 300 filters, four intervals, all symbols or some, edges, levels, pauses."""
    place = number * 37 % 100
    bound, interval = 0, "1m"
    for interval, share in SHARES.items():  # noqa: B007
        bound += share
        if place < bound:
            break
    first, second = PREDICATES[number % 300], PREDICATES[(7 * number + 61) % 300]
    some = tuple(f"COIN{(number + step) % symbols}USDT" for step in range(min(20, symbols)))
    return Trader(
        id=str(uuid5(UUID(int=2), str(number))),
        owner=OPERATOR,
        name=f"t{number}",
        filter=f"{first} and {second}",
        interval=interval,
        symbols=some if number % 5 == 4 else (),
        mode="level" if number % 10 == 7 else "edge",
        cooldown_bars=number % 4 * 3 + 1 if number % 10 == 7 else 0,
        created_ms=0,
        updated_ms=0,
    )


async def keep_traders(folder: Path, count: int, symbols: int) -> None:
    """Let the server find its traders when it starts."""
    disk = SystemDisk()
    store = Store(
        Settings(), directory=str(folder), disk=disk, clock=SystemClock(), metrics=Registry()
    )
    await store.open()
    await asyncio.gather(*(store.traders.insert(trader(n, symbols), None) for n in range(count)))
    await store.close()
    disk.close()


# --- the page ------------------------------------------------------------------------------------


class Page(Hearing):
    """Hears what the dashboard hears, over the same port."""

    def on_ws_connected(self, transport: picows.WSTransport) -> None:
        self.transport = transport
        request = {"method": "SUBSCRIBE", "params": SUBSCRIPTIONS, "id": 1}
        transport.send(picows.WSMsgType.TEXT, json.dumps(request).encode())


# --- one run -------------------------------------------------------------------------------------


def wait_ready(port: int, server: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + READY_S
    while time.monotonic() < deadline:
        if server.poll() is not None:
            raise SystemExit(f"the server ended with status {server.returncode}")
        with contextlib.suppress(OSError, ValueError):
            if ask(port, "GET", "/ready")[0] == 200:
                return
        time.sleep(0.5)
    raise SystemExit("the server is not ready")


def counted(bare: subprocess.Popen[str]) -> dict[str, int]:
    assert bare.stdin is not None
    assert bare.stdout is not None
    bare.stdin.write("\n")
    bare.stdin.flush()
    found: dict[str, int] = json.loads(bare.stdout.readline())
    return found


def take(server: int, bare: int, *, memory: bool) -> Sample:
    pids = tree(server)
    rss, pss = memory_mb(pids) if memory else (0.0, 0.0)
    peak = peak_mb(pids)
    return Sample(time.monotonic(), time.time(), cpu_ns(pids), cpu_ns([bare]), rss, pss, peak)


async def watch(port: int, server: int, bare: subprocess.Popen[str], seconds: float) -> Any:
    """Samples of each second while a page is open, and what it heard."""
    transport, page = await picows.ws_connect(Page, f"ws://127.0.0.1:{port}/ws")
    assert isinstance(page, Page)
    await asyncio.sleep(SETTLE_S)
    page.frames.clear()
    before, ticks = counted(bare), kernel_share(tree(server))
    forget_peaks(tree(server))
    samples = [take(server, bare.pid, memory=True)]
    bar = click.progressbar(length=round(seconds), label="measuring", file=sys.stderr)
    shows = sys.stderr.isatty()
    while samples[-1].at_s - samples[0].at_s < seconds:
        await asyncio.sleep(1.0 - time.time() % 1.0)
        samples.append(take(server, bare.pid, memory=len(samples) % 5 == 0))
        if shows:
            bar.update(1)
    samples.append(take(server, bare.pid, memory=True))
    if shows:
        bar.render_finish()
    user, system = kernel_share(tree(server))
    after = counted(bare)
    transport.disconnect()
    kernel = (system - ticks[1]) / max(user - ticks[0] + system - ticks[1], 1)
    return samples, page.frames, {k: after[k] - before[k] for k in after}, kernel


def run(
    seconds: float, symbols: int, traders: int, *, snapshots_s: float, spread: bool
) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as processes:
        folder = Path(name)
        notes, port = folder / "notes", free_port()
        notes.touch()
        pattern = ["spread"] if spread else []
        exchange = processes.enter_context(
            process(str(HERE / "_steady_exchange.py"), str(symbols), str(notes), *pattern)
        )
        assert exchange.stdout is not None
        rest, ws = json.loads(exchange.stdout.readline())
        asyncio.run(keep_traders(folder / "data", traders, symbols))
        settings = {
            "PORT": str(port),
            "KLINE_STREAM_PORT": str(free_port()),
            "KLINE_SPOT_REST": rest,
            "KLINE_SPOT_WS": ws,
            "KLINE_DATA_DIR": str(folder / "data"),
            "SYMBOLS": "all:USDT",
            "KLINE_INTERVALS": ",".join(INTERVALS),
            "KLINE_CAPACITY": str(CAPACITY),
            "KLINE_REST_WEIGHT_SHARE": "1.0",
            "KLINE_SNAPSHOT_INTERVAL_S": str(snapshots_s),
        }
        server = processes.enter_context(process("-m", "server", "serve", "--quiet", **settings))
        wait_ready(port, server)
        names = ",".join(f"COIN{number}USDT" for number in range(symbols))
        bare = processes.enter_context(
            process(str(HERE / "_bare_client.py"), f"{ws}/ws", names, ",".join(INTERVALS))
        )
        samples, heard, received, kernel = asyncio.run(watch(port, server.pid, bare, seconds))
        lines = [json.loads(line) for line in notes.read_text().splitlines()]
    return {"symbols": symbols, "traders": traders} | figures(
        samples, heard, received, kernel, lines
    )


# --- figures -------------------------------------------------------------------------------------


def figures(
    samples: list[Sample],
    heard: list[tuple[int, bytes]],
    received: dict[str, int],
    kernel: float,
    lines: list[dict[str, Any]],
) -> dict[str, Any]:
    first, last = samples[0], samples[-1]
    wall_s = last.at_s - first.at_s
    quiet, boundary = Counter[str](), Counter[str]()
    for before, after in zip(samples, samples[1:], strict=False):
        near = (after.time_s - 0.5) % 60 < BOUNDARY_S
        into = boundary if near else quiet
        into["wall"] += round((after.at_s - before.at_s) * 1e9)
        into["cpu"] += after.cpu_ns - before.cpu_ns
    sent: Counter[str] = Counter()
    closed_ns: dict[tuple[str, str, int], int] = {}
    for line in lines:
        if first.at_s * 1e9 < line["at_ns"] <= last.at_s * 1e9:
            sent.update(line["sent"])
            for stream, at_ms, at_ns in line["closes"]:
                symbol, _, kind = stream.partition("@kline_")
                closed_ns[symbol.upper(), kind, at_ms] = at_ns
    seconds = round(wall_s)
    bare_cpu = (last.bare_ns - first.bare_ns) / 1e7 / wall_s
    cpu = (last.cpu_ns - first.cpu_ns) / 1e7 / wall_s
    memory = [sample for sample in samples if sample.rss_mb]
    latency = latencies(heard, closed_ns)
    told = Counter(kind_of(json.loads(payload)) for _, payload in heard)
    return {
        "seconds": round(wall_s, 1),
        "CPU, % of one core": cpu,
        "CPU, quiet seconds, %": 100 * quiet["cpu"] / max(quiet["wall"], 1),
        "CPU, seconds around a minute's end, %": 100 * boundary["cpu"] / max(boundary["wall"], 1),
        "of it in the kernel, %": 100 * kernel,
        "bare client, % of one core": bare_cpu,
        "server / bare client": cpu / bare_cpu,
        "us of CPU a frame": (last.cpu_ns - first.cpu_ns) / 1e3 / max(received["frames"], 1),
        "bare client, us a frame": (last.bare_ns - first.bare_ns)
        / 1e3
        / max(received["frames"], 1),
        "RSS, MB, end": last.rss_mb,
        "RSS, MB, peak": last.peak_mb,
        "PSS, MB, end": last.pss_mb,
        "PSS, MB, peak": max(sample.pss_mb for sample in memory),
        "frames/s": received["frames"] / wall_s,
        "kB/s": received["bytes"] / 1e3 / wall_s,
        "sent/s": {k: round(v / seconds, 1) for k, v in sorted(sent.items()) if k != "bytes"},
        "to the page/s": {k: round(v / wall_s, 2) for k, v in sorted(told.items())},
        "close to signal, ms": latency,
    }


def kind_of(message: Any) -> str:
    if isinstance(message, list):
        return "tickers"
    return str(message.get("e") or message.get("type") or "reply")


def latencies(
    heard: list[tuple[int, bytes]], closed_ns: dict[tuple[str, str, int], int]
) -> dict[str, float]:
    """From the send of a closing frame to the signal at the page."""
    found = []
    for at_ns, payload in heard:
        message = json.loads(payload)
        if isinstance(message, dict) and message.get("type") == "signal":
            data = message["data"]
            end_ms = data["open_time_ms"] + LENGTHS_MS[data["interval"]]
            sent_ns = closed_ns.get((data["symbol"], data["interval"], end_ms))
            if sent_ns is not None:
                found.append((at_ns - sent_ns) / 1e6)
    if not found:
        return {"signals": 0}
    found.sort()
    return {
        "signals": len(found),
        "p50": round(statistics.median(found), 1),
        "p99": round(found[len(found) * 99 // 100], 1),
        "max": round(found[-1], 1),
    }


LENGTHS_MS = {"1m": 60_000, "5m": 300_000, "15m": 900_000, "1h": 3_600_000}


def over_budget(result: dict[str, Any]) -> list[str]:
    limits = {
        "CPU, % of one core": CPU_MAX,
        "RSS, MB, peak": MEMORY_MAX_MB,
        "PSS, MB, peak": MEMORY_MAX_MB,
    }
    return [
        f"{name}: {result[name]:.2f}, at most {limit:g}"
        for name, limit in limits.items()
        if result[name] > limit
    ]


def show(result: dict[str, Any]) -> None:
    width = max(map(len, result))
    for name, value in result.items():
        if isinstance(value, float):
            text = f"{value:,.2f}"
        elif isinstance(value, dict):
            text = ", ".join(f"{key} {number:g}" for key, number in value.items())
        else:
            text = str(value)
        click.echo(f"{name:<{width}}  {text}")
    for what, source in SOURCES.items():
        click.echo(f"  {what}: {source}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--symbols", type=int, default=SYMBOLS)
    parser.add_argument(
        "--snapshots",
        type=float,
        default=Settings().snapshot_interval_s,
        help="seconds between two",
    )
    parser.add_argument("--traders", type=int, default=TRADERS, help="besides the built-in ones")
    parser.add_argument(
        "--spread", action="store_true", help="each symbol speaks at a moment of its own"
    )
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    result = run(
        60 * arguments.minutes,
        arguments.symbols,
        arguments.traders,
        snapshots_s=arguments.snapshots,
        spread=arguments.spread,
    )
    if arguments.json:
        click.echo(json.dumps(result))
    else:
        show(result)
    if over := over_budget(result):
        click.echo("over budget: " + "; ".join(over), err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
