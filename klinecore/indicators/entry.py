"""The shape of a line of the catalog: an indicator's names, bounds, lookback and references."""

from __future__ import annotations

from dataclasses import dataclass
from math import isqrt
from types import CodeType
from typing import Literal

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "ANY",
    "BOUNDS",
    "COMPAT",
    "DEMANDED",
    "HL",
    "HLC",
    "HLCV",
    "KLINE",
    "MEAN_SEED",
    "PERIOD_MAX",
    "VALUE",
    "WILDER",
    "Indicator",
    "Parameter",
    "Values",
    "choice",
    "number",
    "period",
]

#: What indicators read and give.
Values = NDArray[np.float64]

#: Rows a window may span; a ring of this size takes 0.8 MB.
PERIOD_MAX = 100_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """One parameter: a whole number of klines, a real number, or one of some words."""

    name: str
    kind: Literal["period", "number", "choice"]
    default: float | str | None  # None: it must be given
    meaning: str
    low: float = 1
    high: float = PERIOD_MAX
    choices: tuple[str, ...] = ()


def period(
    default: int | None,
    meaning: str = "Klines in the window.",
    *,
    name: str = "period",
    low: int = 1,
    high: int = PERIOD_MAX,
) -> Parameter:
    """A whole number of klines."""
    return Parameter(name=name, kind="period", default=default, meaning=meaning, low=low, high=high)


def number(name: str, default: float, meaning: str, low: float, high: float) -> Parameter:
    """A real number."""
    return Parameter(name=name, kind="number", default=default, meaning=meaning, low=low, high=high)


def choice(name: str, meaning: str, *choices: str) -> Parameter:
    """One of some words; the first is the default."""
    return Parameter(name=name, kind="choice", default=choices[0], meaning=meaning, choices=choices)


COMPAT = choice(
    "compat", "Whose seeding and edge cases: TA-Lib's or TradingView's.", "talib", "tradingview"
)

ANY = ("source",)
HL = ("high", "low")
HLC = ("high", "low", "close")
KLINE = ("open", "high", "low", "close")
HLCV = ("high", "low", "close", "volume")
VALUE = ("value",)
WILDER = "J. W. Wilder, New Concepts in Technical Trading Systems, 1978"
MEAN_SEED = "Seeded with the mean of the first `period` values."
DEMANDED = period(None)
BOUNDS = (-1000.0, 1000.0)


#: Code of the catalog's expressions: made once, as filters ask for lookbacks one by one.
_CODE: dict[str, CodeType] = {}


def _compiled(expression: str) -> CodeType:
    code = _CODE.get(expression)
    if code is None:
        code = _CODE[expression] = compile(expression, "<rows_before>", "eval")
    return code


@dataclass(frozen=True, slots=True, kw_only=True)
class Indicator:
    """One indicator: what it reads, what it gives, from which row on, and who says so.

    ``inputs`` are columns of klines, or ``source`` and the like for any series. ``rows_before`` is
    an expression of the parameters: the rows before the first one with all outputs. ``memory`` is
    "window" if that many rows and the newest one are all that an output depends on, up to the
    rounding of sums; "recursive" if the rows before them leave a trace. ``condition`` says that the
    only output is 1 or 0 and is meant as true or false; ``sparse``, that a row may have no value
    though there were enough before it: there is nothing to tell.
    """

    name: str
    title: str
    family: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    parameters: tuple[Parameter, ...]
    rows_before: str
    formula: str
    source: str
    seeding: str = ""
    tradingview: str = "Same."
    memory: Literal["window", "recursive"] = "window"
    condition: bool = False
    sparse: bool = False
    talib: str = ""  # the TA-Lib function with the same values; empty: there is none
    exact: float = 1e-13  # largest relative difference to it on ordinary prices

    @property
    def stream(self) -> str:
        """Name of the class that is fed row by row."""
        return "".join(part.capitalize() for part in self.name.split("_"))

    def lookback(self, *parameters: object) -> int:
        """Rows before the first one with all outputs, for these parameters in their order."""
        names = {p.name: value for p, value in zip(self.parameters, parameters, strict=True)}
        return int(eval(_compiled(self.rows_before), {"max": max, "isqrt": isqrt}, names))

    def defaults(self, **given: object) -> tuple[object, ...]:
        """All parameters in their order, those not given at their defaults."""
        unknown = given.keys() - {p.name for p in self.parameters}
        missing = [p.name for p in self.parameters if p.default is None and p.name not in given]
        if unknown or missing:
            wrong = f"unknown {sorted(unknown)}" if unknown else f"missing {missing}"
            raise ValueError(f"{self.name}: {wrong} parameters")
        return tuple(given.get(p.name, p.default) for p in self.parameters)
