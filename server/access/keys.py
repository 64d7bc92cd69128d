"""API keys: 256 random bits each, shown once; the file holds their hashes and what they stand for.

The file is replaced as a whole and never written in place. Whoever reads it finds the old keys or
the new ones, and a malformed file is none at all: nobody gets in by a mistake in it.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import hmac
import os
import re
import secrets
import stat
from collections.abc import Callable, Iterator
from typing import Annotated, NamedTuple, TypeVar

import msgspec

from server.errors import SettingsError
from server.identity import Principal, Scope, Tier

__all__ = [
    "KEYS_MAX",
    "ApiKey",
    "KeySet",
    "KeysFile",
    "KeysFileError",
    "Seen",
    "key_id_of",
    "make_key",
]

Result = TypeVar("Result")

#: Bytes of the file, and keys in it, also those revoked or expired.
FILE_BYTES_MAX = 8 << 20
KEYS_MAX = 10_000
#: Users whose tokens of before a moment are refused.
SIGNED_OUT_MAX = 10_000
#: How long it is remembered what a key was that is good for nothing any more; and users signed
#: out: no token lives longer (Supabase allows a week).
KEPT_MS = 30 * 86_400_000

#: ``kline_<id>_<secret>``: found by its form where it should not be, and by its id in the file.
_KEY = re.compile(rb"kline_([a-z0-9]{12})_[A-Za-z0-9_-]{43}")
_ID_LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"
_ID_LENGTH = 12
_SECRET_BYTES = 32  # 256 bits

#: Compared with where there is no key of that id, so that it takes as long.
_NO_DIGEST = hashlib.sha256(b"").hexdigest()

_Owner = Annotated[str, msgspec.Meta(pattern=r"^[!-~]{1,128}\Z")]
_Time = Annotated[int, msgspec.Meta(ge=0, le=9_999_999_999_999)]


class ApiKey(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the file says of one key. Times are ms since 1970 UTC."""

    id: Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9]{12}\Z")]
    sha256: Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}\Z")]  # of the whole key
    owner: _Owner
    tier: Tier
    scope: Scope
    created_ms: _Time
    expires_ms: _Time | None = None
    revoked_ms: _Time | None = None
    note: Annotated[str, msgspec.Meta(max_length=200)] = ""

    def ended_ms(self) -> int | None:
        """When it became, or becomes, good for nothing."""
        ends = [moment for moment in (self.expires_ms, self.revoked_ms) if moment is not None]
        return min(ends) if ends else None

    def valid(self, now_ms: int) -> bool:
        """True while it opens anything."""
        ended_ms = self.ended_ms()
        return ended_ms is None or now_ms < ended_ms

    def principal(self) -> Principal:
        """Who it stands for."""
        return Principal(
            owner=self.owner,
            tier=self.tier,
            scope=self.scope,
            key_id=self.id,
            bucket=f"key:{self.id}",
        )


