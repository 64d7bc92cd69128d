"""Levels and turns, over arrays and row by row; written from the catalog."""

from __future__ import annotations

from typing import Generic, Literal, NamedTuple, TypeVar

from klinecore.indicators.catalog import CATALOG
from klinecore.indicators.entry import Values
from klinecore.indicators.kernel import Stream1, Stream2, Stream4
from klinecore.indicators.kernels.levels import KERNELS

__all__ = [
    "Divergence",
    "PivotHigh",
    "PivotLow",
    "VolumeNodes",
    "VolumeNodesResult",
    "divergence",
    "pivot_high",
    "pivot_low",
    "volume_nodes",
]

_T = TypeVar("_T")


class VolumeNodesResult(NamedTuple, Generic[_T]):
    """What ``volume_nodes`` gives: arrays, or numbers of one row."""

    above: _T
    below: _T
    closest: _T
    nearby: _T


_PIVOT_HIGH = KERNELS["pivot_high"].bind(CATALOG["pivot_high"])
_PIVOT_LOW = KERNELS["pivot_low"].bind(CATALOG["pivot_low"])
_DIVERGENCE = KERNELS["divergence"].bind(CATALOG["divergence"])
_VOLUME_NODES = KERNELS["volume_nodes"].bind(CATALOG["volume_nodes"], VolumeNodesResult)


def pivot_high(high: Values, left: int = 5, right: int = 5, *, out: Values | None = None) -> Values:
    """High of the newest confirmed pivot.

    Parameters
    ----------
    high : float64 array, shape (n,)
        Oldest first; not modified.
    left : int, 1 to 1,000
        Klines before it that it must be beyond.
    right : int, 1 to 1,000
        Klines after it that must not be beyond it.
    out : float64 array, shape (n,), contiguous, optional
        Where to write, instead of new memory; not the memory of an input.

    Returns
    -------
    A float64 array, shape (n,), new unless ``out`` is given; all defined from row ``left +
    right`` on, NaN before. A row with a number that is not finite gives NaN and changes nothing
    else.

    Raises
    ------
    ValueError: a parameter out of bounds, or an array of another type, shape or length.

    Notes
    -----
    Formula: high[right] where it is above the left highs before it and not below the right ones
    after it; else as before.
    Start and edges: NaN before the first one. Of equal extremes in a row the first one counts.
    TradingView: Gives it at the row that confirms it and NaN elsewhere.
    Source: the definition.
    O(n); bit-identical to ``n`` calls of ``PivotHigh.update``.
    """
    result: Values = _PIVOT_HIGH.batch((high,), (left, right), out)
    return result


class PivotHigh(Stream1[float]):
    """High of the newest confirmed pivot, row by row: ``update(high)``, ``preview`` of a forming
    row, ``value``, ``warm``; as ``pivot_high``.
    """

    __slots__ = ()

    def __init__(self, left: int = 5, right: int = 5) -> None:
        super().__init__(_PIVOT_HIGH, (left, right))


def pivot_low(low: Values, left: int = 5, right: int = 5, *, out: Values | None = None) -> Values:
    """Low of the newest confirmed pivot.

    Parameters
    ----------
    low : float64 array, shape (n,)
        Oldest first; not modified.
    left : int, 1 to 1,000
        Klines before it that it must be beyond.
    right : int, 1 to 1,000
        Klines after it that must not be beyond it.
    out : float64 array, shape (n,), contiguous, optional
        Where to write, instead of new memory; not the memory of an input.

    Returns
    -------
    A float64 array, shape (n,), new unless ``out`` is given; all defined from row ``left +
    right`` on, NaN before. A row with a number that is not finite gives NaN and changes nothing
    else.

    Raises
    ------
    ValueError: a parameter out of bounds, or an array of another type, shape or length.

    Notes
    -----
    Formula: low[right] where it is below the left lows before it and not above the right ones
    after it; else as before.
    Start and edges: NaN before the first one. Of equal extremes in a row the first one counts.
    TradingView: Gives it at the row that confirms it and NaN elsewhere.
    Source: the definition.
    O(n); bit-identical to ``n`` calls of ``PivotLow.update``.
    """
    result: Values = _PIVOT_LOW.batch((low,), (left, right), out)
    return result


class PivotLow(Stream1[float]):
    """Low of the newest confirmed pivot, row by row: ``update(low)``, ``preview`` of a forming row,
    ``value``, ``warm``; as ``pivot_low``.
    """

    __slots__ = ()

    def __init__(self, left: int = 5, right: int = 5) -> None:
        super().__init__(_PIVOT_LOW, (left, right))


