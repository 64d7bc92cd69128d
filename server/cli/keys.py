"""``keys``: who may ask this server, by a file of hashed keys that it follows while it runs."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import click

from server.access.keys import ApiKey, KeysFile
from server.cli.ask import print_columns
from server.clock import SystemClock
from server.identity import Scope, Tier

__all__ = ["keys"]

_UNITS_MS = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_FILE = click.option(
    "--file",
    "path",
    envvar="KLINE_API_KEYS_FILE",
    show_envvar=True,
    required=True,
    type=click.Path(dir_okay=False),
    help="The keys file.",
)


def _span(text: str) -> int:
    """A length of time such as 90d, ms."""
    match = re.fullmatch(r"([0-9]{1,6})([smhd])", text)
    if match is None:
        raise click.BadParameter(f"{text!r} is no length of time such as 30m, 24h or 90d")
    return int(match[1]) * _UNITS_MS[match[2]]


@click.group()
def keys() -> None:
    """Make, list, replace and revoke API keys.

    A running server notices within 2 seconds; what a revoked key holds open is closed within 5.
    """


@keys.command()
@_FILE
@click.option("--owner", required=True, help="Whose traders it sees: a name, or a user's id.")
@click.option(
    "--tier", type=click.Choice(list(map(str, Tier))), default="free", show_default=True,
    help="How much it may use.",
)  # fmt: skip
@click.option(
    "--scope", type=click.Choice(list(map(str, Scope))), default="read", show_default=True,
    help="read: market data and own signals; trade: own traders too; admin: everything.",
)  # fmt: skip
@click.option(
    "--expires", "expires_ms", type=_span, metavar="TIME", help="Such as 90d; default never."
)
@click.option("--note", default="", help="For whoever reads the list.")
def add(path: str, owner: str, tier: str, scope: str, expires_ms: int | None, note: str) -> None:
    """Make a key and print it: it cannot be shown again."""
    now_ms = SystemClock().time_ms()
    text, key = KeysFile(path).add(
        owner,
        Tier(tier),
        Scope(scope),
        now_ms=now_ms,
        expires_ms=None if expires_ms is None else now_ms + expires_ms,
        note=note,
    )
    _show(text, key)


@keys.command("list")
@_FILE
def list_keys(path: str) -> None:
    """Show what each key stands for; the keys themselves are in no file."""
    now_ms = SystemClock().time_ms()
    found = KeysFile(path).list()
    if not found:
        click.echo("no keys")
        return
    print_columns(
        ["id", "owner", "tier", "scope", "made", "state", "note"],
        [
            [k.id, k.owner, k.tier, k.scope, _day(k.created_ms), _state(k, now_ms), k.note]
            for k in found
        ],
    )


@keys.command()
@_FILE
@click.argument("key_ids", metavar="[ID]...", nargs=-1)
@click.option("--user", help="Take back every token issued to this user until now.")
def revoke(path: str, key_ids: tuple[str, ...], user: str | None) -> None:
    """Make keys good for nothing, by their ids, or a user's tokens."""
    if not key_ids and user is None:
        raise click.UsageError("name a key's ID, or a --user")
    file, now_ms = KeysFile(path), SystemClock().time_ms()
    for key_id in key_ids:
        file.revoke(key_id, now_ms=now_ms)
        click.echo(f"revoked {key_id}", err=True)
    if user is not None:
        file.sign_out(user, now_ms=now_ms)
        click.echo(f"tokens of {user} issued until now are refused", err=True)


@keys.command()
@_FILE
@click.argument("key_id", metavar="ID")
@click.option(
    "--keep", "keep_ms", type=_span, metavar="TIME", default="24h", show_default=True,
    help="How long the old one stays good.",
)  # fmt: skip
@click.option(
    "--expires", "expires_ms", type=_span, metavar="TIME", help="Of the new one; default never."
)
def rotate(path: str, key_id: str, keep_ms: int, expires_ms: int | None) -> None:
    """Make a key that stands for the same as another, and print it; both are good for a while."""
    now_ms = SystemClock().time_ms()
    ends_ms = None if expires_ms is None else now_ms + expires_ms
    text, key = KeysFile(path).rotate(key_id, now_ms=now_ms, keep_ms=keep_ms, expires_ms=ends_ms)
    _show(text, key)


def _show(text: str, key: ApiKey) -> None:
    click.echo(text)
    click.echo(
        f"key {key.id} of {key.owner}: tier {key.tier}, scope {key.scope}. "
        "Keep it now; it cannot be shown again.",
        err=True,
    )


def _state(key: ApiKey, now_ms: int) -> str:
    if key.revoked_ms is not None:
        return f"revoked {_day(key.revoked_ms)}"
    if key.expires_ms is None:
        return "valid"
    return f"{'valid until' if key.valid(now_ms) else 'expired'} {_day(key.expires_ms)}"


def _day(moment_ms: int) -> str:
    return datetime.fromtimestamp(moment_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M")
