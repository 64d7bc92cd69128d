"""The project as the real command line sees it: push, lint, advisors; and pgTAP."""

from __future__ import annotations

import re
import shutil
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from stack.postgres import Postgres
    from stack.project import Stack

psycopg = pytest.importorskip("psycopg", reason="pip install -e '.[stack]'")

pytestmark = pytest.mark.pg


def cli(*arguments: str, url: str, **extra: str) -> subprocess.CompletedProcess[str]:
    from stack.migrations import cli
    from stack.tools import SUPABASE_CLI

    if not SUPABASE_CLI.exists():
        pytest.skip("the Supabase CLI is not installed: run .ci/stack")
    return cli(*arguments, url=url, **extra)


@pytest.fixture
def empty() -> Iterator[Postgres]:
    """A cluster with the platform and nothing of the project."""
    from stack.tools import missing

    reason = missing()
    if reason is not None:
        pytest.skip(reason)
    from stack.postgres import Postgres

    postgres = Postgres()
    try:
        postgres.start()
        yield postgres
    finally:
        postgres.stop()


def shape(postgres: Postgres) -> list[Any]:
    """Everything of the project that a migration makes."""
    with postgres.connect(admin=True) as connection:
        return [
            sorted(map(str, connection.execute(query).fetchall()))
            for query in (
                "select table_name, column_name, data_type, column_default, is_nullable"
                " from information_schema.columns where table_schema = 'public'",
                "select tablename, policyname, roles, cmd, qual, with_check from pg_policies"
                " where schemaname = 'public'",
                "select table_name, grantee, privilege_type"
                " from information_schema.role_table_grants where table_schema = 'public'",
                "select proname, prosrc, proacl from pg_proc"
                " where pronamespace = 'private'::regnamespace",
                "select jobname, schedule, command from cron.job",
                "select tablename, indexdef from pg_indexes where schemaname = 'public'",
                "select tgname, pg_get_triggerdef(oid) from pg_trigger where not tgisinternal",
                "select id, name, filter from traders",
            )
        ]


def test_versions_of_migrations_are_unique_and_in_order() -> None:
    from stack.migrations import migration_files

    versions = [path.name.split("_")[0] for path in migration_files()]
    assert versions == sorted(set(versions))
    for path in migration_files():
        assert re.fullmatch(r"\d{14}_[a-z]+(_[a-z]+)+\.sql", path.name), path.name


def test_a_fresh_cluster_takes_them_and_a_second_push_has_nothing_to_do(empty: Postgres) -> None:
    first = cli("db", "push", "--include-seed", "--yes", url=empty.url)
    assert first.returncode == 0, first.stdout + first.stderr
    found = shape(empty)
    with empty.connect() as connection:
        jobs = connection.execute("select jobname, active from cron.job").fetchall()
    assert len(jobs) == 4
    assert all(active for _name, active in jobs)
    second = cli("db", "push", "--include-seed", "--yes", url=empty.url)
    assert second.returncode == 0, second.stdout + second.stderr
    assert "Applying migration" not in second.stdout + second.stderr
    assert shape(empty) == found


def test_a_push_brings_the_jobs_secrets_into_the_vault(empty: Postgres) -> None:
    secrets = {"SUPABASE_URL": "https://x.example", "SUPABASE_SECRET_KEY": "sb_secret_x"}
    assert cli("db", "push", "--yes", url=empty.url, **secrets).returncode == 0
    with empty.connect() as connection:
        found = connection.execute(
            "select name, decrypted_secret from vault.decrypted_secrets order by name"
        ).fetchall()
    assert found == [("function_key", "sb_secret_x"), ("project_url", "https://x.example")]


def test_file_by_file_they_come_to_the_same(empty: Postgres, stack: Stack) -> None:
    from stack.migrations import SEED, migration_files

    with psycopg.connect(empty.url, autocommit=True) as connection:
        for path in [*migration_files(), SEED]:
            connection.execute(path.read_text())
    mine, pushed = shape(empty), shape(stack.postgres)
    mine.pop()
    pushed.pop()  # traders: other tests made some
    assert mine == pushed


