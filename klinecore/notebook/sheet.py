"""What a chart draws: rows with a column per line, and marks, as numbers."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from klinecore.attached import AttachedMarket
from klinecore.errors import FilterError
from klinecore.filters import Filter, Replay, compile, expression_series, parse_expression, replay
from klinecore.indicators import CATALOG
from klinecore.indicators.entry import Values
from klinecore.interval import next_open_ms
from klinecore.kline import COLUMNS
from klinecore.market import Market
from klinecore.notebook.rows import OneSeries, Rows

__all__ = [
    "FIRST_LINE",
    "FIRINGS_MAX",
    "GAP_ROWS_MAX",
    "LINES_MAX",
    "MARKS_MAX",
    "PANES_MAX",
    "TAIL_MAX",
    "Fired",
    "Line",
    "draw_marks",
    "draw_rows",
    "plan_firings",
    "plan_lines",
    "tail_of",
]

#: Lines of a chart, all panes together.
LINES_MAX = 16
#: Panes below the price.
PANES_MAX = 5
#: Filters whose firings are marked.
FIRINGS_MAX = 8
#: Marks of a chart; of more the newest are drawn.
MARKS_MAX = 500
#: Empty places that one gap is given; a longer one is drawn as long as this.
GAP_ROWS_MAX = 120
#: Rows that are sent alone; where more have changed all are sent.
TAIL_MAX = 16
#: Characters of a name.
NAME_MAX = 60

# Rows of a sheet: time in s, prices, volume, state; then a line each.
FIRST_LINE = 7
_DRAWN = [COLUMNS.index(name) for name in ("open", "high", "low", "close", "volume")]
_FORMING, _HOLE, _ABSENT = 1.0, 2.0, 3.0

#: Outputs on another scale than the price, which are left out beside it.
_NO_PRICES = {("bb", "width"), ("supertrend", "trend"), ("volume_nodes", "nearby")}

_Firing: TypeAlias = Replay | Filter | str
Fired: TypeAlias = _Firing | Mapping[str, _Firing]


@dataclass(frozen=True, slots=True)
class Line:
    """An expression as it is drawn; pane 0 is the price's."""

    name: str
    pane: int
    kind: Literal["line", "histogram"]
    expression: Filter


def plan_lines(overlays: Iterable[str], panes: Iterable[str | Iterable[str]]) -> list[Line]:
    """The lines that are asked for. An indicator of several outputs brings all of them.

    Raises FilterError: an expression cannot be read; ValueError: it looks across symbols, is a
    condition beside the price, or there are too many.
    """
    if isinstance(overlays, str) or isinstance(panes, str):
        raise ValueError("overlays and panes are lists of expressions")
    lines = [line for text in overlays for line in _expand(text, 0)]
    below = [[some] if isinstance(some, str) else list(some) for some in panes]
    if len(below) > PANES_MAX:
        raise ValueError(f"at most {PANES_MAX} panes, not {len(below)}")
    for place, texts in enumerate(below, 1):
        lines += [line for text in texts for line in _expand(text, place)]
    if len(lines) > LINES_MAX:
        raise ValueError(f"at most {LINES_MAX} lines, not {len(lines)}")
    return lines


def _expand(text: str, pane: int) -> list[Line]:
    found = re.match(r"\s*(\w+)", text)
    entry = CATALOG.get(found[1]) if found else None
    if entry is None or len(entry.outputs) == 1:
        return [_line(text.strip(), text, pane, "line")]
    whole = text.strip() + ("()" if text.strip() == entry.name else "")
    lines = []
    for output in entry.outputs:
        if not pane and (entry.name, output) in _NO_PRICES:
            continue
        try:
            kind: Literal["line", "histogram"] = "histogram" if output == "hist" else "line"
            lines.append(_line(f"{whole}.{output}", f"{whole}.{output}", pane, kind))
        except FilterError:  # no indicator alone, such as macd().line - 1
            return [_line(text.strip(), text, pane, "line")]
    return lines


def _line(name: str, text: str, pane: int, kind: Literal["line", "histogram"]) -> Line:
    expression = parse_expression(text)
    if expression.cross_symbols:
        raise ValueError(f"{expression.normal} looks across symbols, and a chart shows one")
    if not pane and expression.root.kind == "condition":
        raise ValueError(f"{expression.normal} is a condition: give it as firings= or a pane")
    return Line(name[:NAME_MAX], pane, kind, expression)


