"""klinecore.parsers.binance: what each message is and what of it is read."""

from __future__ import annotations

from typing import Any

import pytest
from reference.messages import combined, dump, kline_frame, kline_message
from reference.samples import (
    BOOK_TICKER,
    BOOK_TICKER_UM,
    KLINE,
    MINI_TICKER,
    ROW,
    SHUTDOWN,
    TICKER,
    TICKER_UM,
)

import klinecore as kc
from klinecore import FrameKind, ParsedFrame


def kind_of(message: object) -> FrameKind:
    return kc.parse_frame(dump(message)).kind


def letters(message: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in message.items() if len(name) == 1 and name not in "eT"}


# --- klines ------------------------------------------------------------------------------------


def test_a_kline_is_read_raw_and_combined() -> None:
    expected = ParsedFrame(FrameKind.KLINE, "BTCUSDT", "1m", KLINE["E"], ROW, None)
    assert kc.parse_frame(dump(KLINE)) == expected
    assert kc.parse_frame(combined("btcusdt@kline_1m", KLINE)) == expected
    assert kc.parse_frame(dump({"data": KLINE, "stream": "btcusdt@kline_1m"})) == expected


def test_a_spot_frame_as_recorded_in_2021() -> None:
    frame = (
        b'{"stream":"ltcbrl@kline_1m","data":{"e":"kline","E":1681154040004,"s":"LTCBRL","k":{'
        b'"t":1681153980000,"T":1681154039999,"s":"LTCBRL","i":"1m","f":1758813,"L":1758814,'
        b'"o":"473.30000000","c":"473.10000000","h":"473.30000000","l":"473.10000000",'
        b'"v":"0.53400000","n":2,"x":true,"q":"252.73120000","V":"0.00000000","Q":"0.00000000",'
        b'"B":"0"}}}'
    )
    assert kc.parse_frame(frame).kline == kc.Kline(
        open_time_ms=1681153980000,
        open="473.30000000",
        high="473.30000000",
        low="473.10000000",
        close="473.10000000",
        volume="0.53400000",
        close_time_ms=1681154039999,
        quote_volume="252.73120000",
        trades=2,
        taker_buy_base="0.00000000",
        taker_buy_quote="0.00000000",
        closed=True,
    )


def test_a_kline_without_trades_has_ids_of_minus_one() -> None:
    frame = kline_frame(ROW._replace(trades=0))
    assert b'"f":-1,"L":-1' in frame
    parsed = kc.parse_frame(frame)
    assert parsed.kline is not None
    assert parsed.kline.trades == 0


@pytest.mark.parametrize("letter", "tTioclhvnxqVQ")
def test_a_kline_that_lacks_a_field_is_malformed(letter: str) -> None:
    fields = {name: value for name, value in KLINE["k"].items() if name != letter}
    assert kind_of({**KLINE, "k": fields}) == FrameKind.MALFORMED


@pytest.mark.parametrize("letter", "sfLB")
def test_a_kline_may_lack_what_is_not_stored(letter: str) -> None:
    fields = {name: value for name, value in KLINE["k"].items() if name != letter}
    assert kc.parse_frame(dump({**KLINE, "k": fields})).kline == ROW


@pytest.mark.parametrize("letter", "Ek")
def test_a_message_that_lacks_its_time_or_kline_is_malformed(letter: str) -> None:
    message = {name: value for name, value in KLINE.items() if name != letter}
    assert kind_of(message) == FrameKind.MALFORMED


def test_a_kline_of_another_symbol_than_its_message_is_malformed() -> None:
    assert kind_of({**KLINE, "s": "ETHUSDT"}) == FrameKind.MALFORMED
    escaped = dump(KLINE).replace(b'"s":"BTCUSDT","k"', b'"s":"\\u0042TCUSDC","k"')
    assert kc.parse_frame(escaped).kind == FrameKind.MALFORMED


