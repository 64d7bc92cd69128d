"""Text in = text out: every decimal the exchange prints leaves as it came, or is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from reference.messages import dump, kline_frame, kline_message, rest_klines
from reference.series import NUMBERS
from reference.strategies import START_MS, long_decimals, no_decimals, plain_kline, prices, volumes

import klinecore as kc

PRICES = NUMBERS[:4]
VOLUMES = NUMBERS[4:]
ROW = plain_kline(START_MS)


def one_series() -> tuple[kc.Market, kc.Series]:
    market = kc.Market(["BTCUSDT"], ["1m"], capacity=4)
    return market, market["BTCUSDT", "1m"]


def rows_of(column: str, text: str) -> kc.Kline:
    return ROW._replace(**{column: text})


def assert_kept(row: kc.Kline) -> None:
    """Through stream, REST and push, closed and forming, as text, float and JSON."""
    market, series = one_series()
    assert kc.parse_frame(kline_frame(row)).kline == row
    assert kc.parse_klines(rest_klines([row])) == [row]
    assert market.push("BTCUSDT", "1m", row._replace(closed=False)) == kc.MergeStatus.FORMING
    assert series.forming == row._replace(closed=False)
    assert market.apply(kline_frame(row)) == kc.FrameKind.KLINE
    assert series.klines() == [row]
    assert market.klines_array_json("BTCUSDT", "1m", 1) == rest_klines([row])
    for name in NUMBERS:
        np.testing.assert_array_equal(getattr(series, name), [float(getattr(row, name))])


@given(text=prices, column=st.sampled_from(PRICES))
@example("0", "open")
@example("999999999999999", "high")
@example("0.00000001", "low")
@example("0.000000000000001", "close")
def test_prices_of_fifteen_digits_are_kept(text: str, column: str) -> None:
    assert_kept(rows_of(column, text))


@given(text=volumes, column=st.sampled_from(VOLUMES))
@example("99999999999999999999", "volume")
@example("999999999999.99999999", "quote_volume")
@example("100000000000000.00000000", "volume")
@example("9007199254740993", "taker_buy_base")
@example("90071992.54740993", "taker_buy_quote")
def test_volumes_of_twenty_digits_are_kept(text: str, column: str) -> None:
    assert_kept(rows_of(column, text))


@given(
    numbers=st.tuples(*[prices] * 4, *[volumes] * 4),
    others=st.tuples(*[prices] * 4, *[volumes] * 4),
)
def test_rows_of_different_formats_stand_side_by_side(
    numbers: tuple[str, ...], others: tuple[str, ...]
) -> None:
    market, series = one_series()
    first = ROW._replace(**dict(zip(NUMBERS, numbers, strict=True)))
    second = plain_kline(START_MS + 60_000)._replace(**dict(zip(NUMBERS, others, strict=True)))
    for row in (second, first):
        market.apply(kline_frame(row))
    assert series.klines() == [first, second]


@given(text=long_decimals, column=st.sampled_from(NUMBERS))
def test_any_plain_decimal_is_kept_exactly_or_refused_never_rounded(text: str, column: str) -> None:
    row = rows_of(column, text)
    market, series = one_series()
    kind = market.apply(kline_frame(row))
    if kind == kc.FrameKind.KLINE:
        assert_kept(row)
        return
    assert kind == kc.FrameKind.UNREPRESENTABLE
    assert market.counters()["frames_unrepresentable"] == 1
    assert market.push("BTCUSDT", "1m", row) == kc.MergeStatus.UNREPRESENTABLE
    counts = market.apply_klines("BTCUSDT", "1m", rest_klines([row]), closed_before_ms=2**60)
    assert counts == kc.RowCounts(1, 0, 1, row.open_time_ms, row.open_time_ms)
    with pytest.raises(kc.ParseError):
        kc.parse_klines(rest_klines([row]))
    assert series.sequence == 0
    assert series.klines(forming=True) == []


@given(text=no_decimals, column=st.sampled_from(NUMBERS))
def test_other_text_is_malformed_and_changes_nothing(text: str, column: str) -> None:
    row = rows_of(column, text)
    market, series = one_series()
    assert market.apply(kline_frame(row)) == kc.FrameKind.MALFORMED
    with pytest.raises(ValueError, match="decimal"):
        market.push("BTCUSDT", "1m", row)
    with pytest.raises(kc.ParseError):
        market.apply_klines("BTCUSDT", "1m", rest_klines([row]), closed_before_ms=2**60)
    assert series.sequence == 0


no_texts = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(0, 10**9),
    st.lists(st.just("1.0"), max_size=2),
    st.dictionaries(st.just("a"), st.just("1.0"), max_size=1),
)


@given(value=no_texts, letter=st.sampled_from("ohlcvqVQ"))
def test_a_number_that_is_no_string_is_malformed(value: Any, letter: str) -> None:
    message = kline_message(ROW, "BTCUSDT", "1m")
    message["k"][letter] = value
    assert kc.parse_frame(dump(message)).kind == kc.FrameKind.MALFORMED


@given(digits=st.integers(1, 20), decimals=st.integers(0, 8), data=st.data())
def test_floats_of_a_column_are_correctly_rounded(
    digits: int, decimals: int, data: st.DataObject
) -> None:
    mantissa = data.draw(st.integers(10 ** (digits - 1), 10**digits - 1))
    text = f"{mantissa // 10**decimals}"
    if decimals:
        text += f".{mantissa % 10**decimals:0{decimals}d}"
    market, series = one_series()
    market.push("BTCUSDT", "1m", rows_of("quote_volume", text))
    assert series.quote_volume[0] == float(text)
    assert series.last is not None
    assert series.last.quote_volume == text


@given(odd=st.integers(2**52, 2**53 - 1), exponent=st.integers(-17, -14), offset=st.integers(-1, 2))
def test_floats_are_right_beside_the_midpoints_between_floats(
    odd: int, exponent: int, offset: int
) -> None:
    """Where all bits a division can give say "exactly in the middle", the remainder decides."""
    midpoint = (2 * odd + 1) * 10**8 >> -exponent  # 54 bits, times 2**exponent, in 1e-8
    mantissa = midpoint + offset
    text = f"{mantissa // 10**8}.{mantissa % 10**8:08d}"
    market, series = one_series()
    assert market.push("BTCUSDT", "1m", rows_of("volume", text)) == kc.MergeStatus.APPENDED
    assert series.volume[0] == float(text)
    assert series.klines()[0].volume == text
