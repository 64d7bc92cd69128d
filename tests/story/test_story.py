"""The whole story with real parts: a kline closes, its owner and nobody else hears of it.

Postgres with pg_cron, PostgREST, the edge functions in Deno, the kline server on a simulated
exchange. Stand-ins are the gateway, pg_net's worker, the Vault, Realtime and the auth server, which
``docs/supabase.md`` describes.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
from commands import Demo, fetch, until
from story import Listener, Person

pytestmark = [
    pytest.mark.pg,
    pytest.mark.rest,
    pytest.mark.edge,
    pytest.mark.cron,
    pytest.mark.realtime,
]

KEY = "operators-key-of-the-story"
#: Simulated seconds a second: a minute closes every three.
SPEED = 20
#: Seconds within which the database's clock strikes, and what follows is done.
MINUTE_S = 100


class Scene(NamedTuple):
    """Everything that runs, and who is there."""

    stack: Any
    demo: Demo
    owner: Person
    other: Person
    stranger: Person


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    from stack.tools import missing

    reason = missing("rest", "edge")
    if reason is not None:
        pytest.skip(reason)
    from stack.project import Stack

    folder = tmp_path_factory.mktemp("story")
    with Stack(folder, realtime=True, clock=True) as stack:
        demo = Demo(
            *("--speed", str(SPEED)),
            API_KEY=KEY,
            KLINE_DATA_DIR=str(folder),
            KLINE_INTERVALS="1m,1h",
            SUPABASE_URL=stack.url,
            SUPABASE_SECRET_KEY=stack.secret_key,
            SUPABASE_PUBLISHABLE_KEY=stack.publishable_key,
        )
        try:
            stack.start_functions({"KLINE_SERVER_URL": demo.url, "KLINE_SERVER_API_KEY": KEY})
            stack.secret("project_url", stack.url)
            stack.secret("function_key", stack.secret_key)
            owner, other = (Person(stack, stack.user(tier="pro")) for _ in range(2))
            yield Scene(stack, demo, owner, other, Person(stack))
        finally:
            demo.command.end()


def wait_for(condition: Any, seconds: float, what: object) -> Any:
    """Like ``until``, for what takes as long as the database's clock."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, what() if callable(what) else what
        time.sleep(0.2)
    return found


def test_a_close_becomes_a_signal_that_its_owner_alone_sees_and_hears(scene: Scene) -> None:
    owner, other, stranger = scene.owner, scene.other, scene.stranger
    draft = {"name": "Every close", "filter": "close > 0", "interval": "1m", "mode": "level"}
    made = owner.insert("traders", **draft, symbols=["BTCUSDT"])
    assert made.status == 201, made.text
    trader_id = made.body[0]["id"]
    path, port = f"/v1/traders/{trader_id}", scene.demo.port
    until(
        lambda: fetch(port, path, authorization=f"Bearer {owner.token}")[0] == 200,
        lambda: scene.demo.command.stderr,
    )
    assert fetch(port, path, authorization=f"Bearer {other.token}")[0] == 404

    listeners = [Listener(port, str(person.token)) for person in (owner, other)]
    try:
        heard, unheard = listeners

        def own_signals() -> list[dict[str, Any]]:
            return [signal for signal in heard.signals if signal["trader_id"] == trader_id]

        signal = until(own_signals, lambda: scene.demo.command.stderr)[0]
        assert (signal["symbol"], signal["interval"]) == ("BTCUSDT", "1m")
        assert signal["status"] == "fired"

        wanted = {"id": f"eq.{signal['id']}"}
        row = until(lambda: owner.read("trader_signals", **wanted), "no row in Postgres")[0]
        assert row["trader_id"] == trader_id
        assert row["open_time_ms"] == signal["open_time_ms"]
        assert float(row["price"]) == float(signal["price"])
        assert row["sub_values"] == signal["values"]

        assert other.read("trader_signals", **wanted) == []
        assert stranger.read("trader_signals", **wanted) == []
        assert other.read("traders", id=f"eq.{trader_id}") == []
        assert [one for one in unheard.signals if one["trader_id"] == trader_id] == []

        history_is_written_by_the_databases_clock(scene, trader_id)
        the_owner_runs_it_and_nobody_else(scene, trader_id)

        told = [one["id"] for one in own_signals()]
        assert len(told) == len(set(told))
        until(
            lambda: set(told) <= {one["id"] for one in owner.read("trader_signals")},
            "a signal that was told never reached Postgres",
        )
        assert [one for one in unheard.signals if one["trader_id"] == trader_id] == []
    finally:
        for listener in listeners:
            listener.close()


def history_is_written_by_the_databases_clock(scene: Scene, trader_id: str) -> None:
    """pg_cron -> net worker -> trigger-executions in Deno -> server -> outbox -> Postgres."""
    wanted = {"trader_id": f"eq.{trader_id}", "source": "eq.cron"}
    (row, *_) = wait_for(
        lambda: scene.owner.read("execution_history", **wanted),
        MINUTE_S,
        lambda: scene.stack.rows("select * from net._http_response"),
    )
    assert row["error"] is None
    assert (row["symbols_checked"], row["symbols_matched"]) == (1, 1)
    jobs = scene.stack.rows(
        "select r.status from cron.job_run_details r join cron.job j using (jobid)"
        " where j.jobname = 'klinecore-trigger-executions'"
    )
    assert {job["status"] for job in jobs} <= {"succeeded", "running", "starting"}
    answers = until(lambda: scene.stack.rows("select status_code from net._http_response"))
    assert {answer["status_code"] for answer in answers} == {200}
    assert scene.other.read("execution_history", **wanted) == []
    assert scene.stranger.read("execution_history", **wanted) == []


def the_owner_runs_it_and_nobody_else(scene: Scene, trader_id: str) -> None:
    asked = {"traderId": trader_id, "symbols": ["BTCUSDT"]}
    answer = scene.owner.call("execute-trader", asked)
    assert answer.status == 200, answer.text
    assert answer.body["matches"] == ["BTCUSDT"]
    assert scene.other.call("execute-trader", asked).status == 404
    assert scene.stranger.call("execute-trader", asked).status == 401
    wanted = {"trader_id": f"eq.{trader_id}", "source": "eq.request"}
    until(lambda: scene.owner.read("execution_history", **wanted), "no history of the request")
