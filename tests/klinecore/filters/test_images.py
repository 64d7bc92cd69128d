"""What filters remember, saved and taken up again; what is not whole or not ours is refused."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2b
from struct import Struct

import pytest

from klinecore import Kline, Market
from klinecore.errors import SnapshotError, TornReadError
from klinecore.filters import Engine, compile

MINUTE = 60_000
START = 1_700_000_100_000 // MINUTE * MINUTE
HEAD = Struct("<8sIQ")  # of an image: magic, version, size of its index
DIGEST = 16  # bytes at its end
TEXT = "close > ema(3) or count(close > sma(2), 4) > 2"


ENTRY = Struct("<I")  # before what is said of a symbol: its size


def halves(image: bytes) -> tuple[bytes, bytes]:
    """Head and index; the blocks. Without the digest at the end."""
    end = HEAD.size + HEAD.unpack_from(image)[2]
    return image[:end], image[end:-DIGEST]


def signed(image: bytes) -> bytes:
    """With a digest that is right."""
    return image + blake2b(image, digest_size=DIGEST).digest()


def push(market: Market, symbol: str, minute: int, price: int, trades: int = 1) -> None:
    time, text = START + minute * MINUTE, f"{price}.0"
    row = Kline(time, *[text] * 4, "1.0", time + MINUTE - 1, "1.0", trades, "1.0", "1.0", True)
    market.push(symbol, "1m", row)


def market_of(prices: list[int], symbols: tuple[str, ...] = ("A", "B")) -> Market:
    made = Market(symbols, ["1m"], 50)
    for minute, price in enumerate(prices):
        for symbol in symbols:
            push(made, symbol, minute, price)
    return made


def engine_of(market: Market, *texts: str) -> Engine:
    made = Engine(market)
    for text in texts or (TEXT,):
        made.add(compile(text), "1m")
    made.pump(market.drain())
    return made


PRICES = [3, 5, 4, 6, 2, 8, 7]


def test_filters_that_were_added_in_another_order_take_it_too() -> None:
    market = market_of(PRICES)
    image = engine_of(market, TEXT, "close > 4").save()
    other = engine_of(market_of(PRICES), "close > 4", TEXT)
    assert other.load(image) == ()
    assert other.save() == image


def test_filters_of_different_ages_stay_so() -> None:
    market = market_of(PRICES[:3])
    engine = engine_of(market, TEXT, "close > 4")
    for minute, price in list(enumerate(PRICES))[3:]:
        push(market, "A", minute, price)
    engine.add(compile("close > 5"), "1m")
    image = engine.save()
    other = engine_of(market, TEXT, "close > 4", "close > 5")
    ages = [engine.history(number, "A") for number in (1, 2, 3)]
    assert [other.history(number, "A") for number in (1, 2, 3)] != ages
    assert other.load(image) == ()
    assert [other.history(number, "A") for number in (1, 2, 3)] == ages
    assert other.save() == image


def test_filters_that_compare_symbols_go_on_beside_those_that_do_not() -> None:
    texts = (TEXT, "rank(close) > 1", "close > 4")
    market = market_of(PRICES)
    push(market, "A", 3, 9, trades=2)
    engine = engine_of(market, *texts)
    engine.deadline("1m", START + 6 * MINUTE)
    image = engine.save()
    other = engine_of(market, *reversed(texts))
    assert other.load(image) == ()
    assert other.save() == image
    assert other.value(2, "B") is engine.value(2, "B") is True
    with pytest.raises(SnapshotError, match="other filters"):
        engine_of(market, *texts, "rank(close) > 2").load(image)


def test_an_image_says_the_same_whenever_it_is_written() -> None:
    engine = engine_of(market_of(PRICES))
    assert engine.save() == engine.save()


def test_a_symbol_with_other_rows_goes_on_from_those() -> None:
    image = engine_of(market_of(PRICES)).save()
    market = market_of(PRICES)
    push(market, "B", 3, 9, trades=2)
    other = engine_of(market)
    assert other.load(image) == ("B",)


def test_a_symbol_that_is_not_held_is_passed_over() -> None:
    image = engine_of(market_of(PRICES)).save()
    other = engine_of(market_of(PRICES, ("B", "C")))
    assert other.load(image) == ()


@pytest.mark.parametrize("place", [0, 8, 20, 40, -1])
def test_one_broken_byte_is_refused_and_changes_nothing(place: int) -> None:
    image = bytearray(engine_of(market_of(PRICES)).save())
    image[place] ^= 1
    other = engine_of(market_of(PRICES))
    before = other.save()
    with pytest.raises(SnapshotError):
        other.load(bytes(image))
    assert other.save() == before


@pytest.mark.parametrize("size", [0, 7, 30, 100, -1])
def test_a_part_of_an_image_is_refused(size: int) -> None:
    image = engine_of(market_of(PRICES)).save()
    with pytest.raises(SnapshotError, match="image of filters"):
        engine_of(market_of(PRICES)).load(image[:size])


def test_an_image_of_other_filters_is_refused() -> None:
    image = engine_of(market_of(PRICES)).save()
    with pytest.raises(SnapshotError, match="other filters"):
        engine_of(market_of(PRICES), "close > 4").load(image)


def test_an_image_of_another_version_is_refused_by_its_number() -> None:
    image = bytearray(engine_of(market_of(PRICES)).save())
    image[8] = 9
    with pytest.raises(SnapshotError, match="version 9; this is 4"):
        engine_of(market_of(PRICES)).load(bytes(image))


def test_an_image_with_fewer_blocks_than_symbols_is_refused() -> None:
    """Its checksum is right: it was made so, not damaged."""
    image = engine_of(market_of(PRICES, ("B", "C"))).save()
    index, blocks = halves(image)
    with pytest.raises(SnapshotError, match="lacks symbols"):
        engine_of(market_of(PRICES, ("B", "C"))).load(signed(index + blocks[: len(blocks) // 2]))


def test_symbols_that_remember_the_same_take_little_room() -> None:
    few, many = ([f"S{n}" for n in range(count)] for count in (1, 21))
    texts = [f"close > {limit} and {TEXT}" for limit in range(120)]
    one, more = (engine_of(market_of(PRICES, tuple(names)), *texts).save() for names in (few, many))
    blocks = [len(halves(image)[1]) for image in (one, more)]
    assert blocks[1] - blocks[0] < blocks[0]  # twenty more take less than the first


def test_blocks_that_do_not_end_where_the_image_does_are_refused() -> None:
    """Each bit more or less of what a block says of itself, under a checksum that is right."""
    image = engine_of(market_of(PRICES)).save()
    index, blocks = halves(image)
    (entry,) = ENTRY.unpack_from(blocks)
    for bit in range(16):
        other = bytearray(blocks)
        other[ENTRY.size + entry + bit // 8] ^= 1 << bit % 8
        engine = engine_of(market_of(PRICES))
        before = engine.save()
        with pytest.raises(SnapshotError, match="lacks symbols, or has too many"):
            engine.load(signed(index + other))
        assert engine.save() == before


@pytest.mark.parametrize("size", [0, 1 << 31, (1 << 32) - 1])
def test_an_entry_that_does_not_end_within_the_image_is_refused(size: int) -> None:
    index, blocks = halves(engine_of(market_of(PRICES)).save())
    (entry,) = ENTRY.unpack_from(blocks)
    other = index + ENTRY.pack(size or len(blocks)) + blocks[ENTRY.size :]
    with pytest.raises(SnapshotError, match="lacks symbols, or has too many"):
        engine_of(market_of(PRICES)).load(signed(other))


def many_symbols() -> tuple[str, ...]:
    return tuple(f"S{n}" for n in range(400))


def test_parts_are_bounded_and_joined_what_is_saved_at_once() -> None:
    market = market_of([], many_symbols())
    for place, symbol in enumerate(many_symbols()):
        for minute, price in enumerate(PRICES):
            push(market, symbol, minute, price + place)
    engine = engine_of(market, *(f"ema({n}) > 4" for n in range(2, 40)))
    parts = list(engine.save_parts())
    assert len(parts) > 2
    assert max(map(len, parts)) < 80_000
    assert b"".join(parts) == engine.save()


def test_forming_rows_and_tickers_move_nothing_between_two_parts() -> None:
    market = market_of(PRICES, many_symbols())
    engine = engine_of(market)
    engine.add(compile("close < 7"), "1m", when="forming")
    parts = engine.save_parts()
    found = next(parts)
    time = START + len(PRICES) * MINUTE
    numbers = ["6.0", "6.0", "6.0", "6.0", "1.0", time + MINUTE - 1, "1.0", 1, "1.0", "1.0"]
    market.push("S0", "1m", Kline(time, *numbers, False))
    assert len(engine.pump(market.drain())) == 1
    assert found + b"".join(parts) == engine.save()


def close(market: Market, engine: Engine) -> None:
    push(market, "S0", len(PRICES), 9)
    engine.pump(market.drain())


def correct(market: Market, engine: Engine) -> None:
    push(market, "S0", 3, 9, trades=2)
    engine.pump(market.drain())


def add(market: Market, engine: Engine) -> None:
    engine.add(compile("close > 9"), "1m")


def remove(market: Market, engine: Engine) -> None:
    engine.remove(1)


def wait_no_longer(market: Market, engine: Engine) -> None:
    engine.deadline("1m", START)


def drop_a_symbol(market: Market, engine: Engine) -> None:
    market.remove_symbol("S399")


@pytest.mark.parametrize("move", [close, correct, add, remove, wait_no_longer, drop_a_symbol])
def test_parts_of_two_moments_are_never_joined(move: Callable[[Market, Engine], None]) -> None:
    market = market_of(PRICES, many_symbols())
    engine = engine_of(market, TEXT, "close > 4")
    parts = engine.save_parts()
    next(parts)
    move(market, engine)
    with pytest.raises(TornReadError, match="filters"):
        next(parts)
