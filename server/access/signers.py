"""The keys a Supabase project signs its tokens with: fetched beside everything else, never asked
for by a request."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from http.client import HTTPException
from typing import TYPE_CHECKING, Annotated, Any

import msgspec

from server.clock import Clock, wait_event
from server.tls import client_context

if TYPE_CHECKING:
    import jwt

__all__ = ["ALGORITHMS", "SignerError", "Signers", "fetch_url", "read_signers"]

log = logging.getLogger(__name__)

#: What tokens may be signed with, and the kind of key each needs.
ALGORITHMS = {"ES256": "EC", "RS256": "RSA"}

#: Seconds between two fetches: at least, and at most while nothing asks for one.
FETCH_EVERY_S_MIN = 30.0
FETCH_EVERY_S = 600.0
#: Seconds after which keys count no more that could not be fetched anew: the project may have
#: withdrawn them.
AGE_S_MAX = 86_400.0
FETCH_TIMEOUT_S = 5.0
BODY_MAX = 1 << 16
SIGNERS_MAX = 16
RSA_BITS_MIN = 2048


class SignerError(Exception):
    """The keys could not be fetched, or are none; the message says why."""


class _Entry(msgspec.Struct):
    """One entry of the document; the rest of it is the library's to read."""

    kty: str
    kid: Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
    alg: str | None = None
    use: str | None = None
    crv: str | None = None


class _Document(msgspec.Struct):
    keys: Annotated[list[msgspec.Raw], msgspec.Meta(max_length=SIGNERS_MAX)]


def read_signers(body: bytes) -> dict[str, tuple[str, jwt.PyJWK]]:
    """Key id -> algorithm and key, from a JWKS document. Keys that sign no tokens are left out.

    Raises SignerError: no such document, or two keys with one id.
    """
    import jwt

    try:
        entries = msgspec.json.decode(body, type=_Document).keys
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise SignerError("the answer is no set of keys") from None
    signers: dict[str, tuple[str, jwt.PyJWK]] = {}
    for raw in entries:
        try:
            entry = msgspec.json.decode(raw, type=_Entry)
        except msgspec.ValidationError:
            continue  # one without an id: no token could name it
        algorithm = next((name for name, kind in ALGORITHMS.items() if kind == entry.kty), None)
        if (
            algorithm is None
            or entry.alg not in (None, algorithm)
            or entry.use not in (None, "sig")
        ):
            continue  # above all a shared secret, which has no business in public
        if algorithm == "ES256" and entry.crv != "P-256":
            continue
        if entry.kid in signers:
            raise SignerError("two keys have one id")
        try:
            key = jwt.PyJWK(_without_secret(raw), algorithm)
        except (jwt.PyJWTError, ValueError, TypeError):
            continue
        if algorithm == "RS256" and key.key.key_size < RSA_BITS_MIN:
            continue
        signers[entry.kid] = (algorithm, key)
    return signers


def _without_secret(raw: msgspec.Raw) -> dict[str, Any]:
    """Only what a public key consists of."""
    whole = msgspec.json.decode(raw)
    return {
        name: whole[name] for name in ("kty", "kid", "crv", "x", "y", "n", "e") if name in whole
    }


def fetch_url(url: str) -> bytes:
    """The body at ``url``, without following redirects; blocks. Raises SignerError.

    What answers for the project's keys is the project, not whoever it points at.
    """
    import urllib.error
    import urllib.request  # only servers of a project need what this brings

    class NoRedirect(urllib.request.HTTPRedirectHandler):
        def redirect_request(self, *arguments: Any) -> None:
            return None

    opener = urllib.request.build_opener(
        NoRedirect, urllib.request.HTTPSHandler(context=client_context())
    )
    try:
        with opener.open(url, timeout=FETCH_TIMEOUT_S) as answer:
            body: bytes = answer.read(BODY_MAX + 1)
    except urllib.error.HTTPError as error:
        error.close()
        raise SignerError(f"status {error.code}") from None
    except (OSError, HTTPException, ValueError) as error:
        raise SignerError(type(error).__name__) from None
    if len(body) > BODY_MAX:
        raise SignerError(f"more than {BODY_MAX} bytes")
    return body


class Signers:
    """The newest set of keys, refreshed by ``keep``."""

    def __init__(self, url: str, clock: Clock, fetch: Callable[[str], bytes] = fetch_url) -> None:
        """``fetch(url)`` runs in a thread. Raises SignerError from there."""
        self._url = url
        self._clock = clock
        self._fetch = fetch
        self._keys: Mapping[str, tuple[str, jwt.PyJWK]] = {}
        self._fetched_s: float | None = None
        self._wanted = asyncio.Event()
        self.fetches = 0
        self.failures = 0

    @property
    def usable(self) -> bool:
        """True if keys were fetched, and not too long ago."""
        fetched_s = self._fetched_s
        return fetched_s is not None and self._clock.monotonic() - fetched_s <= AGE_S_MAX

    def get(self, key_id: str) -> tuple[str, jwt.PyJWK] | None:
        """Algorithm and key of that id; if there is none, they are fetched anew soon."""
        found = self._keys.get(key_id) if self.usable else None
        if found is None:
            self._wanted.set()
        return found

    def __contains__(self, key_id: object) -> bool:
        return key_id in self._keys and self.usable

    async def keep(self) -> None:
        """Fetch now, then again and again: soon if a key was missed, but never too often."""
        while True:
            await self._refresh()
            await self._clock.sleep(FETCH_EVERY_S_MIN)
            await wait_event(self._wanted, self._clock, FETCH_EVERY_S - FETCH_EVERY_S_MIN)
            self._wanted.clear()

    async def _refresh(self) -> None:
        self.fetches += 1
        try:
            loop = asyncio.get_running_loop()
            body = await loop.run_in_executor(None, self._fetch, self._url)
            keys = read_signers(body)
        except SignerError as fault:
            self.failures += 1
            self._wanted.set()  # as soon as it may be
            log.warning("the keys that tokens are signed with: %s; asking again", fault)
            return
        if keys.keys() != self._keys.keys():
            log.info("tokens are signed with %d keys", len(keys))
        self._keys = keys
        self._fetched_s = self._clock.monotonic()
