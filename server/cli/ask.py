"""``query`` and ``watch``: ask a running server, once or as it goes."""

from __future__ import annotations

import asyncio
import csv
import json
import os
import sys
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote, urlencode

import click

from server.cli.client import ServerClient
from server.cli.reading import read_filter
from server.errors import ServerError

__all__ = ["print_columns", "query", "time_text", "url_option", "watch"]

#: Columns of tables and CSV, and the server's letter for each.
_COLUMNS = {
    "open_time": "t", "open": "o", "high": "h", "low": "l", "close": "c", "volume": "v",
    "quote_volume": "q", "trades": "n", "taker_buy_base": "V", "taker_buy_quote": "Q",
    "closed": "x",
}  # fmt: skip
_TABLE = ("open_time", "open", "high", "low", "close", "volume", "trades")

#: Times klines and expressions are asked for until they are of the same moment.
_MATCH_ATTEMPTS = 5

#: Waits between attempts to reach the server again, s.
_RETRY_S = (0.5, 1.0, 2.0, 5.0, 10.0)


def _default_url() -> str:
    return f"http://127.0.0.1:{os.environ.get('PORT', '8080')}"


url_option = click.option(
    "--url",
    default=_default_url,
    help="Of the server; default this machine's, at PORT or 8080. The key is taken from API_KEY.",
)


@click.command()
@click.argument("symbol")
@click.argument("interval")
@click.option("--limit", type=int, default=20, show_default=True, help="Newest klines.")
@click.option("--forming", is_flag=True, help="Also the one that has not closed yet.")
@click.option(
    "--expr",
    "expressions",
    multiple=True,
    help="A column more, such as 'rsi(14)' or 'close > sma(20)'; again for each further one.",
)
@click.option(
    "--format",
    "output",
    type=click.Choice(["table", "json", "csv"]),
    default="table",
    show_default=True,
)
@url_option
def query(
    symbol: str,
    interval: str,
    limit: int,
    forming: bool,
    expressions: tuple[str, ...],
    output: str,
    url: str,
) -> None:
    """Print the newest klines of SYMBOL and INTERVAL from a running server."""
    for text in expressions:
        read_filter(text, condition=False, far=True)
    client = ServerClient(url, os.environ.get("API_KEY"))
    series = f"{quote(symbol, safe='')}/{quote(interval, safe='')}?limit={limit}"
    path = f"/klines/{series}" + ("&forming=true" if forming else "")
    answer = client.json(path)
    lines: list[dict[str, Any]] = []
    if expressions:
        expr = urlencode([("expr", text) for text in expressions])
        answer, lines = _with_lines(client, path, f"/v1/indicators/{series}&{expr}", answer)
    if output == "json":
        found = {**answer, "expressions": lines} if expressions else answer
        click.echo(json.dumps(found, ensure_ascii=False))
    elif output == "csv":
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow([*_COLUMNS, *expressions])
        for index, row in enumerate(answer["klines"]):
            values = [_cell(line["values"][index]) for line in lines]
            writer.writerow([row[letter] for letter in _COLUMNS.values()] + values)
    else:
        click.echo(f"{answer['symbol']} {answer['interval']}, {answer['count']} klines, UTC")
        _print_table(answer["klines"], lines)


