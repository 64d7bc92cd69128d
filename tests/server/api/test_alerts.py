"""Alert routes: one's own targets and nobody else's, made, tried, changed, and no secret twice."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from alert_peers import Answer, Peer
from alert_samples import make_signal, make_trader
from api_house import House, serving
from chats import HOOK, TOKEN

from server.alerts.signing import read_secret

ANNAS, BERTS, BUILTIN = make_trader(1), make_trader(2, "bert"), make_trader(3, None)
HOOKED = {"kind": "webhook", "name": "bot", "address": "https://hooks.example.com/a"}


def run(folder: Path, scenario: Callable[[House], Any], **settings: Any) -> None:
    async def whole() -> None:
        async with serving(folder, alert_loopback=True, **settings) as house:
            house.own(ANNAS, BERTS, BUILTIN)
            await scenario(house)

    asyncio.run(asyncio.wait_for(whole(), 120))


def test_a_webhook_s_secret_is_shown_once(tmp_path: Path) -> None:
    async def scenario(house: House) -> None:
        made = await house.ask("anna", "/v1/alerts", "POST", HOOKED)
        assert made.status == 201
        secret = made.json()["secret"]
        read_secret(secret)
        id = made.json()["id"]
        for who in ("anna", "reader"):
            for target in ("/v1/alerts", f"/v1/alerts/{id}"):
                shown = await house.ask(who, target)
                assert shown.status == 200
                assert secret.encode() not in shown.body
        (listed,) = (await house.ask("anna", "/v1/alerts")).json()["targets"]
        assert listed["address"] == HOOKED["address"]
        assert listed["status"]["waiting"] == 0

    run(tmp_path, scenario)


@pytest.mark.parametrize(
    ("draft", "address"),
    [
        ({"kind": "telegram", "address": "-100123", "secret": TOKEN}, "-100123"),
        ({"kind": "discord", "secret": "https://discord.com" + HOOK}, "https"),
        ({"kind": "email", "address": "anna@example.org"}, "anna@example.org"),
    ],
)
def test_other_kinds_keep_what_they_need_and_show_none_of_it(
    tmp_path: Path, draft: dict[str, str], address: str
) -> None:
    async def scenario(house: House) -> None:
        made = await house.ask("anna", "/v1/alerts", "POST", {"name": "n", **draft})
        assert made.status == 201, made.json()
        assert made.json()["secret"] is None
        assert made.json()["address"] == address
        shown = await house.ask("anna", f"/v1/alerts/{made.json()['id']}")
        assert draft.get("secret", "no secret").encode() not in made.body + shown.body

    run(tmp_path, scenario, smtp_host="localhost", smtp_from="a@example.com")


@pytest.mark.parametrize(
    ("who", "changed", "status", "code"),
    [
        ("anna", {"address": "https://10.0.0.1/"}, 400, "invalid_target"),
        ("anna", {"address": "http://hooks.example.com/"}, 400, "invalid_target"),
        ("anna", {"address": ""}, 400, "invalid_target"),
        ("anna", {"kind": "pigeon"}, 400, "bad_body"),
        ("anna", {"owner": "bert"}, 400, "bad_body"),
        ("anna", {"name": ""}, 400, "bad_body"),
        ("anna", {"kind": "email", "address": "anna@example.org"}, 400, "invalid_target"),
        ("anna", {"kind": "apprise", "secret": "ntfy://x"}, 403, "not_allowed"),
        ("anna", {"traders": [BERTS.id]}, 404, "unknown_trader"),
        ("operator", {"traders": [BERTS.id]}, 404, "unknown_trader"),
        ("carl", {}, 403, "tier"),
        ("reader", {}, 403, "insufficient_scope"),
    ],
)
def test_what_cannot_be_a_target_is_refused(
    tmp_path: Path, who: str, changed: dict[str, Any], status: int, code: str
) -> None:
    async def scenario(house: House) -> None:
        refused = await house.ask(who, "/v1/alerts", "POST", HOOKED | changed)
        assert (refused.status, refused.code) == (status, code)
        assert (await house.ask(who, "/v1/alerts")).json()["targets"] == []

    run(tmp_path, scenario)


def test_another_s_target_is_not_there(tmp_path: Path) -> None:
    async def scenario(house: House) -> None:
        id = (await house.ask("anna", "/v1/alerts", "POST", HOOKED)).json()["id"]
        for who in ("bert", "operator"):
            for method, path, body in (
                ("GET", f"/v1/alerts/{id}", None),
                ("PATCH", f"/v1/alerts/{id}", {"enabled": False}),
                ("DELETE", f"/v1/alerts/{id}", None),
                ("POST", f"/v1/alerts/{id}/test", None),
                ("POST", f"/v1/alerts/{id}/secret", None),
            ):
                answer = await house.ask(who, path, method, body)
                assert (answer.status, answer.code) == (404, "unknown_target")
            assert (await house.ask(who, "/v1/alerts")).json()["targets"] == []
        assert (await house.ask("anna", f"/v1/alerts/{id}")).json()["enabled"]

    run(tmp_path, scenario)


def test_so_many_targets_and_no_more(tmp_path: Path) -> None:
    async def scenario(house: House) -> None:
        for status in (201, 201, 403):
            answer = await house.ask("anna", "/v1/alerts", "POST", HOOKED)
            assert answer.status == status
        assert answer.code == "quota_exceeded"

    run(tmp_path, scenario, alert_targets_max=2)


def test_a_signal_arrives_a_test_says_how_it_ended_and_a_secret_is_rotated(tmp_path: Path) -> None:
    async def scenario(house: House) -> None:
        with Peer(lambda got: Answer(204, body=b""), secure=False) as peer:
            draft = HOOKED | {"address": peer.base + "/hook", "traders": [ANNAS.id, BUILTIN.id]}
            made = (await house.ask("anna", "/v1/alerts", "POST", draft)).json()
            tested = await house.ask("anna", f"/v1/alerts/{made['id']}/test", "POST")
            assert tested.json() == {"result": "sent", "reason": ""}
            assert "this is a test" in peer.got[0].json()["trader"]["name"]
            rotated = await house.ask("anna", f"/v1/alerts/{made['id']}/secret", "POST")
            assert rotated.json()["secret"] != made["secret"]
            signals = [make_signal(0, one) for one in (ANNAS, BERTS, BUILTIN)]
            expected = {signals[0].id, signals[2].id}
            house.tell(*signals)
            # Each once or, where an answer was too late, once more.
            while not (told := {got.json()["data"]["id"] for got in peer.got[1:]}) >= expected:
                await asyncio.sleep(0.01)
            assert told == expected
            assert all(len(got.headers["webhook-signature"].split()) == 2 for got in peer.got[1:])
            # No traders at all: all of one's own.
            changed = await house.ask(
                "anna", f"/v1/alerts/{made['id']}", "PATCH", {"traders": [], "name": "all"}
            )
            assert (changed.json()["traders"], changed.json()["name"]) == ([], "all")
            gone = await house.ask("anna", f"/v1/alerts/{made['id']}", "DELETE")
            assert gone.status == 204
            assert (await house.ask("anna", f"/v1/alerts/{made['id']}")).status == 404

    run(tmp_path, scenario)


def test_changes_at_the_same_time_all_count(tmp_path: Path) -> None:
    async def scenario(house: House) -> None:
        id = (await house.ask("anna", "/v1/alerts", "POST", HOOKED)).json()["id"]
        path = f"/v1/alerts/{id}"
        changes = [{"name": "all"}, {"enabled": False}, {"traders": [ANNAS.id]}]
        first, *replies = await asyncio.gather(
            house.ask("anna", f"{path}/secret", "POST"),
            *(house.ask("anna", path, "PATCH", change) for change in changes),
            house.ask("anna", f"{path}/secret", "POST"),
        )
        assert [reply.status for reply in replies] == [200] * 4
        shown = (await house.ask("anna", path)).json()
        assert [shown[name] for name in ("name", "enabled", "traders")] == [
            "all",
            False,
            [ANNAS.id],
        ]
        assert house.state.alerts is not None
        target = house.state.alerts.get("anna", id)
        assert target is not None
        secrets = (replies[-1].json()["secret"], first.json()["secret"])
        assert (target.secret, target.old_secret) == secrets

    run(tmp_path, scenario)


@pytest.mark.parametrize("method", ["PATCH", "GET"])
def test_a_target_that_goes_meanwhile_is_no_fault(tmp_path: Path, method: str) -> None:
    async def scenario(house: House) -> None:
        id = (await house.ask("anna", "/v1/alerts", "POST", HOOKED)).json()["id"]
        body = {"name": "late"} if method == "PATCH" else None
        asked, gone = await asyncio.gather(
            house.ask("anna", f"/v1/alerts/{id}", method, body),
            house.ask("anna", f"/v1/alerts/{id}", "DELETE"),
        )
        assert gone.status == 204
        assert asked.status in (200, 404)

    run(tmp_path, scenario)


def test_what_was_given_up_is_told_with_its_reason_and_not_with_the_answer_s_body(
    tmp_path: Path,
) -> None:
    async def scenario(house: House) -> None:
        with Peer(lambda got: Answer(400, body=b"canary-51d2"), secure=False) as peer:
            draft = HOOKED | {"address": peer.base + "/hook"}
            id = (await house.ask("anna", "/v1/alerts", "POST", draft)).json()["id"]
            tested = await house.ask("anna", f"/v1/alerts/{id}/test", "POST")
            assert tested.json() == {"result": "dead", "reason": "status 400"}
            house.tell(make_signal(0, ANNAS))
            while not (shown := await house.ask("anna", f"/v1/alerts/{id}")).json()["dead"]:
                await asyncio.sleep(0.01)
            (letter,) = shown.json()["dead"]
            assert letter["reason"] == "status 400"
            assert letter["signal_id"] == make_signal(0, ANNAS).id
            assert shown.json()["status"]["dead"] == 1
            assert b"canary" not in shown.body
            assert b'alerts_total{kind="webhook",result="dead"} 1' in house.state.metrics.render()

    run(tmp_path, scenario)


def test_without_a_store_there_are_no_alerts(server: Any) -> None:
    assert server.get("/v1/alerts").code == "no_store"
