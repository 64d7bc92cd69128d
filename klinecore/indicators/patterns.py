"""Patterns of a few klines, over arrays and row by row; written from the catalog."""

from __future__ import annotations

from typing import Literal

from klinecore.indicators.catalog import CATALOG
from klinecore.indicators.entry import Values
from klinecore.indicators.kernel import Stream2, Stream4
from klinecore.indicators.kernels.patterns import KERNELS

__all__ = [
    "DarkCloudCover",
    "Doji",
    "Engulfing",
    "EveningStar",
    "Hammer",
    "HangingMan",
    "Harami",
    "InsideBar",
    "InvertedHammer",
    "MorningStar",
    "Piercing",
    "ShootingStar",
    "ThreeBlackCrows",
    "ThreeWhiteSoldiers",
    "dark_cloud_cover",
    "doji",
    "engulfing",
    "evening_star",
    "hammer",
    "hanging_man",
    "harami",
    "inside_bar",
    "inverted_hammer",
    "morning_star",
    "piercing",
    "shooting_star",
    "three_black_crows",
    "three_white_soldiers",
]


_ENGULFING = KERNELS["engulfing"].bind(CATALOG["engulfing"])
_INSIDE_BAR = KERNELS["inside_bar"].bind(CATALOG["inside_bar"])
_DOJI = KERNELS["doji"].bind(CATALOG["doji"])
_HAMMER = KERNELS["hammer"].bind(CATALOG["hammer"])
_HANGING_MAN = KERNELS["hanging_man"].bind(CATALOG["hanging_man"])
_INVERTED_HAMMER = KERNELS["inverted_hammer"].bind(CATALOG["inverted_hammer"])
_SHOOTING_STAR = KERNELS["shooting_star"].bind(CATALOG["shooting_star"])
_HARAMI = KERNELS["harami"].bind(CATALOG["harami"])
_MORNING_STAR = KERNELS["morning_star"].bind(CATALOG["morning_star"])
_EVENING_STAR = KERNELS["evening_star"].bind(CATALOG["evening_star"])
_PIERCING = KERNELS["piercing"].bind(CATALOG["piercing"])
_DARK_CLOUD_COVER = KERNELS["dark_cloud_cover"].bind(CATALOG["dark_cloud_cover"])
_THREE_WHITE_SOLDIERS = KERNELS["three_white_soldiers"].bind(CATALOG["three_white_soldiers"])
_THREE_BLACK_CROWS = KERNELS["three_black_crows"].bind(CATALOG["three_black_crows"])


def engulfing(open: Values, close: Values, *, out: Values | None = None) -> Values:
    """Engulfing pattern: 100 or 80 bullish, negative bearish, 0 none.

    Parameters
    ----------
    open, close : float64 arrays, shape (n,)
        Oldest first; not modified.
    out : float64 array, shape (n,), contiguous, optional
        Where to write, instead of new memory; not the memory of an input.

    Returns
    -------
    A float64 array, shape (n,), new unless ``out`` is given; all defined from row ``1`` on, NaN
    before. A row with a number that is not finite gives NaN and changes nothing else.

    Raises
    ------
    ValueError: a parameter out of bounds, or an array of another type, shape or length.

    Notes
    -----
    Formula: a body of the other colour that holds the body before it; 80 where they share one
    end.
    Start and edges: From the second row on (TA-Lib: from the third).
    TradingView: No such function.
    Source: G. Morris, Candlestick Charting Explained.
    O(n); bit-identical to ``n`` calls of ``Engulfing.update``.
    """
    result: Values = _ENGULFING.batch((open, close), (), out)
    return result


class Engulfing(Stream2[float]):
    """Engulfing pattern: 100 or 80 bullish, negative bearish, 0 none, row by row: ``update(open,
    close)``, ``preview`` of a forming row, ``value``, ``warm``; as ``engulfing``.
    """

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__(_ENGULFING, ())