class _Contents(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The file."""

    version: Annotated[int, msgspec.Meta(ge=1, le=1)] = 1
    keys: list[ApiKey] = []
    #: Users -> ms: their tokens issued until then are refused.
    signed_out: dict[_Owner, _Time] = {}


class KeysFileError(SettingsError):
    """The keys file cannot be used; the message says why, and nothing of what is in it."""


class KeySet:
    """The keys of one reading of the file."""

    def __init__(
        self, keys: dict[str, ApiKey] | None = None, signed_out: dict[str, int] | None = None
    ) -> None:
        self.keys = keys or {}
        self.signed_out = signed_out or {}
        self._principals = {key.id: key.principal() for key in self.keys.values()}

    def __len__(self) -> int:
        """Keys, also those that have ended."""
        return len(self.keys)

    def match(self, shown: bytes) -> ApiKey | None:
        """The key that ``shown`` is, be it still valid or not.

        How long it takes says nothing of how much of its secret was right. Ids are no secrets.
        """
        key = self.keys.get(key_id_of(shown))
        digest = hashlib.sha256(shown).hexdigest()
        same = hmac.compare_digest(digest, _NO_DIGEST if key is None else key.sha256)
        return key if same and key is not None else None

    def tier_of(self, owner: str, now_ms: int) -> Tier | None:
        """The highest tier of an owner's valid keys; None without one. O(keys)."""
        found: Tier | None = None
        for key in self.keys.values():
            if key.owner == owner and key.valid(now_ms):
                found = key.tier if found is None or key.tier.includes(found) else found
        return found

    def principal(self, key_id: str, now_ms: int) -> Principal | None:
        """Who the key of that id stands for at that moment."""
        key = self.keys.get(key_id)
        return self._principals[key_id] if key is not None and key.valid(now_ms) else None


class Seen(NamedTuple):
    """What tells one state of the file from another."""

    device: int
    inode: int
    size: int
    mtime_ns: int


class KeysFile:
    """The file at ``path``. Its keys are altered by one process at a time, readers never wait."""

    def __init__(self, path: str) -> None:
        self.path = path

    def see(self) -> Seen | None:
        """Its state by now; None: it is not there."""
        try:
            return _seen(os.stat(self.path))
        except OSError:
            return None

    def read(self) -> tuple[KeySet, Seen]:
        """All of it, and the state that was read.

        Raises
        ------
        KeysFileError: it is not there, others may write to it, or it is malformed.
        """
        data, seen = self._load()
        contents = self._parse(data)
        return KeySet({key.id: key for key in contents.keys}, contents.signed_out), seen

    def _load(self) -> tuple[bytes, Seen]:
        try:
            # Not blocking: whoever opens a pipe waits for somebody to write to it.
            descriptor = os.open(self.path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            try:
                state = os.fstat(descriptor)
                if not stat.S_ISREG(state.st_mode):
                    raise self._error("it is no file")
                if state.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
                    raise self._error("others may write to it; chmod 600 it")
                with open(descriptor, "rb", closefd=False) as file:
                    data = file.read(FILE_BYTES_MAX + 1)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise self._error(str(error.strerror)) from None
        if len(data) > FILE_BYTES_MAX:
            raise self._error(f"it has more than {FILE_BYTES_MAX} bytes")
        return data, _seen(state)

    def _parse(self, data: bytes) -> _Contents:
        try:
            contents = msgspec.json.decode(data, type=_Contents)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            # Only the place: the rest of the message may quote what stands there.
            _, _, place = str(error).partition(" - at ")
            raise self._error(f"it is malformed{f' at {place}' if place else ''}") from None
        if len({key.id for key in contents.keys}) < len(contents.keys):
            raise self._error("it has two keys with one id")
        if len(contents.keys) > KEYS_MAX or len(contents.signed_out) > SIGNED_OUT_MAX:
            raise self._error("it has too many entries")
        return contents

    def add(
        self,
        owner: str,
        tier: Tier,
        scope: Scope,
        *,
        now_ms: int,
        expires_ms: int | None = None,
        note: str = "",
    ) -> tuple[str, ApiKey]:
        """Make a key; returns it, which nobody can do again, and what the file says of it.

        Raises KeysFileError: see ``read``; no room; or words that do not fit the file.
        """
        text = make_key()
        key = ApiKey(
            id=key_id_of(text.encode()),
            sha256=hashlib.sha256(text.encode()).hexdigest(),
            owner=owner,
            tier=tier,
            scope=scope,
            created_ms=now_ms,
            expires_ms=expires_ms,
            note=note,
        )
        self._alter(now_ms, lambda contents: contents.keys.append(key), create=True)
        return text, key

    def revoke(self, key_id: str, *, now_ms: int) -> ApiKey:
        """Make a key good for nothing. Raises KeysFileError: see ``read``; no such key."""

        def alter(contents: _Contents) -> ApiKey:
            place = self._place(contents, key_id)
            key = contents.keys[place]
            revoked_ms = now_ms if key.revoked_ms is None else key.revoked_ms
            contents.keys[place] = msgspec.structs.replace(key, revoked_ms=revoked_ms)
            return contents.keys[place]

        return self._alter(now_ms, alter)

    def rotate(
        self, key_id: str, *, now_ms: int, keep_ms: int, expires_ms: int | None = None
    ) -> tuple[str, ApiKey]:
        """Make a key that stands for the same; the old one is good for ``keep_ms`` more.

        Raises KeysFileError: see ``read``; no such key, or it has ended.
        """
        text = make_key()

        def alter(contents: _Contents) -> ApiKey:
            place = self._place(contents, key_id)
            old = contents.keys[place]
            if not old.valid(now_ms):
                raise self._error(f"key {key_id} is revoked or has expired")
            ends_ms = min(old.expires_ms or now_ms + keep_ms, now_ms + keep_ms)
            contents.keys[place] = msgspec.structs.replace(old, expires_ms=ends_ms)
            new = msgspec.structs.replace(
                old,
                id=key_id_of(text.encode()),
                sha256=hashlib.sha256(text.encode()).hexdigest(),
                created_ms=now_ms,
                expires_ms=expires_ms,
            )
            contents.keys.append(new)
            return new

        return text, self._alter(now_ms, alter)

    def sign_out(self, user: str, *, now_ms: int) -> None:
        """Refuse every token of a user that was issued until now. Raises KeysFileError."""

        def alter(contents: _Contents) -> None:
            contents.signed_out[user] = now_ms

        self._alter(now_ms, alter, create=True)

    def list(self) -> list[ApiKey]:
        """Every key of the file. Raises KeysFileError: see ``read``."""
        return list(self.read()[0].keys.values())

    def _alter(
        self, now_ms: int, alter: Callable[[_Contents], Result], *, create: bool = False
    ) -> Result:
        """Read, alter, check and replace the file, one process after the other."""
        try:
            with self._alone():
                missing = create and not os.path.exists(self.path)
                contents = _Contents(1, [], {}) if missing else self._parse(self._load()[0])
                result = alter(contents)
                data = msgspec.json.format(msgspec.json.encode(_pruned(contents, now_ms)))
                self._parse(data)  # nobody would read it otherwise
                self._replace(data + b"\n")
        except OSError as error:
            raise self._error(str(error.strerror)) from None
        return result

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        # Beside the file, which is replaced: a lock on it would be one on what it was.
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
        descriptor = os.open(f"{self.path}.lock", flags, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def _replace(self, data: bytes) -> None:
        path = f"{self.path}.new"
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with open(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(descriptor)
        os.replace(path, self.path)
        directory = os.open(os.path.dirname(self.path) or ".", os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)

    def _place(self, contents: _Contents, key_id: str) -> int:
        for place, key in enumerate(contents.keys):
            if key.id == key_id:
                return place
        raise self._error(f"it has no key {key_id[:40]!r}")

    def _error(self, reason: str) -> KeysFileError:
        return KeysFileError(f"keys file {self.path}: {reason}")


def _pruned(contents: _Contents, now_ms: int) -> _Contents:
    """Without what ended long ago."""
    since_ms = now_ms - KEPT_MS
    keys = [key for key in contents.keys if (key.ended_ms() or now_ms) > since_ms]
    signed_out = {user: at for user, at in contents.signed_out.items() if at > since_ms}
    return _Contents(contents.version, keys, signed_out)


def make_key() -> str:
    """A new key: its id and 256 bits from the system's generator."""
    key_id = "".join(secrets.choice(_ID_LETTERS) for _ in range(_ID_LENGTH))
    return f"kline_{key_id}_{secrets.token_urlsafe(_SECRET_BYTES)}"


def key_id_of(shown: bytes) -> str:
    """The id in a key's text; empty where it has not the form of a key."""
    match = _KEY.fullmatch(shown)
    return match[1].decode() if match is not None else ""


def _seen(state: os.stat_result) -> Seen:
    return Seen(state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns)
