"""Random texts for the reader of filters: broken filters, soups of words, bytes, and whole ones."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from random import Random

from reference.hostile_filters import HOSTILE

from klinecore.filters import FIELDS, FilterError, parse_expression
from klinecore.filters.vocabulary import CALLS, bare, example
from klinecore.indicators import CATALOG
from klinecore.interval import INTERVALS

__all__ = ["Fuzzer", "try_texts"]

HANGS_S = 30.0  # a text takes milliseconds; this many seconds only if something never ends

VALID = [
    "rsi(14) < 30 and close > sma(200)",
    "crosses_above(ema(12), ema(26)) and volume > 2 * sma(volume, 20)",
    'rsi(14) @ "1h" < 30 and close > close[1]',
    "macd(12, 26, 9).hist > 0 and macd(12, 26, 9).hist[1] <= 0",
    "30 < stoch(14, 3, 3).k < 70",
    "bb(20, 2).width < lowest(bb(20, 2).width, 120) * 1.05",
    "close > highest(high, 20)[1] and ticker.quote_volume > 5_000_000",
    'top(change(24) @ "1h", 10)',
    "any_of(rsi(14) < 30, 5)",
    'vwap("day", 2).upper < close or not (close > open)[3]',
    'rsi(14, compat="tradingview") > 70 and bars_since(engulfing > 0) < 5',
    "min(open, close, low) > -1.5e-3 and clip(hl2, 1, 2) != 1",
    "breadth(close > sma(50)) > 60 and rank(volume) <= 10",
    "count(close > open, 10) >= 7 and rising(close, 3) and abs(-close) > log(sqrt(volume))",
]
WORDS = "ticker last and or not if else lambda in is None True __class__ x n period compat source"
SIGNS = (
    "+ - * / @ < <= > >= == != ( ) [ ] , . = ( ) ( ) , { } : ; ! && || ** // << % ~ ` $ ? \\ # ' \""
)
NUMBERS = "0 1 2 14 20 500 501 -1 0.5 1e9 1e400 1_000 1__0 0x1 1j nan"
STRINGS = ("'1h'", '"1h"', '"day"', '"tradingview"', '""')
ODD = ("\t", "\n", chr(0), chr(0xE9), chr(0x200B), chr(0xFF45), chr(0xD800))
TOKENS = [*FIELDS, *CALLS, *CATALOG, *INTERVALS, *STRINGS, *ODD]
TOKENS += f"{WORDS} {SIGNS} {NUMBERS}".split()
HOSTILE_SHORT = [text for text in HOSTILE if len(text) <= 200]
CALLED = [example(name) for name in (*CATALOG, *CALLS)]
BARE = [*FIELDS, *(e.name for e in CATALOG.values() if bare(e) and len(e.outputs) == 1)]


class Fuzzer:
    """An endless row of texts; the same for the same seed."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.ways: list[Callable[[], str]] = [
            self.mutated, self.mutated, self.soup, self.bytes, self.written, self.spliced,
        ]  # fmt: skip

    def __iter__(self) -> Iterator[str]:
        while True:
            yield self.random.choice(self.ways)()

    def valid(self) -> str:
        return self.random.choice(VALID) if self.random.random() < 0.5 else self.written()

    def mutated(self) -> str:
        text = self.valid()
        for _ in range(self.random.randint(1, 4)):
            at = self.random.randint(0, len(text))
            to = min(len(text), at + self.random.choice((0, 1, 1, 2, 5, 20)))
            put = self.random.choice(("", "", self.random.choice(TOKENS), text[at:to] * 2, " "))
            text = text[:at] + put + text[to:]
        return text

    def soup(self) -> str:
        count = self.random.choice((1, 2, 3, 5, 8, 13, 40))
        blank = self.random.choice(("", " "))
        return blank.join(self.random.choices(TOKENS, k=count))

    def bytes(self) -> str:
        raw = self.random.randbytes(self.random.choice((1, 3, 10, 40)))
        return raw.decode(self.random.choice(("latin-1", "utf-16")), "replace")

    def spliced(self) -> str:
        first, second = self.valid(), self.random.choice((self.valid(), *HOSTILE_SHORT[:1]))
        if self.random.random() < 0.3:
            second = self.random.choice(HOSTILE_SHORT)
        cut, after = self.random.randint(0, len(first)), self.random.randint(0, len(second))
        return first[:cut] + second[after:]

    def written(self) -> str:
        return self.condition(self.random.randint(0, 3))

    def number(self, depth: int) -> str:
        way = self.random.randint(0, 8)
        if depth <= 0 or way <= 2:
            return self.random.choice((*BARE, "2", "0.5", "30", "1_000", "ticker.last"))
        if way == 3:
            return self.random.choice(CALLED)
        if way == 4:
            return f"({self.number(depth - 1)})[{self.random.randint(0, 9)}]"
        if way == 5:
            return f'({self.number(depth - 1)}) @ "{self.random.choice(INTERVALS)}"'
        if way == 6:
            name = self.random.choice(("sma", "ema", "rsi", "highest", "wma", "roc"))
            return f"{name}({self.number(depth - 1)}, {self.random.randint(1, 60)})"
        sign = self.random.choice("+-*/")
        left, right = self.number(depth - 1), self.number(depth - 1)
        return f"({left} {sign} {right})" if way == 7 else f"-{left} {sign} {right}"

    def condition(self, depth: int) -> str:
        way = self.random.randint(0, 6) if depth > 0 else 6
        if way <= 1:
            word = self.random.choice((" and ", " or "))
            return word.join(self.condition(depth - 1) for _ in range(self.random.randint(2, 4)))
        if way == 2:
            return f"not ({self.condition(depth - 1)})"
        if way == 3:
            name = self.random.choice(("any_of", "all_of"))
            return f"{name}({self.condition(depth - 1)}, {self.random.randint(1, 20)})"
        if way == 4:
            low, high = self.number(0), self.number(0)
            return f"{low} < {self.number(depth - 1)} <= {high}"
        sign = self.random.choice(("<", "<=", ">", ">=", "==", "!="))
        return f"{self.number(depth - 1)} {sign} {self.number(depth - 1)}"


@contextmanager
def _ends(text: Callable[[], str]) -> Iterator[Callable[[], None]]:
    """Fails what goes on for ``HANGS_S``; to be told when the next text begins."""

    def late(*_: object) -> None:
        raise AssertionError(f"it never ends: {text()!r}")

    before = signal.signal(signal.SIGALRM, late)
    try:
        yield lambda: signal.setitimer(signal.ITIMER_REAL, HANGS_S) and None
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def try_texts(seed: int, count: int) -> tuple[int, int]:
    """How many of ``count`` texts were filters or numbers, and how many were refused.

    Whatever else comes of one is raised, with the text. One that is read must be read again from
    its normal form, as the same.
    """
    read = 0
    texts = iter(Fuzzer(seed))
    text = ""
    with _ends(lambda: text) as begins:
        for _ in range(count):
            text = next(texts)
            begins()
            read += _tried(text)
    return read, count - read


def _tried(text: str) -> bool:
    """Whether a text was read, not refused."""
    try:
        made = parse_expression(text)
    except FilterError as refusal:
        error = refusal
    except Exception as other:
        raise AssertionError(f"{text!r} gave {other!r}") from other
    else:
        again = parse_expression(made.normal)
        assert (again.normal, again.root) == (made.normal, made.root), repr(text)
        return True
    assert 1 <= error.column <= len(text) + 1, repr(text)
    assert error.hint, repr(text)
    assert str(error), repr(text)
    return False
