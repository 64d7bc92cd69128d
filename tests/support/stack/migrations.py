"""The project's migrations and seed, brought into a database as a user would bring them."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import psycopg

from stack.tools import ROOT, SUPABASE_CLI

PROJECT = ROOT / "server" / "supabase"
SEED = PROJECT / "seed.sql"


def migration_files() -> list[Path]:
    """In the order in which they are applied."""
    return sorted((PROJECT / "migrations").glob("*.sql"))


def cli(*arguments: str, url: str, **extra: str) -> subprocess.CompletedProcess[str]:
    """Run the real Supabase CLI against a database; whoever calls looks at how it ended."""
    environment = {
        "PATH": os.environ.get("PATH", ""),
        "HOME": os.environ.get("HOME", "/"),
        "SUPABASE_TELEMETRY_DISABLED": "1",
        "DO_NOT_TRACK": "1",
        **extra,
    }
    return subprocess.run(
        [
            *(SUPABASE_CLI, "--workdir", PROJECT.parent, *arguments),
            f"--remote={url}?sslmode=disable",
        ],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env=environment,
    )


def push(url: str) -> str:
    """Bring migrations and seed in; says with what."""
    if SUPABASE_CLI.exists():
        done = cli("db", "push", "--include-seed", "--yes", url=url)
        if done.returncode:
            raise RuntimeError(f"supabase db push failed:\n{done.stdout}\n{done.stderr}")
        return "supabase db push"
    with psycopg.connect(url, autocommit=True) as connection:
        for path in [*migration_files(), SEED]:
            connection.execute(path.read_text())
    return "psycopg, file by file (no Supabase CLI here)"
