"""Errors as RFC 9457 problem details: one shape for every route, with a code that stays."""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus

import msgspec

from klinecore.errors import FilterError
from server.api.types import Headers, Problem, Response

__all__ = ["ALLOWED_SHOWN_MAX", "ApiError", "InvalidFilterError", "problem_response"]

CONTENT_TYPE = b"application/problem+json"

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
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail
        self.allowed = allowed
        self.reasons = reasons
        self.failure_id = failure_id
        self.headers = headers


class InvalidFilterError(ApiError):
    """A filter or expression that cannot be read; the problem says where and how to mend it."""

    def __init__(self, error: FilterError) -> None:
        super().__init__(400, "invalid_filter", f"{error.message}.")
        self.error = error


def problem_response(error: ApiError, path: str) -> Response:
    """The answer for ``error``; ``path`` is the request's, without its query string."""
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
