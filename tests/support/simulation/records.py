"""What tests want to know of a run: when what was asked and told, and frames made up for it."""

from __future__ import annotations

from typing import Any, NamedTuple

from simulation.world import World

__all__ = ["MINUTE_MS", "Asked", "Record", "Told", "kline_frame", "next_minute_ms"]

MINUTE_MS = 60_000


class Asked(NamedTuple):
    """One REST request, when its answer was made."""

    at_s: float
    target: str
    status: str  # as in the trace: a number, or why there was none


class Told(NamedTuple):
    """One closed kline a subscriber heard of."""

    at_s: float
    open_ms: int
    revised: bool


class Record:
    """Every line of ``world``'s trace from now on, and what can be read off it."""

    def __init__(self, world: World) -> None:
        self._lines: list[str] = []
        self._epoch_ms = world.now_ms - world.loop.time() * 1000
        world.trace.everything = self._lines

    def lines(self, kind: str) -> list[list[str]]:
        """Words of the lines of one kind: time, kind, facts."""
        return [words for line in self._lines if (words := line.split(" "))[1] == kind]

    def asked(self, part: str = "", since_s: float = 0.0) -> list[Asked]:
        """Requests with ``part`` in their target."""
        found = [Asked(float(at), target, rest[0]) for at, _, target, *rest in self.lines("asked")]
        return [one for one in found if part in one.target and one.at_s >= since_s]

    def told(self, symbol: str, interval: str, open_ms: int | None = None) -> list[Told]:
        """Closes of one series, or of one of its klines."""
        found = [
            Told(float(at), int(opened), revised == "True")
            for at, _, name, its_interval, opened, revised in self.lines("told")
            if (name, its_interval) == (symbol, interval)
        ]
        return [one for one in found if open_ms in (None, one.open_ms)]

    def delays_s(self, symbol: str) -> list[float]:
        """How long after its true time each 1m close was told."""
        return [
            told.at_s + (self._epoch_ms - told.open_ms - MINUTE_MS) / 1000
            for told in self.told(symbol, "1m")
        ]

    def connects(self, since_s: float = 0.0) -> list[float]:
        """When connections were attempted."""
        return [at for words in self.lines("connect") if (at := float(words[0])) >= since_s]


def next_minute_ms(world: World) -> int:
    """When the present minute ends, by the exchange's time."""
    return (world.now_ms // MINUTE_MS + 1) * MINUTE_MS


def kline_frame(
    world: World, symbol: str, interval: str, open_ms: int, *, event_ms: int, **changes: Any
) -> bytes:
    """The exchange's message of a kline as of now, with columns of its row changed."""
    row = world.exchange.book.row_at(symbol, interval, open_ms, world.now_ms)
    assert row is not None
    return world.exchange.book.kline_frame(symbol, interval, row._replace(**changes), event_ms)