def test_an_interval_we_do_not_know_is_a_kline_all_the_same() -> None:
    for interval in ("7m", "1H", "", "1mo", "1234"):
        parsed = kc.parse_frame(dump(kline_message(ROW, "BTCUSDT", interval)))
        assert (parsed.kind, parsed.interval, parsed.kline) == (FrameKind.KLINE, None, ROW)


@pytest.mark.parametrize("name", ["t", "T", "n", "f", "L"])
@pytest.mark.parametrize("value", ["1", 1.0, 1.5, None, True, [], 10**18, -(10**18)])
def test_an_integer_of_a_kline_is_an_integer_of_18_digits(name: str, value: Any) -> None:
    assert kind_of({**KLINE, "k": {**KLINE["k"], name: value}}) == FrameKind.MALFORMED


@pytest.mark.parametrize("value", ["true", 1, 0, None, "1", []])
def test_closed_is_true_or_false(value: Any) -> None:
    assert kind_of({**KLINE, "k": {**KLINE["k"], "x": value}}) == FrameKind.MALFORMED


@pytest.mark.parametrize("number", ["1", "1.5", "-0.0", "1e3", "NaN", "Infinity"])
def test_a_number_that_is_not_quoted_is_malformed(number: str) -> None:
    frame = dump(KLINE).replace(b'"v":"999999999999.99999999"', f'"v":{number}'.encode())
    assert kc.parse_frame(frame).kind == FrameKind.MALFORMED


def test_a_number_too_long_to_keep_is_told_from_a_bad_one() -> None:
    for text, kind in (
        ("0.1234567890123456", FrameKind.UNREPRESENTABLE),
        ("12345678901234567890.123456789012345678901", FrameKind.UNREPRESENTABLE),
        ("0.1234567890123456x", FrameKind.MALFORMED),
        ("00.1", FrameKind.MALFORMED),
    ):
        assert kind_of({**KLINE, "k": {**KLINE["k"], "v": text}}) == kind
    parsed = kc.parse_frame(dump({**KLINE, "k": {**KLINE["k"], "v": "0.1234567890123456"}}))
    assert parsed == ParsedFrame(FrameKind.UNREPRESENTABLE, None, None, None, None, None)


def test_a_continuous_kline_is_classified_and_not_taken_for_a_kline() -> None:
    message = {"e": "continuous_kline", "E": 1, "ps": "BTCUSDT", "ct": "PERPETUAL", "k": KLINE["k"]}
    assert kind_of(message) == FrameKind.OTHER


@pytest.mark.parametrize(
    ("escaped", "plain"),
    [
        (b'"\\u0042TCUSDT"', b'"BTCUSDT"'),
        (b'"\\u0065":"kline"', b'"e":"kline"'),
        (b'"e":"\\u006bline"', b'"e":"kline"'),
        (b'"i":"\\u0031m"', b'"i":"1m"'),
        (b'"i":"1\\u006D"', b'"i":"1m"'),
        (b'"o":"0\\u002e00002369"', b'"o":"0.00002369"'),
        (b'"\\u006f":"0.00002369"', b'"o":"0.00002369"'),
        (b'"d\\u0061ta":{', b'"data":{'),
        (b'"\\u0064ata":{', b'"data":{'),
    ],
)
def test_an_escaped_letter_is_the_letter(escaped: bytes, plain: bytes) -> None:
    frame = combined("btcusdt@kline_1m", KLINE)
    assert plain in frame
    assert kc.parse_frame(frame.replace(plain, escaped)) == kc.parse_frame(frame)


def test_symbols_are_utf_8_escaped_or_not() -> None:
    plain = dump(kline_message(ROW, "币安人生USDT", "1m"))
    assert kc.parse_frame(plain).symbol == "币安人生USDT"
    escaped = plain.replace("币".encode(), b"\\u5e01").replace("安".encode(), b"\\u5B89")
    assert kc.parse_frame(escaped).symbol == "币安人生USDT"
    market = kc.Market(["币安人生USDT"], ["1m"])
    market.apply(escaped)
    assert market["币安人生USDT", "1m"].last == ROW


