"""A Supabase project's side of tokens: it signs them, and publishes the keys it does so with."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
from collections.abc import Callable
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from server.access.signers import Signers
from server.access.tokens import TokenVerifier

URL = "https://project.example"
USER = "5f0e9a2c-1d3b-4c6e-8f7a-0b1c2d3e4f50"
SECRET = "super-secret-jwt-token-with-at-least-32-characters-long"


def encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class ManualClock:
    """Stands still until told otherwise; whoever sleeps wakes when it has been moved on."""

    def __init__(self, now_ms: int = 1_800_000_000_000) -> None:
        self.now_ms = now_ms

    def time_ms(self) -> int:
        return self.now_ms

    def monotonic(self) -> float:
        return self.now_ms / 1000

    async def sleep(self, seconds: float) -> None:
        due = self.now_ms + seconds * 1000
        while self.now_ms < due:
            await asyncio.sleep(0)

    def call_later(self, seconds: float, callback: Callable[[], object]) -> asyncio.TimerHandle:
        raise NotImplementedError


class Project:
    """Signs tokens as Supabase does, and worse."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.curve = ec.generate_private_key(ec.SECP256R1())
        self.rsa = rsa.generate_private_key(65537, 2048)
        self.entries = [
            ECAlgorithm.to_jwk(self.curve.public_key(), as_dict=True)
            | {"kid": "curve", "alg": "ES256", "use": "sig", "key_ops": ["verify"]},
            RSAAlgorithm.to_jwk(self.rsa.public_key(), as_dict=True)
            | {"kid": "rsa", "alg": "RS256", "use": "sig"},
        ]

    def jwks(self, url: str = "") -> bytes:
        return json.dumps({"keys": self.entries}).encode()

    def claims(self, **changes: Any) -> dict[str, Any]:
        """What Supabase puts in; of ``changes`` those that are None are left out."""
        now = self.clock.now_ms // 1000
        claims = {
            "iss": f"{URL}/auth/v1", "sub": USER, "aud": "authenticated", "exp": now + 3600,
            "iat": now, "email": "ann@example.com", "phone": "", "role": "authenticated",
            "app_metadata": {"provider": "email", "role": "service_role"}, "aal": "aal1",
            "session_id": "3f7b1e1c-0000-4000-8000-000000000000", "is_anonymous": False,
        } | changes  # fmt: skip
        return {name: value for name, value in claims.items() if value is not None}

    def token(
        self, signer: str = "curve", headers: dict[str, Any] | None = None, **claims: Any
    ) -> bytes:
        """A token; ``signer`` is curve, rsa or secret."""
        key, algorithm = {
            "curve": (self.curve, "ES256"),
            "rsa": (self.rsa, "RS256"),
            "secret": (SECRET, "HS256"),
        }[signer]
        named = {} if signer == "secret" else {"kid": signer}
        text = jwt.encode(self.claims(**claims), key, algorithm, headers=named | (headers or {}))
        return text.encode()

    def forged(self, header: dict[str, Any], secret: bytes | None, **changes: Any) -> bytes:
        """Signed by hand, with whatever bytes as the secret; None: not signed at all."""
        parts = [encoded(json.dumps(part).encode()) for part in (header, self.claims(**changes))]
        signed = ".".join(parts).encode()
        if secret is None:
            return signed + b"."
        signature = hmac.new(secret, signed, hashlib.sha256).digest()
        return signed + b"." + encoded(signature).encode()

    def publish(self, verifier: TokenVerifier) -> None:
        """Give a verifier the keys as they are now."""
        verifier.signers._fetch = self.jwks
        asyncio.run(verifier.signers._refresh())

    def verifier(self, **named: Any) -> TokenVerifier:
        """One that has the project's keys already."""
        signers = Signers(f"{URL}/auth/v1/.well-known/jwks.json", self.clock, self.jwks)
        verifier = TokenVerifier(URL + "/", self.clock, signers=signers, **named)
        asyncio.run(signers._refresh())
        return verifier
