"""What filters say, as answers; touches no market, so it may run in any thread."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from klinecore.filters import (
    Filter,
    Kind,
    MarketCopy,
    Reason,
    evaluate,
    explain,
    expression_series,
    replay,
)
from klinecore.indicators.entry import Values
from server.api.filter_types import (
    EvaluateFilter,
    Expression,
    Expressions,
    FilterEvaluation,
    FilterName,
    FilterPart,
    FilterReplay,
    Firing,
    ReplayFilter,
    RowsFrom,
    SymbolResult,
    Value,
)

__all__ = ["draw", "run_now", "run_over_past"]


def run_now(filter: Filter, asked: EvaluateFilter, rows: MarketCopy) -> FilterEvaluation:
    """A filter at the newest closed kline of each symbol."""
    found = evaluate(filter, rows, asked.interval, rows.asked)
    kinds = {node.text: node.kind for node in filter.root.walk()}
    parts = found.parts if asked.parts else {}
    columns = [_values(values, kinds[text]) for text, values in parts.items()]
    results = _values(found.values, "condition")
    times, prices = found.open_time_ms.tolist(), found.price.tolist()
    reasons = [Reason(reason) for reason in found.reasons.tolist()]
    symbols = [
        SymbolResult(
            symbol=symbol,
            open_time_ms=times[i] or None,
            price=_number(prices[i]),
            result=bool(result) if result is not None else None,
            reason=reasons[i].name if reasons[i] else None,
            values=[column[i] for column in columns],
        )
        for i, (symbol, result) in enumerate(zip(found.symbols, results, strict=True))
    ]
    counts = Counter(results)
    return FilterEvaluation(
        filter=FilterName(filter.normal, filter.hash),
        interval=asked.interval,
        matches=list(found.matches),
        counts={"true": counts[True], "false": counts[False], "unknown": counts[None]},
        unknown=dict(Counter(reason.name for reason in reasons if reason)),
        parts=[FilterPart(text, kinds[text]) for text in parts],
        symbols=symbols,
    )


def run_over_past(filter: Filter, asked: ReplayFilter, rows: MarketCopy) -> FilterReplay:
    """Where a filter would have fired in memory."""
    found = replay(
        filter, rows, asked.interval, rows.asked, mode=asked.mode, cooldown=asked.cooldown
    )
    newest = slice(-asked.limit, None)
    fired = zip(
        found.symbol_index[newest].tolist(),
        found.open_time_ms[newest].tolist(),
        found.price[newest].tolist(),
        strict=True,
    )
    return FilterReplay(
        filter=FilterName(filter.normal, filter.hash),
        interval=asked.interval,
        mode=asked.mode,
        cooldown=asked.cooldown,
        symbols=len(found.symbols),
        rows=found.rows,
        fired=len(found.open_time_ms),
        by_symbol={
            name: count
            for name, count in zip(
                found.symbols,
                np.bincount(found.symbol_index, minlength=len(found.symbols)).tolist(),
                strict=True,
            )
            if count
        },
        firings=[Firing(found.symbols[index], time, price) for index, time, price in fired],
        unknown={reason.name: count for reason, count in found.unknown.items()},
        since={name: _from(anchors[anchors > 0]) for name, anchors in found.anchors.items()},
        depends_on_first=explain(filter).depends_on_first,
    )


def draw(
    texts: Sequence[str], filters: Sequence[Filter], rows: MarketCopy, interval: str, limit: int
) -> Expressions:
    """Expressions at the newest ``limit`` klines of the only symbol that was asked for."""
    lines = []
    times = np.empty(0, dtype=np.int64)
    for text, filter in zip(texts, filters, strict=True):
        times, values = expression_series(filter, rows, rows.asked[0], interval)
        kind = filter.root.kind
        lines.append(
            Expression(
                text=text,
                normal=filter.normal,
                kind=kind,
                bars=filter.bars_on(interval),
                values=_values(values[-limit:], kind),
            )
        )
    opened = times[-limit:].tolist()
    return Expressions(rows.asked[0], interval, len(opened), opened, lines)


def _from(anchors: np.ndarray[tuple[int], np.dtype[np.int64]]) -> RowsFrom:
    return RowsFrom(int(anchors.min()), int(anchors.max())) if len(anchors) else RowsFrom(0, 0)


def _values(values: Values, kind: Kind) -> list[Value]:
    if kind == "number":
        return [_number(value) for value in values.tolist()]
    return [None if value != value else value == 1.0 for value in values.tolist()]


def _number(value: float) -> float | None:
    return None if value != value else value
