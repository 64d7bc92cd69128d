"""Volume, over arrays and row by row; written from the catalog."""

from __future__ import annotations

from typing import Generic, Literal, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from klinecore.indicators.catalog import CATALOG
from klinecore.indicators.entry import Values
from klinecore.indicators.kernel import Stream2, Stream4, Stream5
from klinecore.indicators.kernels.volume import KERNELS

__all__ = [
    "Cmf",
    "Mfi",
    "Obv",
    "Pvi",
    "Vwap",
    "VwapResult",
    "cmf",
    "mfi",
    "obv",
    "pvi",
    "vwap",
]

_T = TypeVar("_T")


class VwapResult(NamedTuple, Generic[_T]):
    """What ``vwap`` gives: arrays, or numbers of one row."""

    vwap: _T
    upper: _T
    lower: _T


_MFI = KERNELS["mfi"].bind(CATALOG["mfi"])
_OBV = KERNELS["obv"].bind(CATALOG["obv"])
_VWAP = KERNELS["vwap"].bind(CATALOG["vwap"], VwapResult)
_PVI = KERNELS["pvi"].bind(CATALOG["pvi"])
_CMF = KERNELS["cmf"].bind(CATALOG["cmf"])


def mfi(
    high: Values,
    low: Values,
    close: Values,
    volume: Values,
    period: int = 14,
    *,
    out: Values | None = None,
) -> Values:
    """Money flow index, 0 to 100.

    Parameters
    ----------
    high, low, close, volume : float64 arrays, shape (n,)
        Oldest first; not modified.
    period : int, 1 to 100,000
        Klines in the window.
    out : float64 array, shape (n,), contiguous, optional
        Where to write, instead of new memory; not the memory of an input.

    Returns
    -------
    A float64 array, shape (n,), new unless ``out`` is given; all defined from row ``period``
    on, NaN before. A row with a number that is not finite gives NaN and changes nothing else.

    Raises
    ------
    ValueError: a parameter out of bounds, or an array of another type, shape or length.

    Notes
    -----
    Formula: 100 * inflow / (inflow + outflow); sums of hlc3 * volume where hlc3 rose, fell.
    Start and edges: 0 where nothing flowed. A change of hlc3 within rounding is none.
    TradingView: Same.
    Source: G. Quong and A. Soudack.
    O(n); bit-identical to ``n`` calls of ``Mfi.update``.
    """
    result: Values = _MFI.batch((high, low, close, volume), (period,), out)
    return result


class Mfi(Stream4[float]):
    """Money flow index, 0 to 100, row by row: ``update(high, low, close, volume)``, ``preview`` of
    a forming row, ``value``, ``warm``; as ``mfi``.
    """

    __slots__ = ()

    def __init__(self, period: int = 14) -> None:
        super().__init__(_MFI, (period,))


def obv(
    close: Values,
    volume: Values,
    *,
    compat: Literal["talib", "tradingview"] = "talib",
    out: Values | None = None,
) -> Values:
    """On-balance volume.

    Parameters
    ----------
    close, volume : float64 arrays, shape (n,)
        Oldest first; not modified.
    compat : "talib" or "tradingview"
        Whose seeding and edge cases: TA-Lib's or TradingView's.
    out : float64 array, shape (n,), contiguous, optional
        Where to write, instead of new memory; not the memory of an input.

    Returns
    -------
    A float64 array, shape (n,), new unless ``out`` is given; all defined from row ``0`` on, NaN
    before. A row with a number that is not finite gives NaN and changes nothing else.

    Raises
    ------
    ValueError: a parameter out of bounds, or an array of another type, shape or length.

    Notes
    -----
    Formula: cumulated volume, added where the close rose, taken off where it fell.
    Start and edges: Starts at the first row's volume.
    TradingView: Starts at 0.
    Source: J. Granville, 1963.
    O(n); bit-identical to ``n`` calls of ``Obv.update``.
    """
    result: Values = _OBV.batch((close, volume), (compat,), out)
    return result


class Obv(Stream2[float]):
    """On-balance volume, row by row: ``update(close, volume)``, ``preview`` of a forming row,
    ``value``, ``warm``; as ``obv``.
    """

    __slots__ = ()

    def __init__(self, *, compat: Literal["talib", "tradingview"] = "talib") -> None:
        super().__init__(_OBV, (compat,))


