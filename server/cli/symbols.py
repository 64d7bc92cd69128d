"""``symbols``: what a running server holds, and what it is to hold."""

from __future__ import annotations

import os
from typing import Any

import click

from server.cli.ask import url_option
from server.cli.client import ServerClient

__all__ = ["symbols"]


@click.command()
@click.argument("action", type=click.Choice(["list", "add", "remove"]), default="list")
@click.argument("names", nargs=-1)
@click.option("--market", help="Of a server with several: spot or um.")
@url_option
def symbols(action: str, names: tuple[str, ...], market: str | None, url: str) -> None:
    """List the symbols of a running server, or let it hold more or fewer NAMES.

    What is added or removed here stays so until the server ends, whatever its settings say.
    """
    client = ServerClient(url, os.environ.get("API_KEY"))
    query = f"?market={market}" if market else ""
    if action == "list":
        if names:
            raise click.UsageError("list takes no names")
        markets = client.json("/v1/symbols")["markets"]
        for name, held in markets.items():
            if market in (None, name):
                _print_market(name, held)
        return
    if not names:
        raise click.UsageError(f"{action} needs at least one name")
    held = client.post("/v1/symbols" + query, {action: list(names)})
    click.echo(f"{len(held['symbols'])} symbols held, room for {held['room']} more")


def _print_market(name: str, held: dict[str, Any]) -> None:
    symbols_held, statuses = held["symbols"], held["statuses"]
    click.echo(f"{name}: {len(symbols_held)} symbols, room for {held['room']} more")
    for symbol in symbols_held:
        click.echo(f"  {symbol:<16} {statuses.get(symbol, '')}".rstrip())
    for title in ("unknown_symbols", "without_room"):
        if held[title]:
            click.echo(f"  {title.replace('_', ' ')}: {', '.join(held[title])}")