def test_a_surrogate_pair_is_one_character() -> None:
    plain = dump(kline_message(ROW, "🚀USDT", "1m"))
    escaped = plain.replace("🚀".encode(), b"\\ud83d\\uDE80")
    assert kc.parse_frame(escaped).symbol == kc.parse_frame(plain).symbol == "🚀USDT"


@pytest.mark.parametrize(
    "symbol", [b"\xff", b"\xc0\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xe5\xb8", b"\x80"]
)
def test_broken_utf_8_is_malformed_wherever_it_stands(symbol: bytes) -> None:
    frame = kline_frame(ROW)
    assert kc.parse_frame(frame.replace(b"BTCUSDT", symbol)).kind == FrameKind.MALFORMED
    assert kc.parse_frame(frame.replace(b'"B":"0"', b'"B":"' + symbol + b'"')).kind == (
        FrameKind.MALFORMED
    )
    assert kc.parse_frame(frame.replace(b'"B"', b'"' + symbol + b'"')).kind == FrameKind.MALFORMED


# --- tickers -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        (TICKER, FrameKind.TICKER),
        (TICKER_UM, FrameKind.TICKER),
        (MINI_TICKER, FrameKind.MINI_TICKER),
        (BOOK_TICKER, FrameKind.BOOK_TICKER),
        (BOOK_TICKER_UM, FrameKind.BOOK_TICKER),
    ],
)
def test_tickers_are_told_apart_and_read_field_by_field(
    message: dict[str, Any], kind: FrameKind
) -> None:
    parsed = kc.parse_frame(dump(message))
    assert parsed == ParsedFrame(kind, "BTCUSDT", None, message.get("E"), None, letters(message))


@pytest.mark.parametrize(
    ("message", "needed"),
    [(TICKER, "pPwcQohlvqEOCFLns"), (MINI_TICKER, "cohlvqEs"), (BOOK_TICKER_UM, "bBaAus")],
)
def test_a_ticker_that_lacks_a_field_is_malformed(message: dict[str, Any], needed: str) -> None:
    for letter in needed:
        short = {name: value for name, value in message.items() if name != letter}
        assert kind_of(short) == FrameKind.MALFORMED


def test_a_change_may_be_negative_and_a_price_is_a_plain_decimal() -> None:
    assert kind_of({**TICKER, "p": "-1.5", "P": "-0.001"}) == FrameKind.TICKER
    for text in ("+1", "1e5", "", "-", "1.", ".1", "--1", "0x1", "01", "NaN"):
        assert kind_of({**TICKER, "p": text}) == FrameKind.MALFORMED


