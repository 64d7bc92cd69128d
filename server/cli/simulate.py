"""``demo``, ``replay`` and ``exchange``: the server against a simulated exchange on loopback."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import msgspec

from server.cli.client import ServerClient
from server.cli.options import load_settings, simulation_options
from server.cli.processes import Announcement, Child, Interrupted, raise_on_signal
from server.cli.serve import announce, with_ports
from server.cli.verify import verify
from server.clock import SystemClock
from server.errors import ServerError
from server.settings import Settings

__all__ = ["demo", "exchange", "replay"]

#: Seconds the simulated exchange has to start: recorded files take a while to read.
START_S = 120.0
#: Seconds the server has to fill its windows, and to take the last rows of a recording.
READY_S = 120.0
#: Seconds a recording may take to play at full speed.
PLAY_S = 3600.0
#: Pauses before an exchange that died is started again; after the last the demo gives up.
RESTART_S = (0.2, 1.0, 5.0)

#: Timeouts shrink with the speed: beyond this a busy machine would miss them.
SPEED_MAX = 100.0

#: Rows a series can hold.
_CAPACITY_MAX = 100_000

_LOOK_S = 0.2  # between two looks at the children

#: Defaults that spare Binance's servers; this one is ours. Its market is another every time: no
#: snapshot may outlive it, nor a signal.
_UNHURRIED = {
    "rest_weight_share": 1.0,
    "connect_interval_s": 0.0,
    "backoff_max_s": 2.0,
    "snapshot_interval_s": 0.0,
}


@click.command()
@simulation_options
@click.option(
    "--speed",
    type=click.FloatRange(0.1, SPEED_MAX),
    default=1.0,
    show_default=True,
    help="Simulated seconds a second.",
)
@click.option("--seed", type=int, default=1, show_default=True, help="Of the prices.")
@click.option("--symbols", help="Comma list of what the exchange has; default 12.")
def demo(speed: float, seed: int, **flags: Any) -> None:
    """Serve a simulated exchange: no network, no account, real protocol, seeded prices."""
    raise_on_signal()
    arguments = ["exchange", "--seed", str(seed), "--speed", str(speed)]
    if flags["symbols"]:
        arguments += ["--symbols", flags["symbols"]]
    with _ending_quietly(), contextlib.ExitStack() as children:
        exchange = children.enter_context(Child(arguments, os.environ, talks=True))
        heard = _hear(exchange)
        settings = _settings_for(heard, flags, data_dir=children.enter_context(_folder()))
        announce(settings, f"klineserver demo, {speed:g} times real time, Ctrl-C ends it")
        environment = _environment(settings, heard)
        server = children.enter_context(Child(["serve", "--quiet"], environment))
        pauses = iter(RESTART_S)
        while server.wait(_LOOK_S) is None:
            if exchange.status is not None:
                pause_s = next(pauses, None)
                if pause_s is None:
                    raise ServerError("the simulated exchange keeps ending; see above")
                click.echo("the simulated exchange ended; starting it again", err=True)
                server.wait(pause_s)
                again = [*arguments, "--port", str(heard.port)]
                same_time = {**os.environ, **heard.environment}
                exchange = children.enter_context(Child(again, same_time, talks=True))
                _hear(exchange)
        sys.exit(server.status)


@click.command()
@simulation_options
@click.argument("files", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option("--market", type=click.Choice(["um", "spot"]), default="um", show_default=True)
@click.option(
    "--speed",
    type=click.FloatRange(0.0, SPEED_MAX),
    default=0.0,
    show_default=True,
    help="Simulated seconds a second; 0 goes as fast as the server takes it.",
)
@click.option(
    "--verify",
    "verifying",
    is_flag=True,
    help="Keep every row, compare all with the files at the end, exit 0 or 1.",
)
def replay(
    files: tuple[Path, ...], market: str, speed: float, verifying: bool, **flags: Any
) -> None:
    """Play recorded 1m kline files through the real protocol, then go on serving them.

    FILES are CSV as Binance publishes them, gzipped or not, named SYMBOL-1m-*.csv[.gz]. The first
    part of the recording is history, read by REST; the rest is streamed.
    """
    raise_on_signal()
    arguments = ["exchange", "--market", market, "--speed", str(speed), *map(str, files)]
    with _ending_quietly(), contextlib.ExitStack() as children:
        exchange = children.enter_context(Child(arguments, os.environ, talks=True))
        heard = _hear(exchange)
        fixed: dict[str, Any] = {"data_dir": children.enter_context(_folder())}
        if verifying:
            fixed["capacity"] = _rows_of(heard)
        if not speed:
            fixed["horizon_s"] = 0.0  # played at once, the rows run ahead of every clock
        settings = _settings_for(heard, flags, **fixed)
        announce(settings, "klineserver replay")
        environment = _environment(settings, heard)
        server = children.enter_context(Child(["serve", "--quiet"], environment))
        client = ServerClient(f"http://127.0.0.1:{settings.port}", settings.api_key)
        _play(exchange, server, client, heard, speed)
        if verifying:
            sys.exit(0 if verify(client, files, settings) else 1)
        click.echo("the recording is over; it is served until Ctrl-C", err=True)
        while server.wait(_LOOK_S) is None:
            pass
        sys.exit(server.status)


@click.command()
@click.argument("files", nargs=-1, type=click.Path(exists=True, path_type=Path))
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="0 takes a free one.")
@click.option("--market", type=click.Choice(["spot", "um"]), default="spot", show_default=True)
@click.option("--symbols", help="Comma list; default 12, and FILES bring their own.")
@click.option("--seed", type=int, default=1, show_default=True)
@click.option(
    "--speed",
    type=click.FloatRange(0.0, SPEED_MAX),
    default=1.0,
    show_default=True,
    help="0: play FILES at full speed after a line on standard input.",
)
def exchange(files: tuple[Path, ...], **options: Any) -> None:
    """Run only the simulated exchange, on loopback: Binance's REST and streams on one port.

    Without FILES its market is generated from the seed; with recorded 1m kline FILES it is theirs.
    Its addresses are printed as one line of JSON.
    """
    from server.cli.exchange import run_exchange

    run_exchange(files, **options)


@contextlib.contextmanager
def _ending_quietly() -> Iterator[None]:
    """Ctrl-C is how these commands end: no traceback, status 0."""
    try:
        yield
    except Interrupted:
        click.echo("ended", err=True)


def _folder() -> tempfile.TemporaryDirectory[str]:
    """Where the server keeps its files until it ends."""
    return tempfile.TemporaryDirectory(prefix="klineserver-", ignore_cleanup_errors=True)


def _hear(exchange: Child) -> Announcement:
    return msgspec.convert(exchange.read(START_S), Announcement)


def _settings_for(heard: Announcement, flags: dict[str, Any], **fixed: Any) -> Settings:
    """The server's settings: the operator's, but this exchange's addresses and symbols."""
    settings = load_settings(
        flags,
        market=heard.market,
        symbols=",".join(heard.symbols),
        **{f"{heard.market}_rest": heard.rest, f"{heard.market}_ws": heard.ws},
        **_UNHURRIED,
        **fixed,
    )
    return with_ports(settings)


def _environment(settings: Settings, heard: Announcement) -> dict[str, str]:
    return {**os.environ, **settings.environment(), **heard.environment}


def _rows_of(heard: Announcement) -> int:
    """Rows of the whole recording."""
    assert heard.end_ms is not None
    return min(_CAPACITY_MAX, (heard.end_ms - heard.first_ms) // 60_000)


def _play(
    exchange: Child, server: Child, client: ServerClient, heard: Announcement, speed: float
) -> None:
    """Let the recording play until its last row is served."""
    clock = SystemClock()

    def failed() -> bool:
        return server.status is not None

    client.wait_ready(READY_S, failed)
    click.echo("history is loaded, the recording plays", err=True)
    started = clock.monotonic()
    if speed:
        assert heard.end_ms is not None
        left_s = (heard.end_ms - heard.start_ms) / 1000 / speed
        while not failed() and clock.monotonic() - started < left_s:
            server.wait(_LOOK_S)
    else:
        exchange.write("play")
        exchange.read(PLAY_S)
    rows = client.wait_settled(READY_S, failed)
    passed_s = clock.monotonic() - started
    click.echo(f"played in {passed_s:.1f} s; {rows} klines closed since the start", err=True)
