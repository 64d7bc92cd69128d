"""Binance's REST market data as a function: request in, answer out; no socket, no clock."""

from __future__ import annotations

import re
import urllib.parse
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, NoReturn

import msgspec

from server.exchange.book import SERVED_INTERVALS, Book, TickerValues
from server.exchange.faults import Faults

__all__ = ["Answer", "RestFace"]

_MINUTE_MS = 60_000

#: Requests answered 429 in a row before their address is banned, and for how long at first, s.
#: Each further ban of an address lasts twice as long, up to the bound.
_BAN_AFTER = 20
_BAN_S = (120, 3 * 86_400)

#: Addresses whose use is remembered; beyond it the oldest is forgotten.
_ADDRESSES_MAX = 10_000

#: Requests of any weight an address may make within five minutes (spot).
_RAW_REQUESTS_MAX = 300_000

_NOT_FOUND = b"<html><body><h2>404 Not found</h2></body></html>"

_LIMIT_DEFAULT = 500
_INTEGER_RANGE = "^[0-9]{1,20}$"
_SYMBOL_RANGE = r"^[\w\-._&&[^a-z]]{1,50}$"
_SYMBOL = re.compile(r"[^\Wa-z]([^\Wa-z]|[-.]){0,49}")
_SYMBOLS_RANGE = r'^\[("[\w\-._&&[^a-z]]{1,50}"(,"[\w\-._&&[^a-z]]{1,50}"){0,}){0,1}\]$'
_TIME_ZONE = re.compile(r"([+-]?)(\d{1,2})(?::(\d{2}))?")

_STATUSES = ("TRADING", "HALT", "BREAK", "END_OF_DAY", "CANCEL_ONLY")

#: Parameters of each path; spot refuses any other, USD-M does not look at them.
_PARAMETERS = {
    "/ping": (),
    "/time": (),
    "/exchangeInfo": (
        "symbol",
        "symbols",
        "permissions",
        "showPermissionSets",
        "symbolStatus",
    ),
    "/klines": ("symbol", "interval", "startTime", "endTime", "timeZone", "limit"),
    "/uiKlines": ("symbol", "interval", "startTime", "endTime", "timeZone", "limit"),
    "/ticker/24hr": ("symbol", "symbols", "type", "symbolStatus"),
    "/ticker/price": ("symbol", "symbols", "symbolStatus"),
    "/ticker/bookTicker": ("symbol", "symbols", "symbolStatus"),
    "/avgPrice": ("symbol",),
}

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


