"""Binance's control messages on a stream socket: read, check, answer in its words."""

from __future__ import annotations

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
    except msgspec.DecodeError:
        raise Refusal(3, "Invalid JSON: expected value at line 1 column 1") from None
    if not isinstance(message, dict):
        raise Refusal(3, "Invalid JSON: expected value at line 1 column 1")
    request_id = message.get("id")
    if isinstance(request_id, bool) or not (
        request_id is None
        or isinstance(request_id, int)
        or (isinstance(request_id, str) and len(request_id) <= 36)
    ):
        raise Refusal(2, "Invalid request: request ID must be an unsigned integer")
    if "method" not in message:
        column = len(text)
        raise Refusal(
            2, f"Invalid request: missing field `method` at line 1 column {column}", request_id
        )
    method = message["method"]
    if method not in _METHODS:
        expected = ", ".join(f"`{name}`" for name in _METHODS)
        raise Refusal(
            2,
            f"Invalid request: unknown variant `{method}`, expected one of {expected}",
            request_id,
        )
    params = message.get("params", [])
    if not isinstance(params, list):
        raise Refusal(2, "Invalid request: invalid type: expected a sequence", request_id)
    return Request(method, params, request_id)


def reply(result: object, request_id: RequestId) -> bytes:
    return msgspec.json.encode({"result": result, "id": request_id})


def refuse(refusal: Refusal) -> bytes:
    """The nested form: clients read that one, whatever the documentation shows."""
    return msgspec.json.encode(
        {"error": {"code": refusal.code, "msg": str(refusal)}, "id": refusal.request_id}
    )
