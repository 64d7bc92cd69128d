"""Signatures: a receiver's own library believes them, and nothing that was changed."""

from __future__ import annotations

import base64

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from server.alerts.signing import make_secret, read_secret, signature_headers

BODY = b'{"type":"signal.fired"}'


def now_s() -> int:
    import time

    return int(time.time())


def test_the_specification_s_own_example() -> None:
    headers = signature_headers(
        "msg_p5jXN8AQM9LWM0D4loKWxJek",
        1614265330,
        b'{"test": 2432232314}',
        ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"],
    )
    assert headers["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_a_receiver_believes_each_of_two_secrets_while_one_takes_the_other_s_place() -> None:
    new, old, other = make_secret(), make_secret(), make_secret()
    headers = signature_headers("a.1", now_s(), BODY, [new, old])
    for secret in (new, old):
        assert Webhook(secret).verify(BODY, headers) == {"type": "signal.fired"}
    with pytest.raises(WebhookVerificationError):
        Webhook(other).verify(BODY, headers)


@pytest.mark.parametrize(
    "changed",
    [{"webhook-id": "a.2"}, {"webhook-timestamp": str(now_s() - 1)}],
)
def test_whatever_is_changed_on_the_way_is_not_believed(changed: dict[str, str]) -> None:
    secret = make_secret()
    headers = signature_headers("a.1", now_s(), BODY, [secret]) | changed
    with pytest.raises(WebhookVerificationError):
        Webhook(secret).verify(BODY, headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(secret).verify(BODY + b" ", signature_headers("a.1", now_s(), BODY, [secret]))


def test_secrets_are_long_and_different() -> None:
    assert len({make_secret() for _ in range(100)}) == 100
    assert len(read_secret(make_secret())) == 32


@pytest.mark.parametrize(
    "text",
    ["", "whsec_", "whsec_!!!", "whsec_" + base64.b64encode(b"x" * 23).decode(), "whsec_AAA"],
)
def test_what_is_no_secret_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="secret"):
        read_secret(text)
