"""Binance's REST market data as a function: request in, answer out; no socket, no clock."""

from __future__ import annotations

import urllib.parse
from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec

from server.exchange.book import SERVED_INTERVALS, Book, TickerValues
from server.exchange.faults import Faults

__all__ = ["Answer", "RestFace"]

_MINUTE_MS = 60_000

#: Requests over the limit before an address is banned, as 429s unheeded.
_BAN_AFTER = 20
_BAN_S = 120

_LIMIT_DEFAULT = 500
_INTEGER_RANGE = "^[0-9]{1,20}$"

#: Long names of ticker letters, in the order of the answer.
_LONG_NAMES = {
    "s": "symbol",
    "p": "priceChange",
    "P": "priceChangePercent",
    "w": "weightedAvgPrice",
    "x": "prevClosePrice",
    "c": "lastPrice",
    "Q": "lastQty",
    "b": "bidPrice",
    "B": "bidQty",
    "a": "askPrice",
    "A": "askQty",
    "o": "openPrice",
    "h": "highPrice",
    "l": "lowPrice",
    "v": "volume",
    "q": "quoteVolume",
    "O": "openTime",
    "C": "closeTime",
    "F": "firstId",
    "L": "lastId",
    "n": "count",
}


class Answer(NamedTuple):
    """Status, extra headers and JSON body."""

    status: int
    headers: dict[str, str]
    body: bytes


