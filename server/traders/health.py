"""How traders are: which run, why others do not, and what went wrong with each."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import msgspec

from server.traders.engine import TraderEngine, Watch
from server.traders.model import Trader, TraderError
from server.traders.ports import ErrorSink

__all__ = ["ERRORS_MAX", "ErrorBook", "State", "TraderHealth", "describe"]

#: Errors kept of one trader; the one that came last least recently goes first.
ERRORS_MAX = 16

State = Literal["running", "disabled", "paused", "waiting", "error"]


class TraderHealth(msgspec.Struct, frozen=True, kw_only=True):
    """A trader's life since the process started. Times are ms since 1970 UTC; null: not yet."""

    state: State  # waiting: its market is not up yet; error: see there, it does not run
    errors: list[TraderError]
    symbols: int = 0  # it looks at
    symbols_not_held: list[str] = []  # it names
    matched: int = 0  # symbols, at the newest close
    unknown: dict[str, int] = {}  # evaluations that were neither true nor false, by reason
    evaluations: int = 0  # closes it was evaluated at
    last_open_time_ms: int | None = None  # of the newest of them
    late_ms: int = 0  # between the end of that kline and the end of its evaluation
    late_ms_max: int = 0
    signals: int = 0
    last_signal_ms: int | None = None


class ErrorBook:
    """What is wrong with traders, by kind; each change goes to ``sink``."""

    def __init__(self, sink: ErrorSink) -> None:
        self._sink = sink
        self._errors: dict[str, dict[str, TraderError]] = {}  # trader -> kind -> error
        self.counted = 0

    def load(self, errors: Iterable[TraderError]) -> None:
        """Go on counting from what was kept."""
        for error in errors:
            self._errors.setdefault(error.trader_id, {})[error.kind] = error

    def note(
        self,
        trader: Trader,
        kind: str,
        message: str,
        now_ms: int,
        filter_hash: str = "",
        *,
        counts: bool = True,
    ) -> TraderError:
        """Something is wrong, perhaps once more; ``counts``: and should not be."""
        errors = self._errors.setdefault(trader.id, {})
        before = errors.pop(kind, None)
        again = before is not None and before.filter_hash == filter_hash
        error = TraderError(
            trader_id=trader.id,
            filter_hash=filter_hash,
            kind=kind,
            message=message,
            first_ms=before.first_ms if again and before is not None else now_ms,
            last_ms=now_ms,
            count=before.count + 1 if again and before is not None else 1,
        )
        errors[kind] = error
        if len(errors) > ERRORS_MAX:
            del errors[next(iter(errors))]
        self.counted += counts
        self._sink.put([error])
        return error

    def of(self, trader_id: str) -> list[TraderError]:
        """What is wrong with a trader."""
        return list(self._errors.get(trader_id, {}).values())

    def has(self, trader_id: str, kind: str) -> bool:
        """Whether a kind of error is noted of a trader."""
        return kind in self._errors.get(trader_id, {})

    def mend(self, trader_id: str, *kinds: str) -> None:
        """These kinds of errors are over; what else is wrong stays."""
        errors = self._errors.get(trader_id, {})
        if not any([errors.pop(kind, None) for kind in kinds]):
            return
        rest = list(errors.values())
        if not rest:
            del self._errors[trader_id]
        self._sink.clear(trader_id)
        if rest:
            self._sink.put(rest)

    def clear(self, trader_id: str) -> None:
        """Nothing is wrong any more."""
        if self._errors.pop(trader_id, None):
            self._sink.clear(trader_id)


def describe(
    trader: Trader, engine: TraderEngine | None, errors: list[TraderError]
) -> TraderHealth:
    """The health of one trader; ``engine`` is its market's, None while that is not up."""
    watch = engine.watches.get(trader.id) if engine is not None else None
    if engine is not None and watch is not None:
        return _running(engine, watch, errors)
    if not trader.enabled:
        state: State = "disabled"
    elif trader.paused_reason is not None:
        state = "paused"
    else:
        state = "error" if errors else "waiting"
    return TraderHealth(state=state, errors=errors)


def _running(engine: TraderEngine, watch: Watch, errors: list[TraderError]) -> TraderHealth:
    looked = len(engine.market.symbols) if watch.symbols is None else watch.held.bit_count()
    return TraderHealth(
        state="running" if looked else "error",
        errors=errors,
        symbols=looked,
        symbols_not_held=list(watch.unheld),
        matched=watch.matched.bit_count(),
        unknown=engine.unknown(watch),
        evaluations=watch.executions,
        last_open_time_ms=watch.last_open_ms,
        late_ms=watch.late_ms,
        late_ms_max=watch.late_ms_max,
        signals=watch.signals,
        last_signal_ms=watch.last_signal_ms,
    )