def divergence(
    first: Values,
    second: Values,
    period: int = 30,
    distance: int = 5,
    *,
    kind: Literal["regular", "hidden"] = "regular",
    out: Values | None = None,
) -> Values:
    """Divergence: 1 bullish, -1 bearish, 0 none.

    Parameters
    ----------
    first, second : float64 arrays, shape (n,)
        Oldest first; not modified.
    period : int, 3 to 1,000
        Klines in which both extremes lie.
    distance : int, 1 to 1,000
        Klines that they are apart, at least.
    kind : "regular" or "hidden"
        Against the way prices went, or hidden: with it.
    out : float64 array, shape (n,), contiguous, optional
        Where to write, instead of new memory; not the memory of an input.

    Returns
    -------
    A float64 array, shape (n,), new unless ``out`` is given; all defined from row ``period -
    1`` on, NaN before. A row with a number that is not finite gives NaN and changes nothing
    else.

    Raises
    ------
    ValueError: a parameter out of bounds, or an array of another type, shape or length.

    Notes
    -----
    Formula: bullish: a low of first below an earlier one, with second above what it was then;
    bearish: a high above an earlier one, with second below; hidden: first and second swapped.
    Start and edges: An extreme is strictly beyond both rows beside it; each is held against the
    newest one that is far enough before it. Bullish is looked for first.
    TradingView: Its script takes the newest two pivots of the second series.
    Source: the practice of charting.
    O(n); bit-identical to ``n`` calls of ``Divergence.update``.
    """
    result: Values = _DIVERGENCE.batch((first, second), (period, distance, kind), out)
    return result


class Divergence(Stream2[float]):
    """Divergence: 1 bullish, -1 bearish, 0 none, row by row: ``update(first, second)``, ``preview``
    of a forming row, ``value``, ``warm``; as ``divergence``.
    """

    __slots__ = ()

    def __init__(
        self, period: int = 30, distance: int = 5, *, kind: Literal["regular", "hidden"] = "regular"
    ) -> None:
        super().__init__(_DIVERGENCE, (period, distance, kind))


def volume_nodes(
    high: Values,
    low: Values,
    close: Values,
    volume: Values,
    period: int = 250,
    bins: int = 30,
    percentile: float = 70.0,
    height: float = 50.0,
    margin: float = 5.0,
    reach: float = 5.0,
    *,
    out: tuple[Values, ...] | None = None,
) -> VolumeNodesResult[Values]:
    """Prices at which much more was traded than beside them.

    Parameters
    ----------
    high, low, close, volume : float64 arrays, shape (n,)
        Oldest first; not modified.
    period : int, 1 to 1,000
        Klines in the window.
    bins : int, 3 to 100
        Bins from the lowest low to the highest high.
    percentile : float, 0.0 to 100.0
        Percent of the bins that have no more volume.
    height : float, 0.0 to 100.0
        Percent of the largest bin that a node has.
    margin : float, 0.0 to 1,000.0
        Percent by which it is above both neighbours.
    reach : float, 0.0 to 1,000.0
        Percent of the close that is nearby.
    out : tuple of 4 float64 arrays, shape (n,), contiguous, optional
        Where to write, instead of new memory; not the memory of an input.

    Returns
    -------
    ``(above, below, closest, nearby)``, float64 arrays, shape (n,), new unless ``out`` is
    given; all defined from row ``period - 1`` on, NaN before. A row with a number that is not
    finite gives NaN and changes nothing else.

    Raises
    ------
    ValueError: a parameter out of bounds, or an array of another type, shape or length.

    Notes
    -----
    Formula: each kline's volume spread evenly over the bins it touches; a node is the middle of
    a bin that passes all three measures; above, below, closest: of those to the close; nearby:
    how many are within reach of it.
    Start and edges: NaN where there is no such node; the ends have one neighbour.
    TradingView: Its volume profile marks the largest bin and the value area instead.
    Source: P. Steidlmayer, Market Profile, for the idea.
    O(n); bit-identical to ``n`` calls of ``VolumeNodes.update``.
    """
    result: VolumeNodesResult[Values] = _VOLUME_NODES.batch(
        (high, low, close, volume), (period, bins, percentile, height, margin, reach), out
    )
    return result


class VolumeNodes(Stream4[VolumeNodesResult[float]]):
    """Prices at which much more was traded than beside them, row by row: ``update(high, low, close,
    volume)``, ``preview`` of a forming row, ``value``, ``warm``; as ``volume_nodes``.
    """

    __slots__ = ()

    def __init__(
        self,
        period: int = 250,
        bins: int = 30,
        percentile: float = 70.0,
        height: float = 50.0,
        margin: float = 5.0,
        reach: float = 5.0,
    ) -> None:
        super().__init__(_VOLUME_NODES, (period, bins, percentile, height, margin, reach))
