"""Every setting of the server, with its bounds: read once at start from flags, environment, TOML.

Environment names are ``KLINE_<FIELD>``, and bare ``API_KEY``, ``SYMBOLS`` and ``PORT``. An unknown
``KLINE_`` name is an error: a misspelt limit must not run unlimited.
"""

from __future__ import annotations

import ipaddress
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from klinecore.interval import INTERVALS
from server.errors import SettingsError

__all__ = ["BARE_NAMES", "BOUNDS", "LOOPBACK_HOSTS", "SECRETS", "Secret", "Settings"]

log = logging.getLogger(__name__)

LOOPBACK_HOSTS = frozenset({"127.0.0.1", "::1", "localhost"})

#: Bare environment names that are honoured beside ``KLINE_<FIELD>``.
BARE_NAMES = {
    "API_KEY": "api_key",
    "SYMBOLS": "symbols",
    "PORT": "port",
    "SUPABASE_URL": "supabase_url",
    "SUPABASE_SECRET_KEY": "supabase_secret_key",
    "SUPABASE_PUBLISHABLE_KEY": "supabase_publishable_key",
    "SUPABASE_JWT_SECRET": "supabase_jwt_secret",
}

#: What edge functions call this server by: theirs, in an environment that we may share.
_THEIRS = ("KLINE_SERVER_URL", "KLINE_SERVER_API_KEY")

#: A name of old, and the one that took its place.
_OLD_NAMES = {"SUPABASE_SERVICE_ROLE_KEY": "SUPABASE_SECRET_KEY"}

#: Hosts that may stand in for each other, of one face of the exchange.
_HOSTS_MAX = 8

#: Names whose empty text means: not set.
_OPTIONAL = (
    "api_key",
    "api_keys_file",
    "arena",
    "chart_js",
    "smtp_user",
    "smtp_password",
    "supabase_url",
    "supabase_secret_key",
    "supabase_publishable_key",
    "supabase_jwt_secret",
)
#: Names whose values are never shown.
SECRETS = ("api_key", "smtp_password", "supabase_secret_key", "supabase_jwt_secret")

#: Inclusive bounds of numeric settings.
BOUNDS: dict[str, tuple[float, float]] = {
    "port": (0, 65535),
    "stream_port": (0, 65535),
    "capacity": (1, 100_000),
    "rest_weight_share": (0.01, 1.0),
    "client_weight_share": (0.0, 1.0),
    "rest_concurrency": (1, 32),
    "rest_timeout_s": (0.1, 120.0),
    "rest_body_max": (1 << 16, 1 << 28),
    "connect_interval_s": (0.0, 60.0),
    "connect_timeout_s": (0.1, 60.0),
    "ack_timeout_s": (0.1, 60.0),
    "ping_timeout_s": (0.1, 3600.0),
    "backoff_min_s": (0.0, 60.0),
    "backoff_max_s": (0.01, 3600.0),
    "healthy_after_s": (0.1, 3600.0),
    "rotate_after_s": (1.0, 86_400.0),
    "grace_s": (0.0, 60.0),
    "horizon_s": (0.0, 86_400.0),
    "close_wait_s": (0.0, 60.0),
    "barrier_deadline_s": (0.0, 60.0),
    "sweep_interval_s": (0.05, 3600.0),
    "streams_per_connection_spot": (1, 1024),
    "streams_per_connection_um": (1, 1024),
    "subscribe_rate_per_s": (0.1, 10.0),
    "frame_size_max": (1 << 12, 1 << 26),
    "stale_after_s": (0.1, 86_400.0),
    "symbols_room": (0, 10_000),
    "universe_interval_s": (1.0, 86_400.0),
    "snapshot_interval_s": (0.0, 86_400.0),
    "history_bytes": (0, 1 << 40),
    "kline_update_s": (0.0, 3600.0),
    "ticker_update_s": (0.0, 3600.0),
    "subscriber_queue_max": (1, 1 << 20),
    "subscriber_stall_s": (0.1, 3600.0),
    "signals_queue_max": (0, 1 << 20),
    "ws_clients_max": (0, 10_000),
    "sse_clients_max": (0, 10_000),
    "connections_per_key_max": (1, 10_000),
    "ws_message_max": (64, 1 << 20),
    "ws_subscriptions_max": (1, 4096),
    "ws_messages_per_s": (0.1, 1000.0),
    "stream_clients_max": (0, 100_000),
    "stream_clients_per_address_max": (1, 100_000),
    "stream_queue_bytes_max": (1 << 16, 1 << 26),
    "stream_log_bytes": (0, 1 << 30),
    "stream_patience_s": (0.0, 1.0),
    "gather_s": (0.0, 1.0),
    "stream_ping_s": (0.1, 3600.0),
    "body_cache_bytes": (0, 1 << 32),
    "request_body_max": (0, 1 << 26),
    "filter_jobs_max": (0, 10_000),
    "filter_rows_max": (1, 1 << 30),
    "filter_seconds_max": (0.0, 3600.0),
    "store_queue_max": (1000, 1 << 20),
    "keep_executions_days": (0.01, 3650.0),
    "keep_executions_max": (1000, 1 << 30),
    "keep_signals_days": (0.01, 3650.0),
    "keep_signals_max": (1000, 1 << 30),
    "outbox_rows_max": (1, 1 << 30),
    "outbox_bytes_max": (1 << 16, 1 << 40),
    "alert_targets_max": (0, 1000),
    "alert_waiting_max": (1, 100_000),
    "smtp_port": (1, 65535),
    "traders_max": (0, 100_000),
    "traders_per_owner_max": (0, 100_000),
    "trader_state_bytes_max": (1 << 20, 1 << 36),
}


