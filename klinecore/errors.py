"""The library's errors: one class per reaction, no more.

::

    Exception
    ├── KlineCoreError
    │   ├── ArenaError          the file is no arena this library reads: other path or version
    │   ├── ChartLibraryError   no chart can be drawn: install the chart's file, or name another
    │   ├── FiltersFullError    the memory for filters is used up: remove some, or allow more
    │   ├── FilterError         (also ValueError) show it to whoever wrote the filter
    │   ├── ParseError          the bytes are not what the exchange speaks: drop and count
    │   ├── RefusedError        the server says no and would again: other key, other names
    │   ├── SnapshotError       the snapshot is not whole or not ours: take another, or none
    │   ├── TornReadError       the rows would not hold still: try again, or attach again
    │   └── UnknownSeriesError  (also LookupError) no such symbol or interval: list what exists
    └── ValueError              the call is wrong: fix the call
"""

from __future__ import annotations

from collections.abc import Sequence

__all__ = [
    "ArenaError",
    "ChartLibraryError",
    "FilterError",
    "FiltersFullError",
    "KlineCoreError",
    "ParseError",
    "RefusedError",
    "SnapshotError",
    "TornReadError",
    "UnknownSeriesError",
]


class KlineCoreError(Exception):
    """Base of every error this library raises on purpose, ``ValueError`` aside."""


class ArenaError(KlineCoreError):
    """A file that is no arena this library can read. Attach to another, or take the same version.

    ``path`` is the file.
    """

    def __init__(self, path: str, fault: str) -> None:
        super().__init__(f"cannot attach to {path}: {fault}")
        self.path = path


class ChartLibraryError(KlineCoreError):
    """The charts' JavaScript is missing or is not what it should be; everything else works.

    Install it, or name a file.
    """


class FilterError(KlineCoreError, ValueError):
    """A filter that cannot be read or is refused. Show it to whoever wrote it.

    ``message`` says what is wrong, ``hint`` what was expected or how to mend it ("" if there is
    nothing to say), ``line`` and ``column`` where, both from 1. ``str()`` shows the place as well.
    """

    #: Characters of the text that are shown, around the place.
    SHOWN = 72

    def __init__(self, message: str, text: str, offset: int, hint: str = "") -> None:
        before = text[:offset]
        self.message = message
        self.hint = hint
        self.line = before.count("\n") + 1
        self.column = offset - (before.rfind("\n") + 1) + 1
        super().__init__("\n".join(self._lines(text, offset)))

    def _lines(self, text: str, offset: int) -> list[str]:
        start = max(offset - self.SHOWN // 2, 0) if len(text) > self.SHOWN else 0
        # One column per character, whatever it is: else the mark stands beside the place.
        part = (c if " " <= c <= "~" else "?" for c in text[start : start + self.SHOWN])
        lines = [
            f"{self.message} (line {self.line}, column {self.column})",
            "    " + "".join(part).rstrip(),
            "    " + " " * (offset - start) + "^",
        ]
        return [*lines, f"hint: {self.hint}"] if self.hint else lines


class FiltersFullError(KlineCoreError):
    """No room for one more filter. Remove some, or allow more.

    ``limit`` is the limit's name, ``allowed`` its value, ``needed`` what it would have to be.
    """

    def __init__(self, limit: str, allowed: int, needed: int) -> None:
        super().__init__(f"no room for one more filter: {limit} is {allowed:,}, needed {needed:,}")
        self.limit = limit
        self.allowed = allowed
        self.needed = needed


class RefusedError(KlineCoreError):
    """A server that says no, and would say so again. Show a right key, or ask for what it has.

    ``status`` is HTTP's, 0 if the connection stood already.
    """

    def __init__(self, reason: str, status: int = 0) -> None:
        super().__init__(reason)
        self.status = status


class SnapshotError(KlineCoreError):
    """A snapshot that is damaged, cut, or of another version or label. Take another, or none."""


class TornReadError(KlineCoreError):
    """No whole copy of a series in ``attempts`` reads: it was written each time, or its writer
    died inside a write (``writing``: the sequence stayed odd). Try again; if the heartbeat stands
    still or the arena was replaced, attach again.
    """

    def __init__(self, what: str, attempts: int, *, writing: bool) -> None:
        reason = "its writer stays inside a write" if writing else "it changed during each"
        super().__init__(f"no whole copy of {what} in {attempts} reads: {reason}")
        self.attempts = attempts
        self.writing = writing


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
