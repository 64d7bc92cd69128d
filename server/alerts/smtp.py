"""One mail, composed and handed to a server by smtplib; blocks."""

from __future__ import annotations

import smtplib
import ssl
from collections.abc import Sequence
from datetime import UTC, datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime

from server.alerts.mail import MailServer
from server.alerts.messages import Alert, lines, subject
from server.alerts.model import Outcome, Result, Target, key_of

__all__ = ["deliver"]

#: Seconds one step of the conversation may take.
STEP_S = 10.0
#: Characters of a mail's text.
TEXT_MAX = 60_000


def deliver(
    server: MailServer,
    context: ssl.SSLContext,
    target: Target,
    alerts: Sequence[Alert],
    now_ms: int,
) -> Outcome:
    """Tell ``target`` of all ``alerts`` in one mail."""
    try:
        _hand_over(server, context, _compose(server.sender, target, alerts, now_ms))
    except smtplib.SMTPRecipientsRefused as error:
        codes = [code for code, _ in error.recipients.values()]
        return _refused(max(codes, default=550))
    except (smtplib.SMTPAuthenticationError, smtplib.SMTPSenderRefused) as error:
        # What is wrong is ours, and may be mended while alerts wait.
        return Outcome(Result.RETRY, f"mail server: {type(error).__name__}")
    except smtplib.SMTPResponseException as error:
        return _refused(error.smtp_code)
    except (smtplib.SMTPException, OSError, ValueError) as error:
        return Outcome(Result.RETRY, f"mail server: {type(error).__name__}")
    return Outcome(Result.SENT)


def _hand_over(server: MailServer, context: ssl.SSLContext, message: EmailMessage) -> None:
    # Named by its domain: the machine's own name is nobody's business, and slow to find out.
    name = server.sender.rpartition("@")[2]
    smtp: smtplib.SMTP
    if server.security == "tls":
        smtp = smtplib.SMTP_SSL(server.host, server.port, name, timeout=STEP_S, context=context)
    else:
        smtp = smtplib.SMTP(server.host, server.port, name, timeout=STEP_S)
    with smtp:
        if server.security == "starttls":
            smtp.starttls(context=context)  # raises if it is not offered
        if server.user is not None:
            smtp.login(server.user, server.password or "")
        smtp.send_message(message)


def _refused(code: int) -> Outcome:
    """4xx is for now, 5xx for good; what the server says beside is not shown."""
    return Outcome(Result.RETRY if code < 500 else Result.DEAD, f"mail server: {code}")


def _compose(sender: str, target: Target, alerts: Sequence[Alert], now_ms: int) -> EmailMessage:
    message = EmailMessage(policy=SMTP)
    message["From"] = Address("klineserver", addr_spec=sender)
    message["To"] = Address(addr_spec=target.address)
    message["Subject"] = subject(alerts)
    message["Date"] = format_datetime(datetime.fromtimestamp(now_ms / 1000, UTC))
    # The same for the same alerts: mailers drop what they have already.
    first = alerts[0].signal
    domain = sender.rpartition("@")[2]
    message["Message-ID"] = (
        f"<{key_of(first.id, first.revision)}.{len(alerts)}.{target.id}@{domain}>"
    )
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(lines(alerts, TEXT_MAX) + "\n")
    return message