def inside_bar(high: Values, low: Values, *, out: Values | None = None) -> Values:
    """Inside bar: within the range of the kline before.

    Parameters
    ----------
    high, low : float64 arrays, shape (n,)
        Oldest first; not modified.
    out : float64 array, shape (n,), contiguous, optional
        Where to write, instead of new memory; not the memory of an input.

    Returns
    -------
    A float64 array, shape (n,), new unless ``out`` is given; all defined from row ``1`` on, NaN
    before. A row with a number that is not finite gives NaN and changes nothing else.

    Raises
    ------
    ValueError: a parameter out of bounds, or an array of another type, shape or length.

    Notes
    -----
    Formula: high < high[1] and low > low[1].
    TradingView: No such function.
    Source: the definition.
    O(n); bit-identical to ``n`` calls of ``InsideBar.update``.
    """
    result: Values = _INSIDE_BAR.batch((high, low), (), out)
    return result


class InsideBar(Stream2[float]):
    """Inside bar: within the range of the kline before, row by row: ``update(high, low)``,
    ``preview`` of a forming row, ``value``, ``warm``; as ``inside_bar``.
    """

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__(_INSIDE_BAR, ())


def doji(
    open: Values, high: Values, low: Values, close: Values, *, out: Values | None = None
) -> Values:
    """Doji: hardly a body.

    Parameters
    ----------
    open, high, low, close : float64 arrays, shape (n,)
        Oldest first; not modified.
    out : float64 array, shape (n,), contiguous, optional
        Where to write, instead of new memory; not the memory of an input.

    Returns
    -------
    A float64 array, shape (n,), new unless ``out`` is given; all defined from row ``10`` on,
    NaN before. A row with a number that is not finite gives NaN and changes nothing else.

    Raises
    ------
    ValueError: a parameter out of bounds, or an array of another type, shape or length.

    Notes
    -----
    Formula: |close - open| <= a tenth of the mean range of the 10 klines before.
    TradingView: Its patterns ask for a trend before and measure bodies by an average of 14.
    Source: G. Morris, Candlestick Charting Explained; TA-Lib for the measures.
    O(n); bit-identical to ``n`` calls of ``Doji.update``.
    """
    result: Values = _DOJI.batch((open, high, low, close), (), out)
    return result


class Doji(Stream4[float]):
    """Doji: hardly a body, row by row: ``update(open, high, low, close)``, ``preview`` of a forming
    row, ``value``, ``warm``; as ``doji``.
    """

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__(_DOJI, ())


def hammer(
    open: Values, high: Values, low: Values, close: Values, *, out: Values | None = None
) -> Values:
    """Hammer: a short body on a long lower shadow, low down.

    Parameters
    ----------
    open, high, low, close : float64 arrays, shape (n,)
        Oldest first; not modified.
    out : float64 array, shape (n,), contiguous, optional
        Where to write, instead of new memory; not the memory of an input.

    Returns
    -------
    A float64 array, shape (n,), new unless ``out`` is given; all defined from row ``11`` on,
    NaN before. A row with a number that is not finite gives NaN and changes nothing else.

    Raises
    ------
    ValueError: a parameter out of bounds, or an array of another type, shape or length.

    Notes
    -----
    Formula: short body, lower shadow longer than it, no upper one, body below or near low[1];
    short, long: below, above the mean body of the 10 klines before; no shadow: below a tenth of
    the mean range of the 10 klines before; near: within a fifth of the mean range of the 5
    klines up to it.
    TradingView: Its patterns ask for a trend before and measure bodies by an average of 14.
    Source: G. Morris, Candlestick Charting Explained; TA-Lib for the measures.
    O(n); bit-identical to ``n`` calls of ``Hammer.update``.
    """
    result: Values = _HAMMER.batch((open, high, low, close), (), out)
    return result


class Hammer(Stream4[float]):
    """Hammer: a short body on a long lower shadow, low down, row by row: ``update(open, high, low,
    close)``, ``preview`` of a forming row, ``value``, ``warm``; as ``hammer``.
    """

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__(_HAMMER, ())


def hanging_man(
    open: Values, high: Values, low: Values, close: Values, *, out: Values | None = None
) -> Values:
    """Hanging man: a short body on a long lower shadow, high up.

    Parameters
    ----------
    open, high, low, close : float64 arrays, shape (n,)
        Oldest first; not modified.
    out : float64 array, shape (n,), contiguous, optional
        Where to write, instead of new memory; not the memory of an input.

    Returns
    -------
    A float64 array, shape (n,), new unless ``out`` is given; all defined from row ``11`` on,
    NaN before. A row with a number that is not finite gives NaN and changes nothing else.

    Raises
    ------
    ValueError: a parameter out of bounds, or an array of another type, shape or length.

    Notes
    -----
    Formula: as hammer, body above or near high[1].
    TradingView: Its patterns ask for a trend before and measure bodies by an average of 14.
    Source: G. Morris, Candlestick Charting Explained; TA-Lib for the measures.
    O(n); bit-identical to ``n`` calls of ``HangingMan.update``.
    """
    result: Values = _HANGING_MAN.batch((open, high, low, close), (), out)
    return result


