"""Which messages have been taken, over all connections: where to go on after a cut."""

from __future__ import annotations

from collections.abc import Hashable

__all__ = ["Position"]


class Position:
    """The numbers (``seq``) of messages, which only grow within one life of the server.

    Streams are subscribed some at a time, so that while a connection begins, one of them may be at
    a number that another has not come to. ``since`` moves on only once all are in step.
    """

    def __init__(self) -> None:
        self.since: int | None = None  # every message up to this one was taken
        self._taken: dict[Hashable, int] = {}  # stream -> its newest message
        self._newest = 0  # of this connection
        self._joined = False

    def begin(self) -> None:
        """A connection begins; nothing is subscribed."""
        self._newest = 0
        self._joined = False

    def join(self, *, afresh: bool) -> None:
        """All streams are subscribed; ``afresh``: each has brought a snapshot.

        Otherwise some still bring what was missed, which ends with the first number above all
        that have been seen.
        """
        self._joined = True
        if afresh:
            self.since = self._newest

    def start(self, stream: Hashable, number: int) -> None:
        """A snapshot has brought a stream to a number, whatever was taken of it before."""
        self._taken[stream] = number
        self._newest = max(self._newest, number)

    def take(self, stream: Hashable, number: int) -> bool:
        """Whether a message is new; it counts as taken from now on."""
        if number > self._newest:
            self._newest = number
            if self._joined:
                self.since = number
        if number <= self._taken.get(stream, -1):
            return False
        self._taken[stream] = number
        return True
