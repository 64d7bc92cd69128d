"""Bodies and answers of the filter routes, which ``/openapi.json`` describes."""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

__all__ = ["CheckedFilter", "FilterCheck", "FilterPart", "Vocabulary", "Word", "WordParameter"]

Kind: TypeAlias = Literal["number", "condition"]


class FilterCheck(msgspec.Struct, forbid_unknown_fields=True):
    """A filter to be read; with an interval, also whether this server can run it there."""

    filter: str
    interval: str | None = None
    market: str | None = None


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
    bars: dict[str, int]  # klines needed, by interval; "" is the filter's own where none is given
    cost_ns: int  # about, per symbol and close, sharing nothing
    #: Why this server could not run it, or would know nothing.
    warnings: list[str] = []


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


class Vocabulary(msgspec.Struct):
    """Every name of the language, for editors and completion."""

    language: int  # its version, a part of every hash
    words: list[Word]
    signs: dict[str, str]  # what is written with signs, and what it means
    intervals: list[str]  # what may stand behind @
    limits: dict[str, int]
