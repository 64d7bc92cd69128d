"""Bodies and answers of the filter routes, which ``/openapi.json`` describes."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

import msgspec

from server.api.types import SymbolName

__all__ = [
    "COOLDOWN_MAX",
    "FIRINGS_MAX",
    "SYMBOLS_MAX",
    "CheckedFilter",
    "EvaluateFilter",
    "Expression",
    "Expressions",
    "FilterCheck",
    "FilterEvaluation",
    "FilterName",
    "FilterPart",
    "FilterReplay",
    "Firing",
    "ReadyFilter",
    "ReplayFilter",
    "RowsFrom",
    "SymbolResult",
    "Vocabulary",
    "Word",
    "WordParameter",
]

#: Symbols one request may name; without names all are meant, however many.
SYMBOLS_MAX = 1000
#: Firings of one answer.
FIRINGS_MAX = 10_000
#: Klines of silence after a firing.
COOLDOWN_MAX = 100_000

Kind: TypeAlias = Literal["number", "condition"]
Mode: TypeAlias = Literal["edge", "level"]
Value: TypeAlias = float | bool | None  # a number, or whether a condition is true; null: unknown
SymbolNames: TypeAlias = Annotated[
    list[SymbolName], msgspec.Meta(min_length=1, max_length=SYMBOLS_MAX)
]


class FilterCheck(msgspec.Struct, forbid_unknown_fields=True):
    """A filter to be read; with an interval, also whether this server can run it there."""

    filter: str
    interval: str | None = None
    market: str | None = None


class EvaluateFilter(msgspec.Struct, forbid_unknown_fields=True):
    """A filter to be evaluated at the newest closed klines of an interval."""

    filter: str
    interval: str
    symbols: SymbolNames | None = None  # null: all
    market: str | None = None
    parts: bool = True  # also the value of every part


class ReplayFilter(msgspec.Struct, forbid_unknown_fields=True):
    """A filter to be run over every closed kline in memory."""

    filter: str
    interval: str
    symbols: SymbolNames | None = None  # null: all
    market: str | None = None
    mode: Mode = "edge"  # when it becomes true; at each close where it is
    cooldown: Annotated[int, msgspec.Meta(ge=0, le=COOLDOWN_MAX)] = 0  # klines after a firing
    limit: Annotated[int, msgspec.Meta(ge=1, le=FIRINGS_MAX)] = 100  # newest firings


class FilterName(msgspec.Struct):
    """Which filter it is: texts with the same normal form are the same filter."""

    normal: str
    hash: str  # SHA-256 of the language's version and the normal form


class FilterPart(msgspec.Struct):
    """A part of a filter that has a value of its own."""

    text: str
    kind: Kind


class CheckedFilter(msgspec.Struct):
    """What a filter is, what it needs and what it costs."""

    normal: str
    hash: str
    parts: list[FilterPart]  # what is computed, arguments before what uses them
    nodes: int  # parts and constants
    intervals: list[str]  # named by @
    cross_symbols: bool  # whether it looks at other symbols too
    depends_on_first: bool  # whether it remembers all klines, with weights that fade
    bars: dict[str, int]  # klines needed, by interval; "" is the filter's own where none is given
    cost_ns: int  # about, per symbol and close, sharing nothing
    #: Why this server could not run it, or would know nothing.
    warnings: list[str] = []


class SymbolResult(msgspec.Struct):
    """A filter at a symbol's newest closed kline."""

    symbol: str
    open_time_ms: int | None  # of the kline
    price: float | None  # its close
    result: bool | None  # null: unknown
    reason: str | None  # why it is
    values: list[Value]  # of ``parts``, in their order


class FilterEvaluation(msgspec.Struct):
    """A filter at the newest closed kline of each symbol."""

    filter: FilterName
    interval: str
    matches: list[str]  # symbols where it is true
    counts: dict[str, int]  # true, false, unknown
    unknown: dict[str, int]  # how many symbols, by reason
    parts: list[FilterPart]
    symbols: list[SymbolResult]


class Firing(msgspec.Struct):
    """A close at which a filter would have fired."""

    symbol: str
    open_time_ms: int
    price: float  # the close


class RowsFrom(msgspec.Struct):
    """Where the rows begin that values are computed from; ms UTC, 0 for no rows."""

    earliest_ms: int
    latest_ms: int  # of the symbol whose rows begin last


class FilterReplay(msgspec.Struct):
    """Where a filter would have fired: the newest ``limit`` firings, oldest first.

    What was fed the same klines since the same first ones, ``since``, has the same values to the
    bit. A filter that ``depends_on_first`` remembers all klines there were, with weights that fade
    (the EMA and its family): fed for longer, as live, its values differ by what is left of them.
    """

    filter: FilterName
    interval: str
    mode: Mode
    cooldown: int
    symbols: int  # looked at
    rows: int  # closes looked at
    fired: int  # all firings, also those beyond the limit
    by_symbol: dict[str, int]  # likewise; symbols without one are left out
    firings: list[Firing]
    unknown: dict[str, int]  # at how many closes the filter was unknown, by reason
    since: dict[str, RowsFrom]  # by interval
    depends_on_first: bool


class Expression(msgspec.Struct):
    """One expression at each kline."""

    text: str
    normal: str
    kind: Kind
    bars: dict[str, int]  # klines needed for a value, by interval
    values: list[Value]


class Expressions(msgspec.Struct):
    """Expressions at the newest closed klines of a series, oldest first."""

    symbol: str
    interval: str
    count: int
    open_time_ms: list[int]
    expressions: list[Expression]


class WordParameter(msgspec.Struct):
    """One number or word that a call takes behind its series."""

    name: str
    meaning: str
    kind: Literal["period", "number", "choice"]
    default: float | str | None  # null: it must be given
    low: float | None = None
    high: float | None = None
    choices: list[str] = []


class Word(msgspec.Struct):
    """One name of the language."""

    name: str
    kind: Literal["field", "ticker", "function", "indicator"]
    gives: Kind
    signature: str  # how it is written
    meaning: str
    inputs: list[str] = []  # series it reads
    outputs: list[str] = []  # of an indicator with several: written behind it, as .hist
    parameters: list[WordParameter] = []


class ReadyFilter(msgspec.Struct):
    """A filter that is ready to use, and how it is meant to run."""

    name: str
    title: str
    description: str
    category: str
    filter: str
    interval: str
    mode: Mode
    cooldown: int


class Vocabulary(msgspec.Struct):
    """Every name of the language, for editors and completion, and what was made of them."""

    language: int  # its version, a part of every hash
    words: list[Word]
    signs: dict[str, str]  # what is written with signs, and what it means
    intervals: list[str]  # what may stand behind @
    limits: dict[str, int]
    ready: list[ReadyFilter]
