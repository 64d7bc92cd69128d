"""Who may read: one key check for every route and socket, and a bound on wrong guesses."""

from __future__ import annotations

import hashlib
import hmac
from collections import OrderedDict
from collections.abc import Sequence
from urllib.parse import unquote_to_bytes

from server.api.problems import ApiError
from server.api.router import Access
from server.clock import Clock
from server.identity import OPERATOR, Principal, Scope, Tier

__all__ = ["SUBPROTOCOL", "SUBPROTOCOL_KEY_PREFIX", "Gate"]

#: What a browser offers beside its key, and what the server answers: the key is never echoed.
SUBPROTOCOL = "klinecore.v1"
#: ``new WebSocket(url, ["klinecore.v1", "klinecore.key." + encodeURIComponent(key)])``
SUBPROTOCOL_KEY_PREFIX = "klinecore.key."

#: Wrong keys one address may show within a window before it is told to wait.
FAILURES_MAX = 10
WINDOW_S = 60.0
#: Addresses remembered; the one that failed longest ago is forgotten first.
ADDRESSES_MAX = 4096

#: What a route asks of a key beyond being one.
_NEEDED = {Access.TRADE: Scope.TRADE, Access.ADMIN: Scope.ADMIN}

_EVERYBODY = Principal(owner=OPERATOR, tier=Tier.ELITE, scope=Scope.ADMIN)

_KEY_HEADERS = (b"x-api-key", b"x-mbx-apikey")
_CHALLENGE = [(b"www-authenticate", b'Bearer realm="klinecore"')]


class Gate:
    """Checks the key of a request. Without keys everything is open.

    A key comes as ``X-API-Key``, ``X-MBX-APIKEY`` or ``Authorization: Bearer``; on a WebSocket also
    as a subprotocol, since browsers set no headers there; never in a query string. A request that
    shows two different keys is refused, whatever they are: two parsers on its way might not agree
    which one counts.
    """

    def __init__(self, keys: Sequence[str], clock: Clock) -> None:
        """``keys`` are all valid at once, so that one can replace another without a gap.

        Raises ValueError: an empty key.
        """
        if not all(keys):
            raise ValueError("an API key must not be empty")
        self._digests = [_digest(key.encode()) for key in keys]
        self._clock = clock
        self._failures: OrderedDict[str, tuple[float, int]] = OrderedDict()
        self.failures = 0  # refused keys, missing ones included
        self.limited = 0  # requests refused unread: too many failures before

    @property
    def open(self) -> bool:
        """True if no key is asked for."""
        return not self._digests

    def check(
        self,
        headers: Sequence[tuple[bytes, bytes]],
        address: str,
        subprotocols: Sequence[str] = (),
        access: Access = Access.READ,
    ) -> Principal:
        """Who asks, if the request may pass.

        Raises
        ------
        ApiError: 401, the same for every kind of failure; 429 after too many of them; 403, a key
            that is not good for what ``access`` says.
        """
        if not self._digests:
            return _EVERYBODY
        if access is Access.OPEN and not _presented(headers, subprotocols):
            return _anybody(address)
        self._refuse_guesser(address)
        presented = _presented(headers, subprotocols)
        # No early exit: how long it takes must not tell which key, or how much of it, was right.
        valid = len(presented) == 1
        digest = _digest(presented[0] if presented else b"")
        known = 0
        for own in self._digests:
            known |= hmac.compare_digest(own, digest)
        if not (valid and known):
            self._count_failure(address)
            raise ApiError(
                401,
                "unauthorized",
                "A valid key is needed: header X-API-Key, or Authorization: Bearer.",
                headers=_CHALLENGE,
            )
        return _permitted(_EVERYBODY, access)

    def _refuse_guesser(self, address: str) -> None:
        entry = self._failures.get(address)
        if entry is None or entry[1] < FAILURES_MAX:
            return
        wait_s = entry[0] + WINDOW_S - self._clock.monotonic()
        if wait_s <= 0:
            del self._failures[address]
            return
        self.limited += 1
        raise ApiError(
            429,
            "too_many_failures",
            f"More than {FAILURES_MAX} requests with a wrong key; wait before the next one.",
            headers=[(b"retry-after", b"%d" % (int(wait_s) + 1))],
        )

    def _count_failure(self, address: str) -> None:
        self.failures += 1
        now = self._clock.monotonic()
        start, count = self._failures.pop(address, (now, 0))
        if now - start >= WINDOW_S:
            start, count = now, 0
        self._failures[address] = (start, count + 1)
        if len(self._failures) > ADDRESSES_MAX:
            self._failures.popitem(last=False)


def _anybody(address: str) -> Principal:
    """Who shows no key where none is needed."""
    bucket = f"address:{address}"
    return Principal(owner=None, tier=Tier.ANONYMOUS, scope=Scope.READ, bucket=bucket)


def _permitted(principal: Principal, access: Access) -> Principal:
    needed = _NEEDED.get(access)
    if needed is not None and not principal.scope.includes(needed):
        raise ApiError(
            403,
            "insufficient_scope",
            f"This needs a key with the scope {needed}, not only {principal.scope}.",
        )
    return principal


def _presented(headers: Sequence[tuple[bytes, bytes]], subprotocols: Sequence[str]) -> list[bytes]:
    """Every different key the request shows; an unusable one counts as a key that is wrong."""
    found: dict[bytes, None] = {}
    for name, value in headers:
        if name in _KEY_HEADERS:
            found[value] = None
        elif name == b"authorization":
            scheme, _, token = value.partition(b" ")
            found[token if scheme.lower() == b"bearer" else b""] = None
    for offered in subprotocols:
        if offered.startswith(SUBPROTOCOL_KEY_PREFIX):
            found[unquote_to_bytes(offered[len(SUBPROTOCOL_KEY_PREFIX) :])] = None
    return list(found)


def _digest(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()
