"""Writes what follows from the language's tables: docs/filters.md.

``python -m klinecore.filters.writing`` writes it; a test holds it to the tables.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from pathlib import Path

from klinecore.errors import FilterError
from klinecore.filters.language import LANGUAGE, compile
from klinecore.filters.limits import LIMIT_MEANINGS, LIMITS
from klinecore.filters.ready import READY
from klinecore.filters.reasons import Reason
from klinecore.filters.tree import OPERATIONS
from klinecore.filters.vocabulary import CALLS, SIGNS, Word, words
from klinecore.indicators.catalog import CATALOG, FAMILIES
from klinecore.interval import INTERVALS

__all__ = ["EXAMPLES", "REASON_MEANINGS", "SAME", "main", "reference", "written"]

ROOT = Path(__file__).parents[2]

EXAMPLES = {
    "Levels of an indicator": "rsi(14) < 30 and close > sma(200)",
    "Crosses, other sources": "crosses_above(ema(12), ema(26)) and volume > 2 * sma(volume, 20)",
    "Another interval": 'rsi(14) @ "1h" < 30 and close > close[1]',
    "Outputs, and their past": "macd(12, 26, 9).hist > 0 and macd(12, 26, 9).hist[1] <= 0",
    "Between": "30 < stoch(14, 3, 3).k < 70",
    "Indicators of indicators": "bb(20, 2).width < lowest(bb(20, 2).width, 120) * 1.05",
    "The ticker": "close > highest(high, 20)[1] and ticker.quote_volume > 5_000_000",
    "Across symbols": 'top(change(24) @ "1h", 10)',
    "How many symbols": "breadth(close > sma(50)) > 80 and close > sma(50)",
    "Over time": "any_of(rsi(14) < 30, 5)",
    "Since when": "bars_since(crosses_above(close, sma(50))) < 3 and rising(volume, 2)",
    "Patterns": "hammer and low <= lowest(low, 20)",
    "Levels of the price": "crosses_above(close, pivot_high(5, 5)) and volume > sma(volume, 20)",
    "Divergence": "divergence(close, rsi(14)) == 1",
    "The day's VWAP": 'close > vwap("day").upper',
}
SAME = (
    "rsi() < 30",
    "ema(50) > close",
    "sma(source=volume, period=20) > 1_000.0",
    'rsi(14, compat="talib") > 70',
    'vwap("day").upper < close',
    "1 < close and close < 2",
    "close > open and (high > 3 and close > open)",
    "min(open, close, low) > +1",
    'close + open @ "1h" > 3',
)
REASON_MEANINGS = {
    Reason.NOT_WARM: "fewer klines in memory than it needs",
    Reason.UNDEFINED: "no finite result: x / 0, the logarithm of 0, the root of -1",
    Reason.NO_TICKER: "no ticker came yet, or the value would be one of the past",
    Reason.HOLE: "klines are missing among those it needs",
    Reason.MISSING_CLOSE: "the newest kline of another interval is due and not held",
    Reason.NO_ROWS: "there is no closed kline at all",
}

INTRODUCTION = """# Filters

Written by `python -m klinecore.filters.writing` from the tables of the language; do not edit.

A filter is a condition on klines, as text: `rsi(14) < 30 and close > sma(200)`. It is read once,
checked, and looked at for every symbol at every close. It is never run as Python or anything else:
what is not a name or sign of this page is refused, with the place and a hint.

<!-- not run: README runs the same with a market -->
```python
from klinecore.filters import compile, evaluate, explain, replay

oversold = compile("rsi(14) < 30 and close > sma(200)")
explain(oversold)  # normal form, parts, klines needed, cost
evaluate(oversold, market, "5m")  # per symbol: true, false, or unknown and why; every part
replay(oversold, market, "5m")  # every close in memory at which it would have fired
```
"""

VALUES = """## Values

Every part is a number or a condition; which one is known before anything runs. A filter as a whole
is a condition. Numbers are float64. What has no finite result is unknown. Numbers are written as
`14`, `0.5`, `1e6` or `5_000_000`, up to 1e100.

