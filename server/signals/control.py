"""Binance's control messages on a WebSocket: what a client asks, and the replies it expects."""

from __future__ import annotations

import msgspec

__all__ = [
    "METHODS",
    "ControlError",
    "Request",
    "error_reply",
    "parse_request",
    "read_id",
    "result_reply",
]

METHODS = ("SUBSCRIBE", "UNSUBSCRIBE", "LIST_SUBSCRIPTIONS", "SET_PROPERTY", "GET_PROPERTY")

#: The one property there is: whether messages come as {"stream":..,"data":..}.
COMBINED = "combined"

#: Klines one SUBSCRIBE may ask for of each stream.
SNAPSHOT_MAX = 1000

#: Streams one message may name; Binance's clients send up to 200.
PARAMS_MAX = 1024
_ID_LENGTH_MAX = 36
_ID_INTEGER_MAX = 2**63 - 1

#: The exchange's error codes on streams.
UNKNOWN_PROPERTY = 0
INVALID_VALUE = 1
INVALID_REQUEST = 2
INVALID_JSON = 3


class Request(msgspec.Struct, frozen=True):
    """One control message; ``params`` are stream names.

    Two fields of a SUBSCRIBE are ours: ``snapshot`` asks for so many klines of each stream first,
    ``since`` for all messages behind the one with that number.
    """

    method: str
    params: tuple[str, ...]
    id: int | str | None
    value: bool | None = None  # of SET_PROPERTY
    snapshot: int | None = None
    since: int | None = None


class ControlError(Exception):
    """A control message the exchange would refuse: its error code, text and the request's id."""

    def __init__(self, code: int, message: str, request_id: int | str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.request_id = request_id


def parse_request(text: str | bytes) -> Request:
    """Read one control message.

    Raises
    ------
    ControlError: with Binance's code and wording; ``request_id`` is set if it could be read.
    """
    try:
        message = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ControlError(INVALID_JSON, f"Invalid JSON: {error}") from None
    if not isinstance(message, dict):
        raise _invalid("expected an object such as " + _EXAMPLE)
    request_id = read_id(message.get("id"))
    method = message.get("method")
    if method is None:
        raise _invalid("missing field `method`", request_id)
    if method not in METHODS:
        known = ", ".join(f"`{name}`" for name in METHODS)
        shown = method[:40] if isinstance(method, str) else type(method).__name__
        raise _invalid(f"unknown variant `{shown}`, expected one of {known}", request_id)
    params = message.get("params", [])
    if method in ("SET_PROPERTY", "GET_PROPERTY"):
        return _property_request(method, params, request_id)
    if not isinstance(params, list) or not all(isinstance(name, str) for name in params):
        raise _invalid("params must be an array of strings", request_id)
    if len(params) > PARAMS_MAX or (method == "LIST_SUBSCRIPTIONS" and params):
        raise _invalid("too many parameters", request_id)
    if not params and method != "LIST_SUBSCRIPTIONS":
        raise _invalid("params must name at least one stream", request_id)
    snapshot = _number(message, "snapshot", 1, SNAPSHOT_MAX, request_id)
    since = _number(message, "since", 0, _ID_INTEGER_MAX, request_id)
    if method != "SUBSCRIBE" and (snapshot is not None or since is not None):
        raise _invalid("snapshot and since belong to SUBSCRIBE", request_id)
    if snapshot is not None and since is not None:
        raise _invalid("either snapshot or since", request_id)
    return Request(method, tuple(params), request_id, snapshot=snapshot, since=since)


def result_reply(request_id: int | str | None, result: list[str] | bool | None = None) -> bytes:
    """``{"result":null,"id":1}``, or with the list of streams, or a property's value."""
    return msgspec.json.encode({"result": result, "id": request_id})


def error_reply(error: ControlError) -> bytes:
    """``{"error":{"code":2,"msg":".."},"id":1}``: the nested form, which the clients read."""
    return msgspec.json.encode(
        {"error": {"code": error.code, "msg": str(error)}, "id": error.request_id}
    )


_EXAMPLE = '{"method":"SUBSCRIBE","params":["btcusdt@kline_1m"],"id":1}'


def _invalid(detail: str, request_id: int | str | None = None) -> ControlError:
    return ControlError(INVALID_REQUEST, f"Invalid request: {detail}", request_id)


def _property_request(method: str, params: object, request_id: int | str | None) -> Request:
    if not isinstance(params, list) or not params or not isinstance(params[0], str):
        raise _invalid("property name must be a string", request_id)
    if params[0] != COMBINED:
        raise ControlError(UNKNOWN_PROPERTY, "Unknown property", request_id)
    if method == "GET_PROPERTY":
        if len(params) > 1:
            raise _invalid("too many parameters", request_id)
        return Request(method, (COMBINED,), request_id)
    if len(params) > 2:
        raise _invalid("too many parameters", request_id)
    if len(params) < 2 or not isinstance(params[1], bool):
        raise ControlError(INVALID_VALUE, "Invalid value type: expected Boolean", request_id)
    return Request(method, (COMBINED,), request_id, value=params[1])


def _number(
    message: dict[str, object], name: str, lowest: int, highest: int, request_id: int | str | None
) -> int | None:
    value = message.get(name)
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool) or not lowest <= value <= highest:
        raise _invalid(f"{name} must be an integer of {lowest}..{highest}", request_id)
    return value


def read_id(value: object) -> int | str | None:
    """A request's id. Raises ControlError."""
    if value is None:
        return None
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) <= _ID_INTEGER_MAX:
        return value
    if isinstance(value, str) and 0 < len(value) <= _ID_LENGTH_MAX and value.isascii():
        return value
    raise _invalid("request ID must be an unsigned integer or up to 36 ASCII characters")
