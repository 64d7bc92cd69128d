"""Columns of many symbols side by side, over one axis of time."""

from __future__ import annotations

import asyncio
from typing import NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from klinecore.errors import UnknownSeriesError
from klinecore.interval import INTERVALS
from klinecore.kline import COLUMNS
from klinecore.series import Series
from server.api.parameters import MARKET, WINDOW, read_interval, read_limit, unknown_symbol
from server.api.problems import ApiError
from server.api.router import Access, Parameter, Request, Route
from server.api.state import ServedMarket, ServerState
from server.api.types import Response

__all__ = ["Panel", "PanelRoutes"]

#: Numbers that are copied or encoded before other requests get a turn: about half a millisecond.
CELLS_CHUNK = 4096
#: Requests that one counts as.
PANEL_WEIGHT = 5

_NEVER = (b"cache-control", b"no-store")

_PARAMETERS = (
    Parameter(
        "interval",
        "Of the klines.",
        {"type": "string", "enum": list(INTERVALS)},
        required=True,
    ),
    Parameter(
        "fields",
        f"A comma list of {', '.join(COLUMNS)}.",
        {"type": "string", "default": "close"},
    ),
    WINDOW[0],
    Parameter(
        "symbols",
        "A comma list; without it all that are held.",
        {"type": "string"},
    ),
    MARKET,
)


class Panel(msgspec.Struct):
    """Columns of the newest closed klines of many symbols, oldest first.

    ``open_time_ms`` has every time at which one of them has a kline; null: that symbol has none.
    """

    interval: str
    fields: list[str]
    open_time_ms: list[int]
    symbols: dict[str, dict[str, list[float | None]]]


class _Encoded(msgspec.Struct):
    """A panel whose symbols are JSON already."""

    interval: str
    fields: list[str]
    open_time_ms: list[int]
    symbols: dict[str, msgspec.Raw]


class _Copied(NamedTuple):
    """The newest rows of a series."""

    times: npt.NDArray[np.int64]
    columns: list[npt.NDArray[np.float64]]


class PanelRoutes:
    """The handler over one ``ServerState``; ``table`` says which path leads to it."""

    def __init__(self, state: ServerState) -> None:
        self._state = state
        self._rows = state.metrics.counter("panel_rows_total", "Klines read for panels.")
        self.table = (
            Route(
                "/v1/panel",
                self._panel,
                "Columns of the newest closed klines of many symbols, side by side",
                Access.READ,
                Panel,
                _PARAMETERS,
                (400, 401, 404, 429, 503),
                weight=PANEL_WEIGHT,
            ),
        )

    async def _panel(self, request: Request) -> Response:
        query = request.query
        served = self._state.served(query.get("market"))
        if "interval" not in query:
            raise ApiError(400, "missing_parameter", "interval must be given, such as interval=1h.")
        interval = read_interval(query["interval"], served.market.intervals)
        fields = _read_fields(query.get("fields", "close"))
        limit = read_limit(query, served.market.capacity)
        found = _find(served, interval, query.get("symbols"))
        self._check_size(len(found) * limit * len(fields))
        copied, axis = await _copy(found, fields, limit)
        self._rows.inc(by=sum(len(rows.times) for rows in copied.values()))
        symbols = await _encode(copied, axis, fields)
        body = msgspec.json.encode(_Encoded(interval, fields, axis.tolist(), symbols))
        return Response(body, headers=[_NEVER, *served.warnings])

    def _check_size(self, cells: int) -> None:
        most = self._state.settings.filter_rows_max
        if cells > most:
            raise ApiError(
                400,
                "too_large",
                f"It would read {cells:,} numbers, at most {most:,} may be. "
                "Name fewer symbols, or a lower limit.",
            )


def _read_fields(text: str) -> list[str]:
    """Columns by name. Raises ApiError 400: none, or one there is not."""
    fields = list(dict.fromkeys(text.split(",")))
    for name in fields:
        if name not in COLUMNS:
            raise ApiError(
                400, "unknown_field", f"There is no field {name[:40]!r}.", allowed=COLUMNS
            )
    return fields


def _find(served: ServedMarket, interval: str, names: str | None) -> list[Series]:
    """The series asked for, each once. Raises ApiError 404: a symbol that is not held."""
    market = served.market
    try:
        found = [
            market[name, interval]
            for name in (market.symbols if names is None else names.split(","))
        ]
    except UnknownSeriesError as error:
        raise unknown_symbol(error) from None
    return list({series.symbol: series for series in found}.values())


async def _copy(
    found: list[Series], fields: list[str], limit: int
) -> tuple[dict[str, _Copied], npt.NDArray[np.int64]]:
    """The newest rows of each series, and the newest ``limit`` times of all of them."""
    copied: dict[str, _Copied] = {}
    axis = np.empty(0, np.int64)
    cells = 0
    for series in found:
        # Views are of this moment: rows may slide while others have their turn.
        times = series.open_time_ms[-limit:].copy()
        columns = [getattr(series, name)[-limit:].astype(np.float64) for name in fields]
        copied[series.symbol] = _Copied(times, columns)
        if not np.array_equal(times, axis):
            axis = np.union1d(axis, times)[-limit:]
        cells += len(times) * (1 + len(fields))
        if cells >= CELLS_CHUNK:
            cells = 0
            await asyncio.sleep(0)
    return copied, axis


async def _encode(
    copied: dict[str, _Copied], axis: npt.NDArray[np.int64], fields: list[str]
) -> dict[str, msgspec.Raw]:
    symbols = {}
    cells = 0
    for symbol, rows in copied.items():
        shown = rows.times >= axis[0] if len(axis) else np.empty(0, bool)
        places = np.searchsorted(axis, rows.times[shown])
        columns = {}
        for name, column in zip(fields, rows.columns, strict=True):
            values = np.full(len(axis), np.nan)  # which JSON has as null
            values[places] = column[shown]
            columns[name] = values.tolist()
        symbols[symbol] = msgspec.Raw(msgspec.json.encode(columns))
        cells += len(axis) * len(fields)
        if cells >= CELLS_CHUNK:
            cells = 0
            await asyncio.sleep(0)
    return symbols
