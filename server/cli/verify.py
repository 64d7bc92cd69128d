"""``replay --verify``: every row the server holds against the files, read by other code.

Files and answers are compared as text, field by field; longer intervals against exact sums of the
file's minutes.
"""

from __future__ import annotations

import csv
import gzip
from collections.abc import Iterable, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import quote

import click

from klinecore.interval import next_open_ms, open_time_ms
from server.cli.client import ServerClient
from server.settings import Settings

__all__ = ["verify"]

#: The server's letters in the order of the file's columns.
LETTERS = ("t", "o", "h", "l", "c", "v", "T", "q", "n", "V", "Q")

_INTEGERS = frozenset("tTn")
_SHOWN_MAX = 3  # differences shown per series
_MICROSECONDS_FROM = 100_000_000_000_000

Row = dict[str, Any]


def verify(client: ServerClient, files: Iterable[Path], settings: Settings) -> bool:
    """Print what was compared; True if every row is there and equal."""
    minutes: dict[str, dict[int, Row]] = {}
    for path in files:
        symbol = path.name.split("-", 1)[0].upper()
        minutes.setdefault(symbol, {}).update(_read(path))
    equal = True
    for symbol, by_time in minutes.items():
        rows = [by_time[time] for time in sorted(by_time)]
        for interval in settings.intervals:
            served = client.json(f"/klines/{quote(symbol)}/{interval}?limit={settings.capacity}")[
                "klines"
            ]
            if interval == "1m":
                faults = _compare(rows[-settings.capacity :], served)
            else:
                faults = _compare_sums(rows, served, interval, settings.capacity)
            click.echo(f"{symbol:<12} {interval:<4} {len(served):>7} rows, {len(faults)} differ")
            for fault in faults[:_SHOWN_MAX]:
                click.echo(f"    {fault}")
            equal = equal and not faults
    click.echo("every row is equal" if equal else "the rows DIFFER")
    return equal


def _read(path: Path) -> dict[int, Row]:
    data = path.read_bytes()
    text = (gzip.decompress(data) if path.suffix == ".gz" else data).decode("ascii")
    rows: dict[int, Row] = {}
    for fields in csv.reader(text.splitlines()):
        if not fields or not fields[0].isdigit():
            continue  # the header
        row: Row = dict(zip(LETTERS, fields, strict=False))
        for letter in _INTEGERS:
            row[letter] = int(row[letter])
        if row["t"] >= _MICROSECONDS_FROM:
            row["t"] //= 1000
            row["T"] //= 1000
        rows[row["t"]] = row
    return rows


def _compare(expected: Sequence[Row], served: Sequence[Row]) -> list[str]:
    faults = []
    if len(expected) != len(served):
        faults.append(f"{len(expected)} rows in the file, {len(served)} served")
    held = {row["t"]: row for row in served}
    for row in expected:
        other = held.get(row["t"])
        if other is None:
            faults.append(f"{row['t']} is missing")
        elif other != row | {"x": True}:
            letters = [letter for letter in LETTERS if other[letter] != row[letter]]
            faults.append(
                f"{row['t']}: "
                + ", ".join(f"{x} {row[x]!r} is served as {other[x]!r}" for x in letters)
            )
    return faults


def _compare_sums(
    minutes: Sequence[Row], served: Sequence[Row], interval: str, capacity: int
) -> list[str]:
    parts: dict[int, list[Row]] = {}
    for row in minutes:
        parts.setdefault(open_time_ms(interval, row["t"]), []).append(row)
    end_ms = minutes[-1]["T"]
    due = [start for start in sorted(parts) if next_open_ms(interval, start) - 1 <= end_ms]
    held = {row["t"]: row for row in served}
    faults = [f"{start} is missing" for start in due[-capacity:] if start not in held]
    for start, row in held.items():
        if start not in parts:
            faults.append(f"{start} is not in the file")
            continue
        expected = _sum(parts[start])
        wrong = [letter for letter, value in expected.items() if value != _value(row[letter])]
        if wrong:
            faults.append(f"{start}: {', '.join(wrong)} differ from the sum of the minutes")
    return faults


def _sum(rows: Sequence[Row]) -> dict[str, Decimal | int]:
    """The kline that these minutes make."""
    result: dict[str, Decimal | int] = {
        "o": Decimal(rows[0]["o"]),
        "h": max(Decimal(row["h"]) for row in rows),
        "l": min(Decimal(row["l"]) for row in rows),
        "c": Decimal(rows[-1]["c"]),
        "n": sum(row["n"] for row in rows),
    }
    for letter in "vqVQ":
        result[letter] = sum((Decimal(row[letter]) for row in rows), Decimal(0))
    return result


def _value(field: str | int) -> Decimal | int:
    return Decimal(field) if isinstance(field, str) else field
