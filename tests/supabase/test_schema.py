"""The tables are what the server's models are, and hold what it writes without loss."""

from __future__ import annotations

import json
import subprocess
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import msgspec
import pytest

from server.identity import Tier
from server.signals.model import Signal, SignalStatus, signal_id
from server.traders.builtins import builtin_traders
from server.traders.model import Execution, RunSource, Trader, TraderError
from server.traders.tiers import TIERS, TierLimits

if TYPE_CHECKING:
    from stack.project import Stack

httpx = pytest.importorskip("httpx", reason="pip install -e '.[stack]'")
psycopg = pytest.importorskip("psycopg", reason="pip install -e '.[stack]'")

pytestmark = pytest.mark.pg

#: A model's field that is called otherwise in its table: because the word is SQL's own, because
#: users are rows of another table, because times of a trader are the database's.
OTHERWISE = {
    "values": "sub_values",
    "owner": "user_id",
    "created_ms": "created_at",
    "updated_ms": "updated_at",
}
MODELS: dict[str, tuple[type[msgspec.Struct], set[str]]] = {
    "traders": (Trader, {"is_built_in"}),
    "trader_signals": (Signal, set()),
    "execution_history": (Execution, set()),
    "trader_errors": (TraderError, set()),
}


def columns(stack: Stack, table: str) -> dict[str, dict[str, Any]]:
    rows = stack.rows(
        "select column_name, data_type, is_nullable, column_default"
        " from information_schema.columns where table_schema = 'public' and table_name = %s",
        (table,),
    )
    return {row["column_name"]: row for row in rows}


@pytest.mark.parametrize("table", MODELS)
def test_columns_are_the_models_fields(table: str, stack: Stack) -> None:
    model, more = MODELS[table]
    fields = {OTHERWISE.get(name, name) for name in model.__struct_fields__}
    assert columns(stack, table).keys() == fields | more


@pytest.mark.parametrize("table", MODELS)
def test_what_a_model_leaves_open_a_column_does_too(table: str, stack: Stack) -> None:
    model, more = MODELS[table]
    found = columns(stack, table)
    for field in msgspec.structs.fields(model):
        column = found[OTHERWISE.get(field.name, field.name)]
        optional = type(None) in get_args(field.type)
        assert (column["is_nullable"] == "YES") is optional, field.name
    assert more <= found.keys()


def test_limits_of_tiers_are_those_of_the_server(stack: Stack) -> None:
    names = ", ".join(TierLimits._fields)
    rows = stack.rows(f"select tier, {names} from tier_limits")
    assert {row.pop("tier"): TierLimits(**row) for row in rows} == {
        str(tier): limits for tier, limits in TIERS.items()
    }
    order = stack.rows("select array_to_json(enum_range(null::public.tier)) as tiers")
    assert order[0]["tiers"] == [str(tier) for tier in Tier]


def test_the_seed_is_written_from_the_servers_built_in_traders() -> None:
    from stack.migrations import SEED
    from stack.seed import seed

    assert SEED.read_text() == seed(builtin_traders()), (
        "PYTHONPATH=tests/support python -m stack.seed"
    )


def test_built_in_traders_stand_in_the_database_as_the_server_has_them(stack: Stack) -> None:
    expected = {trader.id: trader for trader in builtin_traders()}
    rows = stack.rows("select * from traders where id = any(%s::uuid[])", (list(expected),))
    found = {}
    for row in rows:
        values = {
            field: row[OTHERWISE.get(field, field)]
            for field in Trader.__struct_fields__
            if field != "updated_ms"
        }
        values["id"] = str(values["id"])
        values["created_ms"] = round(values["created_ms"].timestamp() * 1000)
        # The database's own time; the server has none of its own for them.
        found[values["id"]] = msgspec.convert(
            values | {"updated_ms": expected[values["id"]].updated_ms}, Trader
        )
    assert found == expected


