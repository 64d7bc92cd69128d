"""Telegram and Discord as they document themselves: tokens, limits, and how each says "wait"."""

from __future__ import annotations

import json
import re

from alert_peers import Answer, Got, Peer

TOKEN = "110201543:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw"
HOOK = "/api/webhooks/1234567890/" + "a" * 68
JSON = {"content-type": "application/json"}


class Chat(Peer):
    """Keeps what was written; ``limited_s``: says so many times how long to wait."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.limited_s: list[float] = []
        super().__init__(self._reply)

    def _reply(self, got: Got) -> Answer:
        raise NotImplementedError


class Telegram(Chat):
    """core.telegram.org/bots/api: sendMessage."""

    def _reply(self, got: Got) -> Answer:
        match = re.fullmatch(r"/bot([^/]+)/sendMessage", got.path)
        if match is None or match[1] != TOKEN:
            return _telegram(401, "Unauthorized")
        if self.limited_s:
            wait = int(self.limited_s.pop())
            return _telegram(429, f"Too Many Requests: retry after {wait}", retry_after=wait)
        message = got.json()
        if message["chat_id"] == "404":
            return _telegram(400, "Bad Request: chat not found")
        if not 0 < len(message["text"]) <= 4096:
            return _telegram(400, "Bad Request: message is too long")
        assert "parse_mode" not in message
        self.texts.append(message["text"])
        body = {"ok": True, "result": {"message_id": len(self.texts), "text": message["text"]}}
        return Answer(200, JSON, json.dumps(body).encode())


def _telegram(code: int, description: str, **parameters: int) -> Answer:
    body = {"ok": False, "error_code": code, "description": description}
    if parameters:
        body["parameters"] = parameters
    return Answer(code, JSON, json.dumps(body).encode())


class Discord(Chat):
    """discord.com/developers/docs/resources/webhook: Execute Webhook."""

    def _reply(self, got: Got) -> Answer:
        if got.path != HOOK:
            body = {"message": "Unknown Webhook", "code": 10015}
            return Answer(404, JSON, json.dumps(body).encode())
        if self.limited_s:
            wait = self.limited_s.pop()
            body = {"message": "You are being rate limited.", "retry_after": wait, "global": False}
            return Answer(429, JSON | {"x-ratelimit-scope": "user"}, json.dumps(body).encode())
        message = got.json()
        assert message["allowed_mentions"] == {"parse": []}
        if not 0 < len(message["content"]) <= 2000:
            return Answer(400, JSON, b'{"code":50035,"message":"Invalid Form Body"}')
        self.texts.append(message["content"])
        return Answer(204, body=b"")
