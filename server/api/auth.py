"""Who asks, and whether they may: keys and tokens of every route and socket, and their limits."""

from __future__ import annotations

import logging
import re
from collections import OrderedDict
from collections.abc import Awaitable, Coroutine, Sequence
from hashlib import sha256
from hmac import compare_digest
from typing import Any
from urllib.parse import unquote_to_bytes

from server.access.follower import FollowedKeys
from server.access.keys import ApiKey, KeysFile
from server.access.proxies import Proxies
from server.access.rates import Allowance, RateLimiter, address_bucket
from server.access.tokens import TokenError, TokensBusyError, TokenVerifier, looks_like_token
from server.api.leases import Leases
from server.api.problems import ApiError
from server.api.router import Access
from server.api.types import Headers
from server.clock import Clock
from server.errors import SettingsError
from server.identity import OPERATOR, Principal, Scope, Tier
from server.metrics import Registry
from server.settings import LOOPBACK_HOSTS, Settings

__all__ = ["EVERYBODY", "SUBPROTOCOL", "SUBPROTOCOL_KEY_PREFIX", "Gate", "open_gate"]

log = logging.getLogger(__name__)

#: What a browser offers beside its key, and what the server answers: the key is never echoed.
SUBPROTOCOL = "klinecore.v1"
#: ``new WebSocket(url, ["klinecore.v1", "klinecore.key." + encodeURIComponent(key)])``
SUBPROTOCOL_KEY_PREFIX = "klinecore.key."

#: Wrong keys one address may show within a window before it is told to wait.
FAILURES_MAX = 10
WINDOW_S = 60.0
#: Addresses remembered; the one that failed longest ago is forgotten first.
ADDRESSES_MAX = 4096
#: Seconds between two looks at the keys file and at what is open.
LOOK_S = 1.0

#: What a route asks of a key beyond being one.
_NEEDED = {Access.TRADE: Scope.TRADE, Access.ADMIN: Scope.ADMIN}

#: Whoever asks a server without keys, and whoever shows the server's own one.
EVERYBODY = Principal(owner=OPERATOR, tier=Tier.ELITE, scope=Scope.ADMIN)

#: Begins a Supabase project's public key: it says which project, not who asks.
_PUBLISHABLE = b"sb_publishable_"

#: Users of a Supabase project are UUIDs.
_USER = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")

_KEY_HEADERS = (b"x-api-key", b"x-mbx-apikey")
_CHALLENGE = [(b"www-authenticate", b'Bearer realm="klinecore"')]


def open_gate(settings: Settings, clock: Clock, metrics: Registry) -> Gate:
    """The gate that the settings ask for.

    Raises SettingsError: the keys file cannot be used, or nobody could get in, or what verifies
    tokens is not installed.
    """
    keys = None
    if settings.api_keys_file is not None:
        keys = FollowedKeys(KeysFile(settings.api_keys_file), clock)
        now_ms = clock.time_ms()
        if not settings.api_key and not any(k.valid(now_ms) for k in keys.current.keys.values()):
            text = f"keys file {keys.path} has no valid key; klineserver keys add makes one"
            if settings.host not in LOOPBACK_HOSTS:
                raise SettingsError(text)
            log.warning("%s", text)
    tokens = None
    if settings.supabase_url is not None:
        tokens = TokenVerifier(settings.supabase_url, clock, secret=settings.supabase_jwt_secret)
    return Gate(
        [settings.api_key] if settings.api_key else [],
        clock,
        keys=keys,
        tokens=tokens,
        publishable=settings.supabase_publishable_key,
        proxies=Proxies(settings.trusted_proxies),
        connections_max=settings.connections_per_key_max,
        metrics=metrics,
    )


