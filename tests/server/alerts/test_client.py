"""The client that alerts go by: to the address that was checked, in the host's name, in time."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Mapping
from typing import Any

import pytest
from alert_peers import Answer, Peer, believing, unused_port

from server.alerts.addresses import Place, RefusedError, Rules
from server.alerts.client import Answer as Got
from server.alerts.client import HttpClient, UnreachableError

LOCAL = Rules(loopback=True, resolve=lambda host, port: ["127.0.0.1"])


def post(
    place: Place,
    *,
    rules: Rules = LOCAL,
    context: ssl.SSLContext | None = None,
    timeout_s: float = 30.0,
    headers: Mapping[str, str] | None = None,
    body: bytes = b"{}",
) -> Got:
    async def scenario() -> Got:
        client = HttpClient(rules, context=context or believing(), timeout_s=timeout_s)
        try:
            return await client.post(place, body, headers or {})
        finally:
            await client.close()

    return asyncio.run(scenario())


def test_the_host_is_named_and_the_checked_address_connected_to() -> None:
    with Peer(lambda got: Answer(202), "hooks.example.com") as peer:
        asked: list[str] = []

        def resolve(host: str, port: int) -> list[str]:
            asked.append(host)
            return ["127.0.0.1"]

        place = Place(True, "hooks.example.com", peer.port, "/a?b=c")
        answer = post(place, rules=Rules(loopback=True, resolve=resolve), headers={"x": "y"})
        assert answer.status == 202
        assert asked == ["hooks.example.com"]  # once: what was checked is what is used
        (got,) = peer.got
        assert (got.path, got.sni) == ("/a?b=c", "hooks.example.com")
        assert got.headers["host"] == f"hooks.example.com:{peer.port}"
        assert got.headers["x"] == "y"
        assert got.headers["connection"] == "close"
        assert got.body == b"{}"


def test_another_s_certificate_is_not_believed() -> None:
    with Peer(lambda got: Answer(), "other.example.com") as peer:
        with pytest.raises(UnreachableError, match="certificate"):
            post(Place(True, "hooks.example.com", peer.port, "/"))
        assert peer.got == []


def test_a_ca_that_is_not_known_is_not_believed() -> None:
    with Peer() as peer, pytest.raises(UnreachableError, match="certificate"):
        post(Place(True, "localhost", peer.port, "/"), context=ssl.create_default_context())


def test_no_redirect_is_followed() -> None:
    with Peer() as there:
        with Peer(lambda got: Answer(307, {"location": there.base + "/x"})) as peer:
            assert post(LOCAL.read(peer.base + "/")).status == 307
        assert there.got == []


def test_no_proxy_of_the_environment_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    with Peer(secure=False) as proxy, Peer() as peer:
        for name in ("http_proxy", "https_proxy", "all_proxy", "HTTPS_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.base)
        assert post(LOCAL.read(peer.base + "/")).status == 200
        assert proxy.got == []


@pytest.mark.parametrize(
    "answer",
    [
        Answer(wait_s=60.0),
        Answer(body=b"x" * 6000, drip_s=0.01),
        Answer(headers={"content-length": "100"}, body=b"cut", drip_s=20.0),
    ],
    ids=["silence", "drip", "stall"],
)
def test_an_answer_that_takes_too_long_is_given_up(answer: Answer) -> None:
    with Peer(lambda got: answer) as peer:
        started = time.monotonic()
        with pytest.raises(UnreachableError, match="within"):
            post(LOCAL.read(peer.base + "/"), timeout_s=0.4)
        assert time.monotonic() - started < 30


def test_a_peer_that_never_shakes_hands_is_given_up() -> None:
    import socket

    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        started = time.monotonic()
        with pytest.raises(UnreachableError):
            post(Place(True, "localhost", silent.getsockname()[1], "/"), timeout_s=0.3)
        assert time.monotonic() - started < 30


def test_of_a_long_answer_so_much_is_read_and_no_more() -> None:
    with Peer(lambda got: Answer(body=b"x" * (1 << 20))) as peer:
        assert len(post(LOCAL.read(peer.base + "/")).body) == 65_536


def test_nobody_there_is_no_answer() -> None:
    with pytest.raises(UnreachableError, match="no connection"):
        post(Place(True, "localhost", unused_port(), "/"))


def test_what_does_not_speak_http_is_no_answer() -> None:
    with Peer(secure=False) as peer, pytest.raises(UnreachableError):
        post(Place(True, "localhost", peer.port, "/"))


def test_a_name_that_leads_inside_is_not_connected_to() -> None:
    with Peer() as peer:
        place = Place(True, "hooks.example.com", peer.port, "/")
        for found in (["127.0.0.1"], ["8.8.8.8", "127.0.0.1"], ["10.0.0.1"]):
            with pytest.raises(RefusedError):
                post(place, rules=Rules(resolve=lambda host, port, found=found: found))
        assert peer.got == []


def test_the_next_address_is_tried_when_one_does_not_answer() -> None:
    with Peer() as peer:
        rules = Rules(loopback=True, resolve=lambda host, port: ["127.0.0.2", "127.0.0.1"])
        assert post(rules.read(peer.base + "/"), rules=rules).status == 200


def test_too_much_is_not_sent() -> None:
    with Peer() as peer:
        with pytest.raises(RefusedError):
            post(LOCAL.read(peer.base + "/"), body=b"x" * 65_537)
        assert peer.got == []


def test_a_client_gives_everything_back() -> None:
    async def scenario(peer: Any) -> None:
        client = HttpClient(LOCAL, context=believing())
        await asyncio.gather(
            *(client.post(LOCAL.read(peer.base + "/"), b"{}", {}) for _ in range(20))
        )
        await client.close()

    with Peer() as peer:
        asyncio.run(scenario(peer))
        assert len(peer.got) == 20