@dataclass(slots=True)
class _Ledger:
    """What one address has used; windows are the minute and five minutes of the exchange."""

    minute: int = -1
    weight: int = 0
    raw_window: int = -1
    raw: int = 0
    overruns: int = 0
    banned_until_ms: int = 0
    bans: int = 0


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
        self._ledgers: dict[str, _Ledger] = {}  # by address
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
            headers = {"Content-Type": fault.content_type}
            if fault.retry_after is not None:
                headers["Retry-After"] = fault.retry_after
            return Answer(fault.status, headers, fault.body)
        path = urllib.parse.unquote(path)
        handler = self._handlers.get(path)
        if handler is None:
            return Answer(404, {"Content-Type": "text/html"}, _NOT_FOUND)
        ledger = self._ledger(address, now_ms)
        if ledger.banned_until_ms > now_ms:
            return self._refuse_banned(ledger, now_ms)
        try:
            query = self._query(path.removeprefix(self.prefix), query_text)
            weight, value = handler(query, now_ms)
            body = value if isinstance(value, bytes) else msgspec.json.encode(value)
            status = 200
        except _Refused as refused:
            self.counters["errors"] += 1
            weight, status = 1, refused.status
            body = msgspec.json.encode({"code": refused.code, "msg": str(refused)})
        return self._weigh(ledger, now_ms, weight, Answer(status, {}, body))

    # --- weights -------------------------------------------------------------------------------

    def _ledger(self, address: str, now_ms: int) -> _Ledger:
        ledger = self._ledgers.get(address)
        if ledger is None:
            if len(self._ledgers) >= _ADDRESSES_MAX:
                del self._ledgers[next(iter(self._ledgers))]
            ledger = self._ledgers[address] = _Ledger()
        if ledger.minute != now_ms // _MINUTE_MS:
            ledger.minute, ledger.weight = now_ms // _MINUTE_MS, 0
        if ledger.raw_window != now_ms // (5 * _MINUTE_MS):
            ledger.raw_window, ledger.raw = now_ms // (5 * _MINUTE_MS), 0
        ledger.raw += 1
        return ledger

    def _refuse_banned(self, ledger: _Ledger, now_ms: int) -> Answer:
        self.counters["refused_418"] += 1
        wait_s = -(-(ledger.banned_until_ms - now_ms) // 1000)
        message = {
            "code": -1003,
            "msg": "Way too much request weight used; IP banned until "
            f"{ledger.banned_until_ms}. Please use WebSocket Streams for live updates to avoid "
            "bans.",
        }
        return Answer(418, {"Retry-After": str(wait_s)}, msgspec.json.encode(message))

    def _weigh(self, ledger: _Ledger, now_ms: int, weight: int, answer: Answer) -> Answer:
        over_raw = self.spot and ledger.raw > _RAW_REQUESTS_MAX
        if ledger.weight + weight > self.weight_limit or over_raw:
            answer = self._refuse_weight(ledger, now_ms)
        else:
            ledger.weight += weight
            ledger.overruns = 0
        used = str(ledger.weight)
        headers = {"X-MBX-USED-WEIGHT": used, "X-MBX-USED-WEIGHT-1M": used}
        return Answer(answer.status, headers | answer.headers, answer.body)

    def _refuse_weight(self, ledger: _Ledger, now_ms: int) -> Answer:
        self.counters["refused_429"] += 1
        ledger.overruns += 1
        if ledger.overruns > _BAN_AFTER:
            first_s, max_s = _BAN_S
            ban_s = min(first_s << min(ledger.bans, 16), max_s)
            ledger.banned_until_ms = now_ms + ban_s * 1000
            ledger.bans += 1
            ledger.overruns = 0
            return self._refuse_banned(ledger, now_ms)
        wait_s = -(-(_MINUTE_MS - now_ms % _MINUTE_MS) // 1000)
        message = {
            "code": -1003,
            "msg": "Too much request weight used; current limit is "
            f"{self.weight_limit} request weight per 1 MINUTE. Please use WebSocket Streams "
            "for live updates to avoid polling the API.",
        }
        return Answer(429, {"Retry-After": str(wait_s)}, msgspec.json.encode(message))

    # --- parameters ----------------------------------------------------------------------------

    def _query(self, path: str, text: str) -> Query:
        """The parameters of a request. Raises _Refused: more than the path has (spot)."""
        pairs = urllib.parse.parse_qsl(text, keep_blank_values=True)
        known = _PARAMETERS[path]
        if self.spot and not known and pairs:
            raise _Refused(-1101, f"Too many parameters; expected '0' and received '{len(pairs)}'.")
        read = sum(name in known for name, _ in pairs)
        if self.spot and read < len(pairs):
            raise _Refused(
                -1104,
                f"Not all sent parameters were read; read '{read}' parameter(s) but was sent "
                f"'{len(pairs)}'.",
            )
        query = dict(pairs)
        if len(query) < len(pairs):
            raise _Refused(
                -1101, f"Too many parameters; expected '{len(query)}' and received '{len(pairs)}'."
            )
        return query

    def _symbol(self, query: Query) -> str:
        name = _mandatory(query, "symbol")
        if not _SYMBOL.fullmatch(name):
            _refuse_characters("symbol", _SYMBOL_RANGE)
        if name not in self.book.source.symbols or name in self._faults.delisted:
            raise _Refused(-1121, "Invalid symbol.")
        return name

    def _names(self, query: Query) -> tuple[list[str], bool]:
        """Symbols asked for, and whether the answer is one object rather than an array."""
        wanted = query.get("symbolStatus")
        if wanted is not None and wanted not in _STATUSES:
            raise _Refused(-1122, "Invalid symbolStatus.")
        if "symbol" in query and "symbols" in query:
            raise _Refused(
                -1128, "Combination of optional parameters invalid. Recommendation: 'symbol'"
            )
        if "symbol" in query:
            names, single = [self._symbol(query)], True
        elif "symbols" in query and self.spot:
            names, single = self._list(query), False
        else:
            every = self.book.source.symbols
            names = [name for name in every if name not in self._faults.delisted]
            if wanted is not None:
                names = [name for name in names if self._status(name) == wanted]
            return names, False
        if wanted is not None and any(self._status(name) != wanted for name in names):
            raise _Refused(-1220, "The symbol's status does not match the requested symbolStatus.")
        return names, single

    def _list(self, query: Query) -> list[str]:
        if not query["symbols"]:
            raise _Refused(-1105, "Parameter 'symbols' was empty.")
        try:
            names = msgspec.json.decode(query["symbols"], type=list[str])
        except msgspec.DecodeError:
            _refuse_characters("symbols", _SYMBOLS_RANGE)
        if not all(map(_SYMBOL.fullmatch, names)):
            _refuse_characters("symbols", _SYMBOLS_RANGE)
        if len(set(names)) != len(names):
            raise _Refused(-1151, "Symbol is present multiple times in the list.")
        return [self._symbol({"symbol": name}) for name in names]

    def _status(self, name: str) -> str:
        return self.book.source.statuses.get(
            name, "HALT" if name in self._faults.halted else "TRADING"
        )

    def _integer(self, query: Query, name: str) -> int | None:
        text = query.get(name)
        if text is None:
            return None
        if not text:
            raise _Refused(-1105, f"Parameter '{name}' was empty.")
        if not (text.isascii() and text.isdigit() and len(text) <= 20):
            _refuse_characters(name, _INTEGER_RANGE)
        value = int(text)
        if name != "limit" and value >= 100_000_000_000_000:  # microseconds
            value //= 1000
        return value

    # --- answers -------------------------------------------------------------------------------

    def _limit(self, query: Query) -> int:
        """Spot gives its maximum where more is asked for, USD-M refuses."""
        limit = self._integer(query, "limit")
        if limit is None:
            return _LIMIT_DEFAULT
        if limit < 1 or (limit > self.limit_max and not self.spot):
            raise _Refused(-1130, "Data sent for parameter 'limit' is not valid.")
        return min(limit, self.limit_max)

    def _klines(self, query: Query, now_ms: int) -> tuple[int, bytes]:
        symbol = self._symbol(query)
        interval = _mandatory(query, "interval")
        if interval not in SERVED_INTERVALS:
            raise _Refused(-1120, "Invalid interval.")
        _check_time_zone(query)
        limit = self._limit(query)
        start_ms, end_ms = self._integer(query, "startTime"), self._integer(query, "endTime")
        if not self.spot and start_ms is not None and end_ms is not None and start_ms > end_ms:
            raise _Refused(-1023, "Start time is greater than end time.")
        as_of_ms = now_ms - self._faults.klines_lag_ms
        rows = self.book.rows(
            symbol, interval, as_of_ms, limit=limit, start_ms=start_ms, end_ms=end_ms
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
            raise _Refused(-1139, "Invalid ticker type.")
        letters = list(_LONG_NAMES) if kind == "FULL" else list("sohlcvqOCFLn")
        answers = []
        for name in names:
            values = self._ticker(name, now_ms) if single else self.book.ticker(name, now_ms)
            if values is None:  # not traded for a day
                continue
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
        answers = []
        for name in names:
            best = self.book.best(name, now_ms)
            if best is None:
                continue
            answer: TickerValues = {"symbol": name}
            answer |= {_LONG_NAMES[key]: best[key] for key in "bBaA"}
            answers.append(answer if self.spot else answer | {"time": now_ms})
        if single and not answers:
            raise _Refused(-1121, "Invalid symbol.")
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
        row = rows[-1]._replace(close=value, open_ms=-1)
        price = self.book.source.texts(kind, row, "1m")[3]
        return 2, {"mins": 5, "price": price, "closeTime": row.close_ms}

    def _exchange_info(self, query: Query, now_ms: int) -> tuple[int, Any]:
        names, _ = self._names(query)
        if "permissions" in query and not _permits_spot(query["permissions"]):
            names = []
        limits = [("REQUEST_WEIGHT", 1, self.weight_limit)]
        if self.spot:
            limits.append(("RAW_REQUESTS", 5, _RAW_REQUESTS_MAX))
        info = {
            "timezone": "UTC",
            "serverTime": now_ms,
            "rateLimits": [
                {"rateLimitType": kind, "interval": "MINUTE", "intervalNum": minutes, "limit": most}
                for kind, minutes, most in limits
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
            "status": self._status(name),
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


def _mandatory(query: Query, name: str) -> str:
    value = query.get(name)
    if value is None:
        raise _Refused(
            -1102, f"Mandatory parameter '{name}' was not sent, was empty/null, or malformed."
        )
    if not value:
        raise _Refused(-1105, f"Parameter '{name}' was empty.")
    return value


def _refuse_characters(name: str, legal: str) -> NoReturn:
    raise _Refused(
        -1100, f"Illegal characters found in parameter '{name}'; legal range is '{legal}'."
    )


def _check_time_zone(query: Query) -> None:
    """``-12:00`` to ``+14:00``; boundaries stay those of UTC."""
    text = query.get("timeZone")
    if text is None:
        return
    # A plus sign of a query that was not percent-encoded arrives as a blank.
    found = _TIME_ZONE.fullmatch(text.strip())
    minutes = int(found[2]) * 60 + int(found[3] or 0) if found else 0
    minutes = -minutes if found and found[1] == "-" else minutes
    if not found or int(found[3] or 0) > 59 or not -12 * 60 <= minutes <= 14 * 60:
        raise _Refused(-1130, "Data sent for parameter 'timeZone' is not valid.")


def _permits_spot(text: str) -> bool:
    return "SPOT" in re.findall(r"\w+", text)
