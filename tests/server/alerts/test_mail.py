"""Mail: handed to a real SMTP server over TLS, and given up or kept as that server says."""

from __future__ import annotations

import asyncio
import email.policy
import socket
import ssl
from collections.abc import Iterator
from email.parser import BytesParser
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, LoginPassword
from alert_peers import believing, serving, unused_port
from alert_samples import NOW_MS, make_alert, make_target

from server.alerts import smtp
from server.alerts.addresses import RefusedError
from server.alerts.mail import Mail, MailServer
from server.alerts.model import Kind, Outcome, Result

ANNA = "anna@example.org"


class Box:
    """Takes mail; ``says`` what it answers to a recipient or a message."""

    def __init__(self) -> None:
        self.mails: list[Any] = []
        self.recipients: list[str] = []
        self.to_recipient = "250 OK"
        self.to_message = "250 OK"
        self.was_encrypted = False

    async def handle_RCPT(  # noqa: N802
        self, server: Any, session: Any, envelope: Any, address: str, options: Any
    ) -> str:
        if self.to_recipient.startswith("2"):
            envelope.rcpt_tos.append(address)
        return self.to_recipient

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802
        self.was_encrypted = session.ssl is not None
        if self.to_message.startswith("2"):
            parser = BytesParser(policy=email.policy.SMTP)
            self.mails.append(parser.parsebytes(envelope.content))
            self.recipients += envelope.rcpt_tos
        return self.to_message


def authenticate(server: Any, session: Any, envelope: Any, mechanism: str, data: Any) -> AuthResult:
    right = LoginPassword(b"kline", b"secret")
    return AuthResult(success=isinstance(data, LoginPassword) and data == right)


class _Starttls(Controller):
    def factory(self) -> SMTP:
        return SMTP(
            self.handler,
            tls_context=serving("localhost"),
            require_starttls=True,
            authenticator=authenticate,
            auth_required=True,
            hostname="localhost",
        )


class _Tls(Controller):
    def _trigger_server(self) -> None:
        """The library's own first call does not believe our CA."""
        with socket.create_connection((self.hostname, self.port)) as raw:
            believing().wrap_socket(raw, server_hostname="localhost").close()


@pytest.fixture
def box() -> Iterator[Any]:
    """A server that wants STARTTLS, then a name and a password."""
    box = Box()
    controller = _Starttls(box, hostname="localhost", port=unused_port())
    controller.start()
    box.port = controller.port  # type: ignore[attr-defined]
    yield box
    controller.stop()


def server(port: int, **changed: Any) -> MailServer:
    values = {
        "host": "localhost", "port": port, "security": "starttls", "user": "kline",
        "password": "secret", "sender": "alerts@kline.example.com",
    }  # fmt: skip
    return MailServer(**values | changed)


def send(carrier: MailServer | None, alerts: Any, context: ssl.SSLContext | None = None) -> Outcome:
    async def scenario() -> Outcome:
        sender = Mail(carrier, context or believing())
        try:
            return await sender.send(make_target(Kind.EMAIL, address=ANNA), alerts, NOW_MS)
        finally:
            await sender.close()

    return asyncio.run(scenario())


def test_a_mail_is_handed_over_encrypted(box: Any) -> None:
    alerts = [make_alert(i, name="über\r\nBcc: evil@example.org") for i in range(2)]
    assert send(server(box.port), alerts) == Outcome(Result.SENT)
    assert box.was_encrypted
    assert box.recipients == [ANNA]
    (got,) = box.mails
    assert got["To"] == ANNA
    assert got["From"] == "klineserver <alerts@kline.example.com>"
    assert got["Subject"] == "BTCUSDT 1m: über  Bcc: evil@example.org and 1 more"
    assert got["Bcc"] is None
    assert got["Auto-Submitted"] == "auto-generated"
    assert got["Message-ID"].endswith("@kline.example.com>")
    assert got["Date"] == "Sun, 01 Feb 2026 00:00:00 +0000"
    text = got.get_content()
    assert text.count("BTCUSDT 1m fired at 97123.45000000") == 2


