"""execute-trader and trigger-executions in one process: how often, what is kept, what fails."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from msgspec.structs import replace

from server.access.keys import KeysFile
from server.identity import Scope, Tier
from server.traders.engine import TraderEngine
from server.traders.model import Execution, RunSource

JSON = ("content-type", "application/json")
DRAFT = {"name": "above", "filter": "close > 0", "interval": "1m", "mode": "level"}


class History:
    """An ``ExecutionSink`` that keeps what the store would."""

    def __init__(self) -> None:
        self.rows: dict[tuple[str, str, int, RunSource], Execution] = {}
        self.put_count = 0

    def put(self, executions: Sequence[Execution]) -> None:
        for one in executions:
            self.put_count += 1
            self.rows.setdefault((one.trader_id, one.interval, one.open_time_ms, one.source), one)

    def of(self, source: RunSource) -> list[Execution]:
        return [row for row in self.rows.values() if row.source is source]


class Runs:
    """A serving server whose traders run on its market, and the history of them."""

    def __init__(self, server: Any) -> None:
        self.server = server
        self.history = History()
        desk = self.desk = server.state.desk
        desk._sinks = desk._sinks._replace(executions=self.history)
        self.index = 30
        server.market.drain()
        engine = TraderEngine("spot", server.market, state_bytes_max=1 << 24, traders_max=99)
        asyncio.run(desk.attach(engine))

    def post(self, path: str, body: Any, *headers: tuple[str, str]) -> Any:
        content = json.dumps(body).encode()
        return self.server.get(path, JSON, *headers, method="POST", body=[content])

    def execute(self, trader_id: str, *headers: tuple[str, str]) -> Any:
        asked = {"traderId": trader_id, "symbols": ["BTCUSDT"]}
        return self.post("/functions/v1/execute-trader", asked, *headers)

    def make(self, **changed: Any) -> str:
        answer = self.post("/v1/traders", DRAFT | changed)
        assert answer.status == 201, answer.json()
        self.history.rows.clear()  # a new trader runs at once
        return str(answer.json()["id"])

    def trigger(self, **body: Any) -> Any:
        return self.post("/functions/v1/trigger-executions", body).json()

    def close(self) -> None:
        """One more closed minute."""
        self.server.market.push("BTCUSDT", "1m", self.server.row(self.index))
        self.index += 1
        self.desk.pump("spot", self.server.market.drain())


@pytest.fixture
def runs(server: Any) -> Runs:
    return Runs(server)


def test_a_round_runs_each_trader_once_for_each_of_its_own_closes(runs: Runs) -> None:
    """E4, E5."""
    made = runs.make()
    assert runs.trigger(trigger="cron")["tradersExecuted"] == 1
    for _ in range(5):
        answer = runs.trigger(trigger="cron")
        assert (answer["tradersExecuted"], answer["details"]) == (0, [])
        assert answer["message"] == "0 traders executed, 1 had run for their newest close"
    runs.close()
    assert [run["traderId"] for run in runs.trigger(trigger="cron")["details"]] == [made]
    rows = runs.history.of(RunSource.CRON)
    assert len(rows) == 2
    assert {row.trader_id for row in rows} == {made}
    assert rows[0].open_time_ms != rows[1].open_time_ms


def test_rounds_that_overlap_are_one(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    """E4: the second waits for the first and finds nothing left to do."""
    for _ in range(40):
        runs.make()
    run, order = runs.desk.run, []

    async def slow(principal: Any, trader_ids: Sequence[str], source: RunSource) -> Any:
        order.append(trader_ids[0])
        await asyncio.sleep(0.001)
        return await run(principal, trader_ids, source)

    monkeypatch.setattr(runs.desk, "run", slow)
    body = json.dumps({"trigger": "cron"}).encode()

    async def post() -> Any:
        sent: list[dict[str, Any]] = []

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)

        scope = {
            "type": "http",
            "http_version": "1.1",
            "method": "POST",
            "raw_path": b"/functions/v1/trigger-executions",
            "query_string": b"",
            "headers": [(b"host", b"127.0.0.1"), (b"content-type", b"application/json")],
            "client": ("127.0.0.1", "50000"),
        }
        await runs.server.api(scope, receive, send)
        return json.loads(sent[1]["body"])

    async def both() -> Any:
        return await asyncio.gather(post(), post(), post())

    before = runs.history.put_count
    executed = [answer["tradersExecuted"] for answer in asyncio.run(both())]
    assert sorted(executed) == [0, 0, 40]
    assert runs.history.put_count - before == 40
    assert order == 3 * order[:40]  # one round after the other


def test_whoever_triggers_without_being_the_clock_is_answered_each_time(runs: Runs) -> None:
    runs.make()
    for _ in range(2):
        assert runs.trigger()["tradersExecuted"] == 1
    assert len(runs.history.of(RunSource.REQUEST)) == 1
    assert runs.history.of(RunSource.CRON) == []


def test_one_trader_that_fails_stops_no_other(runs: Runs) -> None:
    good = runs.make()
    # As a project's table may have it, which holds texts of any kind.
    trader = runs.desk.book.get(good).trader
    bad = {"id": "0b8a7d6c-5e4f-4a7c-9e21-6f1c2f4e5d3b", "filter": "nonsense(("}
    runs.desk.replace([replace(trader, **bad)], "supabase")
    answer = runs.trigger(trigger="cron")
    assert (answer["successCount"], answer["failureCount"]) == (1, 1)
    (failed,) = [run for run in answer["details"] if not run["success"]]
    assert failed["traderId"] == bad["id"]
    assert failed["error"]
    assert "matches" not in failed


def test_traders_that_rest_are_left_alone(runs: Runs) -> None:
    runs.make(enabled=False)
    trader = runs.desk.book.get(runs.make()).trader
    runs.desk.replace(
        [replace(trader, id=str(UUID(int=7)), owner="somebody", paused_reason="tier")], "supabase"
    )
    answer = runs.trigger(trigger="cron")
    assert [run["traderId"] for run in answer["details"]] == [trader.id]


def test_a_trader_that_is_deleted_during_the_round_is_left_out(
    runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    trader = runs.desk.book.get(runs.make()).trader
    monkeypatch.setattr(
        runs.desk, "visible", lambda principal: [replace(trader, id=str(UUID(int=7))), trader]
    )
    answer = runs.trigger(trigger="cron")
    assert [run["traderId"] for run in answer["details"]] == [trader.id]


def test_whom_the_operators_key_asks_for_runs_their_own_traders_alone(runs: Runs) -> None:
    made = runs.make()  # the operator's own
    trader = runs.desk.book.get(made).trader
    theirs = replace(trader, id=str(UUID(int=7)), owner="somebody")
    runs.desk.replace([theirs], "supabase")
    behalf = (("x-on-behalf-of", "user:somebody"), ("x-on-behalf-tier", "pro"))
    answer = runs.execute(theirs.id, *behalf)
    assert answer.json()["matches"] == ["BTCUSDT"]
    assert answer.headers["x-ratelimit-limit"] == "500"
    assert runs.execute(made, *behalf).code == "trader_not_found"
    address = (("x-on-behalf-of", "address:203.0.113.7"), ("x-on-behalf-tier", "pro"))
    assert runs.execute(theirs.id, *address).code == "forbidden"


def test_execute_trader_leaves_one_row_of_history_per_close(runs: Runs) -> None:
    made = runs.make()
    for _ in range(3):
        assert runs.execute(made).json()["matches"] == ["BTCUSDT"]
    (row,) = runs.history.of(RunSource.REQUEST)
    assert (row.trader_id, row.symbols_checked, row.symbols_matched) == (made, 1, 1)


def test_a_key_that_only_reads_runs_nothing(
    make_server: Callable[..., Any], tmp_path: Path
) -> None:
    file = KeysFile(str(tmp_path / "keys.json"))
    key, _ = file.add("somebody", Tier.PRO, Scope.READ, now_ms=0)
    server = make_server(api_keys_file=file.path).serve().fill(3)
    for name in ("execute-trader", "trigger-executions"):
        body = [json.dumps({"traderId": str(UUID(int=7)), "symbols": []}).encode()]
        answer = server.get(
            f"/functions/v1/{name}", JSON, ("x-api-key", key), method="POST", body=body
        )
        assert (answer.status, answer.code) == (403, "forbidden")


def test_execute_trader_of_a_market_that_is_not_up_is_503(make_server: Callable[..., Any]) -> None:
    server = make_server().serve().fill(3)
    made = {"name": "a", "filter": "close > 0", "interval": "1m"}
    body = [json.dumps(made).encode()]
    trader = server.get("/v1/traders", JSON, method="POST", body=body).json()
    asked = json.dumps({"traderId": trader["id"], "symbols": ["BTCUSDT"]}).encode()
    answer = server.get("/functions/v1/execute-trader", JSON, method="POST", body=[asked])
    assert (answer.status, answer.code) == (503, "starting")
