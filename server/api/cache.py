"""Finished answers, kept while what they show has not changed: least recently used goes first."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable

from server.api.types import Response

__all__ = ["BodyCache"]

#: What an entry costs beside its body: key, headers, bookkeeping.
ENTRY_BYTES = 1_000


class BodyCache:
    """Answers by what was asked, each good for one version of the data.

    The version (a series' revision, or its sequence where the forming row is shown) is part of the
    value, not of the key: a new version takes the place of the old one, so that outdated bodies
    never fill the cache. Bounded by bytes; counters only grow.
    """

    def __init__(self, bytes_max: int) -> None:
        """``bytes_max``: bodies and their bookkeeping together; 0 keeps nothing."""
        self._bytes_max = bytes_max
        self._entries: OrderedDict[Hashable, tuple[int, Response]] = OrderedDict()
        self.bytes = 0
        self.hits = 0
        self.misses = 0  # asked for the first time, or the data has changed since
        self.evictions = 0

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: Hashable, version: int) -> Response | None:
        """The answer to ``key`` at ``version``, or None."""
        entry = self._entries.get(key)
        if entry is None or entry[0] != version:
            self.misses += 1
            return None
        self._entries.move_to_end(key)
        self.hits += 1
        return entry[1]

    def put(self, key: Hashable, version: int, response: Response) -> None:
        """Keep an answer, unless it alone is larger than the cache."""
        size = len(response.body) + ENTRY_BYTES
        old = self._entries.pop(key, None)
        if old is not None:
            self.bytes -= len(old[1].body) + ENTRY_BYTES
        if size > self._bytes_max:
            return
        self._entries[key] = (version, response)
        self.bytes += size
        while self.bytes > self._bytes_max:
            _, (_, evicted) = self._entries.popitem(last=False)
            self.bytes -= len(evicted.body) + ENTRY_BYTES
            self.evictions += 1
