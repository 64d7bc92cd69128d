"""Exchange messages as Binance prints them, and an independent slow way to read them back."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any

from klinecore import INTERVALS, Kline

_DECIMAL = re.compile(r"(0|[1-9][0-9]*)(\.[0-9]+)?")
_SIGNED = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?")
_KLINE_NUMBERS = "ohlcvqVQ"
_TICKER_TEXTS = "pPwcQohlvq"
_TICKER_OPTIONAL = "xbBaA"
_TICKER_INTEGERS = "EOCFLn"


# --- writing -----------------------------------------------------------------------------------


def kline_fields(row: Kline, symbol: str, interval: str) -> dict[str, Any]:
    """The object ``k`` of a kline message, in the exchange's order."""
    return {
        "t": row.open_time_ms,
        "T": row.close_time_ms,
        "s": symbol,
        "i": interval,
        "f": 100 if row.trades else -1,
        "L": 99 + row.trades if row.trades else -1,
        "o": row.open,
        "c": row.close,
        "h": row.high,
        "l": row.low,
        "v": row.volume,
        "n": row.trades,
        "x": row.closed,
        "q": row.quote_volume,
        "V": row.taker_buy_base,
        "Q": row.taker_buy_quote,
        "B": "0",
    }


def kline_message(
    row: Kline, symbol: str, interval: str, event_time_ms: int | None = None
) -> dict[str, Any]:
    """A raw kline message."""
    event = row.close_time_ms + 20 if event_time_ms is None else event_time_ms
    return {"e": "kline", "E": event, "s": symbol, "k": kline_fields(row, symbol, interval)}


def dump(message: object) -> bytes:
    """JSON without spaces, symbols as UTF-8: the exchange's own printing."""
    return json.dumps(message, separators=(",", ":"), ensure_ascii=False).encode()


def combined(stream: str, message: object) -> bytes:
    """A message wrapped as ``/stream`` sends it."""
    return dump({"stream": stream, "data": message})


def kline_frame(
    row: Kline,
    symbol: str = "BTCUSDT",
    interval: str = "1m",
    event_time_ms: int | None = None,
    *,
    raw: bool = False,
) -> bytes:
    """The bytes of one kline update."""
    message = kline_message(row, symbol, interval, event_time_ms)
    if raw:
        return dump(message)
    return combined(f"{symbol.lower()}@kline_{interval}", message)


def rest_tuple(row: Kline) -> list[Any]:
    """One element of a REST klines answer."""
    return [*row[:11], "0"]


def rest_klines(rows: Iterable[Kline]) -> bytes:
    """A REST klines answer."""
    return dump([rest_tuple(row) for row in rows])


# --- reading -----------------------------------------------------------------------------------


class _BadTypeError(Exception):
    """A field of a known message is missing or of another type."""


def _refuse(token: str) -> Any:
    raise ValueError(f"{token} is no JSON")


class DuplicateNameError(Exception):
    """An object names a field twice: JSON leaves open what that means, and so do we."""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        raise DuplicateNameError
    return fields


def load(data: bytes) -> Any:
    """Strict JSON of UTF-8 text; ValueError for anything else."""
    return json.loads(data.decode("utf-8"), parse_constant=_refuse, object_pairs_hook=_object)


def _integer(fields: dict[str, Any], letter: str, least: int = 1 - 10**18) -> int:
    value = fields.get(letter)
    if type(value) is not int or not least <= value < 10**18:
        raise _BadTypeError(letter)
    return value


def _text(fields: dict[str, Any], letter: str, pattern: re.Pattern[str] | None = None) -> str:
    value = fields.get(letter)
    if not isinstance(value, str) or (pattern is not None and not pattern.fullmatch(value)):
        raise _BadTypeError(letter)
    return value


def _row(message: dict[str, Any]) -> tuple[str, Kline]:
    """Interval and row of the object ``k``, which is a kline wherever it stands."""
    fields = message["k"]
    if type(fields.get("x")) is not bool:
        raise _BadTypeError("x")
    if "s" in fields and _text(fields, "s") != message.get("s", fields["s"]):
        raise _BadTypeError("s")
    for letter in "fL":
        if letter in fields:
            _integer(fields, letter)
    numbers = {letter: _text(fields, letter, _DECIMAL) for letter in _KLINE_NUMBERS}
    row = Kline(
        open_time_ms=_integer(fields, "t"),
        open=numbers["o"],
        high=numbers["h"],
        low=numbers["l"],
        close=numbers["c"],
        volume=numbers["v"],
        close_time_ms=_integer(fields, "T"),
        quote_volume=numbers["q"],
        trades=_integer(fields, "n", 0),
        taker_buy_base=numbers["V"],
        taker_buy_quote=numbers["Q"],
        closed=fields["x"],
    )
    return _text(fields, "i"), row