class HangingMan(Stream4[float]):
    """Hanging man: a short body on a long lower shadow, high up, row by row: ``update(open, high,
    low, close)``, ``preview`` of a forming row, ``value``, ``warm``; as ``hanging_man``.
    """

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__(_HANGING_MAN, ())


def inverted_hammer(
    open: Values,
    high: Values,
    low: Values,
    close: Values,
    *,
    gaps: Literal["needed", "near"] = "needed",
    out: Values | None = None,
) -> Values:
    """Inverted hammer: a short body under a long upper shadow, low down.

    Parameters
    ----------
    open, high, low, close : float64 arrays, shape (n,)
        Oldest first; not modified.
    gaps : "needed" or "near"
        Whether the pattern needs its gap. Where trading never stops there hardly is one:
        `near` takes what misses it by up to a fifth of the mean range of 5 klines.
    out : float64 array, shape (n,), contiguous, optional
        Where to write, instead of new memory; not the memory of an input.

    Returns
    -------
    A float64 array, shape (n,), new unless ``out`` is given; all defined from row ``11`` on,
    NaN before. A row with a number that is not finite gives NaN and changes nothing else.

    Raises
    ------
    ValueError: a parameter out of bounds, or an array of another type, shape or length.

    Notes
    -----
    Formula: short body, upper shadow longer than it, no lower one, body below the body before.
    TradingView: Its patterns ask for a trend before and measure bodies by an average of 14.
    Source: G. Morris, Candlestick Charting Explained; TA-Lib for the measures.
    O(n); bit-identical to ``n`` calls of ``InvertedHammer.update``.
    """
    result: Values = _INVERTED_HAMMER.batch((open, high, low, close), (gaps,), out)
    return result


class InvertedHammer(Stream4[float]):
    """Inverted hammer: a short body under a long upper shadow, low down, row by row: ``update(open,
    high, low, close)``, ``preview`` of a forming row, ``value``, ``warm``; as
    ``inverted_hammer``.
    """

    __slots__ = ()

    def __init__(self, *, gaps: Literal["needed", "near"] = "needed") -> None:
        super().__init__(_INVERTED_HAMMER, (gaps,))


def shooting_star(
    open: Values,
    high: Values,
    low: Values,
    close: Values,
    *,
    gaps: Literal["needed", "near"] = "needed",
    out: Values | None = None,
) -> Values:
    """Shooting star: a short body under a long upper shadow, high up.

    Parameters
    ----------
    open, high, low, close : float64 arrays, shape (n,)
        Oldest first; not modified.
    gaps : "needed" or "near"
        Whether the pattern needs its gap. Where trading never stops there hardly is one:
        `near` takes what misses it by up to a fifth of the mean range of 5 klines.
    out : float64 array, shape (n,), contiguous, optional
        Where to write, instead of new memory; not the memory of an input.

    Returns
    -------
    A float64 array, shape (n,), new unless ``out`` is given; all defined from row ``11`` on,
    NaN before. A row with a number that is not finite gives NaN and changes nothing else.

    Raises
    ------
    ValueError: a parameter out of bounds, or an array of another type, shape or length.

    Notes
    -----
    Formula: as inverted_hammer, body above the body before.
    TradingView: Its patterns ask for a trend before and measure bodies by an average of 14.
    Source: G. Morris, Candlestick Charting Explained; TA-Lib for the measures.
    O(n); bit-identical to ``n`` calls of ``ShootingStar.update``.
    """
    result: Values = _SHOOTING_STAR.batch((open, high, low, close), (gaps,), out)
    return result


class ShootingStar(Stream4[float]):
    """Shooting star: a short body under a long upper shadow, high up, row by row: ``update(open,
    high, low, close)``, ``preview`` of a forming row, ``value``, ``warm``; as
    ``shooting_star``.
    """

    __slots__ = ()

    def __init__(self, *, gaps: Literal["needed", "near"] = "needed") -> None:
        super().__init__(_SHOOTING_STAR, (gaps,))


