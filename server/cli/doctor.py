"""``doctor``: what would keep the server from working, each with its cure."""

from __future__ import annotations

import asyncio
import importlib
import importlib.metadata
import json
import os
import platform
import resource
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click
import msgspec

from server.access.keys import KeysFile
from server.cli.options import load_settings, settings_options
from server.cli.serve import with_ports
from server.clock import SystemClock
from server.errors import FeedError, RestError, ServerError, SettingsError
from server.settings import Settings

if TYPE_CHECKING:
    from server.feeds.binance import Api

__all__ = ["Finding", "doctor"]

OK, WARNING, FAILURE = "ok", "warning", "failure"

#: Bytes a kline takes, with its slack, and the process beside the rows.
_ROW_BYTES = 90 * 1.07
_PROCESS_BYTES = 75_000_000
#: Symbols an ``all:QUOTE`` may bring.
_ALL_SYMBOLS = 500

_KEY_LENGTH_MIN = 16
_OFFSET_WARNING_MS, _OFFSET_FAILURE_MS = 1_000, 30_000
_EXCHANGE_S = 10.0

_MODULES = ("klinecore.market", "klinecore.series", "klinecore.parsers.binance")
_PACKAGES = ("klinecore", "granian", "uvloop", "picows", "msgspec", "numpy", "click")


class Finding(NamedTuple):
    """One line: what was looked at, how it is, and what helps if it is not well."""

    check: str
    state: str
    detail: str
    cure: str = ""


@click.command()
@settings_options
@click.option("--json", "as_json", is_flag=True, help="Findings as a JSON array.")
@click.option("--offline", is_flag=True, help="Do not ask the exchange.")
def doctor(as_json: bool, offline: bool, **flags: Any) -> None:
    """Look for what is wrong. Exit status 0: nothing, 1: something odd, 2: it would not work."""
    findings = []
    for finding in _examine(flags, offline):
        findings.append(finding)
        if not as_json:
            _show(finding)
    if as_json:
        click.echo(json.dumps([finding._asdict() for finding in findings], ensure_ascii=False))
    states = {finding.state for finding in findings}
    sys.exit(2 if FAILURE in states else 1 if WARNING in states else 0)


def _show(finding: Finding) -> None:
    mark = {OK: "ok  ", WARNING: "odd ", FAILURE: "BAD "}[finding.state]
    click.echo(f"{mark} {finding.check:<10} {finding.detail}")
    if finding.cure:
        click.echo(f"{'':<15} -> {finding.cure}")


def _examine(flags: dict[str, Any], offline: bool) -> Iterator[Finding]:
    yield from _check_build()
    try:
        settings = load_settings(flags)
    except SettingsError as error:
        yield Finding("settings", FAILURE, str(error), "Correct or unset it.")
        return
    yield Finding("settings", OK, _summary(settings))
    yield _check_key(settings)
    if settings.api_keys_file is not None:
        yield _check_keys_file(settings.api_keys_file)
    yield _check_port(settings)
    yield _check_memory(settings)
    yield _check_descriptors(settings)
    yield from _check_arena(settings)
    if not offline:
        for name in settings.markets:
            yield from asyncio.run(_check_exchange(settings, name))


def _check_build() -> Iterator[Finding]:
    try:
        for module in _MODULES:
            importlib.import_module(module)
    except ImportError as error:
        yield Finding(
            "build",
            FAILURE,
            f"the compiled core cannot be loaded: {error}",
            "Install again where a C compiler is found: pip install -e .",
        )
        return
    versions = ", ".join(f"{name} {_version(name)}" for name in _PACKAGES)
    yield Finding("build", OK, f"Python {platform.python_version()}, {versions}")
    listener = importlib.import_module("server.feeds.listener").FeedListener
    if listener.__module__.endswith("_py"):
        yield Finding(
            "listener",
            WARNING,
            "frames are handled in Python: the compiled listener does not fit this picows",
            "Install again, so that it is compiled against the picows that is used.",
        )


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "(not installed)"