def plan_firings(firings: Fired | None) -> dict[str, Replay | Filter]:
    """What is marked, by name. Raises FilterError; ValueError: too many, or it cannot be known."""
    if firings is None:
        return {}
    if not isinstance(firings, Mapping):
        firings = {_named(firings): firings}
    if len(firings) > FIRINGS_MAX:
        raise ValueError(f"firings of at most {FIRINGS_MAX} filters, not {len(firings)}")
    planned: dict[str, Replay | Filter] = {}
    for name, one in firings.items():
        made = compile(one) if isinstance(one, str) else one
        if isinstance(made, Filter) and made.cross_symbols:
            raise ValueError(f"{made.normal} looks across symbols: give what kc.replay says of it")
        planned[name[:NAME_MAX]] = made
    return planned


def _named(firing: _Firing) -> str:
    if isinstance(firing, str):
        return firing.strip()
    return firing.text if isinstance(firing, Filter) else "fired"


def draw_rows(
    rows: Rows, others: Market | AttachedMarket | None, lines: Sequence[Line], limit: int
) -> Values:
    """The newest ``limit`` rows, gaps among them: shape (7 + lines, n), NaN where nothing is.

    Lines are computed over all rows, the forming one as if it closed as it stands.
    """
    count = len(rows)
    drawn = np.empty((FIRST_LINE + len(lines), count))
    drawn[0] = rows.open_time_ms / 1000
    drawn[1 : FIRST_LINE - 1] = rows.fields[_DRAWN]
    drawn[FIRST_LINE - 1] = 0.0
    if rows.forming:
        drawn[FIRST_LINE - 1, -1] = _FORMING
    market = OneSeries(rows, others)
    for place, line in enumerate(lines, FIRST_LINE):
        drawn[place] = expression_series(line.expression, market, rows.symbol, rows.interval)[1]
    drawn = drawn[:, -limit:]
    if count:
        drawn = _with_gaps(drawn, rows)[:, -limit:]
    return np.ascontiguousarray(drawn, dtype="<f8")


def _with_gaps(drawn: Values, rows: Rows) -> Values:
    first_s = drawn[0, 0]
    times: list[int] = []
    states: list[float] = []
    for stretches, state in ((rows.missing, _HOLE), (rows.absent, _ABSENT)):
        for first, last in stretches:
            if last / 1000 < first_s:
                continue
            place, count = first, 0
            while place <= last and count < GAP_ROWS_MAX:
                times.append(place)
                place = next_open_ms(rows.interval, place)
                count += 1
            states += [state] * count
    if not times:
        return drawn
    gaps = np.full((len(drawn), len(times)), np.nan)
    gaps[0] = np.array(times) / 1000
    gaps[FIRST_LINE - 1] = states
    both = np.concatenate((drawn, gaps), axis=1)
    return both[:, np.argsort(both[0], kind="stable")]


def draw_marks(
    rows: Rows,
    others: Market | AttachedMarket | None,
    firings: Mapping[str, Replay | Filter],
    first_s: float,
) -> Values:
    """The newest marks from a time on: shape (2, n), time in s and the place of the filter."""
    closed = rows.closed
    market = OneSeries(closed, others)
    marks: list[Values] = []
    for place, firing in enumerate(firings.values()):
        if isinstance(firing, Filter):
            firing = replay(firing, market, rows.interval)
        own = [i for i, name in enumerate(firing.symbols) if name == rows.symbol or not rows.symbol]
        times = firing.open_time_ms[np.isin(firing.symbol_index, own)] / 1000
        marks.append(np.vstack((times, np.full(len(times), float(place)))))
    if not marks:
        return np.empty((2, 0))
    both = np.concatenate(marks, axis=1)
    both = both[:, both[0] >= first_s]
    both = both[:, np.argsort(both[0], kind="stable")][:, -MARKS_MAX:]
    return np.ascontiguousarray(both, dtype="<f8")


def tail_of(before: Values, now: Values) -> NDArray[np.float64] | None:
    """The rows of ``now`` from the first one that is not as it was; None: better send all.

    Rows that have left at the old end do not count.
    """
    if not now.shape[1]:
        return None
    kept = before[:, np.searchsorted(before[0], now[0, 0]) :]
    count = kept.shape[1]
    if not count or count > now.shape[1]:
        return None
    there = now[:, :count]
    same = ((kept == there) | (np.isnan(kept) & np.isnan(there))).all(axis=0)
    first = count if same.all() else int(np.argmin(same))
    if now.shape[1] - first > TAIL_MAX:
        return None
    return np.ascontiguousarray(now[:, first:])