def harami(
    open: Values, high: Values, low: Values, close: Values, *, out: Values | None = None
) -> Values:
    """Harami: 100 or 80 bullish, negative bearish, 0 none.

    Parameters
    ----------
    open, high, low, close : float64 arrays, shape (n,)
        Oldest first; not modified.
    out : float64 array, shape (n,), contiguous, optional
        Where to write, instead of new memory; not the memory of an input.

    Returns
    -------
    A float64 array, shape (n,), new unless ``out`` is given; all defined from row ``11`` on,
    NaN before. A row with a number that is not finite gives NaN and changes nothing else.

    Raises
    ------
    ValueError: a parameter out of bounds, or an array of another type, shape or length.

    Notes
    -----
    Formula: a short body within the long one before, of the side that ends; 80 where they share
    an end.
    TradingView: Its patterns ask for a trend before and measure bodies by an average of 14.
    Source: G. Morris, Candlestick Charting Explained; TA-Lib for the measures.
    O(n); bit-identical to ``n`` calls of ``Harami.update``.
    """
    result: Values = _HARAMI.batch((open, high, low, close), (), out)
    return result


class Harami(Stream4[float]):
    """Harami: 100 or 80 bullish, negative bearish, 0 none, row by row: ``update(open, high, low,
    close)``, ``preview`` of a forming row, ``value``, ``warm``; as ``harami``.
    """

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__(_HARAMI, ())


def morning_star(
    open: Values,
    high: Values,
    low: Values,
    close: Values,
    penetration: float = 0.3,
    *,
    gaps: Literal["needed", "near"] = "needed",
    out: Values | None = None,
) -> Values:
    """Morning star: a long fall, a short body below it, a rise into the first.

    Parameters
    ----------
    open, high, low, close : float64 arrays, shape (n,)
        Oldest first; not modified.
    penetration : float, 0.0 to 1.0
        Share of the first body that the last close reaches into.
    gaps : "needed" or "near"
        Whether the pattern needs its gap. Where trading never stops there hardly is one:
        `near` takes what misses it by up to a fifth of the mean range of 5 klines.
    out : float64 array, shape (n,), contiguous, optional
        Where to write, instead of new memory; not the memory of an input.

    Returns
    -------
    A float64 array, shape (n,), new unless ``out`` is given; all defined from row ``12`` on,
    NaN before. A row with a number that is not finite gives NaN and changes nothing else.

    Raises
    ------
    ValueError: a parameter out of bounds, or an array of another type, shape or length.

    Notes
    -----
    Formula: long falling body; short body below it; rising body that is not short and closes
    above close[2] + penetration * body[2].
    TradingView: Its patterns ask for a trend before and measure bodies by an average of 14.
    Source: G. Morris, Candlestick Charting Explained; TA-Lib for the measures.
    O(n); bit-identical to ``n`` calls of ``MorningStar.update``.
    """
    result: Values = _MORNING_STAR.batch((open, high, low, close), (penetration, gaps), out)
    return result


class MorningStar(Stream4[float]):
    """Morning star: a long fall, a short body below it, a rise into the first, row by row:
    ``update(open, high, low, close)``, ``preview`` of a forming row, ``value``, ``warm``; as
    ``morning_star``.
    """

    __slots__ = ()

    def __init__(
        self, penetration: float = 0.3, *, gaps: Literal["needed", "near"] = "needed"
    ) -> None:
        super().__init__(_MORNING_STAR, (penetration, gaps))


def evening_star(
    open: Values,
    high: Values,
    low: Values,
    close: Values,
    penetration: float = 0.3,
    *,
    gaps: Literal["needed", "near"] = "needed",
    out: Values | None = None,
) -> Values:
    """Evening star: a long rise, a short body above it, a fall into the first.

    Parameters
    ----------
    open, high, low, close : float64 arrays, shape (n,)
        Oldest first; not modified.
    penetration : float, 0.0 to 1.0
        Share of the first body that the last close reaches into.
    gaps : "needed" or "near"
        Whether the pattern needs its gap. Where trading never stops there hardly is one:
        `near` takes what misses it by up to a fifth of the mean range of 5 klines.
    out : float64 array, shape (n,), contiguous, optional
        Where to write, instead of new memory; not the memory of an input.

    Returns
    -------
    A float64 array, shape (n,), new unless ``out`` is given; all defined from row ``12`` on,
    NaN before. A row with a number that is not finite gives NaN and changes nothing else.

    Raises
    ------
    ValueError: a parameter out of bounds, or an array of another type, shape or length.

    Notes
    -----
    Formula: long rising body; short body above it; falling body that is not short and closes
    below close[2] - penetration * body[2].
    TradingView: Its patterns ask for a trend before and measure bodies by an average of 14.
    Source: G. Morris, Candlestick Charting Explained; TA-Lib for the measures.
    O(n); bit-identical to ``n`` calls of ``EveningStar.update``.
    """
    result: Values = _EVENING_STAR.batch((open, high, low, close), (penetration, gaps), out)
    return result