class Gate:
    """Says who a request is from. Without keys everything is open, and everybody the operator.

    A key or token comes as ``X-API-Key``, ``X-MBX-APIKEY`` or ``Authorization: Bearer``; on a
    WebSocket also as a subprotocol, since browsers set no headers there; never in a query string.
    A request that shows two different ones is refused, whatever they are: two parsers on its way
    might not agree which one counts.
    """

    def __init__(
        self,
        own: Sequence[str],
        clock: Clock,
        *,
        keys: FollowedKeys | None = None,
        tokens: TokenVerifier | None = None,
        publishable: str | None = None,
        proxies: Proxies | None = None,
        connections_max: int = 50,
        metrics: Registry | None = None,
    ) -> None:
        """``own`` are the operator's, all valid at once, so that one can replace another without a
        gap; ``keys`` are other people's. ``publishable`` counts as no key at all.

        Raises ValueError: an empty key.
        """
        if not all(own):
            raise ValueError("an API key must not be empty")
        self._digests = [sha256(key.encode()).digest() for key in own]
        self._keys = keys
        self.tokens = tokens
        self._publishable = publishable.encode() if publishable else None
        self._clock = clock
        #: Says whose request it is.
        self.proxies = proxies or Proxies()
        #: True if no key is asked for.
        self.open = not self._digests and keys is None
        #: True if whatever is shown makes no difference.
        self.lets_all_in = self.open and tokens is None
        self._failures: OrderedDict[str, tuple[float, int]] = OrderedDict()
        self._told_s = -WINDOW_S  # when the log last named one of them
        self.rates = RateLimiter(clock)
        #: Whatever stays open longer than a request.
        self.leases = Leases(self.holds, connections_max)
        if tokens is not None and keys is not None:
            tokens.signed_out_ms = lambda user: keys.current.signed_out.get(user, -1)
        self.failures = 0  # refused keys, missing ones included
        self.limited = 0  # requests refused unread: too many failures before
        self._count_in(metrics or Registry())

    def _count_in(self, metrics: Registry) -> None:
        self._reasons = metrics.counter(
            "auth_failures_total", "Requests without a valid key or token, by cause.", ["reason"]
        )
        self._reasons.begin("wrong")
        self._over = metrics.counter(
            "rate_limited_total", "Requests and connections beyond a limit, by whose.", ["scope"]
        )
        gauge, counter = metrics.gauge, metrics.counter
        gauge("auth_connections", "Connections that end with their key.").read(
            lambda: len(self.leases)
        )
        counter("auth_connections_ended_total", "Connections ended with their key.").read(
            lambda: self.leases.ended
        )
        gauge("rate_buckets", "Whose requests are counted.").read(lambda: len(self.rates))
        counter("rate_buckets_forgotten_total", "Forgotten before they were full again.").read(
            lambda: self.rates.forgotten
        )
        if self._keys is not None:
            keys = self._keys
            gauge("keys", "Keys in the file.").read(lambda: len(keys.current))
            gauge("keys_file_fault", "1 while the file cannot be used.").read(
                lambda: float(keys.fault is not None)
            )
            counter("keys_file_faults_total", "Times the file became unusable.").read(
                lambda: keys.faults
            )
        if self.tokens is not None:
            tokens = self.tokens
            counter("tokens_verified_total", "Tokens verified anew.").read(lambda: tokens.verified)
            counter("token_signers_fetches_total", "Fetches of the project's keys.").read(
                lambda: tokens.signers.fetches
            )
            counter("token_signers_failures_total", "Fetches that brought none.").read(
                lambda: tokens.signers.failures
            )

    def jobs(self) -> list[Coroutine[Any, Any, None]]:
        """What must run as long as the server does, each on its own: if the project's keys cannot
        be followed, revoked ones must still end."""
        jobs = []
        if self.tokens is not None:
            jobs.append(self.tokens.signers.keep())
        if self.tokens is not None or self._keys is not None:
            jobs.append(self._look())
        return jobs

    async def _look(self) -> None:
        while True:
            await self._clock.sleep(LOOK_S)
            if self._keys is not None:
                await self._keys.look()
            self.leases.sweep()

    def tier_of(self, owner: str) -> Tier | None:
        """The tier of an owner by key or token; None of one that neither knows any more."""
        if owner == OPERATOR:
            return EVERYBODY.tier
        if self._keys is not None:
            tier = self._keys.current.tier_of(owner, self._clock.time_ms())
            if tier is not None:
                return tier
        if self.tokens is not None and _USER.fullmatch(owner):
            return self.tokens.tier_of(owner)
        return None

    def holds(self, principal: Principal) -> bool:
        """True while somebody's key or token still stands for exactly this."""
        if principal.signed_by is not None:
            return self.tokens is not None and self.tokens.holds(principal)
        if principal.key_id is not None and self._keys is not None:
            now_ms = self._clock.time_ms()
            return self._keys.current.principal(principal.key_id, now_ms) == principal
        return principal.key_id is None

    def knows(self, principal: Principal) -> bool:
        """True if a key or token said who that is, and not merely that nobody needs one."""
        if principal is EVERYBODY:
            return not self.open
        return principal.key_id is not None or principal.signed_by is not None

    @staticmethod
    def shows_nothing(
        headers: Sequence[tuple[bytes, bytes]], subprotocols: Sequence[str] = ()
    ) -> bool:
        """True if a request carries no key, not even a wrong one."""
        return not _presented(headers, subprotocols)

    def check(
        self,
        headers: Sequence[tuple[bytes, bytes]],
        address: str,
        subprotocols: Sequence[str] = (),
        access: Access = Access.READ,
    ) -> Principal | Awaitable[Principal]:
        """Who asks, if the request may pass; to be awaited for a token not seen before.

        ``address`` is that of the connection; behind a trusted proxy ``headers`` say whose it is.

        Raises
        ------
        ApiError: 401, the same for every kind of failure; 429 after too many of them; 403, a key
            that is not good for what ``access`` says; 503, tokens cannot be verified now.
        """
        if self.lets_all_in:
            return EVERYBODY
        address = self.proxies.client(headers, address)
        presented = _presented(headers, subprotocols)
        if self.tokens is not None:
            presented = self._without_public(presented)
            if len(presented) == 1 and looks_like_token(presented[0]):
                return self._check_token(presented[0], address, access)
            if self.open:
                return EVERYBODY
        if access is Access.OPEN and not presented:
            return _anybody(address)
        if self._failures:
            self._refuse_guesser(address)
        # No early exit: how long it takes must not tell which key, or how much of it, was right.
        shown = presented[0] if len(presented) == 1 else b""
        digest = sha256(shown).digest()
        own = False
        for known in self._digests:
            own |= compare_digest(known, digest)
        key = self._keys.current.match(shown) if self._keys is not None else None
        if own:  # no key of ours is empty
            return EVERYBODY
        principal = self._stands_for(key, presented, address)
        return principal if access is Access.READ else _permitted(principal, access)

    def _stands_for(self, key: ApiKey | None, presented: list[bytes], address: str) -> Principal:
        if key is None or self._keys is None:
            reason = "conflict" if len(presented) > 1 else "wrong" if presented else "missing"
            raise self._refused(reason, address)
        principal = self._keys.current.principal(key.id, self._clock.time_ms())
        if principal is None:
            reason = "revoked" if key.revoked_ms is not None else "expired"
            raise self._refused(reason, address, genuine=True)
        return principal

    def _check_token(
        self, token: bytes, address: str, access: Access
    ) -> Principal | Awaitable[Principal]:
        assert self.tokens is not None
        self._refuse_guesser(address)
        try:
            principal = self.tokens.known(token)
        except TokenError as error:
            raise self._refused(error.reason, address, genuine=error.genuine) from None
        if principal is None:
            return self._verify(self.tokens, token, address, access)
        return _permitted(principal, access)

    async def _verify(
        self, tokens: TokenVerifier, token: bytes, address: str, access: Access
    ) -> Principal:
        try:
            principal = await tokens.verify(token)
        except TokenError as error:
            raise self._refused(error.reason, address, genuine=error.genuine) from None
        except TokensBusyError as error:
            raise ApiError(
                503, "tokens_unavailable", f"{error}.", headers=[(b"retry-after", b"5")]
            ) from None
        return _permitted(principal, access)

    def limit(self, principal: Principal, route: str, weight: int = 1) -> Headers:
        """Count a request; the headers that say what is left, none for the operator.

        Raises ApiError 429: it is one too many.
        """
        allowance = self.take(principal, route, weight)
        return [] if allowance is None else _limit_headers(allowance, weight)

    def take(self, principal: Principal, route: str, weight: int = 1) -> Allowance | None:
        """Count a request; what is left, None: the operator is not counted.

        Raises ApiError 429: it is one too many.
        """
        allowance = self.rates.take(principal, route, weight)
        if allowance is None or allowance.passed:
            return allowance
        headers = _limit_headers(allowance, weight)
        self._over.inc(principal.bucket.partition(":")[0])
        raise ApiError(
            429,
            "rate_limited",
            f"At most {allowance.limit} requests a minute here with tier {principal.tier}.",
            headers=[(b"retry-after", b"%d" % allowance.wait_s), *headers],
            tier=principal.tier,
        )

    def _without_public(self, shown: list[bytes]) -> list[bytes]:
        return [
            text
            for text in shown
            if not text.startswith(_PUBLISHABLE) and text != self._publishable
        ]

    def _refused(self, reason: str, address: str, *, genuine: bool = False) -> ApiError:
        """The one 401. What was ``genuine`` once is no guess."""
        self._reasons.inc(reason)
        if genuine:
            self.failures += 1
        else:
            self._count_failure(address_bucket(address))
        return ApiError(
            401,
            "unauthorized",
            "A valid key is needed: header X-API-Key, or Authorization: Bearer.",
            headers=_CHALLENGE,
        )

    def _refuse_guesser(self, address: str) -> None:
        address = address_bucket(address)
        entry = self._failures.get(address)
        if entry is None or entry[1] < FAILURES_MAX:
            return
        wait_s = entry[0] + WINDOW_S - self._clock.monotonic()
        if wait_s <= 0:
            del self._failures[address]
            return
        self.limited += 1
        self._over.inc("failures")
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
        if count + 1 == FAILURES_MAX and now - self._told_s >= WINDOW_S:
            self._told_s = now
            log.warning(
                "%s showed %d wrong keys and has to wait; if it is a proxy, "
                "KLINE_TRUSTED_PROXIES tells its clients from each other",
                address.removeprefix("address:"),
                FAILURES_MAX,
            )
        if len(self._failures) > ADDRESSES_MAX:
            self._failures.popitem(last=False)


def _anybody(address: str) -> Principal:
    """Who shows no key where none is needed."""
    bucket = address_bucket(address)
    return Principal(owner=None, tier=Tier.ANONYMOUS, scope=Scope.READ, bucket=bucket)


def _limit_headers(allowance: Allowance, weight: int) -> Headers:
    return [
        (b"x-ratelimit-limit", b"%d" % allowance.limit),
        (b"x-ratelimit-remaining", b"%d" % allowance.remaining),
        (b"x-ratelimit-reset", b"%d" % allowance.reset_s),
        (b"x-ratelimit-weight", b"%d" % weight),
    ]


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