class _Refused(Exception):  # noqa: N818 - an answer, not a fault
    def __init__(self, code: int, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.code = code
        self.status = status


Query = dict[str, str]


class RestFace:
    """``/api/v3`` or ``/fapi/v1`` of one book, with weights per address and minute."""

    def __init__(self, book: Book, faults: Faults, *, weight_limit: int | None = None) -> None:
        self.book = book
        self.spot = book.market == "spot"
        self.prefix = "/api/v3" if self.spot else "/fapi/v1"
        self.weight_limit = weight_limit or (6000 if self.spot else 2400)
        self.limit_max = 1000 if self.spot else 1500
        self.counters = {"requests": 0, "refused_429": 0, "refused_418": 0, "errors": 0}
        self._faults = faults
        self._used: dict[str, tuple[int, int, int]] = {}  # address -> minute, weight, overruns
        self._banned: dict[str, int] = {}  # address -> until, ms
        handlers: dict[str, Callable[[Query, int], tuple[int, Any]]] = {
            "/ping": lambda query, now_ms: (1, {}),
            "/time": lambda query, now_ms: (1, {"serverTime": now_ms}),
            "/exchangeInfo": self._exchange_info,
            "/klines": self._klines,
            "/ticker/24hr": self._ticker_24hr,
            "/ticker/price": self._ticker_price,
            "/ticker/bookTicker": self._book_ticker,
        }
        if self.spot:
            handlers |= {"/uiKlines": self._klines, "/avgPrice": self._average_price}
        self._handlers = {self.prefix + path: handler for path, handler in handlers.items()}

    def handle(self, target: str, now_ms: int, address: str = "127.0.0.1") -> Answer:
        """Answer a GET of ``target`` (path and query)."""
        self.counters["requests"] += 1
        path, _, query_text = target.partition("?")
        if self._faults.rest:
            fault = self._faults.rest.popleft()
            retry = {} if fault.retry_after is None else {"Retry-After": fault.retry_after}
            return Answer(fault.status, retry, fault.body)
        handler = self._handlers.get(urllib.parse.unquote(path))
        if handler is None:
            return Answer(404, {}, b"<html><body><h2>404 Not found</h2></body></html>")
        banned = self._ban(address, now_ms)
        if banned is not None:
            return banned
        try:
            query = dict(urllib.parse.parse_qsl(query_text, keep_blank_values=True))
            weight, value = handler(query, now_ms)
            body = value if isinstance(value, bytes) else msgspec.json.encode(value)
            status = 200
        except _Refused as refused:
            self.counters["errors"] += 1
            weight, status = 1, refused.status
            body = msgspec.json.encode({"code": refused.code, "msg": str(refused)})
        return self._weigh(address, now_ms, weight, Answer(status, {}, body))

    # --- weights -------------------------------------------------------------------------------

    def _ban(self, address: str, now_ms: int) -> Answer | None:
        until_ms = self._banned.get(address, 0)
        if until_ms <= now_ms:
            return None
        self.counters["refused_418"] += 1
        message = {"code": -1003, "msg": f"Way too many requests; IP banned until {until_ms}."}
        wait_s = -(-(until_ms - now_ms) // 1000)
        return Answer(418, {"Retry-After": str(wait_s)}, msgspec.json.encode(message))

    def _weigh(self, address: str, now_ms: int, weight: int, answer: Answer) -> Answer:
        minute = now_ms // _MINUTE_MS
        known, used, overruns = self._used.get(address, (minute, 0, 0))
        if known != minute:
            used = 0
        if used + weight > self.weight_limit:
            overruns += 1
            if overruns > _BAN_AFTER:
                self._banned[address] = now_ms + _BAN_S * 1000
                overruns = 0
            self.counters["refused_429"] += 1
            wait_s = -(-(_MINUTE_MS - now_ms % _MINUTE_MS) // 1000)
            message = {
                "code": -1003,
                "msg": "Too much request weight used; current limit is "
                f"{self.weight_limit} request weight per 1 MINUTE. Please use WebSocket Streams "
                "for live updates to avoid polling the API.",
            }
            answer = Answer(429, {"Retry-After": str(wait_s)}, msgspec.json.encode(message))
        else:
            used += weight
        self._used[address] = (minute, used, overruns)
        headers = {"X-MBX-USED-WEIGHT": str(used), "X-MBX-USED-WEIGHT-1M": str(used)}
        return Answer(answer.status, answer.headers | headers, answer.body)

    # --- parameters ----------------------------------------------------------------------------

    def _symbol(self, query: Query) -> str:
        name = query.get("symbol")
        if not name:
            raise _Refused(
                -1102, "Mandatory parameter 'symbol' was not sent, was empty/null, or malformed."
            )
        if name not in self.book.source.symbols:
            raise _Refused(-1121, "Invalid symbol.")
        return name

    def _names(self, query: Query) -> tuple[list[str], bool]:
        """Symbols asked for, and whether the answer is one object rather than an array."""
        if "symbol" in query:
            return [self._symbol(query)], True
        if "symbols" not in query:
            return list(self.book.source.symbols), False
        try:
            names = msgspec.json.decode(query["symbols"], type=list[str])
        except msgspec.DecodeError:
            raise _Refused(
                -1100,
                "Illegal characters found in parameter 'symbols'; legal range is "
                '\'^\\[("[A-Z0-9-_.]{1,20}"(,"[A-Z0-9-_.]{1,20}"){0,}){0,1}\\]$\'.',
            ) from None
        if len(set(names)) != len(names):
            raise _Refused(-1151, "Symbol is present multiple times in the list.")
        return [self._symbol({"symbol": name}) for name in names], False

    def _integer(self, query: Query, name: str) -> int | None:
        text = query.get(name)
        if text is None:
            return None
        if not text:
            raise _Refused(-1105, f"Parameter '{name}' was empty.")
        if not (text.isascii() and text.isdigit() and len(text) <= 20):
            raise _Refused(
                -1100,
                f"Illegal characters found in parameter '{name}'; "
                f"legal range is '{_INTEGER_RANGE}'.",
            )
        value = int(text)
        if name != "limit" and value >= 100_000_000_000_000:  # microseconds
            value //= 1000
        return value

    # --- answers -------------------------------------------------------------------------------

    def _klines(self, query: Query, now_ms: int) -> tuple[int, bytes]:
        symbol = self._symbol(query)
        interval = query.get("interval")
        if not interval:
            raise _Refused(
                -1102, "Mandatory parameter 'interval' was not sent, was empty/null, or malformed."
            )
        if interval not in SERVED_INTERVALS:
            raise _Refused(-1120, "Invalid interval.")
        limit = self._integer(query, "limit")
        limit = _LIMIT_DEFAULT if limit is None else limit
        if limit < 1:
            raise _Refused(-1130, "Data sent for parameter 'limit' is not valid.")
        limit = min(limit, self.limit_max)
        rows = self.book.rows(
            symbol,
            interval,
            now_ms,
            limit=limit,
            start_ms=self._integer(query, "startTime"),
            end_ms=self._integer(query, "endTime"),
        )
        if self._faults.klines_lack_last:
            rows = rows[:-1]
        texts = [self.book.rest_row(symbol, interval, row) for row in rows]
        return self._kline_weight(limit), f"[{','.join(texts)}]".encode()

    def _kline_weight(self, limit: int) -> int:
        if self.spot:
            return 2
        return 1 if limit < 100 else 2 if limit < 500 else 5 if limit <= 1000 else 10

    def _ticker(self, name: str, now_ms: int) -> TickerValues:
        values = self.book.ticker(name, now_ms)
        if values is None:
            raise _Refused(-1121, "Invalid symbol.")
        return values

    def _ticker_24hr(self, query: Query, now_ms: int) -> tuple[int, Any]:
        names, single = self._names(query)
        kind = query.get("type", "FULL")
        if kind not in ("FULL", "MINI"):
            raise _Refused(-1130, "Data sent for parameter 'type' is not valid.")
        letters = list(_LONG_NAMES) if kind == "FULL" else list("sohlcvqOCFLn")
        answers = []
        for name in names:
            values = self._ticker(name, now_ms)
            answers.append({_LONG_NAMES[key]: values[key] for key in letters if key in values})
        if self.spot:
            weight = 2 if len(names) <= 20 else 40 if len(names) <= 100 else 80
            weight = weight if single or "symbols" in query else 80
        else:
            weight = 1 if single else 40
        return weight, answers[0] if single else answers

    def _ticker_price(self, query: Query, now_ms: int) -> tuple[int, Any]:
        names, single = self._names(query)
        answers = [{"symbol": name, "price": self._ticker(name, now_ms)["c"]} for name in names]
        if not self.spot:
            answers = [answer | {"time": now_ms} for answer in answers]
        weight = (2 if single else 4) if self.spot else (1 if single else 2)
        return weight, answers[0] if single else answers

    def _book_ticker(self, query: Query, now_ms: int) -> tuple[int, Any]:
        names, single = self._names(query)
        answers: list[dict[str, str | int]] = []
        for name in names:
            values = self._ticker(name, now_ms)
            last, quantity = values["c"], values["Q"]
            answers.append(
                {
                    "symbol": name,
                    "bidPrice": values.get("b", last),
                    "bidQty": values.get("B", quantity),
                    "askPrice": values.get("a", last),
                    "askQty": values.get("A", quantity),
                }
            )
            if not self.spot:
                answers[-1]["time"] = now_ms
        weight = (2 if single else 4) if self.spot else (2 if single else 5)
        return weight, answers[0] if single else answers

    def _average_price(self, query: Query, now_ms: int) -> tuple[int, Any]:
        symbol = self._symbol(query)
        rows = self.book.rows(symbol, "1m", now_ms, limit=5)
        kind = self.book.source.symbols[symbol]
        volume = sum(row.volume for row in rows)
        quote = sum(row.quote_volume for row in rows)
        shift = kind.price_decimals + kind.volume_decimals - kind.quote_decimals
        value = quote * 10**shift // volume if volume else rows[-1].close
        row = rows[-1]._replace(close=value)
        price = self.book.source.text(kind, "close", row.close, -1, "1m")
        return 2, {"mins": 5, "price": price, "closeTime": row.close_ms}

    def _exchange_info(self, query: Query, now_ms: int) -> tuple[int, Any]:
        names, _ = self._names(query)
        info = {
            "timezone": "UTC",
            "serverTime": now_ms,
            "rateLimits": [
                {
                    "rateLimitType": "REQUEST_WEIGHT",
                    "interval": "MINUTE",
                    "intervalNum": 1,
                    "limit": self.weight_limit,
                }
            ],
            "exchangeFilters": [],
            "symbols": [self._symbol_info(name) for name in names],
        }
        return (20 if self.spot else 1), info

    def _symbol_info(self, name: str) -> dict[str, Any]:
        kind = self.book.source.symbols[name]
        tick, step = _unit(kind.price_decimals), _unit(kind.volume_decimals)
        info: dict[str, Any] = {
            "symbol": name,
            "status": "TRADING",
            "baseAsset": kind.base,
            "baseAssetPrecision": 8,
            "quoteAsset": kind.quote,
            "quotePrecision": 8,
            "orderTypes": ["LIMIT", "MARKET"],
            "filters": [
                {
                    "filterType": "PRICE_FILTER",
                    "minPrice": tick,
                    "maxPrice": "1000000",
                    "tickSize": tick,
                },
                {"filterType": "LOT_SIZE", "minQty": step, "maxQty": "9000000", "stepSize": step},
            ],
        }
        if self.spot:
            info |= {
                "quoteAssetPrecision": 8,
                "isSpotTradingAllowed": True,
                "isMarginTradingAllowed": False,
                "permissions": ["SPOT"],
                "permissionSets": [["SPOT"]],
            }
            info["filters"].append({"filterType": "NOTIONAL", "minNotional": "5.00000000"})
        else:
            info |= {
                "pair": name,
                "contractType": "PERPETUAL",
                "marginAsset": kind.quote,
                "pricePrecision": kind.price_decimals,
                "quantityPrecision": kind.volume_decimals,
            }
            info["filters"].append({"filterType": "MIN_NOTIONAL", "notional": "5"})
        return info


def _unit(decimals: int) -> str:
    return "1" if not decimals else f"0.{'0' * (decimals - 1)}1"
