"""docs/http.md: every route with its parameters, body and answers, from its OpenAPI description."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from server.api.openapi import describe
from server.api.router import Access, Route
from server.cli.pages.text import table

__all__ = ["routes_page"]

_INTRODUCTION = """# Routes

Written by `python -m server.cli.pages` from the route table and the types of its messages; do not
edit. `GET /openapi.json` of a server, or `klineserver openapi`, is the same for programs.
[api.md](api.md) says what a table cannot: keys, freshness, streams, close codes.

Who may ask: **anybody**; **read**, **trade** and **admin** need a [key](auth.md) of that scope
where the server asks for keys. Errors are `application/problem+json`, but for `/functions/v1` and
the exchange's own paths, which answer as those they stand in for.
"""

_WHO = {
    Access.OPEN: "anybody",
    Access.READ: "read",
    Access.TRADE: "trade",
    Access.ADMIN: "admin",
}


def routes_page(table_of_routes: tuple[Route, ...]) -> str:
    """The whole page."""
    document = msgspec.json.decode(describe(table_of_routes))
    parts = [_INTRODUCTION]
    for route in table_of_routes:
        operation = document["paths"][route.path][route.method.lower()]
        parts.append(_route(route, operation))
    parts.append("## Messages\n")
    parts += [_message(name, schema) for name, schema in document["components"]["schemas"].items()]
    return "\n".join(parts)


def _route(route: Route, operation: Mapping[str, Any]) -> str:
    summary = operation["summary"].rstrip(".")
    part = f"## `{route.method} {route.path}`\n\n{summary}. Who may ask: {_WHO[route.access]}.\n"
    parameters = operation["parameters"]
    if parameters:
        rows = [
            (
                f"`{one['name']}`",
                one["in"],
                _type(one["schema"]) + (", required" if one["required"] else ""),
                one["description"],
            )
            for one in parameters
        ]
        part += "\n" + table(("parameter", "in", "type", "meaning"), rows)
    if "requestBody" in operation:
        schema = operation["requestBody"]["content"]["application/json"]["schema"]
        part += f"\nBody: {_type(schema)}.\n"
    return part + f"\nAnswers: {_answers(operation['responses'])}.\n"


def _answers(responses: Mapping[str, Any]) -> str:
    """Statuses by what comes with them."""
    by_content: dict[str, list[str]] = {}
    for status, answer in responses.items():
        if status != "default":
            by_content.setdefault(_content(answer), []).append(status)
    return "; ".join(
        ", ".join(sorted(statuses)) + (f" {content}" if content else "")
        for content, statuses in by_content.items()
    )


def _content(answer: Mapping[str, Any]) -> str:
    return ", ".join(
        _type(what["schema"]) if "schema" in what else f"`{media}`"
        for media, what in answer.get("content", {}).items()
    )


def _message(name: str, schema: Mapping[str, Any]) -> str:
    part = f"### {name}\n\n" + (f"{schema['description']}\n\n" if "description" in schema else "")
    properties = schema.get("properties")
    if properties is None:
        return part + f"{_type(schema)}\n"
    required = schema.get("required", ())
    rows = [
        (f"`{field}`", _type(one), "" if field in required else _default(one))
        for field, one in properties.items()
    ]
    return part + table(("field", "type", "if not given"), rows)


def _default(schema: Mapping[str, Any]) -> str:
    return f"`{msgspec.json.encode(schema['default']).decode()}`" if "default" in schema else "-"


def _type(schema: Mapping[str, Any]) -> str:
    """A schema in a few words; a message is a link to its table."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{re.sub(r'[^a-z0-9_]', '', name.lower())})"
    if "anyOf" in schema:
        return " or ".join(map(_type, schema["anyOf"]))
    if "enum" in schema:
        return " or ".join(f"`{value}`" for value in schema["enum"])
    if "const" in schema:
        return f"`{schema['const']}`"
    kind = schema.get("type", "anything")
    if kind == "array":
        if "prefixItems" in schema:
            return f"[{', '.join(map(_type, schema['prefixItems']))}]"
        return f"list of {_type(schema.get('items') or {})}"
    if kind == "object" and isinstance(schema.get("additionalProperties"), dict):
        return f"object of {_type(schema['additionalProperties'])}"
    return str(kind) + _bounds(schema)


def _bounds(schema: Mapping[str, Any]) -> str:
    low, high = schema.get("minimum"), schema.get("maximum")
    if low is None and high is None:
        return ""
    return f" {'' if low is None else low}..{'' if high is None else high}"