def test_a_project_from_before_the_platform_was_strict_comes_to_the_same_rights(
    empty: Postgres, stack: Stack
) -> None:
    """There whatever is made in public is granted to everybody, unless it is taken away."""
    from stack.migrations import migration_files

    with empty.connect(admin=True) as connection:
        for kind in ("tables", "routines", "sequences"):
            connection.execute(
                "alter default privileges for role postgres in schema public"
                f" grant all on {kind} to anon, authenticated, service_role"
            )
    with psycopg.connect(empty.url, autocommit=True) as connection:
        for path in migration_files():
            connection.execute(path.read_text())
    query = (
        "select table_name, column_name, grantee, privilege_type"
        " from information_schema.role_column_grants where table_schema = 'public'"
        " union select table_name, '', grantee, privilege_type"
        " from information_schema.role_table_grants where table_schema = 'public'"
    )
    found = []
    for postgres in (empty, stack.postgres):
        with postgres.connect(admin=True) as connection:
            found.append(sorted(connection.execute(query).fetchall()))
    assert found[0] == found[1]


@pytest.mark.parametrize("gone", ["pg_cron", "net"])
def test_without_a_clock_or_a_network_the_rest_comes_all_the_same(
    empty: Postgres, gone: str
) -> None:
    from stack.migrations import migration_files

    with empty.connect(admin=True) as connection:
        if gone == "net":
            connection.execute("drop schema net cascade")
        else:
            # Not to be had, as far as the migration looks: nothing is found in the catalogue.
            connection.execute("drop extension pg_cron")
            connection.execute(
                "create view public.pg_available_extensions as"
                " select * from pg_catalog.pg_available_extensions where name <> 'pg_cron'"
            )
            connection.execute("grant select on public.pg_available_extensions to postgres")
            connection.execute(
                "alter database postgres set search_path = public, pg_catalog, extensions"
            )
    said: list[str] = []
    with psycopg.connect(empty.url, autocommit=True) as connection:
        connection.add_notice_handler(lambda notice: said.append(notice.message_primary))
        for path in migration_files():
            connection.execute(path.read_text())
    if gone == "net":
        assert "no pg_net: nothing is requested" in said
        with empty.connect(admin=True) as connection:
            names = connection.execute("select jobname from cron.job").fetchall()
        assert ("klinecore-sweep",) in names
        assert ("klinecore-trigger-executions",) not in names
    else:
        assert "no pg_cron: nothing is scheduled" in said


def test_lint_finds_nothing(stack: Stack) -> None:
    done = cli("db", "lint", "--level", "warning", "--fail-on", "warning", url=stack.db_url)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "No schema errors found" in done.stdout + done.stderr


def test_advisors_find_nothing(stack: Stack) -> None:
    done = cli(
        *("db", "advisors", "--type", "all", "--level", "warn", "--fail-on", "warn"),
        url=stack.db_url,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("worse", "tool", "named"),
    [
        (
            "create function public.broken() returns int language plpgsql as"
            " $$ begin return (select nothing from traders); end $$",
            "lint",
            "column",
        ),
        (
            "create policy x on trader_signals for insert to authenticated with check (true)",
            "advisors",
            "rls_policy_always_true",
        ),
        ("alter table trader_errors disable row level security", "advisors", "rls_disabled"),
    ],
)
def test_they_find_what_is_wrong(empty: Postgres, worse: str, tool: str, named: str) -> None:
    from stack.migrations import push

    push(empty.url)
    with empty.connect() as connection:
        connection.execute(worse)
    options = {
        "lint": ("--level", "warning", "--fail-on", "warning"),
        "advisors": ("--type", "all", "--level", "warn", "--fail-on", "warn"),
    }
    done = cli("db", tool, *options[tool], url=empty.url)
    assert done.returncode == 1, done.stdout + done.stderr
    assert named in done.stdout


