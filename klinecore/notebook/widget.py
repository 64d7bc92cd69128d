"""The chart as a widget: keeps what is drawn in step with its series while it is shown."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from contextlib import suppress
from importlib import resources
from os import PathLike
from typing import Any

import anywidget
import numpy as np
import traitlets

from klinecore.charting import chart_library
from klinecore.errors import TornReadError, UnknownSeriesError
from klinecore.interval import INTERVAL_MS
from klinecore.notebook.rows import Rows, Source, find_source
from klinecore.notebook.sheet import (
    Fired,
    Line,
    draw_marks,
    draw_rows,
    plan_firings,
    plan_lines,
    tail_of,
)
from klinecore.notebook.still import still

__all__ = ["LIMIT_MAX", "TICKS_PER_S", "VIEWERS_MAX", "Chart", "chart"]

#: Rows of a chart.
LIMIT_MAX = 20_000
#: How often a chart is brought up to date at most.
TICKS_PER_S = 10
#: Pages that are remembered to show a chart.
VIEWERS_MAX = 16
_WHO_SIZE_MAX = 64
_HEIGHT_MAX = 4_000
_PRICE_HEIGHT = 340
_PANE_HEIGHT = 110
_DECIMALS_MAX = 10


def chart(
    source: object,
    symbol: str | None = None,
    interval: str | None = None,
    *,
    overlays: Iterable[str] = (),
    panes: Iterable[str | Iterable[str]] = (),
    firings: Fired | None = None,
    limit: int = 500,
    height: int | None = None,
    library: str | PathLike[str] | None = None,
) -> Chart:
    """A chart of klines with volume, which follows its series while a notebook shows it.

    Holes are shown as such, not bridged; what is unknown is not drawn. All values come from the
    library's own engine, in the kernel.

    Parameters
    ----------
    source: a series or a market of this process, of ``kc.attach`` or of ``kc.client.connect``, or
        a ``Frame`` of klines, which does not change.
    symbol, interval: of a market which, if it holds several; of a frame what to call it.
    overlays: expressions of the filter language beside the price: ``["ema(20)", "bb(20)"]``.
    panes: expressions below it, or lists of those: ``["rsi(14)", "macd()", ["adx()", "chop()"]]``.
        An indicator of several outputs brings all of them.
    firings: what ``kc.replay`` gave, or a filter or its text, which is followed at every close;
        several by names of your own.
    limit: newest rows that are shown.
    height: in pixels; by the number of panes if it is not given.
    library: a file of Lightweight Charts in place of the installed one.

    Raises
    ------
    FilterError: an expression cannot be read. UnknownSeriesError: the market has no such series.
    ChartLibraryError: the charts' JavaScript is missing. ValueError, TypeError: the call is wrong.
    """
    if not 1 <= limit <= LIMIT_MAX:
        raise ValueError(f"limit must be 1..{LIMIT_MAX}, not {limit}")
    if height is not None and not 1 <= height <= _HEIGHT_MAX:
        raise ValueError(f"height must be 1..{_HEIGHT_MAX}, not {height}")
    found = find_source(source, symbol, interval)
    lines = plan_lines(overlays, panes)
    if height is None:
        height = _PRICE_HEIGHT + _PANE_HEIGHT * max((line.pane for line in lines), default=0)
    own = resources.files("klinecore.notebook").joinpath("chart.js").read_text("utf-8")
    code = f"{chart_library(library).text}\n;\n{own}"
    return Chart(found, lines, plan_firings(firings), limit=limit, height=height, code=code)


class Chart(anywidget.AnyWidget):  # type: ignore[misc]
    """A chart in a notebook, as ``kc.chart`` makes it; ``close()`` ends it.

    While no page shows it, nothing is computed and nothing is sent.
    """

    _esm = traitlets.Unicode().tag(sync=True)
    _about = traitlets.Dict().tag(sync=True)
    #: float64, column by column: time in s, prices, volume, state, then a column per line.
    _rows = traitlets.Bytes().tag(sync=True)
    #: float64, column by column: time in s, place of the filter.
    _marks = traitlets.Bytes().tag(sync=True)
    _status = traitlets.Unicode().tag(sync=True)
    height = traitlets.Int().tag(sync=True)

    def __init__(
        self,
        source: Source,
        lines: list[Line],
        firings: dict[str, Any],
        *,
        limit: int,
        height: int,
        code: str,
    ) -> None:
        self._source = source
        self._lines = lines
        self._firings = firings
        self._limit = limit
        self._viewers: dict[str, None] = {}
        self._task: asyncio.Task[None] | None = None
        rows = source.read()
        self._symbol, self._interval = rows.symbol, rows.interval
        self._drawn = draw_rows(rows, source.others, lines, limit)
        self._marked = self._mark(rows)
        self._grown = 0  # rows sent since all were
        super().__init__(
            _esm=code,
            _about=self._describe(rows),
            _rows=self._drawn.tobytes(),
            _marks=self._marked.tobytes(),
            _status=source.status,
            height=height,
        )
        self.on_msg(self._heard)

    def __repr__(self) -> str:
        names = "".join(f", {line.name}" for line in self._lines)
        return f"<Chart {self._symbol} {self._interval}: {self._drawn.shape[1]} rows{names}>"

    def close(self) -> None:
        """End it, here and in every page that shows it."""
        self._viewers.clear()
        self._stop()
        super().close()

    def _describe(self, rows: Rows) -> dict[str, Any]:
        return {
            "symbol": rows.symbol,
            "interval": rows.interval,
            "interval_s": INTERVAL_MS[rows.interval] // 1000,
            "decimals": _decimals(self._drawn[1:5]),
            "lines": [
                {"name": line.name, "pane": line.pane, "kind": line.kind} for line in self._lines
            ],
            "firings": list(self._firings),
        }

    def _mark(self, rows: Rows) -> np.ndarray[Any, np.dtype[np.float64]]:
        first_s = self._drawn[0, 0] if self._drawn.shape[1] else 0.0
        return draw_marks(rows, self._source.others, self._firings, first_s)

    # --- pages ---------------------------------------------------------------------------------

    def _heard(self, _: object, content: object, buffers: object) -> None:
        """A page shows the chart, or does so no more."""
        if not isinstance(content, dict):
            return
        who, shown = content.get("who"), content.get("shown")
        if not isinstance(who, str) or len(who) > _WHO_SIZE_MAX or not isinstance(shown, bool):
            return
        self._viewers.pop(who, None)
        if not shown:
            if not self._viewers:
                self._stop()
            return
        if len(self._viewers) == VIEWERS_MAX:
            del self._viewers[next(iter(self._viewers))]
        self._viewers[who] = None
        self._start()

    def _start(self) -> None:
        """Bring a page that has just come up to date, and follow the series from here on."""
        if self._task is None or self._task.done():
            self._tell(whole=True)
            with suppress(RuntimeError):  # no loop: it stays as it is
                self._task = asyncio.get_running_loop().create_task(self._follow())
        else:
            self._tell(whole=True)

    def _stop(self) -> None:
        task, self._task = self._task, None
        if task is not None:
            with suppress(RuntimeError):  # its loop is closed
                task.cancel()

    # --- what changes --------------------------------------------------------------------------

    async def _follow(self) -> None:
        while True:
            await asyncio.sleep(1 / TICKS_PER_S)
            self._tell()

    def _tell(self, *, whole: bool = False) -> None:
        """Send what has changed; ``whole``: as a page needs it that has seen nothing yet."""
        try:
            status = self._source.status
            if self._source.moved():
                self._redraw(self._source.read(), whole=whole)
            elif whole and self._grown:
                self._send_all()
        except TornReadError:
            return  # the next time
        except UnknownSeriesError:
            status = "ended: the symbol is held no longer"
        if status != self._status:
            self._status = status

    def _redraw(self, rows: Rows, *, whole: bool) -> None:
        before = self._drawn
        self._drawn = draw_rows(rows, self._source.others, self._lines, self._limit)
        tail = tail_of(before, self._drawn)
        if whole or tail is None or self._grown + tail.shape[1] > self._limit:
            self._send_all()
        elif tail.shape[1]:
            self._grown += tail.shape[1]
            self.send({"kind": "tail"}, buffers=[tail.tobytes()])
        marked = self._mark(rows)
        if marked.tobytes() != self._marked.tobytes():
            self._marked = marked
            self._marks = marked.tobytes()

    def _send_all(self) -> None:
        self._grown = 0
        self._rows = self._drawn.tobytes()

    def _repr_mimebundle_(self, **asked: Any) -> Any:
        """The widget, and a still picture for where there is none."""
        made = super()._repr_mimebundle_(**asked)
        data, about = made if isinstance(made, tuple) else (made, {})
        if data is not None:
            title = f"{self._symbol} {self._interval}".strip()
            drawn = self._drawn
            closes = drawn[4][np.isfinite(drawn[4])]
            if len(closes):
                decimals = self._about["decimals"]
                low, high = np.nanmin(drawn[3]), np.nanmax(drawn[2])
                title += (
                    f": {len(closes)} klines, last {closes[-1]:.{decimals}f},"
                    f" {low:.{decimals}f} to {high:.{decimals}f}"
                )
            data["image/svg+xml"] = still(title, drawn, self._marked, self._lines)
        return data, about


def _decimals(prices: np.ndarray[Any, np.dtype[np.float64]]) -> int:
    """Decimals that tell every price as it is."""
    known = prices[np.isfinite(prices)]
    for decimals in range(_DECIMALS_MAX):
        if np.allclose(np.round(known, decimals), known, rtol=1e-12, atol=0.0):
            return decimals
    return _DECIMALS_MAX