def _check_ticker(message: dict[str, Any], kind: str) -> None:
    texts, integers = {
        "TICKER": (_TICKER_TEXTS, _TICKER_INTEGERS),
        "MINI_TICKER": ("cohlvq", "E"),
        "BOOK_TICKER": ("bBaA", "u"),
    }[kind]
    _text(message, "s")
    for letter in texts:
        _text(message, letter, _SIGNED)
    for letter in integers:
        _integer(message, letter)
    if kind == "TICKER":
        for letter in _TICKER_OPTIONAL:
            if letter in message:
                _text(message, letter, _SIGNED)


def _message_kind(message: Any, stream: Any) -> tuple[str, tuple[str, str, int, Kline] | None]:
    if not isinstance(message, dict):
        return "OTHER", None
    event = message.get("e")
    if isinstance(message.get("k"), dict):
        interval, row = _row(message)
    elif event == "kline":
        raise _BadTypeError("k")
    if event == "kline":
        if isinstance(stream, str) and stream.endswith("+08:00"):
            return "OTHER", None
        symbol = _text(message if "s" in message else message["k"], "s")
        return "KLINE", (symbol, interval, _integer(message, "E"), row)
    if "e" in message:
        kind = {
            "24hrTicker": "TICKER",
            "24hrMiniTicker": "MINI_TICKER",
            "bookTicker": "BOOK_TICKER",
            "serverShutdown": "SHUTDOWN",
        }.get(event if isinstance(event, str) else "", "OTHER")
        if kind.endswith("TICKER"):
            _check_ticker(message, kind)
        return kind, None
    if "error" in message or {"code", "msg"} <= message.keys():
        return "ERROR_REPLY", None
    if {"result", "id"} <= message.keys():
        return "REPLY", None
    if {"u", "s", "b", "B", "a", "A"} <= message.keys():
        try:
            _check_ticker(message, "BOOK_TICKER")
        except _BadTypeError:
            return "OTHER", None
        return "BOOK_TICKER", None
    return "OTHER", None


def slow_parse(data: bytes) -> tuple[str, tuple[str, str | None, int, Kline] | None]:
    """Name of the ``FrameKind`` of a message, and (symbol, interval, E, row) of a kline.

    What a kline's numbers take to be kept exactly is no matter here: ``KLINE`` stands for
    ``UNREPRESENTABLE`` as well. Raises DuplicateNameError.
    """
    try:
        outer = load(data)
    except ValueError:
        return "MALFORMED", None
    if not isinstance(outer, dict | list):
        return "MALFORMED", None
    stream = None
    message = outer
    if isinstance(outer, dict) and "e" not in outer and isinstance(outer.get("data"), dict | list):
        message = outer["data"]
        stream = outer.get("stream")
    try:
        if isinstance(message, list):
            kinds = {_message_kind(item, stream)[0] for item in message}
            return "TICKER_ARRAY" if kinds <= {"TICKER", "MINI_TICKER"} else "OTHER", None
        kind, kline = _message_kind(message, stream)
    except _BadTypeError:
        return "MALFORMED", None
    if kline is None:
        return kind, None
    symbol, interval, event_time_ms, row = kline
    return kind, (symbol, interval if interval in INTERVALS else None, event_time_ms, row)


def slow_klines(body: bytes) -> list[Kline]:
    """Rows of a REST klines answer, all closed; ValueError where it is no such answer."""
    answer = load(body)
    if not isinstance(answer, list):
        raise ValueError("no array")
    rows = []
    for item in answer:
        if not isinstance(item, list) or len(item) < 11:
            raise ValueError("no kline tuple")
        for place, value in enumerate(item[:11]):
            if place in (0, 6, 8):
                if type(value) is not int or abs(value) >= 10**18:
                    raise ValueError("no integer")
                if place == 8 and value < 0:
                    raise ValueError("no count")
            elif not isinstance(value, str) or not _DECIMAL.fullmatch(value):
                raise ValueError("no decimal")
        rows.append(Kline(*item[:11]))
    return rows
