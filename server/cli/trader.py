"""``trader``: what a filter means, without a server, and where it would have fired, with one."""

from __future__ import annotations

import os

import click

from klinecore.interval import INTERVALS
from server.cli.ask import print_columns, time_text, url_option
from server.cli.client import ServerClient
from server.cli.reading import read_filter

__all__ = ["trader"]


#: What each reason of the server means.
_REASONS = {
    "NOT_WARM": "with too few klines before",
    "UNDEFINED": "with no finite result",
    "NO_TICKER": "as tickers have no past",
    "HOLE": "behind a hole",
    "MISSING_CLOSE": "without the kline of another interval",
    "NO_ROWS": "without klines",
}


@click.group()
def trader() -> None:
    """Explain a filter, and try it on the klines of a running server."""


@trader.command()
@click.argument("text", metavar="FILTER")
@click.option("--interval", type=click.Choice(INTERVALS), help="Of the klines it is to run on.")
def explain(text: str, interval: str | None) -> None:
    """Show how FILTER is read, what it needs and what it costs. Asks no server."""
    from klinecore.filters.explanation import explain

    click.echo(str(explain(read_filter(text), interval)))


@trader.command()
@click.argument("text", metavar="FILTER")
@click.option("--interval", required=True, type=click.Choice(INTERVALS), help="Of the klines.")
@click.option("--symbols", help="BTCUSDT,ETHUSDT; default all that the server holds.")
@click.option("--market", help="Of a server with several: spot or um.")
@click.option(
    "--mode",
    type=click.Choice(["edge", "level"]),
    default="edge",
    show_default=True,
    help="edge fires when FILTER becomes true, level at each close where it is.",
)
@click.option(
    "--cooldown",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="Klines after a firing.",
)
@click.option(
    "--limit",
    type=click.IntRange(min=1),
    default=20,
    show_default=True,
    help="Newest firings shown.",
)
@url_option
def test(text: str, url: str, symbols: str | None, **asked: str | int | None) -> None:
    """Show where FILTER would have fired on the klines that a running server holds."""
    read_filter(text, far=True)
    named = [part.strip() for part in symbols.split(",")] if symbols is not None else None
    client = ServerClient(url, os.environ.get("API_KEY"))
    found = client.post("/v1/filters/replay", {"filter": text, "symbols": named, **asked})
    firings = found["firings"]
    if firings:
        cells = [
            [time_text(one["open_time_ms"]), one["symbol"], f"{one['price']:.8g}"]
            for one in firings
        ]
        print_columns(["open_time", "symbol", "close"], cells)
    click.echo(
        f"fired at {found['fired']} of {found['rows']} closes of {found['symbols']} symbols, UTC"
        + (f"; the newest {len(firings)} are shown" if len(firings) < found["fired"] else "")
    )
    if found["unknown"]:
        told = ", ".join(f"{count} {_REASONS[name]}" for name, count in found["unknown"].items())
        click.echo(f"unknown at {sum(found['unknown'].values())} closes: {told}")
    for interval, since in found["since"].items():
        click.echo(f"klines of {interval} since {time_text(since['earliest_ms'])}", nl=False)
        click.echo("; an engine fed for longer differs by a trace" * found["depends_on_first"])
