"""Pages of other sites: what those that are listed may do with a key, and nobody else."""

from __future__ import annotations

from typing import Any

import pytest

LISTED, OTHER = "https://board.example", "https://evil.example"
JSON = ("Content-Type", "application/json")
KEY = ("X-API-Key", "k")
DRAFT = b'{"name":"low","filter":"close < 1","interval":"1m"}'
ONE = "/v1/traders/t-unknown"
CHANGES = [
    ("POST", "/v1/traders", 201),
    ("PATCH", ONE, 404),
    ("DELETE", ONE, 404),
    ("POST", ONE + "/run", 404),
]


def send(server: Any, method: str, path: str, origin: str, *headers: tuple[str, str]) -> Any:
    body = [b"" if method == "DELETE" else DRAFT if path == "/v1/traders" else b"{}"]
    kind = () if method == "DELETE" else (JSON,)
    return server.get(path, ("Origin", origin), *kind, *headers, method=method, body=body)


def allowed(server: Any, path: str, origin: str) -> str:
    answer = server.get(path, ("Origin", origin), method="OPTIONS")
    assert answer.status == 204
    return str(answer.headers.get("access-control-allow-methods", ""))


@pytest.mark.parametrize(("method", "path", "status"), CHANGES)
def test_a_listed_page_changes_traders_with_a_key(
    make_server: Any, method: str, path: str, status: int
) -> None:
    server = make_server(api_key="k", cors_origins=[LISTED]).serve()
    assert method in allowed(server, path, LISTED).split(", ")
    assert send(server, method, path, LISTED, KEY).status == status
    assert send(server, method, path, LISTED).status == 401


@pytest.mark.parametrize(("method", "path", "status"), CHANGES)
def test_a_page_that_is_not_listed_by_name_changes_nothing_with_a_key(
    make_server: Any, method: str, path: str, status: int
) -> None:
    for listed in ([LISTED], ["*"]):
        server = make_server(api_key="k", cors_origins=listed).serve()
        assert method not in allowed(server, path, OTHER).split(", ")
        answer = send(server, method, path, OTHER, KEY)
        assert (answer.status, answer.code) == (403, "origin_not_allowed")


@pytest.mark.parametrize(("method", "path", "status"), CHANGES)
def test_a_server_without_keys_is_changed_by_no_other_site(
    make_server: Any, method: str, path: str, status: int
) -> None:
    """There nothing but the origin tells the operator's page from one a link has opened."""
    server = make_server(cors_origins=[LISTED]).serve()
    assert method not in allowed(server, path, LISTED).split(", ")
    for headers in ((), (KEY,)):
        assert send(server, method, path, LISTED, *headers).status == 403


def test_no_other_site_changes_what_is_the_operators(make_server: Any) -> None:
    server = make_server(api_key="k", cors_origins=[LISTED]).serve()
    assert allowed(server, "/v1/symbols", LISTED) == "GET, HEAD, OPTIONS"
    assert send(server, "POST", "/v1/symbols", LISTED, KEY).status == 403
    assert server.feed.changed == []