class EveningStar(Stream4[float]):
    """Evening star: a long rise, a short body above it, a fall into the first, row by row:
    ``update(open, high, low, close)``, ``preview`` of a forming row, ``value``, ``warm``; as
    ``evening_star``.
    """

    __slots__ = ()

    def __init__(
        self, penetration: float = 0.3, *, gaps: Literal["needed", "near"] = "needed"
    ) -> None:
        super().__init__(_EVENING_STAR, (penetration, gaps))


def piercing(
    open: Values,
    high: Values,
    low: Values,
    close: Values,
    *,
    gaps: Literal["needed", "near"] = "needed",
    out: Values | None = None,
) -> Values:
    """Piercing line: after a long fall, a rise from below to above its middle.

    Parameters
    ----------
    open, high, low, close : float64 arrays, shape (n,)
        Oldest first; not modified.
    gaps : "needed" or "near"
        Whether the pattern needs its gap. Where trading never stops there hardly is one:
        `near` takes what misses it by up to a fifth of the mean range of 5 klines.
    out : float64 array, shape (n,), contiguous, optional
        Where to write, instead of new memory; not the memory of an input.

    Returns
    -------
    A float64 array, shape (n,), new unless ``out`` is given; all defined from row ``11`` on,
    NaN before. A row with a number that is not finite gives NaN and changes nothing else.

    Raises
    ------
    ValueError: a parameter out of bounds, or an array of another type, shape or length.

    Notes
    -----
    Formula: long falling body, then a long rising one that opens below low[1] and closes above
    the middle of the first and below its open.
    TradingView: Its patterns ask for a trend before and measure bodies by an average of 14.
    Source: G. Morris, Candlestick Charting Explained; TA-Lib for the measures.
    O(n); bit-identical to ``n`` calls of ``Piercing.update``.
    """
    result: Values = _PIERCING.batch((open, high, low, close), (gaps,), out)
    return result


class Piercing(Stream4[float]):
    """Piercing line: after a long fall, a rise from below to above its middle, row by row:
    ``update(open, high, low, close)``, ``preview`` of a forming row, ``value``, ``warm``; as
    ``piercing``.
    """

    __slots__ = ()

    def __init__(self, *, gaps: Literal["needed", "near"] = "needed") -> None:
        super().__init__(_PIERCING, (gaps,))


def dark_cloud_cover(
    open: Values,
    high: Values,
    low: Values,
    close: Values,
    penetration: float = 0.5,
    *,
    gaps: Literal["needed", "near"] = "needed",
    out: Values | None = None,
) -> Values:
    """Dark cloud cover: after a long rise, a fall from above it.

    Parameters
    ----------
    open, high, low, close : float64 arrays, shape (n,)
        Oldest first; not modified.
    penetration : float, 0.0 to 1.0
        Share of the first body that the last close reaches into.
    gaps : "needed" or "near"
        Whether the pattern needs its gap. Where trading never stops there hardly is one:
        `near` takes what misses it by up to a fifth of the mean range of 5 klines.
    out : float64 array, shape (n,), contiguous, optional
        Where to write, instead of new memory; not the memory of an input.

    Returns
    -------
    A float64 array, shape (n,), new unless ``out`` is given; all defined from row ``11`` on,
    NaN before. A row with a number that is not finite gives NaN and changes nothing else.

    Raises
    ------
    ValueError: a parameter out of bounds, or an array of another type, shape or length.

    Notes
    -----
    Formula: long rising body, then a falling one that opens above high[1] and closes above
    open[1] and below close[1] - penetration * body[1].
    TradingView: Its patterns ask for a trend before and measure bodies by an average of 14.
    Source: G. Morris, Candlestick Charting Explained; TA-Lib for the measures.
    O(n); bit-identical to ``n`` calls of ``DarkCloudCover.update``.
    """
    result: Values = _DARK_CLOUD_COVER.batch((open, high, low, close), (penetration, gaps), out)
    return result