def _with_lines(
    client: ServerClient, path: str, lines_path: str, answer: dict[str, Any]
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Klines, and expressions at the same klines; null at the one that has not closed.

    A kline that closes between the two requests makes them differ: then both are asked again.
    """
    for _ in range(_MATCH_ATTEMPTS):
        found = client.json(lines_path)
        klines = answer["klines"]
        if [row["t"] for row in klines if row["x"]] == found["open_time_ms"]:
            lines: list[dict[str, Any]] = found["expressions"]
            for line in lines:
                line["values"] += [None] * (len(klines) - len(line["values"]))
            return answer, lines
        answer = client.json(path)
    raise ServerError("klines close faster than they can be asked for; try a longer interval")


@click.command()
@click.argument("symbols", nargs=-1, required=True)
@click.option("--interval", help="Klines of this interval instead of tickers.")
@click.option("--once", is_flag=True, help="End after one line.")
@url_option
def watch(symbols: tuple[str, ...], interval: str | None, once: bool, url: str) -> None:
    """Print what happens to SYMBOLS, line by line, until Ctrl-C.

    `signals` among them stands for those of all traders you see, `signals@ID` for one trader's.
    """
    kind = f"kline_{interval}" if interval else "ticker"
    streams = [
        symbol if symbol.partition("@")[0] == "signals" else f"{symbol.lower()}@{kind}"
        for symbol in symbols
    ]
    base = ServerClient(url, None).base
    target = "ws" + base.removeprefix("http") + "/ws"
    try:
        asyncio.run(_watch(target, streams, once))
    except KeyboardInterrupt:
        click.echo()


async def _watch(url: str, streams: list[str], once: bool) -> None:
    """Print until cancelled; a lost connection is opened again."""
    from server.cli.stream_client import StreamClient

    failures = 0
    while True:
        try:
            async with StreamClient(url, os.environ.get("API_KEY")) as client:
                await client.subscribe(streams)
                failures = 0
                async for message in client:
                    click.echo(_line(message))
                    if once:
                        return
                reason = client.reason
        except OSError as error:
            reason = str(error)
        if failures == len(_RETRY_S):
            raise ServerError(f"{url}: {reason}")
        click.echo(f"{url}: {reason}; trying again", err=True)
        await asyncio.sleep(_RETRY_S[failures])
        failures += 1


def _line(message: dict[str, Any]) -> str:
    if message.get("type") == "signal":
        signal = message["data"]
        known = ((name, value) for name, value in signal["values"].items() if value is not None)
        values = ", ".join(f"{name} = {value:.6g}" for name, value in known)
        moment = time_text(signal["open_time_ms"])
        name = f"{signal['symbol']:<12} {signal['interval']:<4} {signal['status']:<11}"
        return f"{moment}  {name} {signal['price']:>16}  {signal['trader_id']}  {values}".rstrip()
    if message.get("type") == "stream_ended":
        return f"{message['data']['stream']} has ended"
    if message.get("e") == "kline":
        kline = message["k"]
        state = "closed " if kline["x"] else "forming"
        values = "  ".join(f"{letter} {kline[letter]}" for letter in "ohlcv")
        return f"{time_text(kline['t'])}  {kline['s']:<12} {kline['i']:<4} {state}  {values}"
    change = message.get("P", "")
    values = f"{message['c']:>16}  {change:>8} %  volume {message['v']}"
    return f"{time_text(message['E'])}  {message['s']:<12} {values}"


def _print_table(rows: list[dict[str, Any]], lines: list[dict[str, Any]]) -> None:
    cells = [
        [
            time_text(row["t"]) if name == "open_time" else str(row[_COLUMNS[name]])
            for name in _TABLE
        ]
        + [_short(line["values"][index]) for line in lines]
        + ["" if row["x"] else "forming"]
        for index, row in enumerate(rows)
    ]
    print_columns([*_TABLE, *(line["text"] for line in lines), ""], cells)


def print_columns(header: list[str], cells: list[list[str]]) -> None:
    """A table, each column as wide as its widest cell."""
    widths = [max(map(len, column)) for column in zip(header, *cells, strict=True)]
    for line in (header, *cells):
        padded = (text.rjust(width) for text, width in zip(line, widths, strict=True))
        click.echo("  ".join(padded).rstrip())


def _cell(value: float | bool | None) -> str:
    """A value of an expression in full; nothing where it is unknown."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None else repr(value)


def _short(value: float | bool | None) -> str:
    """As much of a value as a table has room for."""
    return _cell(value) if value is None or isinstance(value, bool) else f"{value:.8g}"


def time_text(time_ms: int) -> str:
    """UTC, to the second."""
    return datetime.fromtimestamp(time_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")
