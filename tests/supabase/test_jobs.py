"""What the database does by itself: retention, the heartbeat, and the clock that starts them."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from stack.project import Stack

psycopg = pytest.importorskip("psycopg", reason="pip install -e '.[stack]'")
from policies import hour_row, insert, insert_row  # noqa: E402

pytestmark = pytest.mark.pg
DAY_MS = 86_400_000
#: Seconds anything may take on a slow machine.
PATIENCE_S = 60.0


def jobs(stack: Stack) -> dict[str, dict[str, Any]]:
    rows = stack.rows("select * from cron.job where jobname like 'klinecore-%%'")
    return {row["jobname"].removeprefix("klinecore-"): row for row in rows}


def test_every_job_is_scheduled_once_and_runs_as_the_project(stack: Stack) -> None:
    found = jobs(stack)
    assert {name: job["schedule"] for name, job in found.items()} == {
        "sweep": "*/5 * * * *",
        "fit-to-tiers": "* * * * *",
        "forget-runs": "17 3 * * *",
        "trigger-executions": "* * * * *",
    }
    assert {job["username"] for job in found.values()} == {"postgres"}


@pytest.mark.parametrize("name", ["sweep", "fit-to-tiers", "forget-runs", "trigger-executions"])
def test_every_job_does_without_an_error(stack: Stack, name: str) -> None:
    with stack.postgres.connect() as connection:
        connection.execute(jobs(stack)[name]["command"])


def test_what_is_old_goes_and_the_rest_stays(stack: Stack) -> None:
    now = int(time.time() * 1000)
    with stack.postgres.connect() as connection, connection.transaction(force_rollback=True):
        trader = connection.execute(
            "insert into traders (name, filter, interval) values ('T', 'close > open', '1m')"
            " returning id"
        ).fetchone()[0]
        ages = {
            ("trader_signals", "at_ms"): (29, 31),
            ("execution_history", "started_ms"): (6, 8),
        }
        connection.execute("select private.sweep(at_most => 1000000)")  # what other tests left
        for (table, column), days in ages.items():
            for age in days:
                insert(connection, table, trader, **{column: now - age * DAY_MS})
        connection.execute("delete from execution_hours where trader_id = %s", (trader,))
        for age in (89, 91):
            hour = (now - age * DAY_MS) // 3_600_000 * 3_600_000
            insert_row(connection, "execution_hours", hour_row(trader) | {"hour_ms": hour})
        connection.execute(jobs(stack)["sweep"]["command"])
        for table, column, days in (
            ("trader_signals", "at_ms", 29),
            ("execution_history", "started_ms", 6),
            ("execution_hours", "hour_ms", 89),
        ):
            left = connection.execute(
                f"select {column} from {table} where trader_id = %s", (trader,)
            ).fetchall()
            assert len(left) == 1, table
            assert abs(left[0][0] - (now - days * DAY_MS)) <= 3_600_000


def test_a_sweep_takes_a_bounded_number_at_once(stack: Stack) -> None:
    with stack.postgres.connect() as connection, connection.transaction(force_rollback=True):
        connection.execute("select private.sweep(at_most => 1000000)")  # what other tests left
        trader = connection.execute(
            "insert into traders (name, filter, interval) values ('T', 'close > open', '1m')"
            " returning id"
        ).fetchone()[0]
        for number in range(25):
            insert(connection, "trader_signals", trader, at_ms=number)
        swept = [
            connection.execute("select private.sweep(at_most => 10)").fetchone()[0]
            for _ in range(4)
        ]
    assert swept == [10, 10, 5, 0]


# The heartbeat -----------------------------------------------------------------------------------


class Function(BaseHTTPRequestHandler):
    """Stands where the gateway stands, and notes what comes."""

    heard: list[dict[str, Any]]

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.heard.append({"path": self.path, "apikey": self.headers["apikey"], "body": body})
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Silent."""


@pytest.fixture
def functions(stack: Stack) -> Iterator[list[dict[str, Any]]]:
    """What is heard at the address that the Vault names."""
    heard: list[dict[str, Any]] = []
    server = HTTPServer(("127.0.0.1", 0), type("Noting", (Function,), {"heard": heard}))
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    stack.secret("project_url", f"http://127.0.0.1:{server.server_port}")
    stack.secret("function_key", stack.secret_key)
    yield heard
    with stack.postgres.connect() as connection:
        connection.execute("delete from vault.secrets")
    server.shutdown()
    thread.join()
    server.server_close()


def wait_for(heard: list[Any], seconds: float) -> Any:
    deadline = time.monotonic() + seconds
    while not heard:
        assert time.monotonic() < deadline, "nothing came"
        time.sleep(0.05)
    return heard[0]


EXPECTED = {"path": "/functions/v1/trigger-executions", "body": {"trigger": "cron"}}


def test_the_heartbeat_calls_the_function_with_the_key_of_the_vault(
    stack: Stack, functions: list[dict[str, Any]]
) -> None:
    with stack.postgres.connect() as connection:
        connection.execute(jobs(stack)["trigger-executions"]["command"])
    assert wait_for(functions, PATIENCE_S) == EXPECTED | {"apikey": stack.secret_key}


def test_without_secrets_nothing_is_sent_and_the_reason_is_said(stack: Stack) -> None:
    said: list[str] = []
    with stack.postgres.connect() as connection, connection.transaction(force_rollback=True):
        connection.execute("delete from vault.secrets")
        connection.add_notice_handler(lambda notice: said.append(notice.message_primary))
        sent = connection.execute("select private.trigger_executions()").fetchone()
    assert sent == (None,)
    assert said == ["nothing is triggered: the Vault has no project_url or no function_key"]


@pytest.fixture
def clock(stack: Stack) -> Iterator[None]:
    """The database's clock strikes, while the test runs, for the heartbeat."""
    stack.strike("klinecore-trigger-executions", True)
    yield
    stack.strike("klinecore-trigger-executions", False)


@pytest.mark.cron
@pytest.mark.usefixtures("clock")
def test_the_databases_clock_calls_it_at_the_next_minute(
    stack: Stack, functions: list[dict[str, Any]]
) -> None:
    found = wait_for(functions, 60 + PATIENCE_S)
    assert found == EXPECTED | {"apikey": stack.secret_key}
    done = (
        "select status from cron.job_run_details where command like '%%trigger_executions%%'"
        " and status = 'succeeded'"
    )
    deadline = time.monotonic() + PATIENCE_S
    while not stack.rows(done):
        assert time.monotonic() < deadline
        time.sleep(0.1)
