"""Binance's other public answers: which may be passed on, with which parameters, at what weight.

Nothing of a client reaches the exchange but what is read here: names of symbols that are held,
whole numbers, and words of short lists. No header, no key, no path.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Final, NamedTuple

import msgspec

from server.api.binance_klines import Query, Weighed, refusal
from server.api.binance_query import SYMBOLS, mandatory, read_integer, read_names, read_symbol
from server.api.problems import BinanceError
from server.api.router import Parameter
from server.errors import FeedError
from server.feeds.forwards import Forwards

__all__ = ["FORWARDED", "Forwarded", "pass_on"]

Steps = tuple[tuple[int, int], ...]  # (rows, weight): at most so many rows weigh so much

_ONE: Final = (SYMBOLS[0]._replace(required=True),)
_NAMES: Final = ("symbol", "symbols")
_WORDS: Final[Mapping[str, tuple[str, ...]]] = {
    "type": ("FULL", "MINI"),
    "windowSize": (
        *(f"{count}m" for count in range(1, 60)),
        *(f"{count}h" for count in range(1, 24)),
        *(f"{count}d" for count in range(1, 8)),
    ),
}


def _whole(name: str, text: str) -> Parameter:
    return Parameter(name, text, {"type": "integer", "minimum": 0})


_LIMIT: Final = _whole("limit", "Rows at most.")
_SPAN: Final = (
    _whole("fromId", "The first one's id."),
    _whole("startTime", "Not before."),
    _whole("endTime", "Not after."),
)
_ROLLING: Final = Parameter("windowSize", "1m to 59m, 1h to 23h, 1d to 7d.", {"type": "string"})
_TYPE: Final = Parameter("type", "MINI leaves fields out.", {"enum": list(_WORDS["type"])})


class Forwarded(NamedTuple):
    """One path that may be passed on."""

    path: str  # behind the market's prefix
    text: str
    parameters: tuple[Parameter, ...]
    weight: Callable[[Mapping[str, str | int]], int]


def _fixed(weight: int) -> Callable[[Mapping[str, str | int]], int]:
    return lambda query: weight


def _by_limit(default: int, steps: Steps) -> Callable[[Mapping[str, str | int]], int]:
    def weigh(query: Mapping[str, str | int]) -> int:
        limit = int(query.get("limit", default))
        return next((weight for rows, weight in steps if limit <= rows), steps[-1][1])

    return weigh


def _by_symbols(query: Mapping[str, str | int]) -> int:
    """4 for each symbol, 200 at most."""
    names = str(query.get("symbols", '[""]'))
    return min(4 * (names.count(",") + 1), 200)


_SPOT_BOOK: Final[Steps] = ((100, 5), (500, 25), (1000, 50), (5000, 250))
_UM_BOOK: Final[Steps] = ((50, 2), (100, 5), (500, 10), (1000, 20))

#: By market. What needs a key or a signature is none of these, nor what has a limit of its own.
FORWARDED: Final[Mapping[str, tuple[Forwarded, ...]]] = {
    "spot": (
        Forwarded("depth", "order book", (*_ONE, _LIMIT), _by_limit(100, _SPOT_BOOK)),
        Forwarded("trades", "newest trades", (*_ONE, _LIMIT), _fixed(25)),
        Forwarded("aggTrades", "trades by taker order", (*_ONE, *_SPAN, _LIMIT), _fixed(4)),
        Forwarded("avgPrice", "average of five minutes", _ONE, _fixed(2)),
        Forwarded("ticker", "rolling window", (*SYMBOLS, _ROLLING, _TYPE), _by_symbols),
        Forwarded("ticker/tradingDay", "since midnight", (*SYMBOLS, _TYPE), _by_symbols),
    ),
    "um": (
        Forwarded("depth", "order book", (*_ONE, _LIMIT), _by_limit(500, _UM_BOOK)),
        Forwarded("trades", "newest trades", (*_ONE, _LIMIT), _fixed(5)),
        Forwarded("aggTrades", "trades by taker order", (*_ONE, *_SPAN, _LIMIT), _fixed(20)),
        Forwarded("premiumIndex", "mark price and funding", _ONE, _fixed(1)),
        Forwarded("openInterest", "open interest", _ONE, _fixed(1)),
        Forwarded("ticker/bookTicker", "best bid and ask", _ONE, _fixed(2)),
    ),
}


def pass_on(
    asked: Forwarded, forwards: Forwards, held: Mapping[str, object], query: Query
) -> Coroutine[Any, Any, Weighed]:
    """The exchange's answer. Raises BinanceError, also when awaited."""
    sent = _read(asked, held, query)
    return _ask(asked, forwards, sent)


async def _ask(asked: Forwarded, forwards: Forwards, sent: Mapping[str, str | int]) -> Weighed:
    weight = asked.weight(sent)
    try:
        return Weighed(weight, await forwards.ask(f"/{asked.path}", weight, sent))
    except FeedError as error:
        raise refusal(error) from None


def _read(asked: Forwarded, held: Mapping[str, object], query: Query) -> dict[str, str | int]:
    """What of a query is sent: written anew from what it means. Raises BinanceError."""
    sent: dict[str, str | int] = {}
    known = {parameter.name for parameter in asked.parameters}
    if "symbols" in known:
        names, single = read_names(query, held)
        if not {"symbol", "symbols"} & query.keys():
            mandatory(query, "symbol")
        sent["symbol" if single else "symbols"] = (
            names[0] if single else msgspec.json.encode(names).decode()
        )
    else:
        sent["symbol"] = read_symbol(query, held)
    for parameter in asked.parameters:
        name = parameter.name
        if name in _WORDS:
            if name in query:
                sent[name] = _word(name, query[name])
        elif name not in _NAMES and (value := read_integer(query, name)) is not None:
            sent[name] = value
    return sent


def _word(name: str, text: str) -> str:
    if text not in _WORDS[name]:
        raise BinanceError(-1130, f"Data sent for parameter '{name}' is not valid.")
    return text
