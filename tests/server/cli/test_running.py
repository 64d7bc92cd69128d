"""A running demo, and the commands that ask a running server."""

from __future__ import annotations

import csv
import io
import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from commands import Demo, fetch, free_port, until

from server.cli.client import ServerClient
from server.errors import ServerError

MINUTE_MS = 60_000


def test_the_demo_prints_its_addresses_and_serves_them(demo: Demo) -> None:
    text = "".join(demo.command.stderr)
    assert f"{demo.url}/" in text
    assert f"ws://127.0.0.1:{demo.port}/ws" in text
    key = {"X-API-Key": "a-key-of-the-tests"}
    status, body = fetch(demo.port, "/klines/BTCUSDT/1m?limit=50", **key)
    assert (status, json.loads(body)["count"]) == (200, 50)
    assert fetch(demo.port, "/klines/BTCUSDT/1m")[0] == 401
    assert fetch(demo.port, "/")[0] == 200
    assert "a-key-of-the-tests" not in text


def test_time_runs_as_fast_as_the_demo_was_told(demo: Demo) -> None:
    key = {"X-API-Key": "a-key-of-the-tests"}

    def newest() -> int:
        row = json.loads(fetch(demo.port, "/klines/BTCUSDT/1m?limit=1", **key)[1])["klines"][0]
        assert row["x"] is True
        return int(row["t"])

    started = time.monotonic()
    first = newest()
    until(lambda: newest() >= first + 2 * MINUTE_MS)
    # Two minutes last three seconds; on a slow machine longer, but not as long as real ones.
    assert 1.0 < time.monotonic() - started < 90.0


def ask(run: Callable[..., Any], demo: Demo, *arguments: str) -> Any:
    return run(*arguments, "--url", demo.url, API_KEY="a-key-of-the-tests")


def test_query_prints_rows_in_every_format(run: Callable[..., Any], demo: Demo) -> None:
    parsed = json.loads(
        ask(run, demo, "query", "btcusdt", "1h", "--limit", "3", "--format", "json").output
    )
    assert (parsed["symbol"], parsed["count"]) == ("BTCUSDT", 3)
    text = ask(run, demo, "query", "BTCUSDT", "1h", "--limit", "3", "--format", "csv").output
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [row["close"] for row in rows] == [row["c"] for row in parsed["klines"]]
    assert rows[0]["open_time"] == str(parsed["klines"][0]["t"])
    table = ask(run, demo, "query", "BTCUSDT", "1h", "--limit", "3").output.splitlines()
    assert table[0] == "BTCUSDT 1h, 3 klines, UTC"
    assert len(table) == 5
    assert parsed["klines"][2]["c"] in table[4]


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["DOGEUSDT", "1h"], "404 unknown_symbol"),
        (["BTCUSDT", "1x"], "400 invalid_interval"),
        (["BTCUSDT", "1h", "--limit", "51"], "a whole number from 1 to 50"),
    ],
)
def test_query_says_what_the_server_said(
    run: Callable[..., Any], demo: Demo, arguments: list[str], part: str
) -> None:
    result = ask(run, demo, "query", *arguments)
    assert result.exit_code == 2
    assert part in result.output


def test_query_adds_a_column_for_each_expression(run: Callable[..., Any], demo: Demo) -> None:
    # Whole hours last: at this speed a minute may end between two requests of this test.
    columns = ("--expr", "sma(2)", "--expr", "close > open")
    parsed = json.loads(
        ask(run, demo, "query", "BTCUSDT", "1h", "--format", "json", "--forming", *columns).output
    )
    mean, up = parsed["expressions"]
    rows = parsed["klines"]
    assert (mean["text"], up["kind"], len(mean["values"])) == ("sma(2)", "condition", len(rows))
    assert mean["values"][1] == (float(rows[0]["c"]) + float(rows[1]["c"])) / 2
    assert up["values"][1] is (float(rows[1]["c"]) > float(rows[1]["o"]))
    assert (rows[-1]["x"], mean["values"][-1], up["values"][-1]) == (False, None, None)
    text = ask(run, demo, "query", "BTCUSDT", "1h", "--format", "csv", *columns).output
    row = list(csv.DictReader(io.StringIO(text)))[1]
    if row["open_time"] == str(rows[1]["t"]):
        assert float(row["sma(2)"]) == mean["values"][1]
        assert row["close > open"] == str(up["values"][1]).lower()
    table = ask(run, demo, "query", "BTCUSDT", "1h", "--limit", "3", *columns).output.splitlines()
    assert table[1].split()[-4:] == ["sma(2)", "close", ">", "open"]
    assert table[2].split()[-1] in ("true", "false")


def test_query_marks_the_place_where_an_expression_is_wrong(
    run: Callable[..., Any], demo: Demo
) -> None:
    result = ask(run, demo, "query", "BTCUSDT", "1h", "--expr", "sma(2) +")
    assert result.exit_code == 2
    assert "^" in result.output