# --- everything else ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        (SHUTDOWN, FrameKind.SHUTDOWN),
        ({"stream": "!serverShutdown", "data": SHUTDOWN}, FrameKind.SHUTDOWN),
        ({"result": None, "id": 1}, FrameKind.REPLY),
        ({"id": None, "result": []}, FrameKind.REPLY),
        ({"result": ["btcusdt@aggTrade"], "id": 3}, FrameKind.REPLY),
        ({"result": True, "id": "x"}, FrameKind.REPLY),
        ({"code": 0, "msg": "Unknown property", "id": 1}, FrameKind.ERROR_REPLY),
        ({"error": {"code": 2, "msg": "Invalid request: invalid stream"}, "id": 1}, "ERROR_REPLY"),
        ({"id": "a", "status": 400, "error": {"code": -1121, "msg": "x"}}, FrameKind.ERROR_REPLY),
        ({"id": "a", "status": 200, "result": [], "rateLimits": []}, FrameKind.REPLY),
        ({"e": "executionReport", "E": 1}, FrameKind.OTHER),
        ({"e": "avgPrice", "E": 1, "s": "BTCUSDT", "w": "1"}, FrameKind.OTHER),
        ({"e": 5}, FrameKind.OTHER),
        ({"e": None}, FrameKind.OTHER),
        ({}, FrameKind.OTHER),
        ([], FrameKind.TICKER_ARRAY),
        ([1, 2], FrameKind.OTHER),
        ([{}], FrameKind.OTHER),
        ([TICKER, SHUTDOWN], FrameKind.OTHER),
        ([TICKER, MINI_TICKER], FrameKind.TICKER_ARRAY),
        ([{**MINI_TICKER, "c": 1}], FrameKind.MALFORMED),
        ("text", FrameKind.MALFORMED),
        (5, FrameKind.MALFORMED),
        (None, FrameKind.MALFORMED),
    ],
)
def test_every_message_has_a_kind(message: Any, kind: FrameKind | str) -> None:
    expected = kind if isinstance(kind, FrameKind) else FrameKind[kind]
    assert kc.parse_frame(dump(message)) == ParsedFrame(expected, None, None, None, None, None)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b" ",
        b"{",
        b"}",
        b"{}}",
        b"{}x",
        b"{,}",
        b'{"a"}',
        b'{"a":}',
        b'{"a":1,}',
        b"{'a':1}",
        b"{a:1}",
        b'{"a":01}',
        b'{"a":+1}',
        b'{"a":.5}',
        b'{"a":1.}',
        b'{"a":1e}',
        b'{"a":NaN}',
        b'{"a":Infinity}',
        b'{"a":tru}',
        b'{"a":True}',
        b'{"a":"\n"}',
        b'{"a":"\\x"}',
        b'{"a":"\\u12"}',
        b'{"a":"\\u12g4"}',
        b'{"a":"\xff"}',
        b'{"a":"',
        b'{"a":[1,]}',
        b'{"a":[1 2]}',
        b'{"a":{"b":1}',
        b"\xef\xbb\xbf{}",
        b"\x00",
        b"{}\x00",
        b'{"a":1/**/}',
        b"\x1f\x8b\x08\x00",
        "{}".encode("utf-16"),
    ],
)
def test_what_is_no_json_is_malformed(data: bytes) -> None:
    assert kc.parse_frame(data).kind == FrameKind.MALFORMED


def test_a_message_of_ten_megabytes_is_read_and_dropped() -> None:
    data = b'{"e":"depthUpdate","b":[' + b'["1.0","2.0"],' * 750_000 + b"[]]}"
    assert len(data) > 10_000_000
    assert kc.parse_frame(data).kind == FrameKind.OTHER
    assert kc.parse_frame(data[:-1]).kind == FrameKind.MALFORMED
    long_text = combined("x", {**KLINE, "new": "x" * 10_000_000})
    assert kc.parse_frame(long_text).kline == ROW


@pytest.mark.parametrize(
    ("opening", "closing"), [(b"[", b"]"), (b'{"a":', b"}"), (b'[{"a":', b"}]")]
)
def test_nesting_is_bounded_not_followed_down_the_stack(opening: bytes, closing: bytes) -> None:
    for depth in (200, 1_000_000):
        assert kc.parse_frame(opening * depth).kind == FrameKind.MALFORMED
        assert kc.parse_frame(opening * depth + b"1" + closing * depth).kind == FrameKind.MALFORMED
    nested = opening * 8 + b"1" + closing * 8
    assert kc.parse_frame(b'{"new":' + nested + b"}").kind == FrameKind.OTHER
    assert kc.parse_frame(dump(KLINE)[:-1] + b',"new":' + nested + b"}").kline == ROW


@pytest.mark.parametrize("wrap", [bytes, bytearray, memoryview])
def test_a_frame_may_be_any_kind_of_bytes(wrap: Any) -> None:
    assert kc.parse_frame(wrap(kline_frame(ROW))).kline == ROW


@pytest.mark.parametrize("frame", ["{}", None, 5, []])
def test_what_is_no_bytes_is_a_type_error(frame: Any) -> None:
    with pytest.raises(TypeError):
        kc.parse_frame(frame)


def test_the_kinds_are_the_ones_of_the_contract() -> None:
    names = "MALFORMED UNREPRESENTABLE KLINE TICKER MINI_TICKER BOOK_TICKER TICKER_ARRAY SHUTDOWN"
    assert [kind.name for kind in FrameKind] == [*names.split(), "REPLY", "ERROR_REPLY", "OTHER"]
    assert [kind.value for kind in FrameKind] == list(range(11))
