"""The keys file: what it takes, who may write it, and what happens when it breaks."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import re
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.access.follower import FollowedKeys
from server.access.keys import (
    KEPT_MS,
    ApiKey,
    KeySet,
    KeysFile,
    KeysFileError,
    key_id_of,
    make_key,
)
from server.clock import SystemClock
from server.identity import Scope, Tier

NOW = 1_700_000_000_000
DAY = 86_400_000


@pytest.fixture
def file(tmp_path: Path) -> KeysFile:
    return KeysFile(str(tmp_path / "keys.json"))


def add(file: KeysFile, owner: str = "ann", **named: Any) -> tuple[str, ApiKey]:
    return file.add(owner, Tier.PRO, Scope.TRADE, now_ms=NOW, **named)


def test_a_key_is_256_random_bits_and_names_itself() -> None:
    keys = {make_key() for _ in range(100)}
    assert len(keys) == len({key_id_of(key.encode()) for key in keys}) == 100
    assert all(re.fullmatch(r"kline_[a-z0-9]{12}_[A-Za-z0-9_-]{43}", key) for key in keys)


def test_the_file_holds_hashes_and_is_for_nobody_elses_eyes(file: KeysFile) -> None:
    text, key = add(file, note="a bot")
    written = Path(file.path).read_text()
    assert text not in written
    assert text[19:] not in written
    assert key.sha256 == hashlib.sha256(text.encode()).hexdigest()
    for path in Path(file.path).parent.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_key_stands_for_what_it_was_made_for(file: KeysFile) -> None:
    text, key = add(file)
    keys, _ = file.read()
    assert keys.match(text.encode()) == key
    principal = keys.principal(key.id, NOW)
    assert principal is not None
    assert (principal.owner, principal.tier, principal.scope) == ("ann", Tier.PRO, Scope.TRADE)
    assert (principal.key_id, principal.bucket) == (key.id, f"key:{key.id}")


def test_an_owner_has_the_highest_tier_of_its_valid_keys(file: KeysFile) -> None:
    for owner, tier in (("ann", Tier.FREE), ("ann", Tier.PRO), ("bob", Tier.ELITE)):
        file.add(owner, tier, Scope.TRADE, now_ms=NOW)
    keys, _ = file.read()
    owners = ("ann", "bob", "eve")
    assert [keys.tier_of(owner, NOW) for owner in owners] == [Tier.PRO, Tier.ELITE, None]
    pro = next(key for key in file.list() if key.tier is Tier.PRO)
    file.revoke(pro.id, now_ms=NOW)
    assert file.read()[0].tier_of("ann", NOW) is Tier.FREE


def test_several_keys_of_an_owner_are_valid_at_once_and_rotation_leaves_no_gap(
    file: KeysFile,
) -> None:
    """K14: one key at a time could not be replaced."""
    old, first = add(file)
    new, second = file.rotate(first.id, now_ms=NOW, keep_ms=DAY)
    keys, _ = file.read()
    for moment, valid in ((NOW, {first.id, second.id}), (NOW + DAY, {second.id})):
        assert {k for k in keys.keys if keys.principal(k, moment)} == valid
    assert old != new
    assert keys.keys[second.id].owner == "ann"
    file.rotate(second.id, now_ms=NOW, keep_ms=0)
    with pytest.raises(KeysFileError, match="revoked or has expired"):
        file.rotate(second.id, now_ms=NOW, keep_ms=DAY)


def test_rotation_never_lengthens_a_life(file: KeysFile) -> None:
    _, key = add(file, expires_ms=NOW + 5)
    file.rotate(key.id, now_ms=NOW, keep_ms=DAY)
    assert file.list()[0].expires_ms == NOW + 5


def test_a_revoked_key_is_known_and_good_for_nothing(file: KeysFile) -> None:
    text, key = add(file)
    file.revoke(key.id, now_ms=NOW + 10)
    file.revoke(key.id, now_ms=NOW + 20)
    keys, _ = file.read()
    assert keys.match(text.encode()) is not None
    assert keys.principal(key.id, NOW + 10) is None
    assert keys.keys[key.id].revoked_ms == NOW + 10
    with pytest.raises(KeysFileError, match="no key 'nobody'"):
        file.revoke("nobody", now_ms=NOW)


def test_what_ended_long_ago_is_forgotten(file: KeysFile) -> None:
    _, old = add(file)
    _, kept = add(file)
    file.revoke(old.id, now_ms=NOW)
    file.sign_out("u", now_ms=NOW)
    later = NOW + KEPT_MS + 1
    file.sign_out("v", now_ms=later)
    keys, _ = file.read()
    assert set(keys.keys) == {kept.id}
    assert keys.signed_out == {"v": later}


def key_set(text: bytes) -> KeySet:
    key = ApiKey(
        id=key_id_of(text), sha256=hashlib.sha256(text).hexdigest(), owner="ann",
        tier=Tier.FREE, scope=Scope.READ, created_ms=0,
    )  # fmt: skip
    return KeySet({key.id: key})


@given(place=st.integers(0, 60), change=st.integers(1, 255))
def test_a_key_altered_in_any_byte_is_no_key(place: int, change: int) -> None:
    text = make_key().encode()
    keys = key_set(text)
    assert keys.match(text) is not None
    place %= len(text)
    altered = text[:place] + bytes([text[place] ^ change]) + text[place + 1 :]
    assert keys.match(altered) is None


@given(shown=st.binary(max_size=100))
def test_nothing_but_the_key_matches(shown: bytes) -> None:
    text = make_key().encode()
    keys = key_set(text)
    for candidate in (shown, text + shown, shown + text, text[:19] + shown):
        assert (keys.match(candidate) is not None) == (candidate == text)


# --- a file that cannot be used ---------------------------------------------------------------


def entry(**changes: Any) -> dict[str, Any]:
    return {
        "id": "a" * 12, "sha256": "0" * 64, "owner": "ann", "tier": "pro", "scope": "read",
        "created_ms": 0,
    } | changes  # fmt: skip


MALFORMED: dict[str, Any] = {
    "empty": b"",
    "cut off": b'{"version":1,"keys":[{"id":"aaaa',
    "no object": b"[]",
    "not UTF-8": b'{"version":1,"keys":[],"\xff":1}',
    "nested": b"[" * 100_000,
    "another version": {"version": 2, "keys": []},
    "unknown field": {"version": 1, "keys": [], "key": []},
    "plain key": {"version": 1, "keys": [entry(sha256="canary-secret")]},
    "unknown tier": {"version": 1, "keys": [entry(tier="canary-secret")]},
    "unknown scope": {"version": 1, "keys": [entry(scope="canary-secret")]},
    "odd id": {"version": 1, "keys": [entry(id="canary-secret")]},
    "short digest": {"version": 1, "keys": [entry(sha256="00")]},
    "upper digest": {"version": 1, "keys": [entry(sha256="A" * 64)]},
    "no owner": {"version": 1, "keys": [entry(owner="")]},
    "owner with a newline": {"version": 1, "keys": [entry(owner="ann\n")]},
    "expiry as text": {"version": 1, "keys": [entry(expires_ms="never")]},
    "negative expiry": {"version": 1, "keys": [entry(expires_ms=-1)]},
    "unknown word": {"version": 1, "keys": [entry(canary_secret=True)]},
    "one id twice": {"version": 1, "keys": [entry(), entry(owner="bob")]},
    "nothing said of a key": {"version": 1, "keys": [{}]},
}


def write(path: Path, contents: Any) -> None:
    path.write_bytes(contents if isinstance(contents, bytes) else json.dumps(contents).encode())
    path.chmod(0o600)


@pytest.mark.parametrize("how", MALFORMED)
def test_a_malformed_file_is_none_and_nothing_of_it_is_told(file: KeysFile, how: str) -> None:
    write(Path(file.path), MALFORMED[how])
    with pytest.raises(KeysFileError, match=re.escape(file.path)) as caught:
        file.read()
    assert "canary" not in str(caught.value)
    before = Path(file.path).read_bytes()
    with pytest.raises(KeysFileError):
        add(file)
    assert Path(file.path).read_bytes() == before


@given(data=st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_any_bytes_are_no_keys(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "any.json"
    write(path, data)
    try:
        keys, _ = KeysFile(str(path)).read()
    except KeysFileError:
        return
    assert len(keys) == 0


@given(cut=st.integers(0, 400), alter=st.integers(0, 255), tail=st.sampled_from([b"", b"}", b"\0"]))
def test_a_damaged_file_never_opens_more(
    tmp_path_factory: pytest.TempPathFactory, cut: int, alter: int, tail: bytes
) -> None:
    """A changed byte may rename an owner, but makes no key good for more than it was."""
    whole = json.dumps({"version": 1, "keys": [entry(tier="free")], "signed_out": {}}).encode()
    cut %= len(whole)
    path = tmp_path_factory.getbasetemp() / "damaged.json"
    write(path, whole[:cut] + bytes([alter]) + whole[cut + 1 :] + tail)
    try:
        keys, _ = KeysFile(str(path)).read()
    except KeysFileError:
        return
    assert all((k.tier, k.scope) == (Tier.FREE, Scope.READ) for k in keys.keys.values())


def test_a_file_that_others_may_write_to_is_refused(file: KeysFile) -> None:
    add(file)
    for mode in (0o620, 0o602, 0o666):
        os.chmod(file.path, mode)
        with pytest.raises(KeysFileError, match="others may write to it"):
            file.read()
    os.chmod(file.path, 0o444)  # as secrets are mounted into containers
    assert len(file.read()[0]) == 1


@pytest.mark.parametrize("make", [lambda p: None, Path.mkdir, os.mkfifo], ids=["no", "dir", "pipe"])
def test_what_is_no_file_is_refused(file: KeysFile, make: Callable[[Path], None]) -> None:
    make(Path(file.path))
    with pytest.raises(KeysFileError):
        file.read()


def add_some(path: str) -> None:
    for index in range(5):
        KeysFile(path).add(f"o{index}", Tier.FREE, Scope.READ, now_ms=NOW)


def test_keys_made_at_the_same_time_are_all_there(file: KeysFile) -> None:
    add(file)
    fork = multiprocessing.get_context("fork")
    makers = [fork.Process(target=add_some, args=(file.path,)) for _ in range(3)]
    for maker in makers:
        maker.start()
    while any(maker.is_alive() for maker in makers):
        assert len(file.read()[0]) >= 1  # whole at any moment
    for maker in makers:
        maker.join()
    assert [maker.exitcode for maker in makers] == [0, 0, 0]
    assert len(file.list()) == 16


# --- following it ------------------------------------------------------------------------------


def test_a_file_that_breaks_later_leaves_the_keys_and_says_so_once(
    file: KeysFile, caplog: pytest.LogCaptureFixture
) -> None:
    text, key = add(file)
    keys = FollowedKeys(file, SystemClock())
    good = Path(file.path).read_bytes()
    for broken in (b"{", None):
        caplog.clear()
        if broken is None:
            os.unlink(file.path)
        else:
            write(Path(file.path), broken)
        for _ in range(3):
            keys._look()
        assert keys.fault is not None
        assert [r.message.count("the keys stay as they were") for r in caplog.records] == [1]
        assert keys.current.match(text.encode()) == key
    assert keys.faults == 2
    write(Path(file.path), good)
    keys._look()
    assert keys.fault is None


def test_every_change_is_noticed_also_one_of_the_same_length_and_moment(file: KeysFile) -> None:
    add(file)
    keys = FollowedKeys(file, SystemClock())
    path = Path(file.path)
    for owner in ("bob", "eve", "ann"):
        state = path.stat()
        path.write_text(re.sub(r'"owner": "\w+"', f'"owner": "{owner}"', path.read_text()))
        os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
        keys._look()
        assert {key.owner for key in keys.current.keys.values()} == {owner}


def test_an_old_file_is_read_once(file: KeysFile) -> None:
    add(file)
    os.utime(file.path, (1, 1))
    keys = FollowedKeys(file, SystemClock())
    for _ in range(5):
        keys._look()
    assert keys.readings == 1
