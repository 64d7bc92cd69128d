"""Binance's control messages on a stream socket: read, check, answer in its words."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

import msgspec

__all__ = ["Refusal", "Request", "read_request", "refuse", "reply"]

_METHODS = (
    "SUBSCRIBE",
    "UNSUBSCRIBE",
    "LIST_SUBSCRIPTIONS",
    "SET_PROPERTY",
    "GET_PROPERTY",
)

#: Parameters a method takes at most; subscriptions are bounded by the message's size.
_PARAMS_MAX = {"LIST_SUBSCRIPTIONS": 0, "GET_PROPERTY": 1, "SET_PROPERTY": 2}

_ID_SIZE_MAX = 36

RequestId = int | str | None


class Request(NamedTuple):
    """A control message that is well-formed."""

    method: str
    params: list[Any]
    id: RequestId


class Refusal(Exception):  # noqa: N818 - an answer, not a fault
    """What is wrong with a control message, in the exchange's code and words."""

    def __init__(self, code: int, message: str, request_id: RequestId = None) -> None:
        super().__init__(message)
        self.code = code
        self.request_id = request_id


def read_request(text: bytes) -> Request:
    """Raises Refusal."""
    try:
        message = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        found = re.search(r"\(byte (\d+)\)", str(error))
        where = _place(text, int(found[1]) if found else len(text))
        raise Refusal(3, f"Invalid JSON: expected value at {where}") from None
    if not isinstance(message, dict):
        raise Refusal(2, f"Invalid request: expected an object at {_place(text, 0)}")
    request_id = message.get("id")
    if not _is_id(request_id):
        raise Refusal(2, "Invalid request: request ID must be an unsigned integer")
    if "method" not in message:
        where = _place(text, len(text) - 1)
        raise Refusal(2, f"Invalid request: missing field `method` at {where}", request_id)
    method = message["method"]
    if method not in _METHODS:
        expected = ", ".join(f"`{name}`" for name in _METHODS)
        where = _place(text, text.find(b'"method"') + len('"method"'))
        raise Refusal(
            2,
            f"Invalid request: unknown variant `{method}`, expected one of {expected} at {where}",
            request_id,
        )
    params = message.get("params", [])
    if not isinstance(params, list):
        raise Refusal(2, "Invalid request: invalid type: expected a sequence", request_id)
    if len(params) > _PARAMS_MAX.get(method, len(params)):
        raise Refusal(2, "Invalid request: too many parameters", request_id)
    return Request(method, params, request_id)


def _is_id(value: object) -> bool:
    if isinstance(value, bool):
        return False
    if isinstance(value, str):
        return len(value) <= _ID_SIZE_MAX and value.replace("-", "").isalnum()
    return value is None or (isinstance(value, int) and -(2**63) <= value < 2**63)


def _place(text: bytes, byte: int) -> str:
    line_start = text.rfind(b"\n", 0, byte) + 1
    return f"line {text.count(bytes((10,)), 0, byte) + 1} column {byte - line_start + 1}"


def reply(result: object, request_id: RequestId) -> bytes:
    """The answer to a request that was carried out."""
    return msgspec.json.encode({"result": result, "id": request_id})


def refuse(refusal: Refusal) -> bytes:
    """The nested form: clients read that one, whatever the documentation shows."""
    return msgspec.json.encode(
        {"error": {"code": refusal.code, "msg": str(refusal)}, "id": refusal.request_id}
    )