class Secret(str):
    """Text that does not show itself: its ``repr`` is masked."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "'***'"


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What an operator can set; the defaults run a spot server on this machine only."""

    # what to keep
    symbols: str = "top:50:USDT"  # comma list, or top:N:QUOTE by 24 h quote volume, or all:QUOTE
    symbols_room: int = 32  # symbols that can be added to those of the start
    intervals: tuple[str, ...] = ("1m", "5m", "15m", "1h")  # of the exchange's
    capacity: int = 500  # closed klines per series
    market: str = "spot"  # spot, um (USD-M futures) or both
    arena: str | None = None  # file for the live market's memory, in /dev/shm: shared
    data_dir: str = ""  # SQLite file and snapshots; empty: the platform's place
    snapshot_interval_s: float = 180.0  # between two snapshots; 0: none, and none is read
    history_bytes: int = 256 << 20  # older klines on disk; 0: the exchange is not asked for any

    # where to listen
    host: str = "127.0.0.1"  # address; beyond this machine keys must be asked for
    port: int = 8080  # of HTTP and /ws; 0 takes a free one
    stream_port: int = 8081  # of streams; 0 takes a free one
    api_key: str | None = None  # the operator's
    api_keys_file: str | None = None  # other people's keys, hashed; see ``klineserver keys``
    cors_origins: tuple[str, ...] = ()  # whose pages may read and connect, https://example.org
    trusted_proxies: tuple[str, ...] = ()  # addresses and networks whose X-Forwarded-For counts
    anonymous_klines: bool = False  # get-klines answers without a key too, a little

    # a Supabase project, whose users' tokens are taken
    supabase_url: str | None = None  # the project's own
    supabase_secret_key: str | None = None  # with it traders live there, and signals go there
    supabase_publishable_key: str | None = None  # public: says which project, not who asks
    supabase_jwt_secret: str | None = None  # only for a project that signs tokens with one, HS256

    # the exchange; URLs are comma lists, the preferred one first: see ``bases``
    spot_rest: str = (  # spot over REST; comma list, the preferred host first
        "https://api.binance.com,https://api-gcp.binance.com,"
        "https://api1.binance.com,https://api2.binance.com"
    )
    spot_ws: str = (  # spot's streams; likewise
        "wss://stream.binance.com:9443,wss://stream.binance.com:443,"
        "wss://data-stream.binance.vision"
    )
    um_rest: str = "https://fapi.binance.com"  # USD-M futures over REST
    um_ws: str = "wss://fstream.binance.com"  # USD-M futures' streams
    rest_weight_share: float = 0.5  # of the exchange's weight limit we allow ourselves
    client_weight_share: float = 0.25  # of that, for what clients ask and memory does not hold
    forward: bool = False  # other public answers of the exchange are passed on to clients
    rest_concurrency: int = 4  # connections
    rest_timeout_s: float = 10.0  # of one request
    rest_body_max: int = 64 << 20  # bytes; exchangeInfo is the largest
    connect_interval_s: float = 1.1  # between two connects, over all: 300 in 5 minutes are allowed
    connect_timeout_s: float = 10.0  # name, TCP, TLS and handshake
    ack_timeout_s: float = 5.0  # answer to a SUBSCRIBE
    ping_timeout_s: float = 30.0  # neither ping nor data: the connection is dead
    backoff_min_s: float = 0.5  # before the second attempt to connect; doubles
    backoff_max_s: float = 30.0  # and no more than this
    healthy_after_s: float = 60.0  # connected this long, the back-off starts anew
    rotate_after_s: float = 82_800.0  # 23 h, before the exchange cuts at 24 h
    grace_s: float = 2.0  # after a close before REST may call it closed
    horizon_s: float = 60.0  # rows further ahead of the exchange's time are refused; 0: none is
    close_wait_s: float = 3.0  # after a close before REST is asked for one that has not come
    barrier_deadline_s: float = 3.0  # after a boundary before its barrier is told incomplete
    universe_interval_s: float = 120.0  # between two readings of the exchange's list of symbols
    sweep_interval_s: float = 5.0  # between two looks for holes
    streams_per_connection_spot: int = 1024  # as many as the exchange takes
    streams_per_connection_um: int = 200  # of USD-M futures
    subscribe_rate_per_s: float = 4.0  # messages of ours on one connection
    frame_size_max: int = 4 << 20  # bytes
    stale_after_s: float = 30.0  # older data is called stale
    kline_update_s: float = 0.0  # between two updates of a stream; 0: as the exchange does
    ticker_update_s: float = 0.0  # the same of tickers
    gather_s: float = 0.01  # forming klines and tickers wait for others to be told of; closes never

    # limits towards clients
    subscriber_queue_max: int = 256  # messages; beyond it the connection ends with 1013
    signals_queue_max: int = 8192  # more, for those who subscribe to signals
    subscriber_stall_s: float = 10.0  # a send may block this long
    ws_clients_max: int = 200  # of /ws; beyond it 503
    sse_clients_max: int = 200  # of server-sent events; beyond it 503
    connections_per_key_max: int = 50  # of one key, user or address; the operator has no such limit
    ws_message_max: int = 4096  # bytes a client may send at once
    ws_subscriptions_max: int = 1024  # of one client
    ws_messages_per_s: float = 5.0  # of one client; beyond it ends with 1008
    stream_clients_max: int = 10_000  # of the stream port; beyond it 503
    stream_clients_per_address_max: int = 10_000  # of those, from one address
    stream_queue_bytes_max: int = 256 * 1024  # of a slow client; beyond it ends with 1013
    stream_log_bytes: int = 4 << 20  # messages kept for those who come back
    stream_patience_s: float = 0.005  # updates that can be replaced wait for others
    stream_ping_s: float = 20.0  # a silent client is pinged, and has as long to answer
    body_cache_bytes: int = 16 << 20  # answers kept ready
    request_body_max: int = 65_536  # bytes; beyond it 413
    filter_jobs_max: int = 8  # evaluations and replays under way or waiting; beyond it 503
    filter_rows_max: int = 2_000_000  # klines one of them may read
    filter_seconds_max: float = 2.0  # one of them may compute, by an estimate made before

    # traders
    builtin_traders: bool = True  # those that come with the program run
    traders_max: int = 10_000  # of all owners together
    traders_per_owner_max: int = 1000  # enabled or not, whatever the tier
    trader_state_bytes_max: int = 128 << 20  # what the filters of a market remember

    # what is kept of traders; see docs/store.md
    store_queue_max: int = 20_000  # rows that may wait for the disk; beyond it they are dropped
    keep_executions_days: float = 7.0  # how evaluations went
    keep_executions_max: int = 1_000_000  # rows of those; the oldest go
    keep_signals_days: float = 30.0  # what traders told
    keep_signals_max: int = 2_000_000  # rows of those; the oldest go
    outbox_rows_max: int = 500_000  # for Supabase, while it is down; beyond it the oldest go
    outbox_bytes_max: int = 512 << 20  # the same in bytes

    # alerts; see docs/alerts.md
    alert_targets_max: int = 20  # of one owner
    alert_waiting_max: int = (
        1000  # signals that may wait for one target; beyond it they are dropped
    )
    alert_loopback: bool = False  # this machine may be a target: for development only
    alert_own_names: tuple[str, ...] = ()  # this server's names, which are no targets
    telegram_api: str = "https://api.telegram.org"  # where bots speak
    discord_api: str = ""  # empty: where the webhook's URL says
    smtp_host: str = ""  # empty: no mail is sent
    smtp_port: int = 587  # of that host
    smtp_security: str = "starttls"  # or tls; none only to this machine
    smtp_user: str | None = None  # empty: no login
    smtp_password: str | None = None  # of that user
    smtp_from: str = ""  # the sender's address

    # the dashboard
    chart_js: str | None = None  # file of the chart library; empty: the installed package's

    # logs
    log_level: str = "info"  # or debug, warning, error
    log_format: str = "text"  # or json

    def __post_init__(self) -> None:
        """Raises ValueError: a value out of bounds; the message names the setting."""
        for name, (low, high) in BOUNDS.items():
            value = getattr(self, name)
            if not low <= value <= high:
                raise ValueError(f"{name} must be {_text(low)}..{_text(high)}, not {_text(value)}")
        if self.close_wait_s < self.grace_s:
            raise ValueError(
                f"close_wait_s must be at least grace_s, {self.grace_s:g}, "
                f"not {self.close_wait_s:g}"
            )
        _check_choice("market", self.market, ("spot", "um", "both"))
        _check_choice("smtp_security", self.smtp_security, ("starttls", "tls", "none"))
        if self.smtp_security == "none" and self.smtp_host not in ("", *LOOPBACK_HOSTS):
            raise ValueError("smtp_security none is for a mail server on this machine only")
        if self.smtp_host and "@" not in self.smtp_from:
            raise ValueError(f"smtp_from must be a mail address, not {self.smtp_from!r}")
        _check_choice("log_format", self.log_format, ("text", "json"))
        _check_choice("log_level", self.log_level, ("debug", "info", "warning", "error"))
        if not self.intervals:
            raise ValueError("intervals must name at least one interval")
        for interval in self.intervals:
            _check_choice("intervals", interval, INTERVALS)
        if self.market != "spot" and "1s" in self.intervals:
            raise ValueError("intervals: 1s exists on the spot market only")
        for name in ("spot_rest", "um_rest"):
            _check_urls(name, self.bases(name), ("http://", "https://"))
        for name in ("spot_ws", "um_ws"):
            _check_urls(name, self.bases(name), ("ws://", "wss://"))
        _check_symbols(self.symbols)
        _check_networks("trusted_proxies", self.trusted_proxies)
        for name in SECRETS:
            value = getattr(self, name)
            if value is not None:
                msgspec.structs.force_setattr(self, name, Secret(value) or None)
        if self.supabase_url is not None:
            _check_urls("supabase_url", (self.supabase_url,), ("http://", "https://"))
        elif self.supabase_secret_key is not None:
            raise ValueError("supabase_secret_key is set, and no supabase_url: set both or none")
        if self.host not in LOOPBACK_HOSTS and not self.asks_for_keys:
            raise ValueError(
                f"host is {self.host!r}, which others can reach: set API_KEY or "
                "KLINE_API_KEYS_FILE, or bind to 127.0.0.1"
            )

    @classmethod
    def load(
        cls,
        environ: Mapping[str, str] | None = None,
        toml_path: str | Path | None = None,
        overrides: Mapping[str, Any] | None = None,
    ) -> Settings:
        """Read a TOML file, then the environment, then ``overrides`` (flags); the last one wins.

        ``overrides`` that are None are not set. Raises SettingsError.
        """
        values: dict[str, Any] = {}
        if toml_path is not None:
            values.update(_read_toml(Path(toml_path)))
        values.update(_read_environment(os.environ if environ is None else environ))
        values.update({k: v for k, v in (overrides or {}).items() if v is not None})
        for name in values:
            if name not in cls.__struct_fields__:
                raise SettingsError(f"unknown setting {name!r}{_suggest(name)}")
        for name in _OPTIONAL:
            if values.get(name) == "":
                values[name] = None
        try:
            return msgspec.convert(values, cls, strict=False)
        except (msgspec.ValidationError, ValueError) as error:
            raise SettingsError(_plain(str(error))) from None

    def environment(self) -> dict[str, str]:
        """These settings as environment variables, for a child process."""
        result = {}
        for name in self.__struct_fields__:
            value = getattr(self, name)
            if value is None:
                continue
            text = ",".join(value) if isinstance(value, tuple) else str(value)
            result["API_KEY" if name == "api_key" else f"KLINE_{name.upper()}"] = text
        return result

    def bases(self, name: str) -> tuple[str, ...]:
        """URLs of ``spot_rest``, ``spot_ws``, ``um_rest`` or ``um_ws``; at least one."""
        text: str = getattr(self, name)
        return tuple(part.strip() for part in text.split(","))

    def arena_of(self, market: str) -> str | None:
        """The file of a market's memory; None: it is private."""
        several = self.arena is not None and len(self.markets) > 1
        return f"{self.arena}.{market}" if several else self.arena

    @property
    def asks_for_keys(self) -> bool:
        """False: whoever reaches the server may do everything."""
        return bool(self.api_key) or self.api_keys_file is not None

    @property
    def markets(self) -> tuple[str, ...]:
        """The markets to serve, by name."""
        return ("spot", "um") if self.market == "both" else (self.market,)