def test_the_seed_may_come_again_and_leaves_what_an_operator_switched_off(stack: Stack) -> None:
    from stack.migrations import SEED

    number = builtin_traders()[0].id
    with stack.postgres.connect() as connection, connection.transaction(force_rollback=True):
        connection.execute(
            "update traders set enabled = false, name = 'Mine' where id = %s", (number,)
        )
        connection.execute(SEED.read_text())
        found = connection.execute(
            "select enabled, name from traders where id = %s", (number,)
        ).fetchone()
        count = connection.execute(
            "select count(*) from traders where id = any(%s::uuid[])",
            ([trader.id for trader in builtin_traders()],),
        ).fetchone()
    assert found == (False, builtin_traders()[0].name)
    assert count == (len(builtin_traders()),)


# What the server writes --------------------------------------------------------------------------


def upsert(stack: Stack, table: str, conflict: str, rows: list[dict[str, Any]]) -> Any:
    return httpx.post(
        f"{stack.url}/rest/v1/{table}",
        params={"on_conflict": conflict},
        headers={
            "apikey": stack.secret_key,
            "Prefer": "resolution=merge-duplicates,return=minimal,missing=default",
        },
        json=rows,
        timeout=60,
    )


def as_row(model: msgspec.Struct) -> dict[str, Any]:
    row = msgspec.to_builtins(model)
    return {OTHERWISE.get(name, name): value for name, value in row.items()}


def signal(trader: str, **changes: Any) -> Signal:
    key = ("f" * 16, "spot", "BTCUSDT", "1m", 1_767_225_600_000)
    return Signal(
        **{
            "id": signal_id(trader, *key),
            "trader_id": trader,
            "filter_hash": key[0],
            "market": key[1],
            "symbol": key[2],
            "interval": key[3],
            "open_time_ms": key[4],
            "price": "87648.21000000",
            "status": SignalStatus.FIRED,
            "revision": 1,
            "data_revision": 2**53 + 1,
            "complete": True,
            "values": {"rsi(14)": 29.999999999999996, "sma(200)": None},
            "anchors": {"1m": 1_767_000_000_000},
            "at_ms": 1_767_225_660_123,
            **changes,
        }
    )


@pytest.fixture
def trader(stack: Stack) -> str:
    """Of a user of its own."""
    user = stack.user(tier="pro")
    with stack.as_role("authenticated", user.id) as connection:
        return str(
            connection.execute(
                "insert into traders (name, filter, interval) values ('T', 'close > open', '1m')"
                " returning id"
            ).fetchone()[0]
        )


def stored(stack: Stack, trader: str) -> list[dict[str, Any]]:
    return stack.rows("select * from trader_signals where trader_id = %s", (trader,))


@pytest.mark.rest
@pytest.mark.parametrize("price", ["0.00000001", "123456789.123456789", "87648.21000000", "1e-7"])
def test_a_signal_comes_back_as_it_went(stack: Stack, trader: str, price: str) -> None:
    sent = signal(trader, price=price)
    assert upsert(stack, "trader_signals", "id", [as_row(sent)]).status_code == 201
    (row,) = stored(stack, trader)
    assert row["price"] == Decimal(price)
    row |= {"id": str(row["id"]), "trader_id": str(row["trader_id"]), "price": price}
    row["values"] = row.pop("sub_values")
    assert msgspec.convert(row, Signal) == sent


@pytest.mark.rest
@pytest.mark.parametrize("price", ["NaN", "Infinity", "-Infinity", "0", "-1", "x", ""])
def test_a_price_that_is_none_is_refused(stack: Stack, trader: str, price: str) -> None:
    refused = upsert(stack, "trader_signals", "id", [as_row(signal(trader)) | {"price": price}])
    assert (refused.status_code, refused.json()["code"]) in {(400, "23514"), (400, "22P02")}
    assert stored(stack, trader) == []


@pytest.mark.rest
def test_a_late_provisional_signal_does_not_undo_its_confirmation(
    stack: Stack, trader: str
) -> None:
    provisional = as_row(signal(trader, status=SignalStatus.PROVISIONAL))
    confirmed = as_row(signal(trader, status=SignalStatus.CONFIRMED, revision=2))
    for row, expected in (
        (provisional, ("provisional", 1)),
        (confirmed, ("confirmed", 2)),
        (provisional, ("confirmed", 2)),
        (confirmed | {"status": "retracted"}, ("confirmed", 2)),
        (confirmed | {"status": "retracted", "revision": 3}, ("retracted", 3)),
    ):
        assert upsert(stack, "trader_signals", "id", [row]).status_code in (200, 201)
        (found,) = stored(stack, trader)
        assert (found["status"], found["revision"]) == expected


