"""The command line: ``klineserver serve | demo | replay | query | watch | trader | keys | doctor``.

Commands import what they need when they run: asking a running server must not load one.
"""

from __future__ import annotations

from typing import Any

import click

from server.cli.ask import query, watch
from server.cli.doctor import doctor
from server.cli.export import export
from server.cli.keys import keys
from server.cli.processes import end_with_parent
from server.cli.serve import openapi, serve
from server.cli.simulate import demo, exchange, replay
from server.cli.symbols import symbols
from server.cli.trader import trader
from server.errors import ServerError

__all__ = ["main"]


class _Failure(click.ClickException):
    """Not a fault of ours: the settings, the server asked, the exchange."""

    exit_code = 2


class _Group(click.Group):
    """Turns errors raised on purpose into one line on stderr and exit status 2."""

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


for command in (
    serve,
    demo,
    replay,
    exchange,
    query,
    watch,
    symbols,
    trader,
    keys,
    doctor,
    export,
    openapi,
):
    main.add_command(command)
