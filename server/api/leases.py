"""What stays open belongs to whoever opened it, and ends when their key or token does."""

from __future__ import annotations

import logging
from collections.abc import Callable

from server.api.problems import ApiError
from server.identity import Principal, Scope

__all__ = ["ENDED", "UNAUTHORIZED_CODE", "Lease", "Leases"]

log = logging.getLogger(__name__)

#: Close code of a WebSocket whose key or token holds no more.
UNAUTHORIZED_CODE = 4401
ENDED = "the key or token has ended, or stands for something else now"


class Lease:
    """One connection of somebody. Whoever takes one must ``release`` it."""

    __slots__ = ("_leases", "end", "principal")

    def __init__(self, leases: Leases, principal: Principal, end: Callable[[str], object]) -> None:
        self._leases = leases
        self.principal = principal
        self.end = end

    def release(self) -> None:
        """The connection is closed; more than once does no harm."""
        self._leases._release(self)


class Leases:
    """Every connection that lives longer than its request, of WebSockets and events alike."""

    def __init__(self, holds: Callable[[Principal], bool], per_key_max: int) -> None:
        """``holds`` says whether somebody's key or token still stands for exactly that."""
        self._holds = holds
        self._per_key_max = per_key_max
        # A dictionary, not a set: who is ended first must not depend on addresses in memory.
        self._open: dict[Lease, None] = {}
        self._counts: dict[str, int] = {}
        self.refused = 0  # connections beyond what a key may have
        self.ended = 0  # connections whose key or token held no more

    def __len__(self) -> int:
        return len(self._open)

    def take(self, principal: Principal, end: Callable[[str], object]) -> Lease:
        """Enter a connection; ``end(reason)`` is called once if it must be closed.

        Raises ApiError 429: this key, user or address has as many as it may.
        """
        bucket = principal.bucket
        count = self._counts.get(bucket, 0)
        if principal.scope is not Scope.ADMIN and count >= self._per_key_max:
            self.refused += 1
            raise ApiError(
                429,
                "too_many_connections",
                f"At most {self._per_key_max} connections of one key, user or address.",
                headers=[(b"retry-after", b"5")],
            )
        self._counts[bucket] = count + 1
        lease = Lease(self, principal, end)
        self._open[lease] = None
        return lease

    def sweep(self) -> None:
        """End what is not good any more. Each lease is asked about once for its principal."""
        verdicts: dict[Principal, bool] = {}
        for lease in tuple(self._open):
            principal = lease.principal
            good = verdicts.get(principal)
            if good is None:
                good = verdicts[principal] = self._holds(principal)
            if not good:
                self.ended += 1
                lease.release()
                try:
                    lease.end(ENDED)
                except Exception:  # one that cannot be closed must not keep the others open
                    log.exception("a connection did not end with its key")

    def _release(self, lease: Lease) -> None:
        if lease not in self._open:
            return
        del self._open[lease]
        bucket = lease.principal.bucket
        self._counts[bucket] -= 1
        if not self._counts[bucket]:
            del self._counts[bucket]
