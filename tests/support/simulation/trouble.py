"""When something was wrong, and how long nothing has been: what a hole may be excused with."""

from __future__ import annotations

__all__ = ["HEAL_S", "Trouble"]

#: Everything must be whole again after so long without a fault, s.
HEAL_S = 120.0


class Trouble:
    """Stretches of the simulation with a fault, in ms of the exchange's time."""

    def __init__(self, started_ms: int) -> None:
        #: Ends of troubles and beginnings of the next, oldest first: stretches of calm.
        self._calms: list[tuple[int, int]] = []
        self._until_ms = started_ms  # the trouble known so far ends then
        self.count = 0

    @property
    def until_ms(self) -> int:
        """When the last fault so far is over."""
        return self._until_ms

    def add(self, from_ms: int, until_ms: int) -> None:
        """A fault begins; in order of their beginnings."""
        self.count += 1
        if from_ms > self._until_ms:
            self._calms.append((self._until_ms, from_ms))
        self._until_ms = max(self._until_ms, until_ms)

    def excuses(self, closed_ms: int, now_ms: int) -> bool:
        """True if a row that closed then may still be missing now."""
        heal_ms = int(HEAL_S * 1000)
        if now_ms - max(self._until_ms, closed_ms) >= heal_ms:
            return False
        for from_ms, until_ms in reversed(self._calms):
            if until_ms < closed_ms + heal_ms:
                break
            if min(until_ms, now_ms) - max(from_ms, closed_ms) >= heal_ms:
                return False
        return True
