"""What klines requests really weigh, learned from the headers of the exchange's answers."""

from __future__ import annotations

import logging
from collections import deque

__all__ = ["LearnedWeights", "Steps"]

log = logging.getLogger(__name__)

#: ``(rows, weight)``: a request for at most so many rows weighs so much; cheapest first.
Steps = tuple[tuple[int, int], ...]

#: Differences of headers remembered for one limit; fewer teach nothing.
READS = 5

#: Limits remembered; beyond it the oldest is forgotten.
LIMITS_MAX = 64


class LearnedWeights:
    """Corrects a table of weights by what headers say of requests that were alone under way.

    Strangers behind the same address add to a difference, never take from it: the least of
    several counts. A step weighs what the dearest limit within it does; it gets cheaper only by
    its largest limit, which the smaller ones say nothing about.
    """

    def __init__(self, name: str, steps: Steps) -> None:
        self.steps = steps
        self.corrections = 0
        self._table = steps
        self._name = name
        self._seen: dict[int, deque[int]] = {}

    def note(self, limit: int, weighed: int) -> bool:
        """Take one difference for a request of ``limit`` rows; True if the table has changed."""
        seen = self._seen.get(limit)
        if seen is None:
            if len(self._seen) >= LIMITS_MAX:
                self._seen.pop(next(iter(self._seen)))
            seen = self._seen[limit] = deque(maxlen=READS)
        seen.append(weighed)
        if len(seen) < READS:
            return False
        steps = []
        below = 0
        for rows, weight in self._table:
            known = {
                at: max(1, min(values))
                for at, values in self._seen.items()
                if below < at <= rows and len(values) == READS
            }
            steps.append((rows, max({rows: weight, **known}.values())))
            below = rows
        if tuple(steps) == self.steps:
            return False
        self.corrections += 1
        log.warning("%s: klines requests weigh otherwise: %s -> %s", self._name, self.steps, steps)
        self.steps = tuple(steps)
        return True
