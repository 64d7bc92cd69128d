"""Routes with PATCH and DELETE, without bodies, and with requests that know who asks."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from server.api.openapi import describe
from server.api.router import Access, Request, Route, Router
from server.api.types import Response
from server.identity import OPERATOR, Scope, Tier

Make = Callable[..., Any]
JSON = ("Content-Type", "application/json")


class Note(msgspec.Struct):
    """What a note says."""

    text: str


def tell(request: Request) -> Response:
    """The request as the handler sees it."""
    who = request.principal if request.route.personal else None
    seen = {
        "method": request.route.method,
        "segments": request.segments,
        "body": request.body.decode(),
        "owner": who and who.owner,
        "bucket": who and who.bucket,
        "agent": request.headers.get(b"user-agent", b"").decode() if who else None,
    }
    return Response(msgspec.json.encode(seen))


def notes(*, changes: bool = True) -> list[Route]:
    trade = Access.TRADE
    return [
        Route("/notes", tell, "All", trade, Note, personal=True),
        Route("/notes", tell, "New", trade, Note, body=Note, changes=True, personal=True),
        Route("/notes/{id}", tell, "One", trade, Note, personal=True),
        Route(
            "/notes/{id}", tell, "Alter", trade, Note,
            body=Note, changes=True, method="PATCH", personal=True,
        ),
        Route(
            "/notes/{id}", tell, "Drop", trade, None, changes=True, method="DELETE", personal=True
        ),
        Route("/notes/{id}/read", tell, "Read", trade, Note, changes=changes, method="POST"),
        Route("/whoami", tell, "You", Access.OPEN, Note, personal=True),
    ]  # fmt: skip


@pytest.fixture
def noted(make_server: Make) -> Callable[..., Any]:
    """A server with routes for notes."""

    def build(*, changes: bool = True, **settings: Any) -> Any:
        server = make_server(**settings).serve()
        server.api._router = Router([*server.api.routes, *notes(changes=changes)])
        return server

    return build


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/notes", None),
        ("POST", "/notes", b'{"text":"a"}'),
        ("GET", "/notes/7", None),
        ("PATCH", "/notes/7", b'{"text":"b"}'),
        ("DELETE", "/notes/7", None),
        ("POST", "/notes/7/read", None),
    ],
)
def test_each_method_of_a_path_has_its_own_route(
    noted: Any, method: str, path: str, body: bytes | None
) -> None:
    server = noted()
    headers = [JSON] if body else []
    answer = server.get(path, *headers, method=method, body=[body or b""])
    assert answer.status == 200
    assert answer.json()["method"] == method
    assert answer.json()["body"] == (body or b"").decode()
    assert answer.json()["segments"] == (["7"] if "7" in path else [])


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/notes", ["GET", "HEAD", "OPTIONS", "POST"]),
        ("/notes/7", ["DELETE", "GET", "HEAD", "OPTIONS", "PATCH"]),
        ("/notes/7/read", ["OPTIONS", "POST"]),
    ],
)
def test_a_method_that_a_path_has_not_is_405(noted: Any, path: str, allowed: list[str]) -> None:
    server = noted()
    for method in {"GET", "HEAD", "POST", "PATCH", "DELETE", "PUT"} - set(allowed):
        answer = server.get(path, method=method)
        assert answer.status == 405
        assert answer.headers["allow"] == ", ".join(allowed)
    assert server.get(path, method="OPTIONS").headers["allow"] == ", ".join(allowed)


def test_a_body_must_be_json_where_there_is_one_and_is_not_read_where_there_is_none(
    noted: Any,
) -> None:
    server = noted(request_body_max=100)
    assert server.get("/notes/7", method="PATCH", body=[b"{}"]).code == "not_json"
    dropped = server.get("/notes/7", ("Content-Length", "2"), method="DELETE", body=[b"{}"])
    assert dropped.json()["body"] == ""
    size = ("Content-Length", "101")
    assert server.get("/notes/7", size, method="DELETE", body=[b"x" * 101]).status == 413
    assert server.get("/notes/7/read", size, method="POST", body=[b"x" * 101]).status == 413


def test_a_personal_request_is_its_own_and_knows_who_asks(noted: Any) -> None:
    server = noted(api_key="k")
    for agent in ("one", "another"):
        answer = server.get("/notes", ("X-API-Key", "k"), ("User-Agent", agent))
        assert (answer.json()["owner"], answer.json()["agent"]) == (OPERATOR, agent)
    assert not [path for path, _ in server.api._known if path.startswith(b"/notes")]
    assert server.get("/notes", method="HEAD").status == 401


def test_a_kept_request_says_nothing_of_a_client() -> None:
    request = Request(notes()[0], (), {})  # type: ignore[arg-type]
    for name in ("principal", "headers"):
        with pytest.raises(AttributeError):
            getattr(request, name)


def test_an_open_personal_route_takes_anybody_but_no_wrong_key(noted: Any) -> None:
    """E1: a bad token did not become an anonymous visitor in silence."""
    server = noted(api_key="k")
    nobody = server.get("/whoami", address="10.0.0.1").json()
    assert (nobody["owner"], nobody["bucket"]) == (None, "address:10.0.0.1")
    assert server.get("/whoami", ("X-API-Key", "k")).json()["owner"] == OPERATOR
    assert server.get("/whoami", ("X-API-Key", "wrong")).status == 401
    assert server.get("/whoami", ("Authorization", "Bearer")).status == 401


@pytest.mark.parametrize("method", ["POST", "PATCH", "DELETE"])
def test_pages_of_other_sites_change_nothing(noted: Any, method: str) -> None:
    """A POST without a body is sent by any page of any site, without a preflight."""
    server = noted(cors_origins=["https://a.example"])
    path = "/notes/7/read" if method == "POST" else "/notes/7"
    for origin in ("https://a.example", "https://evil.example", "null"):
        answer = server.get(path, ("Origin", origin), JSON, method=method, body=[b"{}"])
        assert (answer.status, answer.code) == (403, "origin_not_allowed")
        asked = ("Access-Control-Request-Method", method)
        preflight = server.get(path, ("Origin", origin), asked, method="OPTIONS")
        assert method not in preflight.headers.get("access-control-allow-methods", "")
    own = ("Origin", "http://127.0.0.1:8080")
    assert server.get(path, own, JSON, method=method, body=[b"{}"]).status == 200


def test_pages_of_listed_sites_may_post_what_changes_nothing(noted: Any) -> None:
    server = noted(changes=False, cors_origins=["https://a.example"])
    for origin, status in (("https://a.example", 200), ("https://evil.example", 403)):
        answer = server.get("/notes/7/read", ("Origin", origin), method="POST")
        assert answer.status == status


@pytest.mark.parametrize(
    "wrong",
    [
        {"method": "PUT"},
        {"method": "DELETE"},  # and changes nothing
        {"method": "PATCH", "body": Note},
        {"method": "GET", "changes": True},
        {"method": "GET", "body": Note},
        {"method": "DELETE", "changes": True, "body": Note},
    ],
)
def test_a_route_that_cannot_be_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="route /x"):
        Route("/x", tell, "X", Access.READ, Note, **wrong)


def test_the_description_has_every_method() -> None:
    paths = json.loads(describe(notes()))["paths"]
    assert set(paths["/notes/{id}"]) == {"get", "patch", "delete"}
    dropped = paths["/notes/{id}"]["delete"]
    assert ("requestBody" in dropped, "204" in dropped["responses"]) == (False, True)
    assert "requestBody" in paths["/notes/{id}"]["patch"]


def test_scopes_and_tiers_are_ladders() -> None:
    assert Scope.ADMIN.includes(Scope.READ)
    assert not Scope.READ.includes(Scope.TRADE)
    assert Tier.PRO.includes(Tier.FREE)
