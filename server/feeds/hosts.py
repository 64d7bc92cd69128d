"""Hosts that stand in for each other: which one is asked next, once one could not be reached."""

from __future__ import annotations

import urllib.parse
from collections.abc import Sequence

__all__ = ["Hosts", "host_of"]


class Hosts:
    """Equal URLs in the order of preference, and the one in use.

    One that works is kept. The exchange counts what an address asks over all of them together, so
    that a refusal is no reason to leave one.
    """

    def __init__(self, urls: Sequence[str]) -> None:
        """Raises ValueError: no URL at all."""
        if not urls:
            raise ValueError("at least one URL is needed")
        self._urls = tuple(urls)
        self._index = 0
        self.changes = 0  # how often one was left for the next

    @property
    def url(self) -> str:
        """Of the next attempt."""
        return self._urls[self._index]

    def leave(self, url: str) -> None:
        """``url`` has failed: the next one is used, after the last the first again.

        Nothing happens if it was left already: several requests may have failed at it together.
        """
        if len(self._urls) > 1 and url == self.url:
            self._index = (self._index + 1) % len(self._urls)
            self.changes += 1


def host_of(url: str) -> str:
    """Host and port, as the URL has them."""
    return urllib.parse.urlsplit(url).netloc.rpartition("@")[2]
