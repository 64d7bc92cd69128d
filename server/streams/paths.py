"""What the path of a stream connection asks for, in all the forms that Binance's clients open."""

from __future__ import annotations

import re
from typing import NamedTuple
from urllib.parse import unquote

from server.api.problems import ApiError

__all__ = ["StreamPath", "read_path"]

#: USD-M's address is split by purpose; here each of them has every stream.
_USD_M = ("market", "public", "private")
#: ccxt numbers its connections: ``/ws/0`` names no stream.
_NUMBER = re.compile(r"[0-9]{1,6}")

_FORMS = (
    "/ws, /ws/<stream>, /stream?streams=<stream>/<stream>, /ws-api/v3, and for USD-M the same "
    "below /market"
)


class StreamPath(NamedTuple):
    """What a connection is, before its first message."""

    market: str | None  # "um" if the path says so; None: the server's first
    wrapped: bool  # every message comes as {"stream":..,"data":..}
    names: tuple[str, ...]  # streams subscribed from the start
    requests: bool = False  # request and reply, no streams
    limited: bool = True  # replies tell what is left of the limits
    sequenced: bool = False  # messages carry "seq"
    silent: bool = False  # ``/ws`` alone: the original's, all tickers until the first SUBSCRIBE


def read_path(target: bytes) -> StreamPath:
    """Read a request's target.

    Raises ApiError: 400, what is asked for cannot be read; 404, there is no such path.
    """
    path, _, query = target.decode("latin-1").partition("?")
    segments = [unquote(segment) for segment in path.strip("/").split("/")]
    market = None
    private = segments[0] == "private"
    if segments[0] in _USD_M and len(segments) > 1:
        market = "um"
        segments = segments[1:]
    parameters = _read_query(query)
    sequenced = parameters.pop("seq", "false") == "true"
    market = parameters.pop("market", market)
    names: list[str] = []
    wrapped = requests = False
    limited = True
    if segments == ["ws-api", "v3"]:
        requests = True
        limited = parameters.pop("returnRateLimits", "true") != "false"
    elif segments[0] == "ws":
        names = [name for name in segments[1:] if not _NUMBER.fullmatch(name)]
    elif segments[0] == "stream":
        names = [name for name in parameters.pop("streams", "").split("/") if name]
        rest = segments[1:]
        # Wrapped only if the path ends here: ccxt opens /stream/ws and reads bare messages.
        wrapped = not rest
        if rest and rest[0] == "ws":
            rest = rest[1:]
        if any(not _NUMBER.fullmatch(part) for part in rest):
            raise _unknown(path)
    else:
        raise _unknown(path)
    for name in parameters:
        if name not in ("timeUnit", "streams"):
            raise ApiError(400, "unknown_parameter", f"Unknown parameter {name[:40]!r}.")
    if parameters.get("timeUnit", "MILLISECOND").upper() != "MILLISECOND":
        raise ApiError(400, "bad_time_unit", "Times are in milliseconds: timeUnit=MILLISECOND.")
    silent = segments == ["ws"]
    if private:  # streams of an account, of which nothing is here
        names, silent = [], False
    return StreamPath(market, wrapped, tuple(names), requests, limited, sequenced, silent)


def _read_query(query: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for pair in query.split("&"):
        if pair:
            name, _, value = pair.partition("=")
            if name in found:
                raise ApiError(400, "duplicate_parameter", f"{name[:40]!r} is given twice.")
            found[name] = unquote(value)
    return found


def _unknown(path: str) -> ApiError:
    return ApiError(404, "unknown_path", f"There is no {path[:60]!r} here; there is {_FORMS}.")