def test_the_same_alerts_are_the_same_mail(box: Any) -> None:
    for _ in range(2):
        send(server(box.port), [make_alert()])
    send(server(box.port), [make_alert(revision=2)])
    first, second, third = (one["Message-ID"] for one in box.mails)
    assert first == second != third


@pytest.mark.parametrize(
    ("recipient", "message", "expected"),
    [
        ("450 busy", "250 OK", Outcome(Result.RETRY, "mail server: 450")),
        ("550 unknown", "250 OK", Outcome(Result.DEAD, "mail server: 550")),
        ("250 OK", "451 later", Outcome(Result.RETRY, "mail server: 451")),
        ("250 OK", "554 spam secret", Outcome(Result.DEAD, "mail server: 554")),
    ],
)
def test_a_refusal_is_for_now_or_for_good(
    box: Any, recipient: str, message: str, expected: Outcome
) -> None:
    box.to_recipient, box.to_message = recipient, message
    assert send(server(box.port), [make_alert()]) == expected


def test_a_wrong_password_is_the_operator_s_fault_and_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(smtp, "STEP_S", 1.0)
    box = Box()
    controller = _Starttls(box, hostname="localhost", port=unused_port())
    controller.start()
    try:
        outcome = send(server(controller.port, password="wrong"), [make_alert()])
        assert outcome.result is Result.RETRY
        assert box.mails == []
    finally:
        controller.stop()


def test_who_cannot_show_a_certificate_gets_no_password(box: Any) -> None:
    outcome = send(server(box.port), [make_alert()], ssl.create_default_context())
    assert outcome == Outcome(Result.RETRY, "mail server: SSLCertVerificationError")
    assert box.mails == []


def test_a_server_without_starttls_gets_nothing() -> None:
    box = Box()
    controller = Controller(box, hostname="localhost", port=unused_port())
    controller.start()
    try:
        outcome = send(server(controller.port), [make_alert()])
        assert outcome == Outcome(Result.RETRY, "mail server: SMTPNotSupportedError")
        plain = server(controller.port, security="none", user=None)
        assert send(plain, [make_alert()]) == Outcome(Result.SENT)
        assert len(box.mails) == 1
    finally:
        controller.stop()


def test_tls_from_the_first_byte() -> None:
    box = Box()
    controller = _Tls(
        box, hostname="localhost", port=unused_port(), ssl_context=serving("localhost")
    )
    controller.start()
    try:
        carrier = server(controller.port, security="tls", user=None)
        assert send(carrier, [make_alert()]) == Outcome(Result.SENT)
        assert len(box.mails) == 1
    finally:
        controller.stop()


def test_no_server_now_is_no_mail_now() -> None:
    outcome = send(server(unused_port()), [make_alert()])
    assert outcome == Outcome(Result.RETRY, "mail server: ConnectionRefusedError")


@pytest.mark.parametrize(
    "address",
    [
        "", "anna", "anna@", "@example.org", "anna@localhost", "anna@example.org\r\nBcc: x@y.zz",
        "anna@example.org,bert@example.org", "<anna@example.org>", "anna bert@example.org",
        "a..b@example.org", ".a@example.org", "ännä@example.org", "-x@example.org",
        "anna@exa mple.org", f"{'a' * 65}@example.org", "anna@example..org",
    ],
)  # fmt: skip
def test_what_is_no_mail_address_is_refused(address: str) -> None:
    sender = Mail(server(25))
    sender.check(make_target(Kind.EMAIL, address=ANNA))
    with pytest.raises(RefusedError):
        sender.check(make_target(Kind.EMAIL, address=address))


def test_without_a_server_nothing_is_mail() -> None:
    with pytest.raises(RefusedError, match="KLINE_SMTP_HOST"):
        Mail(None).check(make_target(Kind.EMAIL, address=ANNA))