class DarkCloudCover(Stream4[float]):
    """Dark cloud cover: after a long rise, a fall from above it, row by row: ``update(open, high,
    low, close)``, ``preview`` of a forming row, ``value``, ``warm``; as ``dark_cloud_cover``.
    """

    __slots__ = ()

    def __init__(
        self, penetration: float = 0.5, *, gaps: Literal["needed", "near"] = "needed"
    ) -> None:
        super().__init__(_DARK_CLOUD_COVER, (penetration, gaps))


def three_white_soldiers(
    open: Values, high: Values, low: Values, close: Values, *, out: Values | None = None
) -> Values:
    """Three white soldiers: three rises, each from within the one before.

    Parameters
    ----------
    open, high, low, close : float64 arrays, shape (n,)
        Oldest first; not modified.
    out : float64 array, shape (n,), contiguous, optional
        Where to write, instead of new memory; not the memory of an input.

    Returns
    -------
    A float64 array, shape (n,), new unless ``out`` is given; all defined from row ``12`` on,
    NaN before. A row with a number that is not finite gives NaN and changes nothing else.

    Raises
    ------
    ValueError: a parameter out of bounds, or an array of another type, shape or length.

    Notes
    -----
    Formula: three rising bodies without upper shadow, each opens in or near the body before and
    closes above it, none far shorter than the one before, the last not short.
    TradingView: Its patterns ask for a trend before and measure bodies by an average of 14.
    Source: G. Morris, Candlestick Charting Explained; TA-Lib for the measures.
    O(n); bit-identical to ``n`` calls of ``ThreeWhiteSoldiers.update``.
    """
    result: Values = _THREE_WHITE_SOLDIERS.batch((open, high, low, close), (), out)
    return result


class ThreeWhiteSoldiers(Stream4[float]):
    """Three white soldiers: three rises, each from within the one before, row by row:
    ``update(open, high, low, close)``, ``preview`` of a forming row, ``value``, ``warm``; as
    ``three_white_soldiers``.
    """

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__(_THREE_WHITE_SOLDIERS, ())


def three_black_crows(
    open: Values,
    high: Values,
    low: Values,
    close: Values,
    *,
    gaps: Literal["needed", "near"] = "needed",
    out: Values | None = None,
) -> Values:
    """Three black crows: after a rise three falls, each from within the one before.

    Parameters
    ----------
    open, high, low, close : float64 arrays, shape (n,)
        Oldest first; not modified.
    gaps : "needed" or "near"
        Whether the pattern needs its gap. Where trading never stops there hardly is one:
        `near` takes what misses it by up to a fifth of the mean range of 5 klines.
    out : float64 array, shape (n,), contiguous, optional
        Where to write, instead of new memory; not the memory of an input.

    Returns
    -------
    A float64 array, shape (n,), new unless ``out`` is given; all defined from row ``13`` on,
    NaN before. A row with a number that is not finite gives NaN and changes nothing else.

    Raises
    ------
    ValueError: a parameter out of bounds, or an array of another type, shape or length.

    Notes
    -----
    Formula: after a rising body three falling ones without lower shadow, each opens within the
    body before and closes below it, the first below the high before.
    TradingView: Its patterns ask for a trend before and measure bodies by an average of 14.
    Source: G. Morris, Candlestick Charting Explained; TA-Lib for the measures.
    O(n); bit-identical to ``n`` calls of ``ThreeBlackCrows.update``.
    """
    result: Values = _THREE_BLACK_CROWS.batch((open, high, low, close), (gaps,), out)
    return result


class ThreeBlackCrows(Stream4[float]):
    """Three black crows: after a rise three falls, each from within the one before, row by row:
    ``update(open, high, low, close)``, ``preview`` of a forming row, ``value``, ``warm``; as
    ``three_black_crows``.
    """

    __slots__ = ()

    def __init__(self, *, gaps: Literal["needed", "near"] = "needed") -> None:
        super().__init__(_THREE_BLACK_CROWS, (gaps,))
