"""The library's errors: one class per reaction, no more.

::

    Exception
    ├── KlineCoreError
    │   ├── ArenaError          the file is no arena this library reads: other path or version
    │   ├── ParseError          the bytes are not what the exchange speaks: drop and count
    │   ├── SnapshotError       the snapshot is not whole or not ours: take another, or none
    │   ├── TornReadError       the rows would not hold still: try again, or attach again
    │   └── UnknownSeriesError  (also LookupError) no such symbol or interval: list what exists
    └── ValueError              the call is wrong: fix the call
"""

from __future__ import annotations

from collections.abc import Sequence

__all__ = [
    "ArenaError",
    "KlineCoreError",
    "ParseError",
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