def test_trader_test_shows_where_a_filter_would_have_fired(
    run: Callable[..., Any], demo: Demo
) -> None:
    result = ask(
        run, demo, "trader", "test", "close > close[1]", "--interval", "1h", "--mode", "level",
        "--symbols", "ethusdt", "--limit", "4",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    lines = result.output.splitlines()
    assert lines[0].split() == ["open_time", "symbol", "close"]
    assert all("ETHUSDT" in line and ":00:00" in line for line in lines[1:5])
    assert lines[5].startswith("fired at ")
    assert lines[5].endswith("of 50 closes of 1 symbols, UTC; the newest 4 are shown")
    assert lines[6] == "unknown at 1 closes: 1 with too few klines before"
    assert lines[7].startswith("klines of 1h since ")


def test_trader_test_says_why_nothing_fired_or_what_the_server_said(
    run: Callable[..., Any], demo: Demo
) -> None:
    result = ask(run, demo, "trader", "test", "ticker.last > 1", "--interval", "1h")
    assert result.output.splitlines()[0].startswith("fired at 0 of 100 closes")
    assert "as tickers have no past" in result.output
    recursive = ask(run, demo, "trader", "test", "ema(3) < 0", "--interval", "1h")
    assert "differs by a trace" in recursive.output
    for arguments, part in (
        (["close >"], "^"),
        (['close @ "4h" > 1'], "400 interval_not_served"),
        (["close > sma(501)"], "limit: window"),  # the server keeps 50
        (["close > 1", "--symbols", "NOPEUSDT"], "400 unknown_symbol"),
        (["close > 1", "--cooldown", "-1"], "--cooldown"),
    ):
        refused = ask(run, demo, "trader", "test", *arguments, "--interval", "1h")
        assert refused.exit_code == 2
        assert part in refused.output


def test_query_without_the_key_says_so(run: Callable[..., Any], demo: Demo) -> None:
    result = run("query", "BTCUSDT", "1h", "--url", demo.url)
    assert result.exit_code == 2
    assert "401 unauthorized" in result.output


def test_query_says_when_nobody_answers(run: Callable[..., Any]) -> None:
    result = run("query", "BTCUSDT", "1h", "--url", f"http://127.0.0.1:{free_port()}")
    assert result.exit_code == 2
    assert "no answer from" in result.output


def test_a_url_of_another_kind_is_refused() -> None:
    with pytest.raises(ServerError, match="must begin with http"):
        ServerClient("file:///etc/passwd", None)


def test_watch_prints_tickers_and_klines(run: Callable[..., Any], demo: Demo) -> None:
    result = ask(run, demo, "watch", "ETHUSDT", "--once")
    assert result.exit_code == 0, result.output
    assert "ETHUSDT" in result.output
    assert "volume" in result.output
    result = ask(run, demo, "watch", "BTCUSDT", "--interval", "1m", "--once")
    assert "BTCUSDT      1m" in result.output


@pytest.mark.parametrize(
    ("symbol", "key", "part"),
    [
        ("DOGEUSDT", "a-key-of-the-tests", "unknown stream"),
        ("BTCUSDT", "wrong", "is API_KEY set"),
    ],
)
def test_watch_says_why_it_cannot(
    run: Callable[..., Any], demo: Demo, symbol: str, key: str, part: str
) -> None:
    result = run("watch", symbol, "--once", "--url", demo.url, API_KEY=key)
    assert result.exit_code == 2
    assert part in result.output


def test_openapi_is_what_the_server_serves(run: Callable[..., Any], demo: Demo) -> None:
    assert json.loads(run("openapi").output) == json.loads(fetch(demo.port, "/openapi.json")[1])


def test_symbols_are_listed_removed_and_added(run: Callable[..., Any], demo: Demo) -> None:
    first = ask(run, demo, "symbols").output.splitlines()
    assert first[0].startswith("spot: 2 symbols, room for 32 more")
    assert "  ETHUSDT          TRADING" in first
    gone = ask(run, demo, "symbols", "remove", "ethusdt")
    assert gone.output == "1 symbols held, room for 33 more\n"
    assert fetch(demo.port, "/klines/ETHUSDT/1m", **{"X-API-Key": "a-key-of-the-tests"})[0] == 404
    wrong = ask(run, demo, "symbols", "add", "ETHUSDT", "NOPEUSDT")
    assert wrong.exit_code == 2
    assert "does not list: NOPEUSDT" in wrong.output
    back = ask(run, demo, "symbols", "add", "ETHUSDT")
    assert back.output == "2 symbols held, room for 32 more\n"
    assert ask(run, demo, "symbols", "add").exit_code == 2


def test_a_trader_is_made_listed_run_switched_and_removed(
    run: Callable[..., Any], demo: Demo
) -> None:
    def trader(*arguments: str) -> Any:
        return ask(run, demo, "trader", *arguments)

    made = trader("add", "mine", "close > 0 and close < 1e9", "--interval", "1m", "--past")
    assert made.exit_code == 0, made.output
    trader_id, *told = made.output.splitlines()
    assert told[0].split(" match at ")[0].endswith("symbols")
    assert "BTCUSDT" in told
    listed = trader("list", "--own").output.splitlines()
    assert [line.split()[:4] for line in listed if line.startswith(trader_id)] == [
        [trader_id, "mine", "1m", "running"]
    ]
    assert listed[-1] == "1 traders"
    assert trader("list").output.splitlines()[-1].split()[0] != "1"
    shown = trader("run", "mine", "--symbols", "btcusdt").output.splitlines()
    assert shown[0].startswith("1 of 1 symbols match")
    assert shown[1:] == ["BTCUSDT"]
    assert trader("disable", "mine").output == "mine is disabled\n"
    assert trader("enable", trader_id).output == "mine is running\n"
    assert trader("remove", "mine").exit_code == 0
    gone = trader("run", "mine")
    assert gone.exit_code == 2
    assert "there is no trader 'mine'" in gone.output


def test_the_clocks_traders_fire_in_a_running_server(run: Callable[..., Any], demo: Demo) -> None:
    made = ask(run, demo, "trader", "add", "every", "close > 0", "--interval", "1m")
    trader_id = made.output.splitlines()[0]
    key = {"X-API-Key": "a-key-of-the-tests"}

    def health() -> Any:
        return json.loads(fetch(demo.port, f"/v1/traders/{trader_id}", **key)[1])["health"]

    until(lambda: health()["evaluations"] >= 2)
    assert health()["matched"] == health()["symbols"] > 0
    assert health()["state"] == "running"
    ask(run, demo, "trader", "remove", trader_id)
