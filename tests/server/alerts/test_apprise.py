"""Apprise, really, in a child: fed by a pipe, without our secrets, killed when it hangs."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest
from alert_peers import Answer, Peer
from alert_samples import NOW_MS, make_alert, make_target

from server.alerts import apprise
from server.alerts.addresses import RefusedError
from server.alerts.model import Kind, Outcome, Result

pytest.importorskip("apprise", reason="needs apprise, which is in the alerts extra")


def target(url: str) -> Any:
    return make_target(Kind.APPRISE, address=url.partition(":")[0], secret=url)


def test_a_message_goes_by_the_child_and_the_child_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("API_KEY", "canary-7f3a")

    async def scenario(peer: Peer) -> None:
        sender = apprise.Apprise()
        for number in range(3):
            alerts = [make_alert(number), make_alert(number + 1)]
            url = f"json://localhost:{peer.port}/hook"
            assert await sender.send(target(url), alerts, NOW_MS) == Outcome(Result.SENT)
        assert sender.starts == 1
        assert sender._child is not None
        environment = Path(f"/proc/{sender._child.pid}/environ").read_bytes()
        assert b"canary-7f3a" not in environment
        await sender.close()

    with Peer(secure=False) as peer:
        asyncio.run(scenario(peer))
        assert len(peer.got) == 3
        said = peer.got[0].json()
        assert said["title"] == "BTCUSDT 1m: oversold and 1 more"
        assert said["message"].count("BTCUSDT 1m fired at") == 2


def test_what_is_not_sent_is_tried_again_and_what_is_not_known_given_up() -> None:
    async def scenario(peer: Peer) -> None:
        sender = apprise.Apprise()
        url = f"json://localhost:{peer.port}/hook"
        outcome = await sender.send(target(url), [make_alert()], NOW_MS)
        assert outcome == Outcome(Result.RETRY, "apprise: not sent")
        outcome = await sender.send(target("nonsense://x"), [make_alert()], NOW_MS)
        assert outcome == Outcome(Result.DEAD, "apprise does not know such a URL")
        await sender.close()

    with Peer(lambda got: Answer(500), secure=False) as peer:
        asyncio.run(scenario(peer))


def test_a_child_that_hangs_or_dies_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(peer: Peer) -> None:
        sender = apprise.Apprise()
        url = f"json://localhost:{peer.port}/hook"
        assert (await sender.send(target(url), [make_alert()], NOW_MS)).result is Result.SENT
        assert sender._child is not None
        os.kill(sender._child.pid, 19)  # SIGSTOP
        monkeypatch.setattr(apprise, "TIMEOUT_S", 0.3)
        outcome = await sender.send(target(url), [make_alert()], NOW_MS)
        assert outcome == Outcome(Result.RETRY, "apprise: TimeoutError")
        monkeypatch.setattr(apprise, "TIMEOUT_S", 30.0)
        assert (await sender.send(target(url), [make_alert()], NOW_MS)).result is Result.SENT
        os.kill(sender._child.pid, 9)
        await sender._child.wait()
        assert (await sender.send(target(url), [make_alert()], NOW_MS)).result is Result.SENT
        assert sender.starts == 3
        await sender.close()

    with Peer(secure=False) as peer:
        asyncio.run(scenario(peer))


@pytest.mark.parametrize(
    "url", ["", "x", "json://", "json://a b", "JSON://x\n", "ntfy://" + "x" * 2048]
)
def test_what_is_no_apprise_url_is_refused(url: str) -> None:
    with pytest.raises(RefusedError):
        apprise.Apprise().check(target(url))
    apprise.Apprise().check(target("ntfy://topic"))
