"""Access tokens of a Supabase project: whose they are, as long as they hold.

A token that was seen lately is looked up by its hash. Another one is verified in a thread: an
elliptic curve takes as long as some hundred answers.
"""

from __future__ import annotations

import asyncio
import hashlib
import math
import re
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import msgspec

from server.access.signers import ALGORITHMS, Signers
from server.clock import Clock
from server.errors import SettingsError
from server.identity import Principal, Scope, Tier

if TYPE_CHECKING:
    import jwt

__all__ = ["LEEWAY_S", "TokenError", "TokenVerifier", "TokensBusyError", "looks_like_token"]

#: Seconds the project's clock and ours may differ.
LEEWAY_S = 5
#: Characters of a token; the project puts what it likes into it.
LENGTH_MAX = 8192
#: Tokens remembered; the one not seen for longest is forgotten first.
KNOWN_MAX = 4096
#: Tokens being verified or waiting for it; further ones are told to come back.
JOBS_MAX = 64
#: A shared secret that is shorter can be guessed from one token.
SECRET_BYTES_MIN = 32

AUDIENCE = "authenticated"
ROLE = "authenticated"
REQUIRED = ("exp", "sub", "aud", "iss", "role")
SECRET_SIGNER = "HS256"  # stands for the shared secret where others have the id of a key

_TOKEN = re.compile(rb"eyJ[A-Za-z0-9_-]*\.[A-Za-z0-9_-]*\.[A-Za-z0-9_-]*")
_Moment = Annotated[float, msgspec.Meta(ge=0, le=9_999_999_999)]
_User = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\Z")]


