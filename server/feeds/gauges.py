"""What a feed, its market and its budget count, as metrics; read at each scrape."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from server.feeds.answers import Answers
from server.feeds.closes import Closes
from server.feeds.connections import Connections
from server.feeds.universe import GONE, TRADING
from server.metrics import Registry

if TYPE_CHECKING:
    from server.feeds.base import Feed, FeedStatus

__all__ = ["register"]

_STATES = ("connecting", "live", "waiting", "idle")

#: Gauges from the status of a feed: name, help, value.
_GAUGES: tuple[tuple[str, str, Callable[[FeedStatus], float]], ...] = (
    ("kline_streams_desired", "Streams subscribed.", lambda s: s.streams_desired),
    ("kline_streams_delivering", "Streams that deliver.", lambda s: s.streams_delivering),
    ("kline_streams_stale", "Streams that lack what was sent.", lambda s: s.streams_stale),
    ("kline_backfill_windows", "Windows to fill at the start.", lambda s: s.backfill.total),
    ("kline_backfill_windows_done", "Windows filled.", lambda s: s.backfill.done),
    ("kline_gaps_absent", "Holes the exchange has no klines for.", lambda s: s.gaps_absent),
    ("kline_closes_late", "Series whose newest close is late.", lambda s: s.closes_late),
    ("kline_rest_used_weight", "Request weight used this minute.", lambda s: s.used_weight),
    ("kline_rest_weight_limit", "Request weight a minute.", lambda s: s.weight_limit),
    (
        "kline_rest_weight_allowed",
        "Of it what we allow ourselves.",
        lambda s: s.rest.allowed,
    ),
    (
        "kline_rest_served_in_seconds",
        "Until all requests that wait can have been sent.",
        lambda s: s.rest.served_in_s,
    ),
    (
        "kline_feed_clock_offset_seconds",
        "Exchange clock minus ours.",
        lambda s: s.server_offset_ms / 1000,
    ),
    (
        "kline_feed_lag_seconds",
        "Since the newest event, by the exchange's clock, of the slowest connection.",
        lambda s: s.lag_ms / 1000,
    ),
    (
        "kline_feed_data_age_seconds",
        "Since the last new data of the quietest connection; NaN while one is down.",
        lambda s: float("nan") if s.last_message_age_ms is None else s.last_message_age_ms / 1000,
    ),
)


def register(
    metrics: Registry,
    feed: Feed,
    answers: Answers,
    closes: Closes,
    connections: Connections,
) -> None:
    """Add this feed's metrics, labelled with its market."""
    name = feed.name
    api = answers.api
    labels = ["market"]
    gauges = [(metrics.gauge(key, text, labels), read) for key, text, read in _GAUGES]
    by_state = metrics.gauge(
        "kline_feed_connections", "Stream connections by state.", ["market", "state"]
    )
    queued = metrics.gauge(
        "kline_rest_queued_weight", "Request weight that waits.", ["market", "priority"]
    )

    def collect() -> None:
        status = feed.status()
        for gauge, read in gauges:
            gauge.set(read(status), name)
        for state in _STATES:
            count = sum(connection.state == state for connection in status.connections)
            by_state.set(count, name, state)

        for priority, weight in status.rest.queued.items():
            queued.set(weight, name, priority)

    metrics.before_render(collect)
    for key, text, count in (
        ("kline_gaps_repaired_total", "Klines that filled a hole.", lambda: feed.repaired),
        (
            "kline_blind_seconds_total",
            "Seconds of the exchange in which series were not heard, summed over series.",
            lambda: feed.blind_s,
        ),
        (
            "kline_closes_fetched_total",
            "Requests for closes that were late.",
            lambda: closes.fetched,
        ),
        (
            "kline_barriers_skipped_total",
            "Boundaries that were slept through and got no barrier.",
            lambda: closes.skipped,
        ),
        (
            "kline_mismatch_total",
            "Closed klines the exchange told otherwise by REST.",
            lambda: answers.mismatches,
        ),
        (
            "kline_corrections_total",
            "Closed klines corrected by two reads that agreed.",
            lambda: answers.corrections,
        ),
        (
            "kline_disputes_dropped_total",
            "Disputed klines that were given up.",
            lambda: answers.disputes_dropped,
        ),
        ("kline_rest_requests_total", "REST requests sent.", lambda: api.requests),
        (
            "kline_rest_shared_total",
            "Klines requests answered by an equal one's answer.",
            lambda: api.shared,
        ),
        (
            "kline_rest_weights_corrected_total",
            "Corrections of what klines requests weigh.",
            lambda: api.weights.corrections,
        ),
        (
            "kline_feed_time_doubtful_total",
            "Readings of the exchange's time that were not believed.",
            lambda: api.time.doubtful,
        ),
        ("kline_rest_failures_total", "REST requests without success.", lambda: api.failures),
        (
            "kline_rest_refusals_total",
            "Answers that told us to stop (429, 418, 403, 451).",
            lambda: api.budget.refusals,
        ),
        (
            "kline_feed_bytes_total",
            "Bytes of stream messages.",
            lambda: sum(session.received.size for session in connections),
        ),
        (
            "kline_feed_dropped_total",
            "Stream messages that were binary, compressed, or too long in pieces.",
            lambda: sum(session.received.dropped for session in connections),
        ),
    ):
        metrics.counter(key, text, labels).read(count, name)
    rows = metrics.counter(
        "kline_backfill_rows_total",
        "Rows that REST was asked for, and that it sent.",
        ["market", "kind"],
    )
    rows.read(lambda: answers.rows_requested, name, "requested")
    rows.read(lambda: answers.rows_received, name, "received")
    hosts = metrics.counter(
        "kline_feed_host_changes_total",
        "Hosts left for the next, because an attempt or a request failed there.",
        ["market", "kind"],
    )
    hosts.read(lambda: sum(session.hosts.changes for session in connections), name, "stream")
    hosts.read(lambda: api.host_changes, name, "rest")
    _register_universe(metrics, feed)
    messages = metrics.counter(
        "kline_feed_messages_total", "Stream messages by what they were.", ["market", "type"]
    )
    refused = metrics.counter(
        "kline_rows_refused_total",
        "Rows and messages that were not stored, by reason.",
        ["market", "reason"],
    )
    for key in feed.market.counters():
        metric = messages if key.startswith("frames_") else refused
        metric.read(_reader(feed, key), name, key.removeprefix("frames_"))
    metrics.gauge(
        "kline_rest_blocked_seconds", "Until REST may be asked again after a refusal.", labels
    ).read(lambda: api.budget.blocked_s, name)


