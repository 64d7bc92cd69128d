"""Webhook, Telegram and Discord: what is sent to each, and what its answer means."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Protocol

import msgspec

from server.alerts.addresses import RefusedError
from server.alerts.client import Answer, HttpClient, UnreachableError
from server.alerts.messages import Alert, lines, webhook_body
from server.alerts.model import Outcome, Result, Target, key_of
from server.alerts.signing import signature_headers

__all__ = ["Discord", "Sender", "Telegram", "Webhook", "read_wait"]

#: What a service may ask us to wait at most; beyond it we ask again ourselves.
WAIT_S_MAX = 3600.0
_RETRIED = frozenset({408, 425, 429})
_GONE = 410

_TELEGRAM_TOKEN = re.compile(r"[0-9]{1,20}:[A-Za-z0-9_-]{20,80}")
_TELEGRAM_CHAT = re.compile(r"-?[0-9]{1,20}|@[A-Za-z][A-Za-z0-9_]{3,31}")
_DISCORD_PATH = re.compile(r"/api/(?:v[0-9]{1,2}/)?webhooks/[0-9]{1,20}/[A-Za-z0-9_-]{20,100}")
_DISCORD_HOSTS = ("discord.com", "discordapp.com", "ptb.discord.com", "canary.discord.com")

_JSON = {"content-type": "application/json"}


class Sender(Protocol):
    """One way to reach targets."""

    batch_max: int  # alerts of one message
    pace_s: float  # between two messages to a target

    def check(self, target: Target) -> None:
        """Raises RefusedError: it cannot be a target of this kind."""
        ...

    def host(self, target: Target) -> str:
        """What bounds of requests at once are counted by."""
        ...

    async def send(self, target: Target, alerts: Sequence[Alert], now_ms: int) -> Outcome:
        """Send once, in one message."""
        ...

    async def close(self) -> None:
        """Give back what it holds."""
        ...


class _OverHttp:
    """What three ways share: a client, which any of them may close."""

    def __init__(self, client: HttpClient) -> None:
        self._client = client

    async def close(self) -> None:
        """See ``Sender``."""
        await self._client.close()


class Webhook(_OverHttp):
    """Signed as Standard Webhooks say; one signal each, so that its id is the signal's."""

    batch_max = 1
    pace_s = 0.0

    def check(self, target: Target) -> None:
        """See ``Sender``."""
        self._client.rules.read(target.address)

    def host(self, target: Target) -> str:
        """See ``Sender``."""
        return self._client.rules.read(target.address).authority

    async def send(self, target: Target, alerts: Sequence[Alert], now_ms: int) -> Outcome:
        """See ``Sender``."""
        (alert,) = alerts
        body = webhook_body(alert)
        message_id = key_of(alert.signal.id, alert.signal.revision)
        signed = signature_headers(message_id, now_ms // 1000, body, target.secrets(now_ms))
        return await _post(self._client, target.address, body, _JSON | signed)


class Telegram(_OverHttp):
    """A bot's messages to one chat."""

    batch_max = 20
    pace_s = 3.1  # to a group no more than 20 a minute; to a person one a second

    def __init__(self, client: HttpClient, base: str) -> None:
        super().__init__(client)
        self._base = base.rstrip("/")

    def check(self, target: Target) -> None:
        """See ``Sender``."""
        if not _TELEGRAM_CHAT.fullmatch(target.address):
            raise RefusedError("the address is a chat's id, or a channel's @name")
        if not _TELEGRAM_TOKEN.fullmatch(target.secret):
            raise RefusedError("the secret is a bot's token, as @BotFather gives it")

    def host(self, target: Target) -> str:
        """See ``Sender``."""
        return self._base

    async def send(self, target: Target, alerts: Sequence[Alert], now_ms: int) -> Outcome:
        """See ``Sender``."""
        # No parse mode: what traders are called is never markup.
        message = {
            "chat_id": target.address,
            "text": lines(alerts, 4096),
            "link_preview_options": {"is_disabled": True},
        }
        url = f"{self._base}/bot{target.secret}/sendMessage"
        return await _post(self._client, url, msgspec.json.encode(message), _JSON)


class Discord(_OverHttp):
    """Messages of a channel's webhook. Its URL is all that is needed to write there: a secret."""

    batch_max = 20
    pace_s = 2.1  # 30 a minute

    def __init__(self, client: HttpClient, base: str | None = None) -> None:
        """``base`` stands in for Discord in tests."""
        super().__init__(client)
        self._base = base.rstrip("/") if base else None

    def check(self, target: Target) -> None:
        """See ``Sender``."""
        place = self._client.rules.read(target.secret)
        if not _DISCORD_PATH.fullmatch(place.path) or place.host.lower() not in _DISCORD_HOSTS:
            raise RefusedError(
                "the secret is the URL of a Discord webhook: https://discord.com/api/webhooks/..."
            )

    def host(self, target: Target) -> str:
        """See ``Sender``."""
        return "discord"

    async def send(self, target: Target, alerts: Sequence[Alert], now_ms: int) -> Outcome:
        """See ``Sender``."""
        message = {"content": lines(alerts, 2000), "allowed_mentions": {"parse": []}}
        url = target.secret
        if self._base is not None:
            url = self._base + self._client.rules.read(url).path
        return await _post(self._client, url, msgspec.json.encode(message), _JSON)


async def _post(client: HttpClient, url: str, body: bytes, headers: dict[str, str]) -> Outcome:
    try:
        answer = await client.post(client.rules.read(url), body, headers)
    except RefusedError as error:
        return Outcome(Result.DEAD, str(error))
    except UnreachableError as error:
        return Outcome(Result.RETRY, str(error))
    return _judge(answer)


def _judge(answer: Answer) -> Outcome:
    """What a status means. The body is nobody's business but for how long to wait."""
    status = answer.status
    if 200 <= status < 300:
        return Outcome(Result.SENT)
    reason = f"status {status}"
    if status in _RETRIED or status >= 500:
        return Outcome(Result.RETRY, reason, read_wait(answer))
    if 300 <= status < 400:
        return Outcome(Result.DEAD, f"{reason}: redirects are not followed")
    return Outcome(Result.DEAD, reason, disable=status == _GONE)


def read_wait(answer: Answer) -> float:
    """Seconds that the other side asks for: a header, or as Telegram and Discord say it."""
    text = answer.headers.get("retry-after", "")
    if text.isascii() and text.isdecimal():
        return min(float(text[:9]), WAIT_S_MAX)
    if answer.status != 429:
        return 0.0
    try:
        said: Any = msgspec.json.decode(answer.body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return 0.0
    if not isinstance(said, dict):
        return 0.0
    inner = said.get("parameters")  # Telegram's
    wait = inner.get("retry_after") if isinstance(inner, dict) else said.get("retry_after")
    if isinstance(wait, bool) or not isinstance(wait, int | float) or not wait > 0:
        return 0.0
    return min(float(wait), WAIT_S_MAX)