@pytest.mark.rest
def test_a_day_that_is_played_again_adds_no_row(stack: Stack, trader: str) -> None:
    day = []
    for minute in range(0, 1440, 5):
        opened = 1_767_225_600_000 + minute * 60_000
        number = signal_id(trader, "f" * 16, "spot", "BTCUSDT", "1m", opened)
        day.append(as_row(signal(trader, id=number, open_time_ms=opened)))
    for _ in range(2):
        assert upsert(stack, "trader_signals", "id", day).status_code in (200, 201)
        assert len(stored(stack, trader)) == len(day)
    # Under another id the same kline is refused: ids are made of what they name.
    other = day[0] | {"id": "11111111-2222-4333-8444-555555555555"}
    refused = upsert(stack, "trader_signals", "id", [other])
    assert (refused.status_code, refused.json()["code"]) == (409, "23505")


@pytest.mark.rest
def test_runs_and_errors_merge_by_their_keys_and_hours_count_each_run_once(
    stack: Stack, trader: str
) -> None:
    hour = 1_767_225_600_000
    runs = [
        Execution(
            trader_id=trader,
            filter_hash="f",
            interval="1m",
            open_time_ms=hour + minute * 60_000,
            source=RunSource.ENGINE,
            started_ms=hour + minute * 60_000 + 60_000,
            duration_us=100 * (minute + 1),
            symbols_checked=10,
            symbols_matched=minute % 2,
            symbols_unknown=0,
            incomplete=minute == 3,
            error="refused" if minute == 4 else None,
        )
        for minute in range(60)
    ]
    rows = [as_row(run) for run in runs]
    key = "trader_id,interval,open_time_ms,source"
    for _ in range(2):
        assert upsert(stack, "execution_history", key, rows).status_code in (200, 201)
    found = stack.rows(
        "select * from execution_history where trader_id = %s order by open_time_ms", (trader,)
    )
    assert [
        msgspec.convert(row | {"trader_id": str(row["trader_id"])}, Execution) for row in found
    ] == runs
    hours = stack.rows(
        "select * from execution_hours where trader_id = %s order by hour_ms", (trader,)
    )
    assert [(row["hour_ms"], row["runs"]) for row in hours] == [(hour, 59), (hour + 3_600_000, 1)]
    first = hours[0]
    assert (first["failed"], first["incomplete"], first["symbols_matched"]) == (1, 1, 29)
    assert (first["duration_us_min"], first["duration_us_max"]) == (100, 5900)
    assert first["duration_us_sum"] == sum(run.duration_us for run in runs[:59])

    for count in (1, 5):
        error = TraderError(
            trader_id=trader,
            filter_hash="f",
            kind="unknown_symbol",
            message="no such symbol",
            first_ms=1,
            last_ms=count,
            count=count,
        )
        key = "trader_id,filter_hash,kind"
        assert upsert(stack, "trader_errors", key, [as_row(error)]).status_code in (200, 201)
    (row,) = stack.rows("select * from trader_errors where trader_id = %s", (trader,))
    assert msgspec.convert(row | {"trader_id": str(row["trader_id"])}, TraderError) == error


@pytest.mark.rest
def test_with_a_trader_goes_all_that_is_its(stack: Stack, trader: str) -> None:
    from policies import insert

    tables = ("trader_signals", "execution_history", "execution_hours", "trader_errors")
    with stack.as_role("service_role") as connection:
        for table in tables:
            if table != "execution_hours":
                insert(connection, table, trader)
    counted = " + ".join(
        f"(select count(*) from {table} where trader_id = %(id)s)" for table in tables
    )
    with stack.postgres.connect() as connection:
        assert connection.execute(f"select {counted}", {"id": trader}).fetchone() == (4,)
        connection.execute("delete from traders where id = %s", (trader,))
        assert connection.execute(f"select {counted}", {"id": trader}).fetchone() == (0,)


# What users write --------------------------------------------------------------------------------

