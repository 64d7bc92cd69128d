"""A chart that does not move: a small SVG for where no widget can run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from html import escape

import numpy as np

from klinecore.indicators.entry import Values
from klinecore.notebook.sheet import FIRST_LINE, Line

__all__ = ["POINTS_MAX", "still"]

#: Places of a still chart; of more rows some are left out.
POINTS_MAX = 240
_WIDTH, _HEIGHT, _HEAD, _EDGE = 720, 200, 22, 6
_PRICE, _MARK = "#2962ff", "#e91e63"
_LINES = ("#f7931a", "#9c27b0", "#00897b", "#558b2f", "#6d4c41")


def still(title: str, drawn: Values, marks: Values, lines: Sequence[Line]) -> str:
    """The closes, the lines beside them and the marks, broken where rows are missing."""
    count = drawn.shape[1]
    taken = np.unique(np.linspace(0, count - 1, min(count, POINTS_MAX)).astype(int))
    beside = [place for place, line in enumerate(lines, FIRST_LINE) if not line.pane]
    shown = drawn[[4, *beside]][:, taken] if count else np.empty((1, 0))
    known = shown[np.isfinite(shown)]
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img"'
        f' width="{_WIDTH}" height="{_HEIGHT}" font-family="sans-serif" font-size="12">',
        f'<text x="{_EDGE}" y="15" fill="#808080">{escape(title)}</text>',
    ]
    if len(known):
        x, y = _scales(len(taken), float(known.min()), float(known.max()))
        for place, values in enumerate(shown):
            color = _LINES[(place - 1) % len(_LINES)] if place else _PRICE
            parts += [_path(x, y(run), color) for x, run in _runs(x, values)]
        places = np.searchsorted(drawn[0, taken], marks[0])
        for place in np.unique(places[places < len(taken)]):
            if np.isfinite(shown[0, place]):
                at = f'cx="{x[place]:.1f}" cy="{y(shown[0, place]):.1f}"'
                parts.append(f'<circle {at} r="4" fill="{_MARK}"/>')
    return "".join([*parts, "</svg>"])


def _scales(count: int, low: float, high: float) -> tuple[Values, Callable[[Values], Values]]:
    """Where each place stands, and what puts values at their heights."""
    x = _EDGE + np.arange(count) * (_WIDTH - 2 * _EDGE) / max(1, count - 1)
    room = _HEIGHT - _HEAD - 2 * _EDGE
    span = high - low or 1.0
    return x, lambda values: _HEAD + _EDGE + (high - values) / span * room


def _runs(x: Values, values: Values) -> Iterator[tuple[Values, Values]]:
    """Stretches without anything missing in them."""
    known = np.isfinite(values)
    edges = np.flatnonzero(np.diff(np.concatenate(([False], known, [False]))))
    for first, end in zip(edges[::2], edges[1::2], strict=True):
        yield x[first:end], values[first:end]


def _path(x: Values, y: Values, color: str) -> str:
    points = " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x, y, strict=True))
    return f'<polyline points="{points}" fill="none" stroke="{color}" stroke-width="1.2"/>'