def _summary(settings: Settings) -> str:
    return (
        f"{settings.market}, {settings.symbols}, {','.join(settings.intervals)}, "
        f"{settings.capacity} klines each"
    )


def _check_keys_file(path: str) -> Finding:
    try:
        found = KeysFile(path).list()
    except SettingsError as error:
        return Finding("keys", FAILURE, str(error), "klineserver keys add makes a file and a key.")
    now_ms = SystemClock().time_ms()
    valid = sum(key.valid(now_ms) for key in found)
    return Finding("keys", OK, f"{valid} valid of {len(found)} keys in {path}")


def _check_key(settings: Settings) -> Finding:
    key = settings.api_key
    if key is None and settings.asks_for_keys:
        return Finding("key", OK, "none of the operator's: only keys of the file are taken")
    if key is None:
        return Finding("key", OK, f"none: open to this machine only ({settings.host})")
    if len(key) < _KEY_LENGTH_MIN:
        return Finding(
            "key",
            WARNING,
            f"API_KEY has {len(key)} characters: it can be guessed",
            "export API_KEY=$(python3 -c 'import secrets; print(secrets.token_urlsafe(32))')",
        )
    return Finding("key", OK, "API_KEY is set")


def _check_port(settings: Settings) -> Finding:
    try:
        with_ports(settings)
    except SettingsError as error:
        return Finding(
            "port",
            FAILURE,
            str(error),
            "End what listens there (another klineserver?), or choose another port.",
        )
    ports = f"{settings.port} and {settings.stream_port}"
    return Finding("port", OK, f"ports {ports} of {settings.host} are free")


def _check_memory(settings: Settings) -> Finding:
    needed = _memory_estimate(settings)
    available, what = _memory_limit()
    text = f"about {needed / 1e6:.0f} MB needed, {available / 1e6:.0f} MB {what}"
    if needed > available:
        return Finding("memory", FAILURE, text, "Fewer SYMBOLS, KLINE_INTERVALS, KLINE_CAPACITY.")
    if needed > 0.8 * available:
        return Finding("memory", WARNING, text, "Leave a fifth free for bursts.")
    return Finding("memory", OK, text)


def _memory_estimate(settings: Settings) -> float:
    kind, _, rest = settings.symbols.partition(":")
    if kind == "top":
        symbols = int(rest.partition(":")[0])
    else:
        symbols = _ALL_SYMBOLS if kind == "all" else len(settings.symbols.split(","))
    rows = symbols * len(settings.markets) * len(settings.intervals) * settings.capacity
    return _PROCESS_BYTES + rows * _ROW_BYTES + settings.body_cache_bytes


def _memory_limit() -> tuple[int, str]:
    """Bytes this process may use, and whose word that is."""
    for name in ("memory.max", "memory/memory.limit_in_bytes"):
        text = _read(Path("/sys/fs/cgroup") / name)
        if text.isdigit() and int(text) < 1 << 50:
            return int(text), "allowed by the container"
    for line in _read(Path("/proc/meminfo")).splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024, "available"
    return sys.maxsize, "unknown"


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""


def _check_descriptors(settings: Settings) -> Finding:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = 2 * settings.ws_clients_max + 256
    if soft != resource.RLIM_INFINITY and soft < needed:
        return Finding("files", WARNING, f"{soft} open files allowed", f"ulimit -n {needed}")
    return Finding("files", OK, f"{'unlimited' if soft < 0 else soft} open files allowed")


def _check_arena(settings: Settings) -> Iterable[Finding]:
    if settings.arena is None:
        return
    directory = Path(settings.arena).absolute().parent
    if not directory.is_dir() or not os.access(directory, os.W_OK):
        yield Finding(
            "arena", FAILURE, f"cannot write to {directory}", "Create it, or change KLINE_ARENA."
        )
        return
    free = os.statvfs(directory)
    room = free.f_bavail * free.f_frsize
    needed = _memory_estimate(settings) - _PROCESS_BYTES
    if room < needed:
        yield Finding(
            "arena", FAILURE, f"{room / 1e6:.0f} MB free in {directory}", "Make room there."
        )
    else:
        yield Finding("arena", OK, f"{room / 1e6:.0f} MB free in {directory}")


