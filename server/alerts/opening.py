"""The alert office that the settings ask for."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable
from random import Random

from server.alerts.addresses import Rules
from server.alerts.apprise import Apprise
from server.alerts.client import HttpClient
from server.alerts.mail import Mail, MailServer
from server.alerts.model import Kind
from server.alerts.office import AlertOffice
from server.alerts.senders import Discord, Sender, Telegram, Webhook
from server.alerts.table import AlertTable, Database
from server.clock import Clock
from server.metrics import Registry
from server.settings import Settings
from server.traders.model import Trader

__all__ = ["open_office"]


def open_office(
    settings: Settings,
    database: Database,
    *,
    trader_of: Callable[[str], Trader | None],
    clock: Clock,
    metrics: Registry,
    context: ssl.SSLContext | None = None,
) -> AlertOffice:
    """``context`` says whose certificates are believed; the default is the system's."""
    own_names = {settings.host, socket.gethostname(), *settings.alert_own_names}
    rules = Rules(own_names=own_names, loopback=settings.alert_loopback)
    client = HttpClient(rules, context=context)
    senders: dict[Kind, Sender] = {
        Kind.WEBHOOK: Webhook(client),
        Kind.TELEGRAM: Telegram(client, settings.telegram_api),
        Kind.DISCORD: Discord(client, settings.discord_api or None),
        Kind.EMAIL: Mail(_mail_server(settings), context),
        Kind.APPRISE: Apprise(),
    }
    return AlertOffice(
        AlertTable(database),
        senders,
        trader_of=trader_of,
        waiting_max=settings.alert_waiting_max,
        clock=clock,
        random=Random(),
        metrics=metrics,
    )


def _mail_server(settings: Settings) -> MailServer | None:
    if not settings.smtp_host:
        return None
    return MailServer(
        host=settings.smtp_host,
        port=settings.smtp_port,
        security=settings.smtp_security,
        user=settings.smtp_user,
        password=settings.smtp_password,
        sender=settings.smtp_from,
    )
