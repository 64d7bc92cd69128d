"""PostgREST, the real one, in front of the cluster."""

from __future__ import annotations

import json
import shutil
import urllib.error
import urllib.request
from pathlib import Path

from stack.children import Child, answers, free_port
from stack.postgres import Postgres
from stack.tokens import Tokens
from stack.tools import POSTGREST, unprivileged


class Rest:
    """A PostgREST that can be killed and started again on the same port."""

    def __init__(self, postgres: Postgres, tokens: Tokens) -> None:
        self.port = free_port()
        self._postgres = postgres
        self._tokens = tokens
        self._child: Child | None = None

    def start(self) -> None:
        """Start it, and return once it answers."""
        program = self._program()
        keys = json.dumps(self._tokens.verifying_keys())
        self._child = Child(
            [program],
            log=self._postgres.folder / "postgrest.log",
            environment={
                "PGRST_DB_URI": self._postgres.authenticator_url,
                "PGRST_DB_SCHEMAS": "public",
                "PGRST_DB_ANON_ROLE": "anon",
                "PGRST_DB_MAX_ROWS": "1000",
                "PGRST_DB_EXTRA_SEARCH_PATH": "public, extensions",
                "PGRST_JWT_SECRET": keys,
                "PGRST_SERVER_HOST": "127.0.0.1",
                "PGRST_SERVER_PORT": str(self.port),
                "PGRST_ADMIN_SERVER_PORT": str(admin := free_port()),
            },
            user=unprivileged(),
            folder=self._postgres.folder,
        )
        self._child.wait_for(lambda: answers(self.port) and ready(admin))

    def _program(self) -> Path:
        """A copy where whoever it runs as can reach it."""
        copy = self._postgres.folder / "postgrest"
        if not copy.exists():
            shutil.copyfile(POSTGREST, copy)
            copy.chmod(0o755)
        return copy

    def stop(self) -> None:
        if self._child is not None:
            self._child.stop()

    def kill(self) -> None:
        """End it in the middle of whatever it does."""
        if self._child is not None:
            self._child.kill()


def ready(port: int) -> bool:
    """Whether its admin server says that it holds the schema."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/ready", timeout=2) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False
