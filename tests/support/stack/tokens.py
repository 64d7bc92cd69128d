"""Keys and tokens as Supabase has them, made here: nobody logs in."""

from __future__ import annotations

import json
import secrets
import time
from typing import Any
from uuid import uuid4

import jwt
from cryptography.hazmat.primitives.asymmetric import ec

AUDIENCE = "authenticated"


class Tokens:
    """One project's signing keys, its two API keys, and the tokens of its users."""

    def __init__(self) -> None:
        self.kid = str(uuid4())
        self._key = ec.generate_private_key(ec.SECP256R1())
        #: The old shared secret of HS256 tokens; still what the roles' tokens are signed with.
        self.jwt_secret = secrets.token_hex(32)
        self.publishable_key = f"sb_publishable_{secrets.token_urlsafe(24)}"
        self.secret_key = f"sb_secret_{secrets.token_urlsafe(24)}"

    def jwks(self) -> dict[str, Any]:
        """What the project tells everybody: public keys only."""
        key = json.loads(jwt.algorithms.ECAlgorithm.to_jwk(self._key.public_key()))
        return {"keys": [key | {"kid": self.kid, "alg": "ES256", "use": "sig"}]}

    def verifying_keys(self) -> dict[str, Any]:
        """What PostgREST verifies with: the public key and the shared secret."""
        shared = json.loads(jwt.algorithms.HMACAlgorithm.to_jwk(self.jwt_secret.encode()))
        return {"keys": [*self.jwks()["keys"], shared | {"alg": "HS256"}]}

    def role(self, name: str) -> str:
        """A token that stands for a role alone: what the gateway makes of an API key."""
        now = int(time.time())
        claims = {"role": name, "iss": "supabase", "iat": now, "exp": now + 3600}
        return jwt.encode(claims, self.jwt_secret, algorithm="HS256")

    def user(
        self,
        base: str,
        user_id: str,
        email: str,
        *,
        expires_in: float = 3600,
        algorithm: str = "ES256",
        **claims: Any,
    ) -> str:
        """An access token as the auth server would have issued it; ``claims`` change its own."""
        now = int(time.time())
        said = {
            "iss": f"{base}/auth/v1",
            "aud": AUDIENCE,
            "role": AUDIENCE,
            "sub": user_id,
            "email": email,
            "iat": now,
            "exp": now + int(expires_in),
            "aal": "aal1",
            "session_id": str(uuid4()),
            "is_anonymous": False,
        } | claims
        if algorithm == "HS256":
            return jwt.encode(said, self.jwt_secret, algorithm="HS256")
        return jwt.encode(said, self._key, algorithm="ES256", headers={"kid": self.kid})

    def role_of(self, key: str) -> str | None:
        """What an API key stands for: one of the two keys, or an old key that is a token."""
        if key == self.publishable_key:
            return "anon"
        if key == self.secret_key:
            return "service_role"
        try:
            said = jwt.decode(key, self.jwt_secret, algorithms=["HS256"])
        except jwt.InvalidTokenError:
            return None
        role = said.get("role")
        return role if role in ("anon", "service_role") else None

    def claims(self, token: str) -> dict[str, Any]:
        """What a token says, verified; raises jwt.InvalidTokenError."""
        if jwt.get_unverified_header(token).get("alg") == "ES256":
            return jwt.decode(
                token, self._key.public_key(), algorithms=["ES256"], audience=AUDIENCE
            )
        options: Any = {"verify_aud": False}
        return jwt.decode(token, self.jwt_secret, algorithms=["HS256"], options=options)
