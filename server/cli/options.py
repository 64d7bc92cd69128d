"""Flags that several commands share, and how they become settings."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

from server.settings import Settings

__all__ = ["Command", "load_settings", "settings_options", "simulation_options", "with_options"]

Command = TypeVar("Command", bound=Callable[..., Any])

_WHERE = (
    click.option(
        "--config",
        type=click.Path(dir_okay=False, path_type=Path),
        help="TOML file of settings.",
    ),
    click.option("--host", help="Address to listen on; beyond this machine API_KEY must be set."),
    click.option("--port", type=click.IntRange(0, 65535), help="HTTP port; 0 takes a free one."),
    click.option(
        "--stream-port", type=click.IntRange(0, 65535), help="Port of streams; 0 takes a free one."
    ),
)
_SYMBOLS = click.option("--symbols", help="BTCUSDT,ETHUSDT or top:50:USDT or all:USDT.")
_WHAT = (
    click.option("--intervals", help="Such as 1m,5m,15m,1h."),
    click.option("--capacity", type=int, help="Closed klines kept per series."),
    click.option("--log-level", type=click.Choice(["debug", "info", "warning", "error"])),
    click.option("--log-format", type=click.Choice(["text", "json"])),
)


def settings_options(command: Command) -> Command:
    """Add the flags of the common settings; they arrive as keyword arguments."""
    return with_options(command, (*_WHERE, _SYMBOLS, *_WHAT))


def simulation_options(command: Command) -> Command:
    """The same without symbols: all that a simulated exchange has are held."""
    return with_options(command, (*_WHERE, *_WHAT))


def with_options(command: Command, options: Sequence[Callable[[Command], Command]]) -> Command:
    """Add flags, shown in this order."""
    for option in reversed(options):
        command = option(command)
    return command


def load_settings(flags: dict[str, Any], **fixed: Any) -> Settings:
    """Settings from file, environment and flags; ``fixed`` ones win over all of them.

    Raises SettingsError.
    """
    overrides = {name: value for name, value in flags.items() if name != "config"}
    if overrides.get("intervals") is not None:
        overrides["intervals"] = _list(overrides["intervals"])
    return Settings.load(os.environ, flags.get("config"), overrides | fixed)


def _list(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]