Names are written as they stand here. Texts stand in quotes and name intervals and choices only.
"""

CALLING = """## Calls

- The series comes first: `sma(volume, 20)`. Without one the close is meant: `ema(50)` is
  `ema(close, 50)`. Indicators of the whole kline, such as `atr(14)`, read their columns by
  themselves; other series in their place are given all at once: `atr(high, low, hl2, 14)`.
- Series without a name of their own must be given: `crosses_above(ema(12), 30)`.
- Then come numbers, in their order, written out: windows as whole numbers. What is left out has
  the number that stands here, except where it must be given.
- Choices are texts, by name: `rsi(14, compat="tradingview")`, `vwap(anchor="day").vwap`. All
  arguments may be given by name: `ema(source=high, period=50)`.
- An indicator with several outputs is followed by one of them: `macd(12, 26, 9).hist`.
- What takes nothing but the kline has no brackets: `hlc3`, `engulfing`, `heikin_ashi.close`.
"""

UNKNOWN = """## What is unknown

A value that cannot be known is unknown, never false. Whatever reads an unknown value is unknown
itself, `and` and `or` too: no part is passed over. An unknown filter does not fire; it is counted
by its reason.

{reasons}

A hole is a kline that is missing and not confirmed absent by the exchange. Rows on both sides of it
are no neighbours: windows start afresh behind it and are known again once they are full. What
remembers everything, such as `ema`, starts afresh too and is unknown until the hole is repaired or
out of memory. Where the exchange confirms that there is no kline, the rows are neighbours.

`x[n]` counts rows, not known values: it is unknown if the value n rows ago was. `rising`,
`falling`, `any_of`, `all_of` and `count` are unknown if one value of their window is. `bars_since`
is unknown before the first true and, behind an unknown value, until the next true.
"""

OTHER = """## Other intervals

`x @ "1h"` is x computed on the 1h klines: all of x, with every window in it. At a close of the
filter's own interval its value is that of the newest 1h kline that closed not later. If that kline
is due and not there, the value is unknown, not an old one. The interval may be longer or shorter
than the filter's own, or the same, which changes nothing.

`@` binds as `*` does: `rsi(14) @ "1h" < 30` needs no brackets, `(rsi(14) < 30) @ "1h"` does. It
stands in no other `@`, and not behind a number alone. What looks across symbols stands outside:
`top(change(24) @ "1h", 10)`.
`(close @ "1h")[1]` is what `close @ "1h"` was one kline of the filter's own ago; `close[1] @ "1h"`
is the 1h close before the newest.

Intervals: {intervals}.
"""

ACROSS = """Across symbols are compared those whose value is known at the same close, 1 being the
largest; equal values go by the market's order of symbols. Such filters wait for all symbols.

The newest ticker has no past, so it stands in no window, in no `x[n]` and in no `@`.
"""

FIRING = """## When a filter fires

- `edge`, the default: at a close where it is true and was false when it was last known. So not at
  the first close at which it is known, and unknown ones in between change nothing.
- `level`: at every close where it is true.
- `cooldown`: so many closes of the same symbol after a firing do not fire.

The same rules hold live and in `replay`.
"""

NORMAL = """## Normal form

Every filter has one normal form, and texts with the same one are the same filter. It is a text of
the language that reads back as itself. Series and numbers that were left out are written out,
unless they are columns that an indicator reads by itself; choices only where they are not the
usual one. Numbers have their shortest spelling, and only brackets that are needed are left.
Comparisons that follow each other are a chain, and a condition that is said twice in an `and` or
`or` is said once. The order of parts stays as it is.

{examples}

The hash is the SHA-256 of the version of the language, now {language}, and the normal form.
"""

LIMITED = """## Limits

{limits}

A refusal says which limit it was, as in `limit: window`. Others can be given for each call:
`compile(text, limits=Limits(indicators=8))`. Equal parts of a filter count once. Refusing takes
less than 5 ms and 1 MB, whatever the text.

## Refusals

