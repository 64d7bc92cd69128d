"""Errors as RFC 9457 problem details; functions and Binance's paths have forms of their own."""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus

import msgspec

from klinecore.errors import FilterError
from server.api.function_types import FieldFault, FunctionError
from server.api.types import Headers, Problem, Response

__all__ = [
    "ALLOWED_SHOWN_MAX",
    "EXCHANGE_PATHS",
    "FUNCTIONS",
    "ApiError",
    "BinanceError",
    "ExchangeError",
    "InvalidFilterError",
    "exchange_error",
    "problem_response",
]

CONTENT_TYPE = b"application/problem+json"

#: Paths that stand in for edge functions.
FUNCTIONS = "/functions/v1/"
#: Paths that stand in for Binance's.
EXCHANGE_PATHS = ("/api/v3/", "/fapi/v1/", "/dapi/v1/", "/sapi/v1/")
#: Binance's numbers for our codes, and for statuses where the code has none of its own.
_NUMBERS = {
    "unknown_parameter": -1104,
    "duplicate_parameter": -1101,
    "too_many_parameters": -1101,
    "bad_encoding": -1100,
    "unknown_symbol": -1121,
    401: -2015,
    403: -2015,
    404: -5000,
    405: -5000,
    429: -1003,
    500: -1000,
    503: -1001,
}
_NUMBER_UNKNOWN = -1000
#: Codes and texts that pages which call functions know, by our codes.
_FUNCTION_WORDS = {
    "unauthorized": ("UNAUTHORIZED", "Unauthorized"),
    "insufficient_scope": ("FORBIDDEN", "Forbidden"),
    "rate_limited": ("RATE_LIMITED", "Too many requests"),
    "too_many_failures": ("RATE_LIMITED", "Too many requests"),
    "unknown_trader": ("TRADER_NOT_FOUND", "Trader not found"),
    "method_not_allowed": ("METHOD_NOT_ALLOWED", "Method not allowed"),
    "internal_error": ("INTERNAL_ERROR", "Internal server error"),
}

#: Names an error lists at most; the whole list has a route of its own.
ALLOWED_SHOWN_MAX = 100

_INSTANCE_LENGTH_MAX = 200


class ApiError(Exception):
    """Ends a request with a problem document.

    ``code`` is for programs and never changes; ``detail`` says what was expected; ``allowed``
    lists what would have been accepted.
    """

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        *,
        allowed: Sequence[str] | None = None,
        reasons: list[str] | None = None,
        failure_id: str | None = None,
        headers: Headers | None = None,
        faults: list[FieldFault] | None = None,
        tier: str | None = None,
    ) -> None:
        """``faults`` and ``tier``, of who asks too often, are told by functions only."""
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail
        self.allowed = allowed
        self.reasons = reasons
        self.failure_id = failure_id
        self.headers = headers
        self.faults = faults
        self.tier = tier


class InvalidFilterError(ApiError):
    """A filter or expression that cannot be read; the problem says where and how to mend it."""

    def __init__(self, error: FilterError) -> None:
        super().__init__(400, "invalid_filter", f"{error.message}.")
        self.error = error


class BinanceError(ApiError):
    """A refusal in Binance's own numbers; its texts are not stable, the numbers are."""

    def __init__(
        self, number: int, message: str, status: int = 400, *, headers: Headers | None = None
    ) -> None:
        super().__init__(status, f"binance_{-number}", message, headers=headers)
        self.number = number


class ExchangeError(msgspec.Struct):
    """An error below Binance's paths, in Binance's form."""

    code: int
    msg: str


def problem_response(error: ApiError, path: str) -> Response:
    """The answer for ``error``; ``path`` is the request's, without its query string."""
    if path.startswith(FUNCTIONS):
        return _function_response(error)
    if path.startswith(EXCHANGE_PATHS):
        return _exchange_response(error)
    allowed = error.allowed
    wrong = error.error if isinstance(error, InvalidFilterError) else None
    document = Problem(
        title=HTTPStatus(error.status).phrase,
        status=error.status,
        detail=error.detail,
        code=error.code,
        instance=path[:_INSTANCE_LENGTH_MAX],
        allowed=None if allowed is None else list(allowed[:ALLOWED_SHOWN_MAX]),
        allowed_count=None if allowed is None else len(allowed),
        reasons=error.reasons,
        line=wrong.line if wrong else None,
        column=wrong.column if wrong else None,
        hint=(wrong.hint or None) if wrong else None,
        id=error.failure_id,
    )
    return Response(
        msgspec.json.encode(document),
        status=error.status,
        content_type=CONTENT_TYPE,
        headers=[(b"cache-control", b"no-store"), *(error.headers or ())],
    )


def _function_response(error: ApiError) -> Response:
    """The same as functions say it."""
    headers = [(b"cache-control", b"no-store"), *(error.headers or ())]
    code, text = _FUNCTION_WORDS.get(error.code, (error.code.upper(), error.detail))
    wait = dict(headers).get(b"retry-after")
    allowed = error.allowed
    answer = FunctionError(
        text,
        code,
        details=error.faults,
        tier=error.tier,
        retryAfter=None if error.status != 429 or wait is None else int(wait),
        allowed=None if allowed is None else list(allowed[:ALLOWED_SHOWN_MAX]),
        id=error.failure_id,
    )
    return Response(msgspec.json.encode(answer), status=error.status, headers=headers)


def exchange_error(error: ApiError) -> ExchangeError:
    """The same as Binance says it."""
    if isinstance(error, BinanceError):
        number = error.number
    else:
        number = _NUMBERS.get(error.code) or _NUMBERS.get(error.status, _NUMBER_UNKNOWN)
    return ExchangeError(number, error.detail)


def _exchange_response(error: ApiError) -> Response:
    body = msgspec.json.encode(exchange_error(error))
    headers = [(b"cache-control", b"no-store"), *(error.headers or ())]
    return Response(body, status=error.status, headers=headers)
