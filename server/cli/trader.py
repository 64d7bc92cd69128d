"""``trader``: filters explained and tried, and the traders of a running server."""

from __future__ import annotations

import os
from typing import Any
from urllib.parse import quote, urlencode

import click

from klinecore.interval import INTERVALS
from server.cli.ask import print_columns, time_text, url_option
from server.cli.client import ServerClient
from server.cli.options import Command, with_options
from server.cli.reading import read_filter
from server.errors import ServerError

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


_FIRING_OPTIONS = (
    click.option("--interval", required=True, type=click.Choice(INTERVALS), help="Of the klines."),
    click.option("--symbols", help="BTCUSDT,ETHUSDT; default all that the server holds."),
    click.option("--market", help="Of a server with several: spot or um."),
    click.option(
        "--mode",
        type=click.Choice(["edge", "level"]),
        default="edge",
        show_default=True,
        help="edge fires when FILTER becomes true, level at each close where it is.",
    ),
    click.option(
        "--cooldown",
        type=click.IntRange(min=0),
        default=0,
        show_default=True,
        help="Klines of silence after a firing.",
    ),
)


def _firing_options(command: Command) -> Command:
    """Add the flags that say where a filter is evaluated and how it fires."""
    return with_options(command, _FIRING_OPTIONS)


@click.group()
def trader() -> None:
    """Explain a filter, try it on the klines of a running server, and keep it as a trader."""


@trader.command()
@click.argument("text", metavar="FILTER")
@click.option("--interval", type=click.Choice(INTERVALS), help="Of the klines it is to run on.")
def explain(text: str, interval: str | None) -> None:
    """Show how FILTER is read, what it needs and what it costs. Asks no server."""
    from klinecore.filters.explanation import explain

    click.echo(str(explain(read_filter(text), interval)))


@trader.command()
@click.argument("text", metavar="FILTER")
@_firing_options
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


# --- traders of a running server ------------------------------------------------------------------


@trader.command("list")
@click.option("--own", is_flag=True, help="Not those that come with the program.")
@url_option
def list_traders(url: str, own: bool) -> None:
    """List the traders of a running server, and how they are."""
    found = [one for one in _traders(_client(url)) if one["owner"] is not None or not own]
    cells = [
        [
            one["id"],
            one["name"],
            one["interval"],
            one["health"]["state"],
            str(one["health"]["matched"]),
            str(one["health"]["signals"]),
            _wrong(one["health"]),
        ]
        for one in found
    ]
    if cells:
        print_columns(["id", "name", "interval", "state", "matches", "signals", "wrong"], cells)
    click.echo(f"{len(found)} traders")


@trader.command()
@click.argument("name")
@click.argument("text", metavar="FILTER")
@_firing_options
@click.option("--forming", is_flag=True, help="Also at klines that have not closed, provisionally.")
@click.option("--past", is_flag=True, help="Keep the signals of the klines in memory as well.")
@url_option
def add(
    name: str,
    text: str,
    url: str,
    symbols: str | None,
    cooldown: int,
    forming: bool,
    **asked: Any,
) -> None:
    """Make a trader called NAME that tells when FILTER becomes true; it runs at once."""
    read_filter(text, far=True)
    named = [part.strip() for part in symbols.split(",")] if symbols is not None else []
    draft = {
        "name": name,
        "filter": text,
        "symbols": named,
        "cooldown_bars": cooldown,
        "evaluate_on": "forming" if forming else "closed",
        **asked,
    }
    made = _client(url).post("/v1/traders", draft)
    click.echo(made["id"])
    if made["run"] is not None:
        _print_run(made["run"])


@trader.command()
@click.argument("trader")
@url_option
def enable(trader: str, url: str) -> None:
    """Let TRADER, an id or a name, run."""
    _switch(url, trader, enabled=True)


@trader.command()
@click.argument("trader")
@url_option
def disable(trader: str, url: str) -> None:
    """Let TRADER, an id or a name, rest."""
    _switch(url, trader, enabled=False)


@trader.command()
@click.argument("trader")
@url_option
def remove(trader: str, url: str) -> None:
    """Delete TRADER, an id or a name, and what was kept of it."""
    client = _client(url)
    client.delete(_path(client, trader))


@trader.command()
@click.argument("trader")
@click.option("--symbols", help="BTCUSDT,ETHUSDT; default all that it looks at.")
@url_option
def run(trader: str, url: str, symbols: str | None) -> None:
    """Show what TRADER, an id or a name, says at the newest closed klines."""
    named = [part.strip() for part in symbols.split(",")] if symbols is not None else None
    client = _client(url)
    _print_run(client.post(_path(client, trader) + "/run", {"symbols": named}))


def _client(url: str) -> ServerClient:
    return ServerClient(url, os.environ.get("API_KEY"))


def _traders(client: ServerClient) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    asked = {"limit": "1000"}
    while True:
        page = client.json(f"/v1/traders?{urlencode(asked)}")
        found += page["traders"]
        if page["next"] is None:
            return found
        asked["after"] = page["next"]


def _path(client: ServerClient, trader: str) -> str:
    """Of a trader by its id or name. Raises ServerError: there is none, or several."""
    found = [one for one in _traders(client) if trader in (one["id"], one["name"])]
    if len(found) != 1:
        raise ServerError(
            f"there is no trader {trader!r}"
            if not found
            else f"{len(found)} traders are called {trader!r}: say which by its id"
        )
    return f"/v1/traders/{quote(found[0]['id'], safe='')}"


def _switch(url: str, trader: str, *, enabled: bool) -> None:
    client = _client(url)
    changed = client.post(_path(client, trader), {"enabled": enabled}, method="PATCH")
    click.echo(f"{changed['name']} is {changed['health']['state']}")


def _print_run(run: dict[str, Any]) -> None:
    if run["error"] is not None:
        raise ServerError(run["error"])
    when = time_text(run["open_time_ms"])
    click.echo(
        f"{len(run['matches'])} of {len(run['symbols'])} symbols match at {when} UTC"
        + (f", {len(run['unknown'])} unknown" if run["unknown"] else "")
    )
    for symbol in run["matches"]:
        click.echo(symbol)


def _wrong(health: dict[str, Any]) -> str:
    return "; ".join(f"{error['kind']}: {error['message']}" for error in health["errors"])
