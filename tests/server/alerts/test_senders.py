"""Webhook, Telegram and Discord: what arrives there, and what is made of what comes back."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from alert_peers import Answer, Peer, believing
from alert_samples import NOW_MS, SECRET, make_alert, make_target
from chats import HOOK, TOKEN, Discord, Telegram
from standardwebhooks import Webhook as Receiver

from server.alerts import senders
from server.alerts.addresses import RefusedError, Rules
from server.alerts.client import Answer as Got
from server.alerts.client import HttpClient
from server.alerts.model import Kind, Outcome, Result, Target
from server.alerts.signing import make_secret
from server.signals.model import SignalStatus

LOCAL = Rules(loopback=True)


def send(make: Any, target: Target, alerts: Sequence[Any], **options: Any) -> Outcome:
    async def scenario() -> Outcome:
        client = HttpClient(LOCAL, context=believing(), timeout_s=2.0)
        try:
            return await make(client, **options).send(target, alerts, NOW_MS)
        finally:
            await client.close()

    return asyncio.run(scenario())


# --- webhooks ------------------------------------------------------------------------------------


def test_a_webhook_is_believed_and_names_the_signal() -> None:
    with Peer(lambda got: Answer(204, body=b"")) as peer:
        alert = make_alert(revision=3, status=SignalStatus.CONFIRMED)
        target = make_target(address=peer.base + "/hook")
        assert send(senders.Webhook, target, [alert]) == Outcome(Result.SENT)
        (got,) = peer.got
        body = msgspec.json.decode(got.body)
        assert got.headers["webhook-id"] == f"{alert.signal.id}.3"
        assert got.headers["webhook-timestamp"] == str(NOW_MS // 1000)
        assert got.headers["content-type"] == "application/json"
        assert body["type"] == "signal.confirmed"
        assert body["timestamp"] == "2026-02-01T00:01:00.007Z"
        assert body["data"] == msgspec.to_builtins(alert.signal)
        assert body["trader"] == {"id": alert.trader.id, "name": "oversold"}
        assert _signed_by(got, SECRET)


def _signed_by(got: Any, secret: str) -> bool:
    moment = datetime.fromtimestamp(int(got.headers["webhook-timestamp"]), UTC)
    expected = Receiver(secret).sign(got.headers["webhook-id"], moment, got.body.decode())
    return expected in got.headers["webhook-signature"].split(" ")


def test_both_secrets_sign_until_the_old_one_s_time_is_over() -> None:
    old = make_secret()
    with Peer() as peer:
        target = make_target(address=peer.base, old_secret=old, old_until_ms=NOW_MS + 1)
        send(senders.Webhook, target, [make_alert()])
        late = make_target(address=peer.base, old_secret=old, old_until_ms=NOW_MS)
        send(senders.Webhook, late, [make_alert()])
        first, second = peer.got
        assert _signed_by(first, SECRET)
        assert _signed_by(first, old)
        assert _signed_by(second, SECRET)
        assert not _signed_by(second, old)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (Answer(200), Outcome(Result.SENT)),
        (Answer(299), Outcome(Result.SENT)),
        (Answer(301), Outcome(Result.DEAD, "status 301: redirects are not followed")),
        (Answer(400), Outcome(Result.DEAD, "status 400")),
        (Answer(404), Outcome(Result.DEAD, "status 404")),
        (Answer(410), Outcome(Result.DEAD, "status 410", disable=True)),
        (Answer(408), Outcome(Result.RETRY, "status 408")),
        (Answer(425), Outcome(Result.RETRY, "status 425")),
        (Answer(429), Outcome(Result.RETRY, "status 429")),
        (Answer(429, {"retry-after": "17"}), Outcome(Result.RETRY, "status 429", 17.0)),
        (Answer(503, {"retry-after": "9999999"}), Outcome(Result.RETRY, "status 503", 3600.0)),
        (Answer(500, {"retry-after": "soon"}), Outcome(Result.RETRY, "status 500")),
        (Answer(599, body=b'{"secret":"x"}'), Outcome(Result.RETRY, "status 599")),
    ],
)
def test_a_status_says_what_to_do_and_the_body_is_never_told(
    answer: Answer, expected: Outcome
) -> None:
    with Peer(lambda got: answer) as peer:
        assert send(senders.Webhook, make_target(address=peer.base), [make_alert()]) == expected


@pytest.mark.parametrize(
    "body",
    [
        b"", b"{", b"[]", b"1", b'{"retry_after":-1}', b'{"retry_after":true}',
        b'{"retry_after":"9"}', b'{"parameters":[]}', b'{"parameters":{"retry_after":null}}',
        b"\xff", b"[" * 10_000,
    ],
)  # fmt: skip
def test_nonsense_in_place_of_a_wait_is_none(body: bytes) -> None:
    assert senders.read_wait(Got(429, {}, body)) == 0.0


def test_an_address_that_became_forbidden_is_given_up() -> None:
    outcome = send(senders.Webhook, make_target(address="https://10.0.0.1/"), [make_alert()])
    assert outcome.result is Result.DEAD


# --- Telegram ------------------------------------------------------------------------------------


def telegram_target(**fields: Any) -> Target:
    return make_target(Kind.TELEGRAM, **{"address": "-1001234567890", "secret": TOKEN} | fields)


def test_a_telegram_chat_is_told_in_one_message() -> None:
    with Telegram() as chat:
        alerts = [make_alert(i, name="<b>*oversold*</b>\nnext") for i in range(3)]
        outcome = send(senders.Telegram, telegram_target(), alerts, base=chat.base)
        assert outcome == Outcome(Result.SENT)
        (text,) = chat.texts
        first, second, third = text.split("\n")
        assert first == (
            "BTCUSDT 1m fired at 97123.45000000: <b>*oversold*</b> next, "
            "kline of 2026-02-01 00:00 UTC (rsi(close, 14) = 28.1235)"
        )
        assert "00:02 UTC" in third


def test_what_does_not_fit_is_counted_in_the_message() -> None:
    with Telegram() as telegram, Discord() as discord:
        alerts = [make_alert(i, name="n" * 60) for i in range(100)]
        assert send(senders.Telegram, telegram_target(), alerts, base=telegram.base) == Outcome(
            Result.SENT
        )
        target = make_target(Kind.DISCORD, secret="https://discord.com" + HOOK)
        assert send(senders.Discord, target, alerts, base=discord.base) == Outcome(Result.SENT)
        for text in (*telegram.texts, *discord.texts):
            lines = text.split("\n")
            assert lines[-1] == f"and {100 - len(lines) + 1} more"


def test_telegram_s_wait_is_kept_to() -> None:
    with Telegram() as chat:
        chat.limited_s = [35]
        outcome = send(senders.Telegram, telegram_target(), [make_alert()], base=chat.base)
        assert outcome == Outcome(Result.RETRY, "status 429", 35.0)


@pytest.mark.parametrize(
    ("fields", "status"), [({"address": "404"}, 400), ({"secret": TOKEN[:-1] + "x"}, 401)]
)
def test_a_chat_or_bot_that_is_not_there_is_given_up(fields: Any, status: int) -> None:
    with Telegram() as chat:
        outcome = send(senders.Telegram, telegram_target(**fields), [make_alert()], base=chat.base)
        assert outcome == Outcome(Result.DEAD, f"status {status}")
        assert TOKEN not in repr(outcome)


@pytest.mark.parametrize(
    "fields",
    [
        {"address": "chat"}, {"address": ""}, {"address": "@a"}, {"address": "1;2"},
        {"secret": ""}, {"secret": "110201543"}, {"secret": "1:" + "a" * 100},
        {"secret": TOKEN + "/../x"}, {"secret": "110201543:AAHdqTcvCH1vGWJx/SeofSAs0K5PALDsaw"},
    ],
)  # fmt: skip
def test_what_is_no_chat_or_token_is_refused(fields: Any) -> None:
    sender = senders.Telegram(HttpClient(LOCAL), "https://api.telegram.org")
    sender.check(telegram_target())
    with pytest.raises(RefusedError):
        sender.check(telegram_target(**fields))


# --- Discord -------------------------------------------------------------------------------------


def test_a_discord_channel_is_told_and_mentions_nobody() -> None:
    with Discord() as chat:
        target = make_target(Kind.DISCORD, secret="https://discord.com" + HOOK)
        alert = make_alert(name="@everyone")
        assert send(senders.Discord, target, [alert], base=chat.base) == Outcome(Result.SENT)
        assert "@everyone" in chat.texts[0]


def test_discord_s_wait_is_kept_to_and_a_hook_that_is_gone_given_up() -> None:
    with Discord() as chat:
        chat.limited_s = [0.65]
        target = make_target(Kind.DISCORD, secret="https://discord.com" + HOOK)
        outcome = send(senders.Discord, target, [make_alert()], base=chat.base)
        assert outcome == Outcome(Result.RETRY, "status 429", 0.65)
        gone = make_target(Kind.DISCORD, secret="https://discord.com" + HOOK + "b")
        outcome = send(senders.Discord, gone, [make_alert()], base=chat.base)
        assert outcome == Outcome(Result.DEAD, "status 404")


@pytest.mark.parametrize(
    "url",
    [
        "https://discord.com.evil.example" + HOOK, "https://evil.example" + HOOK,
        "http://discord.com" + HOOK, "https://discord.com/api/users/@me",
        "https://discord.com" + HOOK + "?wait=true", "https://discord.com" + HOOK + "/../../x", "",
    ],
)  # fmt: skip
def test_what_is_no_discord_webhook_is_refused(url: str) -> None:
    sender = senders.Discord(HttpClient(Rules()))
    sender.check(make_target(Kind.DISCORD, secret="https://discord.com" + HOOK))
    with pytest.raises(RefusedError):
        sender.check(make_target(Kind.DISCORD, secret=url))