INTRICATE = {
    "name": 'Ünïcode\'s "best"',
    "filter": 'rsi(14) @ "1h" < 30 and close > close[1]',
    "interval": "5m",
    "description": "two\nlines, a \\ and a tab\t.",
    "conditions": ["one, with a comma", 'two "quoted"', "{three}"],
    "symbols": ["BTCUSDT", "币安人生USDT"],
    "indicators": [
        {"id": "a", "panel": True, "style": {"color": ["#fff", "#000"]}, "expression": "sma(50)"},
        {"id": "b", "yAxisConfig": {"min": 0, "max": 100.5, "label": None}},
    ],
}


@pytest.mark.rest
def test_the_python_client_reads_a_trader_as_it_wrote_it(stack: Stack) -> None:
    from supabase import create_client
    from supabase.lib.client_options import SyncClientOptions

    user = stack.user(tier="pro")
    with httpx.Client(timeout=60) as http:
        options = SyncClientOptions(
            headers={"Authorization": f"Bearer {user.token}"}, httpx_client=http
        )
        client = create_client(stack.url, stack.publishable_key, options)
        made = client.table("traders").insert(INTRICATE).execute().data[0]
        read = client.table("traders").select("*").eq("id", made["id"]).execute().data[0]
    assert made == read
    assert {name: read[name] for name in INTRICATE} == INTRICATE
    kinds = stack.rows(
        "select jsonb_typeof(indicators) as kind from traders where id = %s", (made["id"],)
    )
    assert kinds == [{"kind": "array"}], "encoded twice, it would be a string"


@pytest.mark.rest
@pytest.mark.realtime
def test_the_javascript_client_reads_it_likewise_and_hears_of_it(
    stack: Stack, tmp_path: Path
) -> None:
    from edge import deno, deno_environment
    from stack.tools import MODULES, PLACE

    program = deno()
    if program is None or not (MODULES / "@supabase" / "supabase-js").exists():
        pytest.skip("Deno or supabase-js is not installed: .ci/stack, pip install -e '.[stack]'")
    user = stack.user(tier="pro")
    script = Path(__file__).parents[1] / "support" / "stack" / "client.mjs"
    done = subprocess.run(
        [
            *(program, "run", "--no-prompt", "--cached-only", "--no-lock", "--no-config"),
            *("--allow-env", "--allow-read", "--allow-net=127.0.0.1", script),
            *(PLACE, stack.url, stack.publishable_key, user.token, json.dumps(INTRICATE)),
        ],
        env=deno_environment(),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["made"] == said["read"]
    assert {name: said["read"][name] for name in INTRICATE} == INTRICATE
    assert said["told"]["id"] == said["made"]["id"]
    assert said["told"]["indicators"] == INTRICATE["indicators"]


BAD = {
    "a name of nothing": {"name": ""},
    "a name of 121 characters": {"name": "x" * 121},
    "a filter of nothing": {"filter": ""},
    "a filter of 4097 characters": {"filter": "x" * 4097},
    "an interval that is none": {"interval": "soon"},
    "a mode that is none": {"mode": "always"},
    "a cooldown before the beginning": {"cooldown_bars": -1},
    "indicators that are no list": {"indicators": {"id": "a"}},
    "indicators that were encoded twice": {"indicators": "[]"},
    "a symbol that is none": {"symbols": [None]},
    "too many symbols": {"symbols": ["BTCUSDT"] * 1001},
    "too many conditions": {"conditions": ["x"] * 51},
}


@pytest.mark.rest
@pytest.mark.parametrize("what", BAD)
def test_what_no_trader_can_be_is_refused(what: str, stack: Stack) -> None:
    user = stack.user(tier="pro")
    row = {"name": "T", "filter": "close > open", "interval": "1m"} | BAD[what]
    refused = httpx.post(
        f"{stack.url}/rest/v1/traders",
        headers={"apikey": stack.publishable_key, "Authorization": f"Bearer {user.token}"},
        json=row,
        timeout=60,
    )
    assert (refused.status_code, refused.json()["code"]) == (400, "23514"), refused.text


def test_a_change_moves_the_time_of_the_last_change(stack: Stack, trader: str) -> None:
    with stack.postgres.connect() as connection:
        before, made = connection.execute(
            "select updated_at, created_at from traders where id = %s", (trader,)
        ).fetchone()
        after, still = connection.execute(
            "update traders set name = 'U' where id = %s returning updated_at, created_at",
            (trader,),
        ).fetchone()
    assert after - before > timedelta(0)
    assert made == still
