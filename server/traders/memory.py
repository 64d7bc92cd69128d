"""What was told of signals lately, so that what is told next has the right revision and content."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, KeysView

import msgspec

from server.signals.model import Signal, SignalStatus

__all__ = ["OPEN_MAX", "RECENT_MAX", "REVISIONS_MAX", "SignalMemory"]

#: Signals kept whole, so that a retraction still says what was told.
RECENT_MAX = 2048
#: Provisional ones, until their kline closes.
OPEN_MAX = 16_384
#: Revisions above 1, of the newest signals that have one.
REVISIONS_MAX = 16_384


class SignalMemory:
    """Of one market's traders; all of it is bounded, the oldest goes first."""

    def __init__(self) -> None:
        self._recent: OrderedDict[str, Signal] = OrderedDict()
        self._open: OrderedDict[str, Signal] = OrderedDict()
        self._revisions: OrderedDict[str, int] = OrderedDict()
        self._left: dict[str, Signal] = {}  # provisional ones nobody follows up
        self.forgotten = 0  # provisional ones there was no room for

    def newest(self, id: str) -> Signal | None:
        """A signal as it was told last; None if that is not known any more."""
        return self._open.get(id) or self._recent.get(id) or self._left.get(id)

    def revision(self, id: str) -> int:
        """Of a signal as it was told last; 0 if nothing is known of it."""
        found = self._revisions.get(id)
        return found if found is not None else int(self.newest(id) is not None)

    def note(self, signal: Signal) -> None:
        """Remember what is told now."""
        id = signal.id
        self._left.pop(id, None)
        self._recent.pop(id, None)
        self._open.pop(id, None)
        if signal.status is SignalStatus.PROVISIONAL:
            self._open[id] = signal
            if len(self._open) > OPEN_MAX:
                self._open.popitem(last=False)
                self.forgotten += 1
        else:
            self._recent[id] = signal
            if len(self._recent) > RECENT_MAX:
                self._recent.popitem(last=False)
        if signal.revision > 1:
            self._revisions.pop(id, None)
            self._revisions[id] = signal.revision
            if len(self._revisions) > REVISIONS_MAX:
                self._revisions.popitem(last=False)

    def forget(self, trader_id: str) -> None:
        """A trader is gone, or another one now: its provisional signals are as left behind."""
        self.leave(lambda signal: signal.trader_id == trader_id)
        for id in [id for id, signal in self._recent.items() if signal.trader_id == trader_id]:
            del self._recent[id]

    def leave(self, is_gone: Callable[[Signal], bool] = lambda signal: True) -> None:
        """Nobody follows up these provisional signals any more: they are of an earlier life."""
        for id in [id for id, signal in self._open.items() if is_gone(signal)]:
            self._left[id] = self._open.pop(id)
        self._bound_left()

    def _bound_left(self) -> None:
        while len(self._left) > OPEN_MAX:
            del self._left[next(iter(self._left))]
            self.forgotten += 1

    @property
    def left(self) -> KeysView[str]:
        """Ids of what was left provisional."""
        return self._left.keys()

    def left_behind(self, is_over: Callable[[Signal], bool], now_ms: int) -> list[Signal]:
        """Retractions of what was left provisional and is over, without having been confirmed."""
        retracted = []
        for signal in [one for one in self._left.values() if is_over(one)]:
            told = msgspec.structs.replace(
                signal,
                status=SignalStatus.RETRACTED,
                revision=self.revision(signal.id) + 1,
                at_ms=now_ms,
            )
            self.note(told)
            retracted.append(told)
        return retracted

    # --- beyond this life ----------------------------------------------------------------------

    def revisions(self) -> list[tuple[str, int]]:
        """Ids and revisions above 1, oldest first."""
        return list(self._revisions.items())

    def provisional(self) -> list[Signal]:
        """Signals that are neither confirmed nor retracted yet."""
        return [*self._left.values(), *self._open.values()]

    def restore(self, revisions: list[tuple[str, int]], provisional: list[Signal]) -> None:
        """Take over what an earlier life told."""
        self._revisions = OrderedDict(revisions[-REVISIONS_MAX:])
        self._left = {signal.id: signal for signal in provisional[-OPEN_MAX:]}

    def take_back(self, provisional: Iterable[Signal]) -> None:
        """Follow up what an earlier life told as well, after what was restored was taken."""
        for signal in provisional:
            if signal.revision > self.revision(signal.id):
                self._left[signal.id] = signal
                if signal.revision > 1:
                    self._revisions[signal.id] = signal.revision
        self._bound_left()