`FilterError` has `message`, `line`, `column` and `hint`, and shows the place:

{refusals}
"""


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def _code(text: str) -> str:
    return f"`{text}`"


def _words(chosen: Iterable[Word], *, outputs: bool = False) -> str:
    """A table of words; of indicators with their outputs and choices."""
    if not outputs:
        rows = ((_code(w.signature), w.gives, w.meaning) for w in chosen)
        return _table(("written", "gives", "meaning"), rows)
    return _table(("written", "gives", "meaning"), map(_row, chosen))


def _row(word: Word) -> tuple[str, str, str]:
    gives = ", ".join(f"`.{name}`" for name in word.outputs) or word.gives
    choices = [
        f"{p.name}: {' or '.join(_code(c) for c in p.choices)}"
        for p in word.parameters
        if p.choices
    ]
    demanded = [f"{p.name} must be given" for p in word.parameters if p.default is None]
    meaning = "; ".join([word.meaning, *demanded, *choices])
    return _code(word.signature), gives, meaning


def _operations(*memories: str) -> list[Word]:
    return [w for w in words() if w.name in CALLS and OPERATIONS[w.name].memory in memories]


def _refused(text: str) -> str:
    try:
        compile(text)
    except FilterError as error:
        return f"```\n{error}\n```"
    raise AssertionError(f"{text} is read")


def reference() -> str:
    """Text of docs/filters.md."""
    examples = _table(("kind", "filter"), ((k, _code(v)) for k, v in EXAMPLES.items()))
    ready = _table(
        ("name", "what it finds", "filter"),
        ((_code(r.name), r.description, _code(r.text)) for r in READY.values()),
    )
    reasons = _table(("reason", "why"), ((r.name, why) for r, why in REASON_MEANINGS.items()))
    same = _table(("text", "normal form"), ((_code(t), _code(compile(t).normal)) for t in SAME))
    limits = _table(
        ("limit", "at most", "of what"),
        (
            (_code(name), f"{most:,}", LIMIT_MEANINGS[name])
            for name, most in dataclasses.asdict(LIMITS).items()
        ),
    )
    refusals = "\n\n".join(map(_refused, ("close > 3 and rsj(14) < 30", "macd(12, 26, 9) > 0")))
    parts = [
        INTRODUCTION,
        f"## By example\n\n{examples}\n",
        VALUES,
        "## Columns and the ticker\n\n"
        + _words(w for w in words() if w.kind in ("field", "ticker")) + "\n",
        "## Signs\n\nTightest last, as in Python.\n\n"
        + _table(("written", "meaning"), ((_code(s), m) for s, m in SIGNS.items())) + "\n",
        CALLING,
        f"## Operations\n\nOf numbers:\n\n{_words(_operations(''))}\n",
        f"Over time:\n\n{_words(_operations('window', 'lag', 'past'))}\n",
        f"Across symbols:\n\n{_words(_operations('symbols'))}\n",
        ACROSS,
        _indicators(),
        UNKNOWN.format(reasons=reasons),
        OTHER.format(intervals=", ".join(map(_code, INTERVALS))),
        FIRING,
        NORMAL.format(examples=same, language=LANGUAGE),
        LIMITED.format(limits=limits, refusals=refusals),
        f"## Ready filters\n\n`klinecore.filters.READY`, by name.\n\n{ready}\n",
    ]  # fmt: skip
    return "\n".join(parts)


def _indicators() -> str:
    """The catalog by families."""
    parts = ["## Indicators\n\nEach with its usual numbers; formulas are in [indicators.md]"]
    parts[0] += "(indicators.md).\n"
    for family, title in FAMILIES.items():
        chosen = [w for w in words() if w.name in CATALOG and CATALOG[w.name].family == family]
        parts.append(f"### {title}\n\n{_words(chosen, outputs=True)}\n")
    return "\n".join(parts)


def written() -> dict[Path, str]:
    """Every file that is written, and what it holds."""
    return {ROOT / "docs" / "filters.md": reference()}


def main() -> None:
    """Write it."""
    for path, text in written().items():
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
