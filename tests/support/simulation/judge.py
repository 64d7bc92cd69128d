"""Compares what the server says with what the exchange's book says, byte for byte.

The truth is written here from the book's integers, by other code than the server's: a fault of the
encoder would be seen as well.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections.abc import Callable, Iterable
from typing import NamedTuple

import msgspec

from klinecore.interval import next_open_ms, open_time_ms
from server.exchange.book import Book
from server.exchange.minutes import aggregate
from simulation.trouble import Trouble

__all__ = ["Judge", "Truth", "Verdict"]

#: Faults that a report tells in full; more are counted.
_TOLD_MAX = 20


class Truth:
    """Every closed row of one series over the whole simulation, as ``/klines`` must print it."""

    def __init__(self, book: Book, symbol: str, interval: str, first_ms: int, end_ms: int) -> None:
        source = book.source
        self.hidden = source.hidden(symbol)
        kind = source.kind(symbol)
        first_ms = open_time_ms(interval, max(first_ms, source.first_ms))
        minutes = source.minutes(symbol, first_ms, end_ms).between(first_ms, end_ms)
        self.head = f'{{"symbol":"{symbol}","interval":"{interval}","klines":['
        self.opens: list[int] = []
        self.closes: list[int] = []
        self.texts: list[str] = []
        texts = source.texts
        for row in aggregate(minutes, interval, end_ms):
            if not row.closed:
                continue
            t = row.open_ms
            o, h, low, c, v, q, tb, tq = texts(kind, row, interval)
            self.opens.append(t)
            self.closes.append(row.close_ms)
            self.texts.append(
                f'{{"t":{t},"o":"{o}","h":"{h}","l":"{low}","c":"{c}","v":"{v}",'
                f'"T":{row.close_ms},"q":"{q}","n":{row.trades},"V":"{tb}","Q":"{tq}","x":true}}'
            )
        self.places = {text: place for place, text in enumerate(self.texts)}

    def closed_by(self, now_ms: int) -> int:
        """How many rows have closed before that moment."""
        return bisect_right(self.closes, now_ms - 1)

    def body(self, end: int, limit: int) -> bytes:
        """The answer whose last row is the one before ``end``."""
        texts = self.texts[max(0, end - limit) : end]
        return f'{self.head}{",".join(texts)}],"count":{len(texts)}}}'.encode()


class Verdict(NamedTuple):
    """What the judge found; all but the first few must be 0 or empty."""

    rows_checked: int
    bodies_checked: int
    closes_told: int
    lost: int
    duplicated: int
    invented: int
    out_of_order: int
    closes_twice: int
    closes_missing: int
    breaches: dict[str, int]
    served_hash: str
    truth_hash: str
    faults: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """True if the server did everything right."""
        return not self.faults and self.served_hash == self.truth_hash


class _Told(msgspec.Struct):
    t: int
    T: int
    s: str
    i: str
    x: bool
    o: str
    h: str
    l: str  # noqa: E741 - the exchange's letter
    c: str
    v: str
    q: str
    n: int
    V: str
    Q: str


class _Frame(msgspec.Struct):
    k: _Told
    revised: bool = False


class _Barrier(msgspec.Struct):
    interval: str
    openTime: int  # noqa: N815 - as it is told
    closed: int
    complete: bool
    missing: list[str]
    revised: bool


class _BarrierMessage(msgspec.Struct):
    data: _Barrier


_decode = msgspec.json.Decoder(_Frame).decode
_decode_barrier = msgspec.json.Decoder(_BarrierMessage).decode

#: A boundary that is younger may still be waited for, ms.
_BARRIER_MS = 10_000


class Judge:
    """Of one simulation; ``note`` writes into its trace."""

    def __init__(
        self,
        book: Book,
        intervals: tuple[str, ...],
        capacity: int,
        *,
        first_ms: int,
        end_ms: int,
        trouble: Trouble,
        note: Callable[..., None],
    ) -> None:
        self.capacity = capacity
        self.truths: dict[tuple[str, str], Truth] = {}
        self.found: dict[str, int] = dict.fromkeys(
            ("lost", "duplicated", "invented", "out_of_order", "closes_twice", "closes_missing"), 0
        )
        self.faults: list[str] = []
        self.started_ms = first_ms  # when the present server was
        self.held: Callable[[], Iterable[str]] = tuple  # its symbols at the moment
        self.barriers_from_ms = 0.0  # the present server could not tell of earlier boundaries
        self._book = book
        self._intervals = intervals
        self._span = (first_ms, end_ms)
        self._trouble = trouble
        self._note = note
        self._rows = self._bodies = self._closes = 0
        self._told: dict[tuple[str, str], dict[int, int]] = {}
        self._barriers: dict[str, list[int]] = {}  # interval -> open times told of
        self._seen_ms: dict[str, int] = {}  # symbol -> when the present server first had it
        self._followed: dict[str, int] = {}  # symbol -> since when its closes must be told
        self._served, self._true = hashlib.sha256(), hashlib.sha256()

    def truth(self, symbol: str, interval: str) -> Truth:
        """Of one series, written when it is first asked for."""
        key = (symbol, interval)
        truth = self.truths.get(key)
        if truth is None or truth.hidden != self._book.source.hidden(symbol):
            first_ms, end_ms = self._span
            back_ms = open_time_ms(interval, first_ms)
            for _ in range(self.capacity + 1):
                back_ms = open_time_ms(interval, back_ms - 1)
            truth = self.truths[key] = Truth(self._book, symbol, interval, back_ms, end_ms)
        return truth

    def fail(self, kind: str, message: str) -> None:
        """Note one thing that must not be."""
        self._note("FAULT", kind, message)
        if kind in self.found:
            self.found[kind] += 1
        if len(self.faults) < _TOLD_MAX:
            self.faults.append(f"{kind}: {message}")

    # --- bodies --------------------------------------------------------------------------------

    def check_body(
        self, symbol: str, interval: str, body: bytes, now_ms: int, *, final: bool = False
    ) -> None:
        """The newest ``capacity`` closed rows as ``/klines`` gave them at ``now_ms``.

        ``final``: after the calm at the end everything must be there.
        """
        truth = self.truth(symbol, interval)
        end = truth.closed_by(now_ms)
        self._bodies += 1
        self._seen_ms.setdefault(symbol, now_ms)
        # What a delisted symbol lacks can never be had again.
        final = final and symbol in self._book.source.symbols
        whole = truth.body(end, self.capacity)
        if body == whole:
            self._rows += min(end, self.capacity)
        else:
            self._compare(symbol, interval, truth, body, end, now_ms, final)
        if final:
            self._served.update(body)
            self._true.update(whole)

    def _compare(
        self,
        symbol: str,
        interval: str,
        truth: Truth,
        body: bytes,
        end: int,
        now_ms: int,
        final: bool,
    ) -> None:
        name = f"{symbol} {interval}"
        text = body.decode("ascii", "replace")
        tail = text.rfind("]")
        if not text.startswith(truth.head) or tail < 0:
            self.fail("invented", f"{name}: the answer is {text[:200]!r}")
            return
        rows = text[len(truth.head) : tail]
        texts = rows.replace("},{", "}\n{").split("\n") if rows else []
        if text[tail:] != f'],"count":{len(texts)}}}':
            self.fail("invented", f"{name}: {len(texts)} rows, and {text[tail:]!r}")
        places = []
        for row in texts:
            place = truth.places.get(row)
            if place is None or place >= end:
                self.fail("invented", f"{name} at {now_ms}: {row}")
            else:
                places.append(place)
        for before, after in zip(places, places[1:], strict=False):
            if after == before:
                self.fail("duplicated", f"{name} {truth.opens[after]}")
            elif after < before:
                self.fail("out_of_order", f"{name} {truth.opens[after]}")
        self._rows += len(places)
        if symbol not in self._book.source.symbols:
            return
        held = set(places)
        for place in range(max(0, end - self.capacity), end):
            # What closed before a start is missed since the start.
            missed_ms = max(truth.closes[place], self.started_ms, self._seen_ms[symbol])
            if place not in held and (final or not self._trouble.excuses(missed_ms, now_ms)):
                self.fail("lost", f"{name} {truth.opens[place]} at {now_ms}")

    # --- closes --------------------------------------------------------------------------------

    def begin_life(self) -> None:
        """A server came up: from ``follow`` on it must tell each close exactly once."""
        self._told.clear()
        self._seen_ms.clear()
        self.barriers_from_ms = 0.0
        self._barriers = {interval: [] for interval in self._intervals}
        self._followed.clear()

    def follow(self, symbol: str, from_ms: int) -> None:
        """Bars of a symbol that close from then on must be told."""
        self._followed[symbol] = from_ms
        self._seen_ms.setdefault(symbol, from_ms)

    def hear(self, payload: bytes) -> None:
        """One message of a subscriber of klines and barriers."""
        if b'"x":true' not in payload:
            if payload.startswith(b'{"type":"barrier"'):
                self._hear_barrier(_decode_barrier(payload).data)
            return
        frame = _decode(payload)
        k = frame.k
        self._closes += not frame.revised
        self._note("told", k.s, k.i, k.t, frame.revised)
        truth = self.truth(k.s, k.i)
        row = (
            f'{{"t":{k.t},"o":"{k.o}","h":"{k.h}","l":"{k.l}","c":"{k.c}","v":"{k.v}",'
            f'"T":{k.T},"q":"{k.q}","n":{k.n},"V":"{k.V}","Q":"{k.Q}","x":true}}'
        )
        if row not in truth.places:
            self.fail("invented", f"told {k.s} {k.i}: {row}")
        if not frame.revised:
            told = self._told.setdefault((k.s, k.i), {})
            told[k.t] = told.get(k.t, 0) + 1
            if told[k.t] > 1:
                self.fail("closes_twice", f"{k.s} {k.i} {k.t}")

    def _hear_barrier(self, barrier: _Barrier) -> None:
        name = f"{barrier.interval} {barrier.openTime}"
        self._note("barrier", name, barrier.closed, barrier.complete, barrier.revised)
        told = self._barriers.setdefault(barrier.interval, [])
        if barrier.revised:
            # One of before the subscription was told to others.
            from_ms = min(self._followed.values(), default=0)
            closed_ms = next_open_ms(barrier.interval, barrier.openTime)
            if barrier.openTime not in told and closed_ms > from_ms:
                self.fail("barrier", f"{name} was revised and never told")
            return
        if told and barrier.openTime <= told[-1]:
            self.fail("barrier", f"{name} was told again, or after the next one")
        told.append(barrier.openTime)
        for symbol in barrier.missing:
            if barrier.openTime in self._told.get((symbol, barrier.interval), ()):
                self.fail("barrier", f"{name}: {symbol} is called missing, and its close was told")
        closes = sum(
            barrier.openTime in self._told.get((symbol, barrier.interval), ())
            for symbol in self._followed
        )
        from_ms = max(self._followed.values(), default=0)  # before it some were not listened to
        closes += len(set(self.held()) - self._followed.keys())  # just come, and not listened to
        if barrier.openTime > from_ms and closes < barrier.closed:
            self.fail("barrier", f"{name} counts {barrier.closed} closes, {closes} were told")

    def _check_barriers(self, until_ms: int) -> None:
        """Each boundary once; begun at the first symbol that was followed."""
        from_ms = min(self._followed.values(), default=until_ms)
        for interval, told in self._barriers.items():
            open_ms = open_time_ms(interval, from_ms)
            while (next_ms := next_open_ms(interval, open_ms)) < until_ms - _BARRIER_MS:
                if next_ms > max(from_ms, self.barriers_from_ms) and open_ms not in told:
                    self.fail("barrier", f"{interval} {open_ms} was not told")
                open_ms = next_ms

    def end_life(self, until_ms: int) -> None:
        """The server ends, or the simulation: every bar that closed since must have been told."""
        self._check_barriers(until_ms)
        for symbol, from_ms in self._followed.items():
            for interval in self._intervals:
                self._check_told(symbol, interval, from_ms, until_ms)
        self._followed.clear()

    def _check_told(self, symbol: str, interval: str, from_ms: int, until_ms: int) -> None:
        if symbol not in self._book.source.symbols:
            return
        truth = self.truth(symbol, interval)
        told = self._told.get((symbol, interval), {})
        for place in range(truth.closed_by(from_ms), truth.closed_by(until_ms)):
            open_ms = truth.opens[place]
            if open_ms not in told and not self._trouble.excuses(truth.closes[place], until_ms):
                self.fail("closes_missing", f"{symbol} {interval} {open_ms}")

    # --- the end -------------------------------------------------------------------------------

    def verdict(self, breaches: dict[str, int]) -> Verdict:
        """Everything that was found."""
        for name, count in breaches.items():
            if count:
                self.fail("breach", f"{name}: {count}")
        return Verdict(
            rows_checked=self._rows,
            bodies_checked=self._bodies,
            closes_told=self._closes,
            **self.found,
            breaches=breaches,
            served_hash=self._served.hexdigest(),
            truth_hash=self._true.hexdigest(),
            faults=tuple(self.faults),
        )
