"""``serve`` and ``openapi``: the server itself, and what it would answer."""

from __future__ import annotations

import socket
from typing import Any

import click
import msgspec

from server.cli.options import load_settings, settings_options
from server.errors import SettingsError
from server.settings import Settings

__all__ = ["announce", "listening_port", "openapi", "serve", "with_ports"]


@click.command()
@settings_options
@click.option("--market", type=click.Choice(["spot", "um", "both"]), help="um is USD-M futures.")
@click.option("--quiet", is_flag=True, hidden=True, help="Say no addresses: the caller does.")
def serve(quiet: bool, **flags: Any) -> None:
    """Follow the exchange and serve its klines."""
    from server.api.auth import open_gate
    from server.clock import SystemClock
    from server.metrics import Registry
    from server.serving import run

    settings = load_settings(flags)
    open_gate(settings, SystemClock(), Registry())  # who may ask is settled before anybody can
    settings = with_ports(settings)
    if not quiet:
        announce(settings)
    run(settings)


@click.command()
def openapi() -> None:
    """Print the API's OpenAPI description."""
    from server.api.application import create_api
    from server.api.openapi import describe
    from server.api.state import ServerState
    from server.clock import SystemClock
    from server.metrics import Registry
    from server.signals.hub import Hub

    state = ServerState(Settings(), SystemClock(), Registry(), Hub())
    click.echo(describe(create_api(state).routes))


def announce(settings: Settings, what: str = "klineserver") -> None:
    """Print where the server can be reached."""
    name = "127.0.0.1" if settings.host == "0.0.0.0" else settings.host
    base = f"{f'[{name}]' if ':' in name else name}:{settings.port}"
    symbol = settings.symbols.split(",")[0].strip().upper()
    if ":" in symbol:  # top:N:QUOTE names no symbol
        symbol = "BTC" + symbol.rpartition(":")[2]
    click.echo(f"{what}: http://{base}/", err=True)
    click.echo(f"  klines     http://{base}/klines/{symbol}/{settings.intervals[0]}", err=True)
    streams = f"{base.rpartition(':')[0]}:{settings.stream_port}"
    click.echo(f"  WebSocket  ws://{base}/ws", err=True)
    click.echo(f"  streams    ws://{streams}/stream", err=True)
    click.echo(f"  ready?     http://{base}/ready", err=True)
    if settings.asks_for_keys:
        click.echo("  The API key is asked for: header X-API-Key.", err=True)


def with_ports(settings: Settings) -> Settings:
    """The settings with free ports in place of 0. Raises SettingsError: one cannot be had."""
    port = listening_port(settings.host, settings.port)
    stream_port = listening_port(
        settings.host, settings.stream_port, "KLINE_STREAM_PORT or --stream-port"
    )
    return msgspec.structs.replace(settings, port=port, stream_port=stream_port)


def listening_port(host: str, port: int, names: str = "PORT or --port") -> int:
    """``port`` if it can be listened on, a free one for 0; ``names`` say where it is set.

    Raises SettingsError: it cannot, and why.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise SettingsError(
                f"cannot listen on {host}:{port}: {error.strerror}; {names} names another"
            ) from None
        chosen: int = probe.getsockname()[1]
        return chosen
