"""``exchange``: the simulated exchange in a process of its own, and what it tells its parent."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from pathlib import Path

import click
import msgspec

from server.cli.processes import Announcement
from server.clock import PACE_VARIABLE, Clock, SystemClock, pace_text, read_pace
from server.errors import ServerError
from server.exchange.app import Exchange
from server.exchange.generated import DEMO_SYMBOLS, GeneratedMarket
from server.exchange.minutes import MINUTE_MS, Source
from server.exchange.recorded import RecordedMarket

__all__ = ["run_exchange"]

_HOUR_MS = 3_600_000

#: Of a recording, at most this much is history before it begins to play; and at most a third.
_HISTORY_MS_MAX = 48 * _HOUR_MS

#: The simulated exchange bans nobody: its only client is ours.
_WEIGHT_LIMIT = 10_000_000


def run_exchange(
    files: tuple[Path, ...],
    *,
    port: int,
    market: str,
    symbols: str | None,
    seed: int,
    speed: float,
) -> None:
    """Serve until interrupted. At speed 0 wait for a line on standard input, then step to the end.

    Raises ServerError: files that are no recording, a port that is taken.
    """
    if not speed and not files:
        raise ServerError("only a recording can be stepped through: name its files")
    source = _source(files, market, symbols, seed)
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_serve(source, port, speed))


def _source(files: tuple[Path, ...], market: str, symbols: str | None, seed: int) -> Source:
    try:
        if files:
            return RecordedMarket(files, market=market)
        names = [name.strip().upper() for name in (symbols or "").split(",") if name.strip()]
        return GeneratedMarket(seed, names or DEMO_SYMBOLS, market=market)
    except ValueError as error:
        raise ServerError(str(error)) from None


async def _serve(source: Source, port: int, speed: float) -> None:
    real = SystemClock()
    start_ms = real.time_ms() if source.end_ms is None else _start_of(source, source.end_ms)
    clock: Clock = real
    environment = {}
    if speed:
        # The server's process reads the same numbers, so that both clocks stay together; and an
        # exchange that is started again goes on in the time of the one that ended.
        pace = os.environ.get(PACE_VARIABLE) or pace_text(start_ms, speed, real)
        clock = read_pace(pace, real)
        environment = {PACE_VARIABLE: pace}
    exchange = Exchange(source, clock, stepping=not speed, weight_limit=_WEIGHT_LIMIT)
    try:
        await exchange.start("127.0.0.1", port, now_ms=start_ms)
    except OSError as error:
        raise ServerError(f"cannot listen on 127.0.0.1:{port}: {error.strerror}") from None
    heard = Announcement(
        rest=exchange.rest_url,
        ws=exchange.ws_url,
        port=exchange.port,
        market=source.market,
        symbols=list(source.symbols),
        first_ms=source.first_ms,
        start_ms=start_ms,
        end_ms=source.end_ms,
        environment=environment,
    )
    try:
        _say(heard)
        if not speed and source.end_ms is not None:
            await asyncio.to_thread(sys.stdin.readline)
            await exchange.publish_until(source.end_ms)
            _say({"played": True})
        await asyncio.Event().wait()
    finally:
        await exchange.stop()


def _start_of(source: Source, end_ms: int) -> int:
    """Where a recording begins to play: in the middle of a minute.

    At its very end the last close would be too fresh for REST to be trusted with it, and published
    already.
    """
    start_ms = source.first_ms + min((end_ms - source.first_ms) // 3, _HISTORY_MS_MAX)
    return max(start_ms, source.first_ms + MINUTE_MS) // MINUTE_MS * MINUTE_MS + MINUTE_MS // 2


def _say(message: Announcement | dict[str, bool]) -> None:
    click.echo(msgspec.json.encode(message).decode())
    sys.stdout.flush()
