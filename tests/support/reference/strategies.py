"""Hypothesis strategies: the numbers, rows and orders an exchange can send, and then some."""

from __future__ import annotations

from hypothesis import strategies as st
from reference.series import due_close_ms

from klinecore import Kline
from klinecore.interval import next_open_ms, open_time_ms

#: 2026-02-01, a Sunday.
START_MS = 1_769_904_000_000


def _point(mantissa: int, decimals: int) -> str:
    digits = str(mantissa).rjust(decimals + 1, "0")
    return f"{digits[:-decimals]}.{digits[-decimals:]}" if decimals else digits


def _fixed(digits_max: int, decimals: st.SearchStrategy[int]) -> st.SearchStrategy[str]:
    """A mantissa of up to ``digits_max`` digits, any length equally likely, with a point in it."""
    mantissas = st.integers(0, digits_max).flatmap(
        lambda digits: st.integers(10 ** (digits - 1) if digits else 0, 10**digits - 1)
    )
    return st.builds(_point, mantissas, decimals)


def _printed_zeros(numbers: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """Zeros behind the last decimal, as many as the contract keeps; they carry no information."""

    def pad(text: str, zeros: int) -> str:
        whole, _, decimals = text.partition(".")
        decimals = decimals.rstrip("0")
        return f"{whole}.{decimals + '0' * zeros}" if decimals or zeros else whole

    return st.builds(pad, numbers, st.integers(0, 15))


# Where float64 runs out of digits, and where its neighbours are just one unit apart.
_edges = st.builds(
    lambda power, offset, decimals: _point(2**power + offset, decimals),
    st.integers(40, 49),
    st.integers(-3, 3),
    st.integers(0, 8),
)
_wide_edges = st.builds(
    lambda power, offset, decimals: _point(2**power + offset, decimals),
    st.integers(50, 66),
    st.integers(-3, 3),
    st.integers(0, 8),
)
_zeros = st.sampled_from(["0", "0.0", "0.00000000", "0.000000000000000"])

#: Prices within the promise: up to 15 significant digits.
prices = st.one_of(
    _fixed(15, st.just(8)),
    _fixed(7, st.integers(0, 7)),
    _fixed(15, st.integers(0, 15)),
    _printed_zeros(_fixed(15, st.integers(0, 15))),
    _edges,
    _zeros,
)
#: Volumes within the promise: up to 20 significant digits.
volumes = st.one_of(
    _fixed(20, st.just(8)),
    _fixed(18, st.integers(0, 5)),
    st.builds("{}.00000000".format, st.integers(0, 10**15)),
    _printed_zeros(_fixed(20, st.integers(0, 15))),
    _edges,
    _wide_edges,
    _zeros,
)
#: Plain decimals of any length: kept exactly, or refused.
long_decimals = st.one_of(
    prices,
    volumes,
    _fixed(40, st.integers(0, 45)),
    st.builds("{}{}".format, st.integers(1, 9), st.text("0123456789", min_size=15, max_size=60)),
)
#: No plain decimals.
no_decimals = st.one_of(
    st.sampled_from(
        ["", "-1", "+1", "-0", "01", "00", "00.1", ".5", "5.", "1e5", "1E5", "1.5e3", "0x10", "1,5"]
        + ["1.2.3", " 1", "1 ", "1_0", "NaN", "nan", "inf", "Infinity", "null", "١", "1\x00", "1٫5"]
    ),
    st.text(max_size=8).filter(lambda text: not text.replace(".", "").isdigit()),
)


def opens(interval: str, count: int) -> list[int]:
    """The first ``count`` opening times of the calendar from START_MS on."""
    times = [open_time_ms(interval, START_MS)]
    while len(times) < count:
        times.append(next_open_ms(interval, times[-1]))
    return times


@st.composite
def klines(
    draw: st.DrawFn,
    interval: str = "1m",
    *,
    slots: int = 24,
    closed: st.SearchStrategy[bool] | None = None,
) -> Kline:
    """A row in one of the first ``slots`` places; few trade counts, so that rows collide."""
    open_ms = draw(st.sampled_from(opens(interval, slots)))
    return Kline(
        open_time_ms=open_ms,
        open=draw(prices),
        high=draw(prices),
        low=draw(prices),
        close=draw(prices),
        volume=draw(volumes),
        close_time_ms=due_close_ms(interval, open_ms),
        quote_volume=draw(volumes),
        trades=draw(st.integers(0, 3)),
        taker_buy_base=draw(volumes),
        taker_buy_quote=draw(volumes),
        closed=draw(st.booleans() if closed is None else closed),
    )


@st.composite
def plain_klines(draw: st.DrawFn, interval: str = "1m", *, slots: int = 200) -> Kline:
    """A row of small numbers: cheap to draw, for long runs where order is what is tested."""
    open_ms = draw(st.sampled_from(opens(interval, slots)))
    return plain_kline(
        open_ms,
        draw(st.integers(0, 4)),
        interval=interval,
        closed=draw(st.sampled_from([True, True, False])),
        price=draw(st.sampled_from(["10.00", "10.01", "10.0"])),
    )


def plain_kline(
    open_ms: int,
    trades: int = 10,
    *,
    interval: str = "1m",
    closed: bool = True,
    price: str = "10.00",
) -> Kline:
    """A row whose numbers follow from its open time."""
    step = (open_ms // 1000) % 9973
    return Kline(
        open_time_ms=open_ms,
        open=price,
        high=f"{step + 11}.00",
        low="9.00",
        close=f"{step}.50",
        volume=f"{step}.125",
        close_time_ms=due_close_ms(interval, open_ms),
        quote_volume=f"{step * 1001}.00000001",
        trades=trades,
        taker_buy_base="0",
        taker_buy_quote="0.00000000",
        closed=closed,
    )
