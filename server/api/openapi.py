"""The OpenAPI 3.1 description, made from the route table and the message types."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from http import HTTPStatus
from typing import Any

import msgspec

from server.api.function_types import FunctionError
from server.api.problems import EXCHANGE_PATHS, FUNCTIONS, ExchangeError
from server.api.router import Access, Parameter, Route
from server.api.types import Problem
from server.process import program_version

__all__ = ["describe"]

_PARAMETER = re.compile(r"\{(\w+)\}")
_PROBLEM = "application/problem+json"
_PATH_HELP = {
    "symbol": "Symbol in any case; percent-encoded UTF-8 where it is not ASCII.",
    "interval": "Interval, case-sensitive: 1m is a minute, 1M a month.",
    "id": "Its id, a UUID.",
}
_KEYS = {
    "ApiKey": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
    "BinanceKey": {"type": "apiKey", "in": "header", "name": "X-MBX-APIKEY"},
    "Bearer": {"type": "http", "scheme": "bearer"},
}


def describe(table: Iterable[Route]) -> bytes:
    """JSON of the whole description; the same table gives the same bytes."""
    routes = tuple(table)
    types = [route.answer for route in routes if _is_type(route.answer)]
    types += [route.body for route in routes if route.body is not None]
    types += [Problem, FunctionError, ExchangeError]
    by_type, components = _schemas(*types)
    document = {
        "openapi": "3.1.0",
        "info": {
            "title": "klineserver",
            "version": program_version(),
            "description": "The newest klines of every symbol, exactly as the exchange sent them.",
        },
        "paths": _paths(routes, by_type),
        "components": {"schemas": components, "securitySchemes": _KEYS},
    }
    return msgspec.json.encode(document)


@lru_cache(maxsize=1)
def _schemas(*types: Any) -> tuple[dict[str, Any], msgspec.Raw]:
    """By type, and JSON of what they refer to: most of the work, and the same in each server."""
    schemas, components = msgspec.json.schema_components(
        types, ref_template="#/components/schemas/{name}"
    )
    by_type = dict(zip(map(str, types), schemas, strict=True))
    return by_type, msgspec.Raw(msgspec.json.encode(components))


def _paths(routes: Iterable[Route], by_type: dict[str, Any]) -> dict[str, Any]:
    paths: dict[str, Any] = {}
    for route in routes:
        operation = _operation(route, by_type)
        if route.body is not None:
            content = {"application/json": {"schema": by_type[str(route.body)]}}
            operation["requestBody"] = {"required": True, "content": content}
        paths.setdefault(route.path, {})[route.method.lower()] = operation
    return paths


def _operation(route: Route, by_type: dict[str, Any]) -> dict[str, Any]:
    names = _PARAMETER.findall(route.path)
    parameters: list[dict[str, Any]] = [
        {
            "name": name,
            "in": "path",
            "required": True,
            "description": _PATH_HELP.get(name, "See the summary."),
            "schema": {"type": "string"},
        }
        for name in names
    ]
    parameters += [
        {
            "name": parameter.name,
            "in": "query",
            "required": parameter.required,
            "description": parameter.description,
            "schema": _schema(parameter),
        }
        for parameter in route.parameters
    ]
    return {
        "operationId": _operation_id(route),
        "summary": route.summary,
        "parameters": parameters,
        "responses": _responses(route, by_type),
        # An empty requirement beside the keys: a server without a key asks for none.
        "security": [] if route.access is Access.OPEN else [{}, *({name: []} for name in _KEYS)],
    }


def _schema(parameter: Parameter) -> dict[str, Any]:
    schema = dict(parameter.schema)
    return {"type": "array", "items": schema, "minItems": 1} if parameter.several else schema


def _responses(route: Route, by_type: dict[str, Any]) -> dict[str, Any]:
    responses: dict[str, Any] = {}
    if route.answer is None:
        status = 101 if route.method == "GET" else 204
        responses[str(status)] = {"description": _phrase(status)}
    elif isinstance(route.answer, str):
        responses["200"] = {"description": "OK", "content": {route.answer: {}}}
    else:
        content = {"application/json": {"schema": by_type[str(route.answer)]}}
        responses["200"] = {"description": "OK", "content": content}
        for status in route.answer_statuses:
            responses[str(status)] = {"description": _phrase(status), "content": content}
    failure = _failure(route, by_type)
    for status in route.errors:
        responses[str(status)] = {"description": _phrase(status)}
        if status != HTTPStatus.NOT_MODIFIED:
            responses[str(status)]["content"] = failure
    responses["default"] = {"description": "Error", "content": failure}
    return responses


def _failure(route: Route, by_type: dict[str, Any]) -> dict[str, Any]:
    """What a route says when it does not answer."""
    if route.path.startswith(FUNCTIONS):
        return {"application/json": {"schema": by_type[str(FunctionError)]}}
    if route.path.startswith(EXCHANGE_PATHS):
        return {"application/json": {"schema": by_type[str(ExchangeError)]}}
    return {_PROBLEM: {"schema": by_type[str(Problem)]}}


def _operation_id(route: Route) -> str:
    # Of one and of all: /traders and /traders/{id}.
    path = route.path.replace("{id}", "id").replace(".json", "")
    words = re.findall(r"\w+", _PARAMETER.sub("", path))
    return f"{route.method.lower()}_" + ("_".join(words) or "front")


def _is_type(answer: object) -> bool:
    return answer is not None and not isinstance(answer, str)


def _phrase(status: int) -> str:
    return HTTPStatus(status).phrase