def _read_toml(path: Path) -> dict[str, Any]:
    import tomllib  # most servers have no such file

    try:
        return {name.lower(): value for name, value in tomllib.loads(path.read_text()).items()}
    except OSError as error:
        raise SettingsError(f"cannot read settings file {path}: {error.strerror}") from None
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"settings file {path} is no TOML: {error}") from None


def _read_environment(environ: Mapping[str, str]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for variable, text in environ.items():
        if variable in BARE_NAMES:
            values.setdefault(BARE_NAMES[variable], text)
        elif variable.startswith("KLINE_") and variable not in _THEIRS:
            name = variable.removeprefix("KLINE_").lower()
            if name not in Settings.__struct_fields__:
                raise SettingsError(f"unknown environment variable {variable}{_suggest(name)}")
            values[name] = text
    for old, new in _OLD_NAMES.items():
        if old in environ and BARE_NAMES[new] not in values:
            values[BARE_NAMES[new]] = environ[old]
            log.warning("%s is an old name: call it %s", old, new)
    for name in ("intervals", "cors_origins", "trusted_proxies", "alert_own_names"):
        if isinstance(values.get(name), str):
            values[name] = [part.strip() for part in values[name].split(",") if part.strip()]
    return values


def _plain(message: str) -> str:
    """A validation message that begins with the setting's name."""
    text, _, place = message.partition(" - at `$.")
    return f"{place.rstrip('`')}: {text}" if place else text


def _text(value: float) -> str:
    return (
        str(int(value))
        if value == value and abs(value) < 1e15 and value == int(value)
        else f"{value:g}"
    )


def _suggest(name: str) -> str:
    import difflib  # for a mistake only

    close = difflib.get_close_matches(name, Settings.__struct_fields__, n=3)
    return (
        f"; did you mean {' or '.join(f'KLINE_{match.upper()}' for match in close)}?"
        if close
        else ""
    )


def _check_choice(name: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ValueError(f"{name} must be one of {', '.join(allowed)}, not {value!r}")


def _check_urls(name: str, urls: tuple[str, ...], schemes: tuple[str, ...]) -> None:
    for url in urls:
        if not url.startswith(schemes) or url.rstrip("/").endswith(":"):
            raise ValueError(f"{name} must be a URL that begins with {schemes[0]}, not {url!r}")
    if len(urls) > _HOSTS_MAX:
        raise ValueError(f"{name} must be at most {_HOSTS_MAX} URLs, not {len(urls)}")
    if len({url.rstrip("/").lower() for url in urls}) < len(urls):
        raise ValueError(f"{name} must not name a URL twice")


def _check_networks(name: str, texts: tuple[str, ...]) -> None:
    for text in texts:
        try:
            network = ipaddress.ip_network(text)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None
        if network.prefixlen == 0:
            raise ValueError(f"{name} must not be everybody, {text}")


def _check_symbols(text: str) -> None:
    kind, _, rest = text.partition(":")
    if kind == "top":
        count, _, quote = rest.partition(":")
        if not (count.isdecimal() and 1 <= int(count) <= 5000 and quote.isalnum()):
            raise ValueError(f"symbols must look like top:50:USDT (1..5000), not {text!r}")
    elif kind == "all":
        if not rest.isalnum():
            raise ValueError(f"symbols must look like all:USDT, not {text!r}")
    elif not any(part.strip() for part in text.split(",")):
        raise ValueError("symbols must name at least one symbol")
