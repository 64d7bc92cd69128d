"""Mail through the operator's own server, in a thread."""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import NamedTuple

from server.alerts.addresses import RefusedError
from server.alerts.messages import Alert
from server.alerts.model import Outcome, Result, Target
from server.tls import client_context

__all__ = ["Mail", "MailServer"]

#: Seconds all of the conversation with the server may take.
WHOLE_S = 30.0

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
        self._context = context
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
        work = partial(_deliver, self._server, self._context, target, alerts, now_ms)
        try:
            async with asyncio.timeout(WHOLE_S):
                return await asyncio.get_running_loop().run_in_executor(self._pool, work)
        except TimeoutError as error:
            return Outcome(Result.RETRY, f"mail server: {type(error).__name__}")

    async def close(self) -> None:
        """Wait for what is under way."""
        await asyncio.to_thread(self._pool.shutdown, cancel_futures=True)


def _deliver(
    server: MailServer,
    context: ssl.SSLContext | None,
    target: Target,
    alerts: Sequence[Alert],
    now_ms: int,
) -> Outcome:
    # Here, as the standard library's mail takes most of a megabyte, and few servers send any.
    from server.alerts.smtp import deliver

    return deliver(server, context or client_context(), target, alerts, now_ms)
