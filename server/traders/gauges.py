"""What traders do, as metrics."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from klinecore.interval import next_open_ms
from server.metrics import Registry
from server.signals.model import Signal, SignalStatus
from server.traders.book import Book
from server.traders.engine import MatchChange, TraderEngine
from server.traders.health import ErrorBook
from server.traders.model import Execution
from server.traders.runs import RunResult

__all__ = ["DeskGauges"]

_EVALUATION_BUCKETS_S = (1e-6, 1e-5, 1e-4, 1e-3, 0.01, 0.1, 1.0)


class DeskGauges:
    """Of one desk."""

    def __init__(
        self,
        metrics: Registry,
        book: Book,
        engines: Mapping[str, TraderEngine],
        errors: ErrorBook,
    ) -> None:
        self._evaluations = metrics.counter(
            "trader_evaluations_total",
            "Traders evaluated over their symbols, by who wanted it and what came of it.",
            ["source", "result"],
        )
        self._seconds = metrics.histogram(
            "trader_evaluation_seconds",
            "One trader's share of an evaluation.",
            ["source"],
            _EVALUATION_BUCKETS_S,
        )
        self._signals = metrics.counter(
            "signals_emitted_total", "Signals told, by their status.", ["status"]
        )
        self._latency = metrics.histogram(
            "signal_latency_seconds", "From the end of a kline to its signal."
        )
        self._changes = metrics.counter(
            "trader_match_changes_total", "Closes at which symbols entered or left a trader."
        )
        self.failures = metrics.counter(
            "trader_engine_failures_total", "Engines that began anew after a fault.", ["market"]
        )
        metrics.gauge("traders", "Traders held.").read(lambda: len(book))
        metrics.gauge("traders_running", "Traders that are evaluated.").read(
            lambda: sum(map(len, engines.values()))
        )
        metrics.counter("trader_errors_total", "Times something was wrong with a trader.").read(
            lambda: errors.counted
        )
        metrics.gauge("trader_state_bytes", "What the filters of all traders remember.").read(
            lambda: sum(engine.engine.state_bytes for engine in engines.values())
        )
        metrics.counter(
            "signals_forgotten_total", "Provisional signals there was no room to follow up."
        ).read(lambda: sum(engine.memory.forgotten for engine in engines.values()))

    def told(self, signals: Sequence[Signal], now_ms: int) -> None:
        """Signals of an engine."""
        for status, count in Counter(signal.status for signal in signals).items():
            self._signals.inc(status, by=count)
        for signal in signals:
            if signal.status in (SignalStatus.FIRED, SignalStatus.CONFIRMED):
                closed_ms = next_open_ms(signal.interval, signal.open_time_ms)
                self._latency.observe(max(0, now_ms - closed_ms) / 1000)

    def settled(self, executions: Sequence[Execution], changes: Sequence[MatchChange]) -> None:
        """What boundaries were for traders."""
        for execution in executions:
            result = "matched" if execution.symbols_matched else "nothing"
            self._evaluations.inc("engine", result if execution.error is None else "error")
            self._seconds.observe(execution.duration_us / 1e6, "engine")
        self._changes.inc(by=len(changes))

    def ran(self, result: RunResult) -> None:
        """What a run on demand gave."""
        outcome = "matched" if result.matches else "nothing"
        self._evaluations.inc(result.source, outcome if result.error is None else "error")
        self._seconds.observe(result.duration_us / 1e6, result.source)
