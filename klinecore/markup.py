"""Small tables of HTML, as notebooks show them: bounded, escaped, without scripts or styles."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from html import escape
from itertools import islice
from typing import Any, Protocol

import numpy as np

__all__ = ["COLUMNS_MAX", "ROWS_MAX", "TEXT_MAX", "TITLE_MAX", "frame_table", "market_table"]

ROWS_MAX = 10  #: more are cut in the middle
COLUMNS_MAX = 12  #: more are cut at the end
TEXT_MAX = 60  #: characters of a cell
TITLE_MAX = 240
UNKNOWN = "–"
CUT = "…"


class _Frame(Protocol):
    @property
    def names(self) -> tuple[str, ...]: ...
    def __len__(self) -> int: ...
    def __getitem__(self, name: str, /) -> Any: ...


class _Market(Protocol):
    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[Any]: ...


def frame_table(title: str, frame: _Frame) -> str:
    """The first and last rows of a frame, its first columns."""
    names = list(frame.names[:COLUMNS_MAX])
    columns = [frame[name] for name in names]
    count, half = len(frame), ROWS_MAX // 2
    places: list[int | None] = [*range(count)]
    if count > ROWS_MAX:
        places = [*range(half), None, *range(count - half, count)]
    more = [CUT] if len(frame.names) > COLUMNS_MAX else []
    rows = [
        [CUT if place is None else _cell(column[place]) for column in columns] + more
        for place in places
    ]
    return _table(title, names + more, rows)


def market_table(title: str, market: _Market) -> str:
    """How many klines the first series of a market hold, and the newest one."""
    rows = []
    for series in islice(market, ROWS_MAX):
        last = series.last
        newest = np.datetime64(last.open_time_ms, "ms") if last else None
        close = last.close if last else None
        rows.append(list(map(_cell, (series.symbol, series.interval, len(series), newest, close))))
    if len(market) > ROWS_MAX:
        rows.append([f"{len(market) - ROWS_MAX} more", *4 * [CUT]])
    return _table(title, ["symbol", "interval", "klines", "newest open_time", "close"], rows)


def _cell(value: Any) -> str:
    if value is None or value != value:  # NaN and NaT are unlike themselves
        return UNKNOWN
    if isinstance(value, np.datetime64):
        return f"{str(value.astype('M8[s]')).replace('T', ' ')} UTC"
    return f"{value:.10g}" if isinstance(value, float) else str(value)


def _table(title: str, names: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    head = "".join(f"<th>{_text(name)}</th>" for name in names)
    body = "".join(f"<tr>{''.join(f'<td>{_text(cell)}</td>' for cell in row)}</tr>" for row in rows)
    return (
        f"<table><caption>{_text(title, TITLE_MAX)}</caption>"
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    )


def _text(text: str, most: int = TEXT_MAX) -> str:
    return escape(text if len(text) <= most else text[: most - 1] + CUT)
