"""Mail through the operator's own server: smtplib in a thread."""

from __future__ import annotations

import asyncio
import re
import smtplib
import ssl
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from typing import NamedTuple

from server.alerts.addresses import RefusedError
from server.alerts.messages import Alert, lines, subject
from server.alerts.model import Outcome, Result, Target, key_of

__all__ = ["Mail", "MailServer"]

#: Seconds one step of the conversation may take, and all of it.
STEP_S, WHOLE_S = 10.0, 30.0
#: Characters of a mail's text.
TEXT_MAX = 60_000

_ADDRESS = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9.-]{1,255}")


class MailServer(NamedTuple):
    """Who carries mail for us."""

    host: str
    port: int
    security: str  # starttls, tls, or none for a server on this machine
    user: str | None
    password: str | None
    sender: str


class Mail:
    """Mails to one address each."""

    batch_max = 100
    pace_s = 10.0

    def __init__(self, server: MailServer | None, context: ssl.SSLContext | None = None) -> None:
        """Without a ``server`` no target can be mail."""
        self._server = server
        self._context = context or ssl.create_default_context()
        self._pool = ThreadPoolExecutor(2, thread_name_prefix="mail")

    def check(self, target: Target) -> None:
        """See ``Sender``."""
        if self._server is None:
            raise RefusedError("this server sends no mail: KLINE_SMTP_HOST is not set")
        name, _, domain = target.address.rpartition("@")
        if not _ADDRESS.fullmatch(target.address) or ".." in target.address or "." not in domain:
            raise RefusedError("the address is no mail address")
        if name.startswith((".", "-")) or name.endswith("."):
            raise RefusedError("the address is no mail address")

    def host(self, target: Target) -> str:
        """See ``Sender``."""
        return "mail"

    async def send(self, target: Target, alerts: Sequence[Alert], now_ms: int) -> Outcome:
        """See ``Sender``."""
        if self._server is None:
            return Outcome(Result.RETRY, "this server sends no mail")
        message = _compose(self._server.sender, target, alerts, now_ms)
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(WHOLE_S):
                await loop.run_in_executor(self._pool, self._hand_over, self._server, message)
        except smtplib.SMTPRecipientsRefused as error:
            codes = [code for code, _ in error.recipients.values()]
            return _refused(max(codes, default=550))
        except (smtplib.SMTPAuthenticationError, smtplib.SMTPSenderRefused) as error:
            # What is wrong is ours, and may be mended while alerts wait.
            return Outcome(Result.RETRY, f"mail server: {type(error).__name__}")
        except smtplib.SMTPResponseException as error:
            return _refused(error.smtp_code)
        except (smtplib.SMTPException, OSError, ValueError, TimeoutError) as error:
            return Outcome(Result.RETRY, f"mail server: {type(error).__name__}")
        return Outcome(Result.SENT)

    async def close(self) -> None:
        """Wait for what is under way."""
        await asyncio.to_thread(self._pool.shutdown, cancel_futures=True)

    def _hand_over(self, server: MailServer, message: EmailMessage) -> None:
        # Named by its domain: the machine's own name is nobody's business, and slow to find out.
        name = server.sender.rpartition("@")[2]
        smtp: smtplib.SMTP
        if server.security == "tls":
            smtp = smtplib.SMTP_SSL(
                server.host, server.port, name, timeout=STEP_S, context=self._context
            )
        else:
            smtp = smtplib.SMTP(server.host, server.port, name, timeout=STEP_S)
        with smtp:
            if server.security == "starttls":
                smtp.starttls(context=self._context)  # raises if it is not offered
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
