"""The library's errors: one class per reaction, no more.

::

    Exception
    ├── KlineCoreError
    │   ├── ParseError          the bytes are not what the exchange speaks: drop and count
    │   └── UnknownSeriesError  (also LookupError) no such symbol or interval: list what exists
    └── ValueError              the call is wrong: fix the call
"""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["KlineCoreError", "ParseError", "UnknownSeriesError"]


class KlineCoreError(Exception):
    """Base of every error this library raises on purpose, ``ValueError`` aside."""


class ParseError(KlineCoreError):
    """Bytes that are no valid exchange message. Drop them and count."""


class UnknownSeriesError(KlineCoreError, LookupError):
    """A symbol or interval this market does not hold.

    ``what`` is ``"symbol"`` or ``"interval"``, ``name`` what was asked for, ``known`` what exists.
    """

    def __init__(self, what: str, name: str, known: Sequence[str]) -> None:
        shown = ", ".join(known[:10]) + (f", ... ({len(known)} in all)" if len(known) > 10 else "")
        super().__init__(f"unknown {what} {name!r}; this market holds: {shown or 'none'}")
        self.what = what
        self.name = name
        self.known = tuple(known)
