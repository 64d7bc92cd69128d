"""``trader``: what a filter means, without a server, and where it would have fired, with one."""

from __future__ import annotations

import click

from klinecore.interval import INTERVALS
from server.errors import ServerError

__all__ = ["trader"]


class FilterRefusedError(ServerError):
    """What was given is no filter; the message shows where."""


@click.group()
def trader() -> None:
    """Explain a filter, and try it on the klines of a running server."""


@trader.command()
@click.argument("text", metavar="FILTER")
@click.option("--interval", type=click.Choice(INTERVALS), help="Of the klines it is to run on.")
def explain(text: str, interval: str | None) -> None:
    """Show how FILTER is read, what it needs and what it costs. Asks no server."""
    from klinecore.errors import FilterError
    from klinecore.filters.explanation import explain
    from klinecore.filters.language import compile

    try:
        found = explain(compile(text), interval)
    except FilterError as error:
        raise FilterRefusedError(str(error)) from None
    bars = [f"{count} of {name or 'its own interval'}" for name, count in found.bars.items()]
    click.echo(f"filter   {found.normal}")
    click.echo(f"hash     {found.hash}")
    click.echo(f"klines   {', '.join(bars)}")
    click.echo(f"symbols  {'all together' if found.cross_symbols else 'each by itself'}")
    click.echo(f"cost     about {found.cost_ns} ns per symbol and close, {found.nodes} nodes")
    click.echo("parts")
    for part in found.parts:
        click.echo(f"  {part.kind:<9}  {part.text}")
