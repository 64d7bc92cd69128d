"""The parser agrees with json.loads and a slow reading of the result, on good and bad bytes."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from reference.messages import (
    DuplicateNameError,
    combined,
    dump,
    kline_frame,
    kline_message,
    load,
    slow_parse,
)
from reference.samples import BOOK_TICKER, KLINE, MESSAGES, MINI_TICKER, REPLIES, ROW, TICKER
from reference.series import SeriesModel
from reference.strategies import START_MS, klines, plain_kline

import klinecore as kc

FRAMES: dict[str, bytes] = {
    **{f"{name}_raw": dump(message) for name, _, _, message in MESSAGES},
    **{
        name: combined(stream, message)
        for name, _, stream, message in MESSAGES
        if name != "shifted_kline"
    },
    **{name: dump(message) for name, _, message in REPLIES},
}
#: Where a mutation can do the most harm; the others are mutated more sparsely.
KLINE_FRAMES = ("kline", "kline_raw")

symbols = st.sampled_from(
    ["BTCUSDT", "1000SATSUSDT", "币安人生USDT", "ÄÖUSDT", "BTCUSDT_260327", "🚀USDT", 'A"B\\C']
)
values = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(10**20), 10**20),
        st.floats(allow_nan=False, allow_infinity=False),
        st.text(max_size=6),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=8,
)
#: Names no message of ours uses.
extra_names = st.sampled_from(["z", "M", "st", "ps", "nq", "newField", "é", "kk", "datum", ""])


class Printer:
    """Prints JSON in the ways a server may: any spacing, any order, any escapes."""

    def __init__(self, rng: random.Random, *, spaces: bool, escapes: bool, shuffle: bool) -> None:
        self._rng = rng
        self._spaces = spaces
        self._escapes = escapes
        self._shuffle = shuffle

    def _gap(self) -> str:
        return self._rng.choice(["", " ", "\n", "\t", "\r\n  "]) if self._spaces else ""

    def _string(self, text: str) -> str:
        if not self._escapes:
            return json.dumps(text, ensure_ascii=self._rng.random() < 0.5)
        out = []
        for char in text:
            if char in '"\\' or char < " " or self._rng.random() < 0.4:
                units = char.encode("utf-16-be")
                pairs = (units[i : i + 2].hex() for i in range(0, len(units), 2))
                out.append("".join(f"\\u{unit}" for unit in pairs))
            else:
                out.append("\\/" if char == "/" else char)
        return f'"{"".join(out)}"'

    def _print(self, value: Any) -> str:
        gap = self._gap
        if isinstance(value, str):
            return self._string(value)
        if isinstance(value, dict):
            items = list(value.items())
            if self._shuffle:
                self._rng.shuffle(items)
            body = ",".join(
                f"{gap()}{self._string(key)}{gap()}:{gap()}{self._print(item)}{gap()}"
                for key, item in items
            )
            return "{" + (body or gap()) + "}"
        if isinstance(value, list):
            body = ",".join(f"{gap()}{self._print(item)}{gap()}" for item in value)
            return "[" + (body or gap()) + "]"
        return json.dumps(value)

    def dump(self, value: Any) -> bytes:
        return f"{self._gap()}{self._print(value)}{self._gap()}".encode("utf-8", "surrogatepass")


printers = st.builds(
    Printer,
    st.randoms(use_true_random=False),
    spaces=st.booleans(),
    escapes=st.booleans(),
    shuffle=st.booleans(),
)


def assert_agrees(data: bytes) -> None:
    """Kind, symbol, interval, E and row are those of the slow reading."""
    parsed = kc.parse_frame(data)
    try:
        kind, expected = slow_parse(data)
    except DuplicateNameError:
        return
    if kind == "KLINE" and parsed.kind == kc.FrameKind.UNREPRESENTABLE:
        return
    assert parsed.kind.name == kind
    if expected is not None:
        symbol, interval, event_time_ms, row = expected
        assert parsed.symbol == symbol.encode("utf-8", "replace").decode()
        assert (parsed.interval, parsed.event_time_ms) == (interval, event_time_ms)
        assert parsed.kline == row


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        *[(combined(stream, message), kind) for _, kind, stream, message in MESSAGES],
        *[(dump(message), kind) for _, kind, message in REPLIES],
    ],
)
def test_each_message_is_of_its_kind(data: bytes, kind: str) -> None:
    assert kc.parse_frame(data).kind.name == kind
    assert_agrees(data)


@given(
    row=klines(slots=3),
    symbol=symbols,
    interval=st.sampled_from(["1m", "1M", "1w", "15m", "7m", "1S", ""]),
    extra=st.dictionaries(extra_names, values, max_size=3),
    inner=st.dictionaries(extra_names, values, max_size=3),
    raw=st.booleans(),
    printer=printers,
)
def test_klines_survive_order_spaces_escapes_and_new_fields(
    row: kc.Kline,
    symbol: str,
    interval: str,
    extra: dict[str, Any],
    inner: dict[str, Any],
    raw: bool,
    printer: Printer,
) -> None:
    message: dict[str, Any] = {**extra, **kline_message(row, symbol, interval)}
    message["k"].update(inner)
    data = printer.dump(message if raw else {"stream": "x@kline", "data": message, **extra})
    parsed = kc.parse_frame(data)
    assert parsed.kind == kc.FrameKind.KLINE
    assert parsed.symbol == symbol
    assert parsed.interval == (interval if interval in kc.INTERVALS else None)
    assert parsed.kline == row
    assert_agrees(data)


@given(
    message=st.sampled_from([TICKER, MINI_TICKER, BOOK_TICKER]),
    symbol=symbols,
    extra=st.dictionaries(extra_names, values, max_size=3),
    spaces=st.booleans(),
    rng=st.randoms(use_true_random=False),
)
def test_tickers_survive_order_spaces_and_new_fields(
    message: dict[str, Any],
    symbol: str,
    extra: dict[str, Any],
    spaces: bool,
    rng: random.Random,
) -> None:
    printer = Printer(rng, spaces=spaces, escapes=False, shuffle=True)
    message = {**message, "s": symbol}
    parsed = kc.parse_frame(printer.dump({**extra, **message}))
    expected = {letter: value for letter, value in message.items() if letter != "e"}
    assert parsed.symbol == symbol
    assert parsed.ticker == expected


@given(value=values, name=st.sampled_from(["e", "k", "s", "E", "result", "id", "u", "stream"]))
def test_any_value_under_any_name_of_ours_is_classified_as_the_slow_parse_does(
    value: Any, name: str
) -> None:
    assert_agrees(dump({name: value}))
    assert_agrees(dump({**KLINE, name: value}))
    assert_agrees(dump({"stream": "btcusdt@kline_1m", "data": {**KLINE, name: value}}))


@given(value=values, letter=st.sampled_from(list(KLINE["k"])))
def test_an_odd_field_of_a_kline_is_judged_as_the_slow_parse_does(value: Any, letter: str) -> None:
    assert_agrees(dump({**KLINE, "k": {**KLINE["k"], letter: value}}))


@given(value=values, letter=st.sampled_from([name for name in TICKER if name != "e"]))
def test_an_odd_field_of_a_ticker_never_reaches_an_answer(value: Any, letter: str) -> None:
    market = kc.Market(["BTCUSDT"], ["1m"])
    for message in (TICKER, MINI_TICKER, BOOK_TICKER, {**BOOK_TICKER, "e": "bookTicker"}):
        market.apply(dump(message))
    known = set(TICKER) - {"e"}
    for message in (TICKER, MINI_TICKER, BOOK_TICKER, {**BOOK_TICKER, "e": "bookTicker"}):
        market.apply(dump({**message, letter: value}))
        answer = market.ticker("BTCUSDT")
        assert answer is not None
        assert answer.keys() <= known
        for name, kept in answer.items():
            if isinstance(TICKER[name], int):
                assert isinstance(kept, int)
            elif name != "s":
                float(kept)
        body = market.ticker_json("BTCUSDT")
        assert body is not None
        assert load(market.tickers_json()) == {"BTCUSDT": load(body)}


class Guarded:
    """A market beside a model of it; ``check`` feeds a frame to both."""

    def __init__(self) -> None:
        self.market = kc.Market(["BTCUSDT"], ["1m", "5m"], capacity=3)
        self._models = {interval: SeriesModel(interval, 3) for interval in ("1m", "5m")}
        for place in range(-5, 0):
            row = plain_kline(START_MS + place * 60_000)
            self.market.push("BTCUSDT", "1m", row)
            self._models["1m"].push(row)

    def _sequences(self) -> list[int]:
        return [series.sequence for series in self.market]

    def check(self, data: bytes) -> None:
        before, ticker = self._sequences(), self.market.ticker("BTCUSDT")
        kind = self.market.apply(data)
        try:
            expected, kline = slow_parse(data)
        except DuplicateNameError:
            Guarded.__init__(self)  # what it did is open: start again
            return
        if kind == kc.FrameKind.UNREPRESENTABLE:
            assert expected == "KLINE"
        else:
            assert kind.name == expected
        if kind == kc.FrameKind.KLINE and kline is not None:
            symbol, interval, _, row = kline
            if (symbol, interval) in self.market:
                model = self._models[interval or ""]
                model.push(row)
                held = self.market[symbol, interval or ""].klines(forming=True)
                assert held == model.rows(forming=True)
                return
        assert self._sequences() == before
        if "TICKER" not in kind.name:
            assert self.market.ticker("BTCUSDT") == ticker


@pytest.mark.parametrize("name", FRAMES)
def test_every_truncation_is_malformed_and_changes_nothing(name: str) -> None:
    guarded = Guarded()
    frame = FRAMES[name]
    for end in range(len(frame)):
        assert guarded.market.apply(frame[:end]) == kc.FrameKind.MALFORMED
        guarded.check(frame[:end])
    guarded.check(frame)


@pytest.mark.parametrize("name", FRAMES)
def test_every_single_byte_mutation_is_read_as_the_slow_parse_reads_it(name: str) -> None:
    frame = FRAMES[name]
    guarded = Guarded()
    swaps = b'\x00\t \x7f\x80\xc3\xff"\\{}[],:-+.0159eExtTknul/'
    if name not in KLINE_FRAMES:
        swaps = b'\xff"\\}],:-.0'
    for place in range(len(frame)):
        for byte in swaps:
            guarded.check(frame[:place] + bytes([byte]) + frame[place + 1 :])
        guarded.check(frame[:place] + frame[place + 1 :])
        guarded.check(frame[:place] + frame[place : place + 1] + frame[place:])


@given(
    frame=st.sampled_from(sorted(FRAMES.values())),
    edits=st.lists(
        st.tuples(st.integers(0, 2000), st.integers(0, 3), st.binary(max_size=3)), max_size=6
    ),
)
def test_several_edits_are_read_as_the_slow_parse_reads_them(
    frame: bytes, edits: list[tuple[int, int, bytes]]
) -> None:
    data = frame
    for place, cut, insert in edits:
        place %= len(frame)
        data = data[:place] + insert + data[place + cut :]
    Guarded().check(data)


@given(data=st.binary(max_size=200))
@example(b"")
@example(b"\xef\xbb\xbf{}")
@example(b"[" * 5000)
@example(b'{"a":' * 5000)
@example(b"null")
@example(b'{"code":0,"msg":""}')
@example(b"{}{}")
@example(b"{} \n")
@example(b'{"e":"kline","E":1e999}')
def test_random_bytes_never_change_a_market(data: bytes) -> None:
    market = kc.Market(["BTCUSDT"], ["1m"])
    kind = market.apply(data)
    assert kind == kc.parse_frame(data).kind
    assert kind in (
        kc.FrameKind.MALFORMED,
        kc.FrameKind.OTHER,
        kc.FrameKind.TICKER_ARRAY,
        kc.FrameKind.REPLY,
        kc.FrameKind.ERROR_REPLY,
    )
    for read in (kc.parse_klines, market.apply_tickers):
        try:
            read(data)
        except kc.ParseError:
            continue
        assert load(data) in ([], {})
    assert market["BTCUSDT", "1m"].sequence == 0


@given(data=st.text('{}[]",:\\.0123456789eEstkxnTohlcvqVQifLBtruefalsnul -', max_size=120))
def test_json_like_text_is_read_as_the_slow_parse_reads_it(data: str) -> None:
    assert_agrees(data.encode())
    assert_agrees(b'{"e":"kline","E":1,"s":"A","k":{' + data.encode() + b"}}")


def test_a_good_frame_is_read_after_any_bad_one() -> None:
    guarded = Guarded()
    for frame in FRAMES.values():
        guarded.market.apply(frame[:-1])
        guarded.market.apply(b"\xff" + frame)
    assert guarded.market.apply(kline_frame(ROW)) == kc.FrameKind.KLINE
    assert guarded.market["BTCUSDT", "1m"].last == ROW
