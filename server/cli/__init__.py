"""The command line: ``klineserver serve | demo | replay | query | watch | trader | keys | doctor``.

A command is imported when it is named, and imports what it needs when it runs: a server must not
carry what asks one, and what asks must not load a server.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

import click

from server.cli.processes import end_with_parent
from server.errors import ServerError

__all__ = ["main"]

#: Where each command is, in the order in which they are told of.
_MODULES = {
    "serve": "serve",
    "demo": "simulate",
    "replay": "simulate",
    "exchange": "simulate",
    "query": "ask",
    "watch": "ask",
    "symbols": "symbols",
    "trader": "trader",
    "keys": "keys",
    "doctor": "doctor",
    "export": "export",
    "openapi": "serve",
}


class _Failure(click.ClickException):
    """Not a fault of ours: the settings, the server asked, the exchange."""

    exit_code = 2


class _Group(click.Group):
    """Imports commands; turns errors raised on purpose into one line and exit status 2."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_MODULES)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _MODULES:
            return None
        command = getattr(import_module(f"server.cli.{_MODULES[cmd_name]}"), cmd_name)
        assert isinstance(command, click.Command)
        return command

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except ServerError as error:
            raise _Failure(str(error)) from None


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="klinecore", prog_name="klineserver")
def main() -> None:
    """Keep the newest klines of every symbol in memory and serve them, exactly as sent.

    Settings are environment variables (API_KEY, SYMBOLS, PORT, KLINE_*), or a TOML file; flags
    override both. The API key is never a flag: other users of a machine see those.
    """
    end_with_parent()