def vwap(
    high: Values,
    low: Values,
    close: Values,
    volume: Values,
    open_time_ms: NDArray[np.int64] | Values | None = None,
    deviations: float = 1.0,
    *,
    anchor: Literal["none", "day", "week"] = "none",
    out: tuple[Values, ...] | None = None,
) -> VwapResult[Values]:
    """Volume-weighted average price.

    Parameters
    ----------
    high, low, close, volume : float64 arrays, shape (n,)
        Oldest first; not modified.
    open_time_ms : int64 or float64 array, shape (n,), optional
        Only an anchor needs it.
    anchor : "none" or "day" or "week"
        Where the sums start anew, in UTC: never, each day, each Monday.
    deviations : float, -1,000.0 to 1,000.0
        Deviations of the bands.
    out : tuple of 3 float64 arrays, shape (n,), contiguous, optional
        Where to write, instead of new memory; not the memory of an input.

    Returns
    -------
    ``(vwap, upper, lower)``, float64 arrays, shape (n,), new unless ``out`` is given; all
    defined from row ``0`` on, NaN before. A row with a number that is not finite gives NaN and
    changes nothing else.

    Raises
    ------
    ValueError: a parameter out of bounds, or an array of another type, shape or length.

    Notes
    -----
    Formula: sum(hlc3 * volume) / sum(volume); bands by the volume-weighted deviation.
    Start and edges: NaN until there was volume (TA-Lib: 0).
    TradingView: Same, with `anchor="day"` as there.
    Source: the definition.
    O(n); bit-identical to ``n`` calls of ``Vwap.update``.
    """
    result: VwapResult[Values] = _VWAP.batch(
        (high, low, close, volume, open_time_ms), (anchor, deviations), out
    )
    return result


class Vwap(Stream5[VwapResult[float]]):
    """Volume-weighted average price, row by row: ``update(high, low, close, volume,
    open_time_ms=0.0)``, ``preview`` of a forming row, ``value``, ``warm``; as ``vwap``.
    """

    __slots__ = ()

    def __init__(
        self, deviations: float = 1.0, *, anchor: Literal["none", "day", "week"] = "none"
    ) -> None:
        super().__init__(_VWAP, (anchor, deviations))


def pvi(
    close: Values, volume: Values, start: float = 1000.0, *, out: Values | None = None
) -> Values:
    """Positive volume index.

    Parameters
    ----------
    close, volume : float64 arrays, shape (n,)
        Oldest first; not modified.
    start : float, -1,000,000,000.0 to 1,000,000,000.0
        First value.
    out : float64 array, shape (n,), contiguous, optional
        Where to write, instead of new memory; not the memory of an input.

    Returns
    -------
    A float64 array, shape (n,), new unless ``out`` is given; all defined from row ``0`` on, NaN
    before. A row with a number that is not finite gives NaN and changes nothing else.

    Raises
    ------
    ValueError: a parameter out of bounds, or an array of another type, shape or length.

    Notes
    -----
    Formula: grows by the close's relative change on rows with more volume than the one before.
    TradingView: Same, except for the start.
    Source: P. Dysart; N. Fosback, Stock Market Logic, 1976.
    O(n); bit-identical to ``n`` calls of ``Pvi.update``.
    """
    result: Values = _PVI.batch((close, volume), (start,), out)
    return result


class Pvi(Stream2[float]):
    """Positive volume index, row by row: ``update(close, volume)``, ``preview`` of a forming row,
    ``value``, ``warm``; as ``pvi``.
    """

    __slots__ = ()

    def __init__(self, start: float = 1000.0) -> None:
        super().__init__(_PVI, (start,))


def cmf(
    high: Values,
    low: Values,
    close: Values,
    volume: Values,
    period: int = 20,
    *,
    out: Values | None = None,
) -> Values:
    """Chaikin money flow, -1 to 1.

    Parameters
    ----------
    high, low, close, volume : float64 arrays, shape (n,)
        Oldest first; not modified.
    period : int, 1 to 100,000
        Klines in the window.
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
    Formula: sum(volume * ((close - low) - (high - close)) / (high - low)) / sum(volume).
    Start and edges: 0 where there was no volume; a row without range counts 0.
    TradingView: Same.
    Source: M. Chaikin.
    O(n); bit-identical to ``n`` calls of ``Cmf.update``.
    """
    result: Values = _CMF.batch((high, low, close, volume), (period,), out)
    return result


class Cmf(Stream4[float]):
    """Chaikin money flow, -1 to 1, row by row: ``update(high, low, close, volume)``, ``preview`` of
    a forming row, ``value``, ``warm``; as ``cmf``.
    """

    __slots__ = ()

    def __init__(self, period: int = 20) -> None:
        super().__init__(_CMF, (period,))