def test_pgtap_passes(stack: Stack) -> None:
    from stack.migrations import PROJECT

    if shutil.which("pg_prove") is None:
        pytest.skip("pg_prove is not installed (libtap-parser-sourcehandler-pgtap-perl)")
    files = sorted((PROJECT / "tests" / "database").glob("*.sql"))
    done = subprocess.run(
        [
            *("pg_prove", "-h", "127.0.0.1", "-p", str(stack.postgres.port)),
            *("-U", "postgres", "-d", "postgres", *map(str, files)),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Result: PASS" in done.stdout
    assert files


# Functions, identities ---------------------------------------------------------------------------


def test_functions_of_the_project_are_out_of_reach_but_for_ones_own_tier(stack: Stack) -> None:
    rows = stack.rows(
        "select p.proname as name, p.prosecdef as definer, p.proconfig as config,"
        " has_function_privilege('anon', p.oid, 'execute') as anon,"
        " has_function_privilege('authenticated', p.oid, 'execute') as users"
        " from pg_proc p where p.pronamespace = 'private'::regnamespace"
    )
    assert {row["name"] for row in rows if row["anon"] or row["users"]} == {"my_tier"}
    for row in rows:
        assert row["definer"], row["name"]
        assert row["config"] == ['search_path=""'], row["name"]
    public = stack.rows("select proname from pg_proc where pronamespace = 'public'::regnamespace")
    assert public == []


def test_each_readable_table_is_read_by_visitors_without_a_recursion(stack: Stack) -> None:
    tables = stack.rows(
        "select relname as name from pg_class where relnamespace = 'public'::regnamespace"
        " and relkind = 'r' and has_table_privilege('anon', oid, 'select')"
    )
    assert {row["name"] for row in tables} == {"tier_limits", "traders", "trader_signals"}
    for row in tables:
        with stack.as_role("anon") as connection:
            connection.execute(f"select * from {row['name']}").fetchall()


def test_nobody_is_named_in_the_schema() -> None:
    from stack.migrations import migration_files

    text = "\n".join(path.read_text() for path in migration_files())
    assert not re.search(r"[\w.]+@[\w.]+\.\w+", text)
    assert not re.search(r"[0-9a-f]{8}-[0-9a-f]{4}-", text)


def test_only_traders_are_published(stack: Stack) -> None:
    rows = stack.rows(
        "select tablename from pg_publication_tables where pubname = 'supabase_realtime'"
    )
    assert rows == [{"tablename": "traders"}]


def test_every_function_checks_its_callers_itself(stack: Stack) -> None:
    from stack.functions import function_names
    from stack.migrations import PROJECT

    config = tomllib.loads((PROJECT / "config.toml").read_text())
    assert config["db"]["major_version"] == 15
    assert {
        name: said["verify_jwt"] for name, said in config["functions"].items()
    } == dict.fromkeys(function_names(), False)


def test_commands_of_the_documentation_have_the_options_it_names(root: Path) -> None:
    from stack.tools import SUPABASE_CLI

    if not SUPABASE_CLI.exists():
        pytest.skip("the Supabase CLI is not installed: run .ci/stack")
    text = (root / "docs" / "supabase.md").read_text().replace("\\\n", " ")
    commands = re.findall(r"^supabase --workdir server ([a-z]+(?: [a-z]+)*)([^#\n]*)", text, re.M)
    assert {command for command, _ in commands} >= {"link", "db push", "functions deploy"}
    for command, rest in commands:
        said = subprocess.run(
            [SUPABASE_CLI, *command.split(), "--help"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            env={"PATH": "/usr/bin:/bin", "HOME": "/", "SUPABASE_TELEMETRY_DISABLED": "1"},
            check=True,
        ).stdout
        for option in re.findall(r"--[a-z-]+", rest):
            assert option in said, (command, option)