async def _check_exchange(settings: Settings, name: str) -> list[Finding]:
    """REST, clock and streams of one market."""
    from server.clock import SystemClock
    from server.feeds.base import open_api

    findings = []
    for base in settings.bases(f"{name}_rest"):
        one = msgspec.structs.replace(settings, **{f"{name}_rest": base})
        api = open_api(one, name, SystemClock())
        await _load_wait(settings, name, api)
        try:
            if api.budget.blocked_reason:
                raise FeedError(f"not asked: {api.budget.blocked_reason}")
            async with asyncio.timeout(_EXCHANGE_S):
                await api.sync_time()
        except (FeedError, TimeoutError) as error:
            what = f"{base}: {_what(error)}"
            blocked_status = api.budget.blocked_status if api.budget.blocked_reason else 0
            cure = _cure(error, blocked_status)
            findings.append(Finding(f"{name} REST", FAILURE, what, cure))
            if api.budget.blocked_reason or (isinstance(error, RestError) and error.status):
                break  # an answer: the server asks no other host either
        else:
            findings = _forgive(findings)
            findings.append(Finding(f"{name} REST", OK, f"{base} answers"))
            findings.append(_judge_offset(name, api.time.offset_ms))
            break
        finally:
            await api.close()
    return findings + await _check_sockets(settings, name)


async def _check_sockets(settings: Settings, name: str) -> list[Finding]:
    from server.feeds.binance import VENUES

    findings: list[Finding] = []
    for base in settings.bases(f"{name}_ws"):
        finding = await _check_socket(name, base.rstrip("/") + VENUES[name].socket_path)
        if finding.state == OK:
            return [*_forgive(findings), finding]
        findings.append(finding)
    return findings


def _forgive(findings: list[Finding]) -> list[Finding]:
    """Hosts that failed, and another one works: what the server does as well."""
    return [finding._replace(state=WARNING) for finding in findings]


async def _load_wait(settings: Settings, name: str, api: Api) -> None:
    """Take over the wait a server was told: a request during a ban lengthens it."""
    from server.disk import SystemDisk, data_directory
    from server.feeds.waits import WaitFile
    from server.metrics import Registry

    waits = WaitFile(
        name,
        api.budget,
        directory=data_directory(settings, os.environ),
        base=settings.bases(f"{name}_rest")[0],
        disk=SystemDisk(),
        clock=api.time.clock,
        metrics=Registry(),
    )
    await waits.load()


def _judge_offset(name: str, offset_ms: int) -> Finding:
    text = f"this machine is {abs(offset_ms)} ms {'behind' if offset_ms > 0 else 'ahead'}"
    cure = "Let the machine's clock be set: timedatectl set-ntp true."
    if abs(offset_ms) >= _OFFSET_FAILURE_MS:
        return Finding(f"{name} clock", FAILURE, text, cure)
    if abs(offset_ms) >= _OFFSET_WARNING_MS:
        return Finding(f"{name} clock", WARNING, text, cure)
    return Finding(f"{name} clock", OK, text)


async def _check_socket(name: str, url: str) -> Finding:
    from server.cli.stream_client import StreamClient

    try:
        async with asyncio.timeout(_EXCHANGE_S), StreamClient(url, None):
            return Finding(f"{name} stream", OK, f"{url} accepts")
    except (OSError, ServerError, TimeoutError) as error:
        return Finding(f"{name} stream", FAILURE, f"{url}: {_what(error)}", _cure(error))


def _what(error: BaseException) -> str:
    return str(error) or f"no answer within {_EXCHANGE_S:g} s"


def _cure(error: BaseException, blocked_status: int = 0) -> str:
    """What helps; ``blocked_status`` is the answer for which nothing was asked."""
    status = error.status if isinstance(error, RestError) else blocked_status
    if status == 451:
        return "The exchange does not serve this place: run elsewhere, or set its mirror's URL."
    if status in (403, 418, 429):
        return "This address asked too much; wait before trying again."
    return "Is there a network, a proxy, a firewall? KLINE_SPOT_REST and others name another host."