class TokenError(Exception):
    """A token that opens nothing; ``reason`` is for our metrics, ``genuine`` if it once did."""

    def __init__(self, reason: str, *, genuine: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.genuine = genuine


class TokensBusyError(Exception):
    """Tokens cannot be verified just now; the message says why."""


class _Claims(msgspec.Struct):
    """What is read of a token's claims; the library has seen to audience and issuer."""

    sub: _User
    exp: _Moment
    role: str
    iat: _Moment = 0.0
    nbf: _Moment = 0.0
    is_anonymous: bool = False


class _Known(NamedTuple):
    """A token that was genuine; whether it still holds is asked each time."""

    principal: Principal
    nameless: bool  # of somebody without an account


def looks_like_token(shown: bytes) -> bool:
    """True for the form of a token, which no key of ours has."""
    return _TOKEN.fullmatch(shown) is not None


class TokenVerifier:
    """Verifies tokens, remembers them by their hash, and knows which hold."""

    def __init__(
        self,
        url: str,
        clock: Clock,
        *,
        secret: str | None = None,
        signers: Signers | None = None,
        tier_of: Callable[[str], Tier | None] = lambda user: Tier.FREE,
        signed_out_ms: Callable[[str], int] = lambda user: -1,
    ) -> None:
        """``url`` is the project's. With ``secret`` tokens may be signed by HS256 with it, beside
        those by the project's keys.

        ``tier_of(user)`` and ``signed_out_ms(user)``, until when tokens were taken back, are asked
        with each request and must answer at once. While the first is None nobody is let in by a
        token: a tier that only comes later would end what was opened without it.

        Raises SettingsError: PyJWT is not installed, or the secret is too short.
        """
        try:
            import jwt
            import jwt.algorithms
        except ImportError:
            raise SettingsError(_MISSING) from None
        if not jwt.algorithms.has_crypto:
            raise SettingsError(_MISSING)
        if secret is not None and len(secret.encode()) < SECRET_BYTES_MIN:
            raise SettingsError(f"SUPABASE_JWT_SECRET must have at least {SECRET_BYTES_MIN} bytes")
        base = url.rstrip("/")
        self._issuer = f"{base}/auth/v1"
        self.signers = signers or Signers(f"{self._issuer}/.well-known/jwks.json", clock)
        self._clock = clock
        self._secret = secret
        self.tier_of = tier_of
        self.signed_out_ms = signed_out_ms
        self._known: OrderedDict[bytes, _Known] = OrderedDict()
        self._thread = ThreadPoolExecutor(1, "tokens")
        self._jobs = 0
        self.verified = 0

    def close(self) -> None:
        """End the thread."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    def known(self, token: bytes) -> Principal | None:
        """Whose token it is, if it was verified before. Raises TokenError: it holds no more."""
        digest = hashlib.sha256(token).digest()
        known = self._known.get(digest)
        if known is None:
            return None
        principal = known.principal
        try:
            self._check_holds(principal)
        except TokenError as error:
            if error.reason == "unknown_signer":  # not genuine any more, for all we know
                del self._known[digest]
            raise
        tier = self._tier(principal.owner or "", known.nameless)
        if tier is not None and tier is not principal.tier:
            principal = msgspec.structs.replace(principal, tier=tier)
            self._known[digest] = known._replace(principal=principal)
        self._known.move_to_end(digest)
        return principal

    async def verify(self, token: bytes) -> Principal:
        """Whose token it is.

        Raises
        ------
        TokenError: nobody's, or it holds no more.
        TokensBusyError: it cannot be verified now.
        """
        if len(token) > LENGTH_MAX:
            raise TokenError("malformed")
        algorithm, signer, key = self._choose(token)
        if self._jobs >= JOBS_MAX:
            raise TokensBusyError("too many tokens wait to be verified")
        self._jobs += 1
        try:
            claims = await asyncio.get_running_loop().run_in_executor(
                self._thread, self._decode, token, key, algorithm
            )
        finally:
            self._jobs -= 1
        self.verified += 1
        tier = self._tier(claims.sub, claims.is_anonymous)
        if tier is None:
            raise TokensBusyError("the tiers of users have not been read yet")
        principal = Principal(
            owner=claims.sub,
            tier=tier,
            scope=Scope.TRADE,
            bucket=f"user:{claims.sub}",
            issued_ms=int(claims.iat * 1000),
            expires_ms=int(claims.exp * 1000),
            signed_by=signer,
        )
        self._check_holds(principal, not_before_ms=int(max(claims.nbf, claims.iat) * 1000))
        self._known[hashlib.sha256(token).digest()] = _Known(principal, claims.is_anonymous)
        if len(self._known) > KNOWN_MAX:
            self._known.popitem(last=False)
        return principal

    def holds(self, principal: Principal) -> bool:
        """True while a token still stands for exactly this."""
        try:
            self._check_holds(principal)
        except TokenError:
            return False
        # Somebody without an account is never asked about: they have the least there is.
        user = principal.owner or ""
        return principal.tier is Tier.ANONYMOUS or self.tier_of(user) is principal.tier

    def _tier(self, user: str, nameless: bool) -> Tier | None:
        return Tier.ANONYMOUS if nameless else self.tier_of(user)

    def _check_holds(self, principal: Principal, not_before_ms: int = 0) -> None:
        now_ms = self._clock.time_ms()
        leeway_ms = LEEWAY_S * 1000
        if principal.signed_by != SECRET_SIGNER and principal.signed_by not in self.signers:
            raise TokenError("unknown_signer")
        if principal.expires_ms is None or now_ms >= principal.expires_ms + leeway_ms:
            raise TokenError("expired", genuine=True)
        if now_ms < not_before_ms - leeway_ms:
            raise TokenError("not_yet", genuine=True)
        if principal.issued_ms <= self.signed_out_ms(principal.owner or ""):
            raise TokenError("revoked", genuine=True)

    def _choose(self, token: bytes) -> tuple[str, str, str | jwt.PyJWK]:
        """The algorithm, the signer's name and the one key that the token may be signed with.

        The token names an algorithm, and by it the list that its key must be in: a public key
        never serves as a shared secret, nor the other way round.
        """
        import jwt

        try:
            header = jwt.get_unverified_header(token)
        except (jwt.PyJWTError, ValueError, RecursionError):
            raise TokenError("malformed") from None
        algorithm, key_id = header.get("alg"), header.get("kid")
        if algorithm == SECRET_SIGNER and self._secret is not None:
            return SECRET_SIGNER, SECRET_SIGNER, self._secret
        if not isinstance(algorithm, str) or algorithm not in ALGORITHMS:
            raise TokenError("algorithm")
        if not self.signers.usable:
            raise TokensBusyError("the keys that tokens are signed with have not been fetched yet")
        if not isinstance(key_id, str) or key_id == SECRET_SIGNER:
            raise TokenError("unknown_signer")
        found = self.signers.get(key_id)
        if found is None:
            raise TokenError("unknown_signer")
        if found[0] != algorithm:
            raise TokenError("algorithm")
        return algorithm, key_id, found[1]

    def _decode(self, token: bytes, key: str | jwt.PyJWK, algorithm: str) -> _Claims:
        import jwt

        try:
            claims: dict[str, Any] = jwt.decode(
                token,
                key,
                algorithms=[algorithm],
                audience=AUDIENCE,
                issuer=self._issuer,
                # Times are checked by our clock, and again with each request.
                options={
                    "require": list(REQUIRED),
                    "verify_exp": False,
                    "verify_nbf": False,
                    "verify_iat": False,
                },
            )
            read = msgspec.convert(claims, _Claims)
        except (jwt.PyJWTError, ValueError, RecursionError):
            raise TokenError("refused") from None
        if not all(map(math.isfinite, (read.exp, read.iat, read.nbf))):
            raise TokenError(
                "refused"
            )  # JSON has no such numbers, the library reads them all the same
        if read.role != ROLE:
            raise TokenError("role")
        return read


_MISSING = (
    "SUPABASE_URL is set, and what verifies its tokens is not installed: "
    "pip install 'klinecore[supabase]'"
)
