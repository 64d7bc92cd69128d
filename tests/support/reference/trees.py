"""Random filters with small windows, drawn from a seed, and random markets for them to look at."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from hypothesis import reject
from hypothesis import strategies as st
from reference.messages import dump
from reference.samples import MINI_TICKER, TICKER
from reference.strategies import opens

import klinecore as kc
from klinecore.filters import FIELDS, LIMITS, TICKER_FIELDS, FilterError, Kind, Node
from klinecore.filters.build import Builder
from klinecore.filters.tree import TIME
from klinecore.indicators import CATALOG
from klinecore.indicators.entry import Indicator
from klinecore.interval import close_time_ms

__all__ = ["Expression", "Grower", "markets", "random_market", "trees"]

CONSTANTS = (0.0, 1.0, -1.0, 2.5, 30.0, 50.0, 100.0, 1e-8, 1e60, 1e100)
SYMBOLS = ("AAAUSDT", "BBBUSDT", "CCCUSDT")


@dataclass(frozen=True, repr=False)
class Expression:
    """A tree where a filter is taken."""

    root: Node

    def __repr__(self) -> str:
        return self.root.text


class Grower:
    """Grows trees of at most ``size`` operations; equal parts are one object.

    ``choose`` picks one of a sequence: a random generator's, or one that hypothesis draws with.
    """

    def __init__(
        self,
        choose: Callable[[Sequence[object]], object],
        *,
        others: Sequence[str] = (),
        size: int = 14,
        tickers: bool = True,
        across: bool = True,
        indicators: Sequence[str] = tuple(CATALOG),
        window: int = 4,
    ) -> None:
        self.choose = choose
        self.others = others
        self.left = size
        self.tickers = tickers
        self.across = across
        self.window = window
        self.interval = ""
        self.builder = Builder("", LIMITS)
        self.numbers = [name for name in indicators if not CATALOG[name].condition]
        self.conditions = [name for name in indicators if CATALOG[name].condition]

    def make(self, op: str, *args: Node, params: Sequence[float | int | str] = ()) -> Node:
        """A node as the compiler makes it."""
        if op == "neg" and args[0].op == "const":
            return self.make("const", params=(0.0 - float(args[0].params[0]),))
        if op == "lag" and args[0].op == "const":
            return args[0]
        if op in ("and", "or"):
            flat: list[Node] = []
            for arg in args:
                same = arg.op == op and arg.interval == self.interval
                flat.extend(arg.args if same else (arg,))
            args = tuple(flat)
        return self.builder.make(op, args, tuple(params), self.interval)

    def pick(self, *choices: object) -> str:
        return str(self.choose(choices))

    def rows(self, least: int = 1) -> int:
        return int(str(self.choose(range(least, self.window + 1))))

    def number(self) -> Node:
        """A number."""
        self.left -= 1
        if self.left <= 0:
            return self.leaf()
        ops = ["leaf", "leaf", "indicator", "indicator", "one", "two", "two", "clip", "lag"]
        ops += ["count", "bars_since"]
        ops += ["rank", "breadth"] if self.across and not self.interval else []
        ops += ["at"] if self.others and not self.interval else []
        op = self.pick(*ops)
        if op == "leaf":
            return self.leaf()
        if op == "at":
            return self.elsewhere(self.number)
        if op == "indicator":
            return self.indicator(self.numbers)
        if op == "one":
            return self.make(self.pick("neg", "abs", "sqrt", "log", "sign"), self.number())
        if op == "two":
            two = self.pick("add", "sub", "mul", "div", "min", "max")
            return self.make(two, self.number(), self.number())
        if op == "clip":
            return self.make("clip", self.number(), self.number(), self.number())
        if op == "lag":
            return self.make("lag", self.number(), params=(self.rows(0),))
        if op == "count":
            return self.make("count", self.condition(), params=(self.rows(),))
        return self.make(op, self.number() if op == "rank" else self.condition())

    def condition(self) -> Node:
        """A condition."""
        self.left -= 1
        compare = ["lt", "le", "gt", "ge", "eq", "ne"]
        if self.left <= 0:
            return self.make(self.pick(*compare), self.leaf(), self.leaf())
        ops = ["compare", "compare", "compare", "and", "or", "not", "rising", "falling", "any_of"]
        ops += ["all_of", "lag", *(["indicator"] if self.conditions else [])]
        ops += ["top", "bottom"] if self.across and not self.interval else []
        ops += ["at"] if self.others and not self.interval else []
        op = self.pick(*ops)
        if op == "at":
            return self.elsewhere(self.condition)
        if op == "compare":
            return self.make(self.pick(*compare), self.number(), self.number())
        if op in ("and", "or"):
            count = int(self.pick(2, 2, 3))
            return self.make(op, *(self.condition() for _ in range(count)))
        if op == "not":
            return self.make(op, self.condition())
        if op == "indicator":
            return self.indicator(self.conditions)
        if op in ("rising", "falling", "top", "bottom"):
            return self.make(op, self.number(), params=(self.rows(),))
        return self.make(op, self.condition(), params=(self.rows(op != "lag"),))

    def elsewhere(self, grow: Callable[[], Node]) -> Node:
        """A part on another interval."""
        self.interval = self.pick(*self.others)
        made = grow()
        self.interval = ""
        return made

    def leaf(self) -> Node:
        kind = self.pick(*["field"] * 9, "const", "const", "const", "ticker")
        if kind == "const":
            return self.make("const", params=(float(self.pick(*CONSTANTS)),))
        if kind == "ticker" and self.tickers and not self.interval:
            return self.make("ticker", params=(self.pick(*TICKER_FIELDS),))
        return self.make("field", params=(self.pick(*FIELDS, *["close"] * 6),))

    def indicator(self, names: Sequence[str]) -> Node:
        entry = CATALOG[self.pick(*names)]
        args = [
            self.make("field", params=(name,)) if name in (*FIELDS, TIME)
            and self.pick(*"yyyn") == "y" or name == TIME else self.number()
            for name in entry.inputs
        ]  # fmt: skip
        made = self.make("indicator", *args, params=(entry.name, *self.parameters(entry)))
        if len(entry.outputs) > 1:
            return self.make("output", made, params=(self.pick(*entry.outputs),))
        return made

    def parameters(self, entry: Indicator) -> tuple[float | int | str, ...]:
        given: dict[str, object] = {}
        for parameter in entry.parameters:
            if parameter.kind == "period":
                given[parameter.name] = max(self.rows(), int(parameter.low))
            elif parameter.kind == "choice":
                given[parameter.name] = self.pick(*parameter.choices)
        return entry.defaults(**given)  # type: ignore[return-value]


@st.composite
def trees(
    draw: st.DrawFn,
    kind: Kind = "condition",
    others: Sequence[str] = ("5m",),
    size: int = 14,
    *,
    tickers: bool = True,
) -> Expression:
    """A random tree. It is drawn from one seed and a size: cheap, and only the size shrinks."""
    grower = Grower(
        random.Random(draw(st.integers(0, 2**32))).choice,
        others=others,
        size=draw(st.integers(1, size)),
        tickers=tickers,
    )
    try:
        return Expression(grower.condition() if kind == "condition" else grower.number())
    except FilterError:
        reject()


def random_kline(rng: random.Random, interval: str, open_ms: int, price: int) -> kc.Kline:
    opened = max(price + rng.randint(-3, 3), 0)
    high, low = (
        max(price, opened) + rng.randint(0, 3),
        max(min(price, opened) - rng.randint(0, 3), 0),
    )
    volume = rng.choice([0, 1, 5, 5, rng.randint(0, 10**6)])
    half = volume // 2
    return kc.Kline(
        open_ms,
        *(f"{x / 100:.2f}" for x in (opened, high, low, price)),
        f"{volume}.5" if volume else "0",
        close_time_ms(interval, open_ms),
        f"{volume * price / 100:.4f}",
        rng.choice([0, 3, 10]),
        str(half),
        f"{half * price / 100:.4f}",
    )


def random_rows(
    rng: random.Random, market: kc.Market, symbol: str, interval: str, count: int
) -> None:
    """Rows with holes; some of them confirmed absent, some rows revised, some late."""
    times = opens(interval, count)[rng.choice([0, 0, 0, 3]) :]
    price = rng.choice([0, 5, 1000, 10**7])
    holes = rng.choice([0.0, 0.0, 0.05, 0.2])
    rows = []
    for open_ms in times:
        price = max(price + rng.choice([-50, -7, -1, 0, 0, 1, 7, 50]), 0)
        if rng.random() >= holes:
            rows.append(random_kline(rng, interval, open_ms, price))
    revised = [random_kline(rng, interval, row.open_time_ms, price) for row in rows
               if rng.random() < 0.1]  # fmt: skip
    if rng.random() < 0.5:
        late = rng.randint(0, 3)
        rows[-late:] = rows[-late:][::-1] if late else []
    for row in rows + revised:
        market.push(symbol, interval, row._replace(closed=row.open_time_ms != times[-1]))
    for first, last in market[symbol, interval].holes():
        if rng.random() < 0.5:
            market.confirm_absent(symbol, interval, first, last)


def random_market(
    seed: int,
    intervals: Sequence[str] = ("1m", "5m"),
    symbols: Sequence[str] = SYMBOLS,
    *,
    rows: int = 40,
    capacity: int = 32,
) -> kc.Market:
    """Some symbols have no rows of an interval, few, or more than the window holds."""
    rng = random.Random(seed)
    market = kc.Market(symbols, intervals, capacity=capacity)
    end_ms = opens(intervals[0], rows)[-1]
    for symbol in symbols:
        for interval in intervals:
            within = sum(time <= end_ms for time in opens(interval, rows))
            count = rng.choice([0, 2, within, within, within, within + 2])
            random_rows(rng, market, symbol, interval, min(count, rows))
        if rng.random() < 0.6:
            sample = rng.choice([TICKER, MINI_TICKER])
            market.apply(dump(sample | {"s": symbol, "c": f"{rng.randint(0, 2000) / 100}"}))
    return market


def markets(intervals: Sequence[str] = ("1m", "5m")) -> st.SearchStrategy[kc.Market]:
    """Random markets of three symbols."""
    return st.builds(random_market, st.integers(0, 2**32), st.just(tuple(intervals)))
