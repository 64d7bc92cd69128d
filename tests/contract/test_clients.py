"""The functions through Supabase's own Python client, which sends its key in two places."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from contract import send

pytestmark = [pytest.mark.edge, pytest.mark.rest]

WINDOW = {"symbol": "BTCUSDT", "timeframe": "1m", "limit": 3}


@pytest.fixture
def client(edge: Any) -> Iterator[Callable[[str | None], Any]]:
    """``client(caller)``: one that has signed in as somebody, or as nobody."""
    import httpx
    from supabase import ClientOptions, create_client

    with httpx.Client(trust_env=False, timeout=60) as http:

        def make(caller: str | None) -> Any:
            shown = edge.headers(caller or "anybody")
            given = {"Authorization": shown["authorization"]} if "authorization" in shown else {}
            options = ClientOptions(httpx_client=http, headers=given)
            return create_client(edge.url, shown["apikey"], options)

        yield make


def test_the_client_of_a_stranger_reads_klines(client: Callable[[str | None], Any]) -> None:
    answer = json.loads(client(None).functions.invoke("get-klines", {"body": WINDOW}))
    assert answer["count"] == 3
    assert answer["auth"] == {"tier": "anonymous", "authenticated": False}


def test_the_client_of_a_user_is_known(client: Callable[[str | None], Any]) -> None:
    answer = json.loads(client("pro").functions.invoke("get-klines", {"body": WINDOW}))
    assert answer["auth"] == {"tier": "pro", "authenticated": True}


def test_the_client_shows_why_it_was_refused(client: Callable[[str | None], Any]) -> None:
    from supabase_functions.errors import FunctionsHttpError

    with pytest.raises(FunctionsHttpError, match="Unauthorized"):
        client(None).functions.invoke("trigger-executions", {"body": {"trigger": "cron"}})


def test_the_secret_key_runs_everybodys_traders(
    edge: Any, client: Callable[[str | None], Any]
) -> None:
    # One that was never run: what others ask to be run in the same minute runs built-in ones.
    made = send(
        f"{edge.server}/v1/traders",
        "POST",
        json.dumps({"name": "Always", "filter": "close > 0", "interval": "1m"}),
        {"content-type": "application/json", **edge.own_headers("pro")},
    ).body["id"]
    answer = client("operator").functions.invoke("trigger-executions", {"body": {}})
    assert made in {run["traderId"] for run in json.loads(answer)["details"]}
    send(f"{edge.server}/v1/traders/{made}", "DELETE", None, edge.own_headers("pro"))
