"""The prompt that lets a language model draft a filter from words: rules, names and examples."""

from __future__ import annotations

from klinecore.filters.limits import LIMITS
from klinecore.filters.ready import READY
from klinecore.filters.vocabulary import SIGNS, Word, words
from klinecore.interval import INTERVALS

__all__ = ["prompt"]

RULES = f"""You write filters: conditions on the klines (candlesticks) of a trading pair, in a small
language of expressions. A filter is looked at after every close, for every symbol.

Rules
- Answer with the filter alone: one line, at most {LIMITS.text:,} characters, no comment.
- The whole filter is a condition: compare numbers, join comparisons with and, or, not.
- Use only the names and signs below; a name that is not listed is refused.
- The series comes first, then numbers that are written out: sma(volume, 20). Without a series the
  close is meant: ema(50). Several outputs are named: macd(12, 26, 9).hist.
- Words are given by name: rsi(14, compat="tradingview").
- x[n] is the value n closed klines ago. Whole klines count only; there is no future.
- x @ "1h" is x on another interval; one interval in each part, never one inside another.
  Intervals: {", ".join(INTERVALS)}.
- ticker.* is the newest ticker; it has no earlier values.
- A window is at most {LIMITS.window} klines. At most {LIMITS.nodes} parts, {LIMITS.indicators}
  indicators and {LIMITS.intervals} other intervals.
- What cannot be known yet is unknown, never false, and an unknown filter does not fire.
"""


def prompt() -> str:
    """What to tell a language model before it is told, in words, which filter is wanted."""
    parts = [RULES, "Signs, tightest last"]
    parts += [f"- {sign}: {meaning}" for sign, meaning in SIGNS.items()]
    kinds = {
        "field": "Columns of the kline",
        "ticker": "Newest ticker",
        "function": "Operations",
        "indicator": "Indicators, with their usual numbers",
    }
    for kind, title in kinds.items():
        parts += ["", title]
        parts += [_line(word) for word in words() if word.kind == kind]
    parts += ["", "Examples"]
    parts += [f"- {one.title}: {one.text}" for one in READY.values()]
    return "\n".join(parts) + "\n"


def _line(word: Word) -> str:
    outputs = f"; outputs .{' .'.join(word.outputs)}" if word.outputs else ""
    gives = "; a condition" if word.gives == "condition" else ""
    choices = "".join(
        f"; {p.name}={' or '.join(repr(c) for c in p.choices)}"
        for p in word.parameters
        if p.choices and p.name != "compat"
    )
    demanded = "".join(f"; {p.name} must be given" for p in word.parameters if p.default is None)
    if word.kind == "function":
        demanded = ""
    return f"- {word.signature}: {word.meaning}{demanded}{outputs}{choices}{gives}"
