"""One of each kind of key and token, right and wrong, for whatever asks who is there."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from supabase_project import SECRET, URL, Project

from server.access.keys import KeysFile
from server.identity import Scope, Tier

KEY = "correct-horse-battery-staple"
START_MS = 1_700_000_040_000
Header = tuple[str, str | bytes]


class Keys:
    """One of each kind of key and token that a server may be shown."""

    def __init__(self, directory: Path, now_ms: int = START_MS) -> None:
        self.now_ms = now_ms
        self.file = KeysFile(str(directory / "keys.json"))
        self.project = Project()
        self.project.clock.now_ms = now_ms
        self.read = self.make("ann", Scope.READ)
        self.trade = self.make("ann", Scope.TRADE)
        self.admin = self.make("ops", Scope.ADMIN)
        self.other = self.make("bob", Scope.TRADE)
        self.expired = self.make("ann", Scope.ADMIN, expires_ms=now_ms)
        self.revoked = self.make("ann", Scope.ADMIN)
        self.file.revoke(self.id_of(self.revoked), now_ms=now_ms)
        self.token = self.project.token().decode()

    def make(self, owner: str, scope: Scope, expires_ms: int | None = None) -> str:
        made = self.file.add(
            owner, Tier.FREE, scope, now_ms=self.now_ms - 1000, expires_ms=expires_ms
        )
        return made[0]

    @staticmethod
    def id_of(key: str) -> str:
        return key.split("_")[1]

    def settings(self) -> dict[str, Any]:
        """Of a server that takes all of them."""
        return {
            "api_key": KEY, "api_keys_file": self.file.path, "supabase_url": URL,
            "supabase_jwt_secret": SECRET, "supabase_publishable_key": "public-anon",
        }  # fmt: skip

    def serve(self, make_server: Callable[..., Any]) -> Any:
        """Such a server, with some klines."""
        server = make_server(**self.settings(), capacity=20)
        self.project.publish(server.state.gate.tokens)
        return server.serve().fill(5)

    def secrets(self) -> list[str]:
        """What must never be seen anywhere."""
        named = (self.read, self.trade, self.admin, self.other, self.expired, self.revoked)
        return [KEY, SECRET, self.token, *named, *(key[19:] for key in named)]

    def wrong(self) -> dict[str, list[Header]]:
        """Every way to be wrong. All must look the same from outside."""
        project, key = self.project, self.trade
        now = self.now_ms // 1000
        other_secret = f"kline_{self.id_of(self.other)}_{key[19:]}"
        bearer = {
            "token that has expired": project.token(exp=now - 60, iat=now - 120),
            "token of tomorrow": project.token(iat=now + 60),
            "token of another project": project.token(iss="https://other.example/auth/v1"),
            "token of the public": project.token(role="anon"),
            "token of the service": project.token(role="service_role"),
            "token of no key": project.token(headers={"kid": "other"}),
            "token that is not signed": project.forged({"alg": "none"}, None),
            "token signed with a public key": project.forged({"alg": "HS256"}, project.jwks()),
            "token altered": project.token() + b"A",
            "token in two parts": project.token().rpartition(b".")[0],
        }
        return {
            "none": [],
            "empty": [("X-API-Key", "")],
            "wrong": [("X-API-Key", "wrong")],
            "prefix": [("X-API-Key", KEY[:-1])],
            "longer": [("X-API-Key", KEY + "x")],
            "trailing space": [("X-API-Key", KEY + " ")],
            "leading space": [("X-API-Key", " " + KEY)],
            "other case": [("X-API-Key", KEY.upper())],
            "homoglyph": [("X-API-Key", KEY.replace("o", "о"))],
            "not UTF-8": [("X-API-Key", b"\xff\xfe")],
            "huge": [("X-API-Key", "x" * 1_000_000)],
            "prefix of a key": [("X-API-Key", key[:-1])],
            "key and a space": [("X-API-Key", key + " ")],
            "key in capitals": [("X-API-Key", key.upper())],
            "key with a homoglyph": [("X-API-Key", key.replace("kline", "klіne"))],
            "id of a key": [("X-API-Key", self.id_of(key))],
            "huge secret": [("X-API-Key", key + "x" * 1_000_000)],
            "another tenant's id": [("X-API-Key", other_secret)],
            "unknown id": [("X-API-Key", f"kline_{'z' * 12}_{key[19:]}")],
            "hash of a key": [("X-API-Key", hashlib.sha256(key.encode()).hexdigest())],
            "revoked": [("X-API-Key", self.revoked)],
            "expired": [("X-API-Key", self.expired)],
            "two in conflict": [("X-API-Key", KEY), ("X-API-Key", "wrong")],
            "two that are both right": [("X-API-Key", KEY), ("X-API-Key", key)],
            "key and token": [("X-API-Key", key), ("Authorization", f"Bearer {self.token}")],
            "two headers in conflict": [("X-API-Key", KEY), ("Authorization", "Bearer wrong")],
            "alias in conflict": [("X-API-Key", KEY), ("X-MBX-APIKEY", "wrong")],
            "Bearer without token": [("Authorization", "Bearer")],
            "Bearer with empty token": [("Authorization", "Bearer ")],
            "Basic": [("Authorization", f"Basic {KEY}")],
            "Basic with a token": [("Authorization", f"Basic {self.token}")],
            "no scheme": [("Authorization", KEY)],
            "right key beside Basic": [("X-API-Key", KEY), ("Authorization", "Basic eDp5")],
            "alias wrong": [("X-MBX-APIKEY", "wrong")],
            "the project's public key": [("Authorization", "Bearer sb_publishable_abc")],
            "the project's old public key": [("Authorization", "Bearer public-anon")],
            "the project's secret": [("Authorization", f"Bearer {SECRET}")],
            **{how: [("Authorization", b"Bearer " + token)] for how, token in bearer.items()},
        }

    def right(self) -> dict[str, list[Header]]:
        """Every way in, with what opens everything."""
        return {
            "X-API-Key": [("X-API-Key", KEY)],
            "Bearer": [("Authorization", f"Bearer {KEY}")],
            "bearer": [("Authorization", f"bearer {KEY}")],
            "X-MBX-APIKEY": [("X-MBX-APIKEY", KEY)],
            "the same twice": [("X-API-Key", KEY), ("Authorization", f"Bearer {KEY}")],
            "key of the file": [("X-API-Key", self.admin)],
            "key of the file as Bearer": [("Authorization", f"Bearer {self.admin}")],
            "beside the public key": [
                ("X-API-Key", KEY),
                ("Authorization", "Bearer sb_publishable_abc"),
            ],  # fmt: skip
        }