def _register_universe(metrics: Registry, feed: Feed) -> None:
    name, universe = feed.name, feed.universe
    details = metrics.gauge(
        "kline_symbol_details_bytes", "Bytes of what the exchange said of symbols.", ["market"]
    )
    symbols = metrics.gauge(
        "kline_symbols", "Symbols held, by whether they trade.", ["market", "state"]
    )

    def collect() -> None:
        statuses = list(universe.statuses.values())
        details.set(sum(map(len, universe.details.values())), name)
        trading, gone = statuses.count(TRADING), statuses.count(GONE)
        symbols.set(trading, name, "trading")
        symbols.set(gone, name, "gone")
        symbols.set(len(statuses) - trading - gone, name, "halted")
        symbols.set(len(universe.turned_away), name, "without_room")

    metrics.before_render(collect)
    lists = metrics.counter(
        "kline_universe_lists_total",
        "Readings of the exchange's list of symbols, and those that came to nothing.",
        ["market", "result"],
    )
    for result in universe.counts:
        lists.read(partial(universe.counts.__getitem__, result), name, result)
    changes = metrics.counter(
        "kline_symbol_changes_total", "What happened to symbols.", ["market", "reason"]
    )
    for reason in universe.changes:
        changes.read(partial(universe.changes.__getitem__, reason), name, reason.replace(" ", "_"))


def _reader(feed: Feed, key: str) -> Callable[[], float]:
    return lambda: feed.market.counters()[key]
