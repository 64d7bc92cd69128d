"""Standard Webhooks: how a receiver knows that an alert is from here, and which one it is."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets
from collections.abc import Sequence

__all__ = ["SECRET_PREFIX", "make_secret", "read_secret", "signature_headers"]

SECRET_PREFIX = "whsec_"
#: Bytes of a secret, as the specification has them.
SECRET_BYTES = 32
_SECRET_BYTES_MIN, _SECRET_BYTES_MAX = 24, 64


def make_secret() -> str:
    """A new secret."""
    return SECRET_PREFIX + base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()


def read_secret(text: str) -> bytes:
    """The bytes a secret stands for. Raises ValueError: it is none."""
    try:
        key = base64.b64decode(text.removeprefix(SECRET_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("a secret is whsec_ and base64") from None
    if not _SECRET_BYTES_MIN <= len(key) <= _SECRET_BYTES_MAX:
        raise ValueError(f"a secret has {_SECRET_BYTES_MIN}..{_SECRET_BYTES_MAX} bytes")
    return key


def signature_headers(
    message_id: str, timestamp_s: int, body: bytes, keys: Sequence[str]
) -> dict[str, str]:
    """The three headers. With several ``keys`` a receiver may still know only one of them."""
    signed = b"%b.%d.%b" % (message_id.encode(), timestamp_s, body)
    signatures = [
        "v1," + base64.b64encode(hmac.digest(read_secret(key), signed, hashlib.sha256)).decode()
        for key in keys
    ]
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp_s),
        "webhook-signature": " ".join(signatures),
    }
