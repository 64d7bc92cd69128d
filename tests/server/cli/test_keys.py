"""``klineserver keys``, and a server in a process of its own that follows what it does."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import re
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from commands import Demo, fetch, until
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from server.access.keys import KeysFile
from server.identity import Scope, Tier

Run = Callable[..., Any]
KEY = re.compile(r"kline_([a-z0-9]{12})_[A-Za-z0-9_-]{43}")
OWN = "canary-of-the-operator"
#: What is promised: a change is noticed, and what is open ends.
NOTICED_S = 2.0
ENDED_S = 5.0
#: How often it is tried at most, since others may have the processor meanwhile.
TRIES = 5


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "keys.json")


def add(run: Run, path: str, *arguments: str) -> tuple[str, str]:
    """A new key and its id."""
    result = run("keys", "add", "--owner", "ann", *arguments, KLINE_API_KEYS_FILE=path)
    assert result.exit_code == 0, result.output
    found = KEY.search(result.stdout)
    assert found is not None
    assert result.stdout == found[0] + "\n"  # alone, for scripts
    return found[0], found[1]


def test_a_key_is_made_shown_once_listed_rotated_and_revoked(run: Run, path: str) -> None:
    key, key_id = add(run, path, "--tier", "pro", "--scope", "trade", "--note", "a bot")
    assert stat.S_IMODE(Path(path).stat().st_mode) == 0o600
    listed = run("keys", "list", "--file", path).output
    assert re.search(rf"{key_id} +ann +pro +trade .* valid +a bot", listed)
    assert key not in listed
    rotated = run("keys", "rotate", key_id, "--keep", "1h", "--file", path)
    new = KEY.search(rotated.stdout)
    assert new is not None
    listed = run("keys", "list", "--file", path).output
    assert re.search(rf"{key_id} .* valid until ", listed)
    assert re.search(rf"{new[1]} +ann +pro +trade .* valid", listed)
    revoked = run("keys", "revoke", key_id, new[1], "--file", path)
    assert revoked.exit_code == 0
    assert run("keys", "list", "--file", path).output.count("revoked") == 2


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["list"], "No such file"),
        (["revoke", "abc"], "No such file"),
        (["revoke"], "name a key's ID, or a --user"),
        (["add"], "Missing option '--owner'"),
        (["add", "--owner", ""], "malformed"),
        (["add", "--owner", "two words"], "malformed"),
        (["add", "--owner", "a", "--expires", "soon"], "such as 30m, 24h or 90d"),
        (["add", "--owner", "a", "--scope", "root"], "'root' is not one of"),
    ],
)
def test_what_is_wrong_is_said_and_changes_nothing(
    run: Run, path: str, arguments: list[str], part: str
) -> None:
    result = run("keys", *arguments, KLINE_API_KEYS_FILE=path)
    assert result.exit_code == 2
    assert part in result.output
    assert not Path(path).exists()


def test_without_a_file_named_nothing_is_made(run: Run) -> None:
    assert "KLINE_API_KEYS_FILE" in run("keys", "add", "--owner", "ann").output


def test_the_doctor_looks_at_the_file(run: Run, path: str) -> None:
    def said() -> str:
        return str(run("doctor", "--offline", "--port", "0", KLINE_API_KEYS_FILE=path).output)

    assert f"BAD  keys       keys file {path}: No such file" in said()
    add(run, path)
    assert f"ok   keys       1 valid of 1 keys in {path}" in said()


# --- a server that follows the file --------------------------------------------------------------


def serve(path: str) -> tuple[Demo, str, str]:
    """A running server, its keys file, and a key that it has."""
    key, _ = KeysFile(path).add("ann", Tier.PRO, Scope.READ, now_ms=0)
    demo = Demo(
        "--speed", "40", "--capacity", "50", "--log-format", "json", "--log-level", "debug",
        API_KEY=OWN, KLINE_API_KEYS_FILE=path,
    )  # fmt: skip
    return demo, path, key


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Demo, str, str]]:
    """One for all tests, which together must not show ten wrong keys."""
    demo, path, key = serve(str(tmp_path_factory.mktemp("served") / "keys.json"))
    yield demo, path, key
    demo.command.end()


def until_known(demo: Demo, path: str) -> None:
    """Return when the server has the keys that the file has."""
    count = len(KeysFile(path).list())
    line = f"\nkeys {count}\n".encode()
    until(lambda: line in fetch(demo.port, "/metrics", **{"X-API-Key": OWN})[1])


def status(demo: Demo, key: str) -> int:
    return fetch(demo.port, "/tickers", **{"X-API-Key": key})[0]


def test_a_running_server_notices_keys_that_come_and_go(
    run: Run, served: tuple[Demo, str, str]
) -> None:
    demo, path, _ = served
    came_s, went_s = [], []
    for _ in range(TRIES):
        key, key_id = add(run, path)
        started = time.monotonic()
        until_known(demo, path)
        came_s.append(time.monotonic() - started)
        assert status(demo, key) == 200
        run("keys", "revoke", key_id, "--file", path)
        started = time.monotonic()
        until(lambda key=key: status(demo, key) == 401)
        went_s.append(time.monotonic() - started)
        if max(min(came_s), min(went_s)) < NOTICED_S:
            break
    assert max(min(came_s), min(went_s)) < NOTICED_S, (came_s, went_s)


def test_what_a_revoked_key_holds_open_is_closed_in_time(
    run: Run, served: tuple[Demo, str, str]
) -> None:
    demo, path, stays = served
    url = f"ws://127.0.0.1:{demo.port}/ws"

    async def scenario(key: str, key_id: str) -> tuple[float, int, str]:
        async with (
            connect(url, additional_headers={"X-API-Key": key}, max_queue=None) as gone,
            connect(url, additional_headers={"X-API-Key": stays}, max_queue=None) as other,
        ):
            await gone.recv()
            await asyncio.to_thread(run, "keys", "revoke", key_id, "--file", path)
            started = time.monotonic()
            with contextlib.suppress(ConnectionClosed):
                while True:
                    await asyncio.wait_for(gone.recv(), 60)
            took_s = time.monotonic() - started
            await asyncio.wait_for(other.recv(), 60)
            return took_s, gone.close_code or 0, gone.close_reason or ""

    took_s = []
    while not took_s or (min(took_s) >= ENDED_S and len(took_s) < TRIES):
        key, key_id = add(run, path)
        until_known(demo, path)
        seconds, code, reason = asyncio.run(scenario(key, key_id))
        took_s.append(seconds)
        assert (code, "key" in reason) == (4401, True)
    assert min(took_s) < ENDED_S, took_s


def test_a_broken_file_opens_and_closes_nothing(served: tuple[Demo, str, str]) -> None:
    demo, path, key = served
    good = Path(path).read_bytes()
    Path(path).write_text('{"version": 1, "keys": [{"id": "canary-of-the-file"')
    try:
        until(lambda: "the keys stay as they were" in "".join(demo.command.stderr))
        assert [status(demo, shown) for shown in (key, OWN, "wrong")] == [200, 200, 401]
        metrics = fetch(demo.port, "/metrics", **{"X-API-Key": OWN})[1]
        assert b"keys_file_fault 1" in metrics
    finally:
        Path(path).write_bytes(good)


TARGETS = (
    "/", "/health", "/ready", "/openapi.json", "/tickers", "/metrics", "/nope", "/v1/status",
    "/klines/BTCUSDT/1m?limit=x", "/ws", "/v1/traders", "/v1/symbols",
)  # fmt: skip


def test_no_secret_is_in_anything_the_server_says(path: str) -> None:
    """The canary: logs, metrics, errors, descriptions, whatever is asked and however."""
    demo, _, key = serve(path)
    try:
        shown = (OWN, key, OWN + "x", key[:-1], "canary-of-a-guess", "x" * 9000)
        said = [
            fetch(demo.port, target, **{name: f"{scheme}{text}"})[1].decode()
            for text in shown
            for target in TARGETS
            for name, scheme in (("X-API-Key", ""), ("Authorization", "Bearer "))
        ]
        said += [fetch(demo.port, f"/tickers?key={text}")[1].decode() for text in (OWN, key)]
        Path(path).write_text('{"version": 1, "keys": [{"id": "canary-of-the-file"')
        until(lambda: "the keys stay as they were" in "".join(demo.command.stderr))
    finally:
        demo.command.end()
    said += [*demo.command.stderr, *demo.command.stdout]
    text = "\n".join(said)
    assert '"level":"' in text.replace('": "', '":"')  # there are logs
    assert '"code":"unauthorized"' in text
    digest = hashlib.sha256(key.encode()).hexdigest()
    for secret in (OWN, key, key[19:], digest, "canary-of-a-guess", "canary-of-the-file"):
        assert secret not in text
