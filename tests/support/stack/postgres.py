"""A Postgres 15 of its own: a fresh cluster on a free port of the loopback address."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import psycopg

from stack.children import Child, free_port
from stack.tools import postgres_bin, unprivileged

PLATFORM = Path(__file__).with_name("platform.sql")
SETTINGS = """
listen_addresses = '127.0.0.1'
port = {port}
unix_socket_directories = '{folder}'
shared_preload_libraries = 'pg_cron'
cron.database_name = 'postgres'
cron.host = '127.0.0.1'
wal_level = logical
max_connections = 200
fsync = off
synchronous_commit = off
full_page_writes = off
"""


class Postgres:
    """A cluster with the platform's roles and schemas, and nothing of the project."""

    def __init__(self) -> None:
        self.port = free_port()
        self.folder = Path(tempfile.mkdtemp(prefix="klinecore-postgres-"))
        self._user = unprivileged()
        if self._user is not None:
            shutil.chown(self.folder, self._user, self._user)
        self._child: Child | None = None

    @property
    def url(self) -> str:
        """For the role postgres, as on a hosted project no superuser."""
        return f"postgresql://postgres@127.0.0.1:{self.port}/postgres"

    @property
    def admin_url(self) -> str:
        return f"postgresql://supabase_admin@127.0.0.1:{self.port}/postgres"

    @property
    def authenticator_url(self) -> str:
        return f"postgresql://authenticator@127.0.0.1:{self.port}/postgres"

    def start(self) -> None:
        """Make the cluster, start it, and give it what the platform has."""
        programs = postgres_bin()
        assert programs is not None, "see stack.tools.missing"
        data = self.folder / "data"
        environment = {"PATH": os.environ.get("PATH", ""), "LC_ALL": "C.UTF-8", "TZ": "UTC"}
        subprocess.run(
            [
                *(programs / "initdb", "-D", data, "-U", "supabase_admin", "--auth=trust"),
                *("-E", "UTF8", "--locale=C.UTF-8", "--no-sync"),
            ],
            check=True,
            capture_output=True,
            env=environment,
            user=self._user,
            group=self._user,
            extra_groups=None if self._user is None else [],
            cwd=self.folder,
        )
        with (data / "postgresql.conf").open("a") as settings:
            settings.write(SETTINGS.format(port=self.port, folder=self.folder))
        self._child = Child(
            [programs / "postgres", "-D", data],
            log=self.folder / "log",
            environment=environment,
            user=self._user,
            folder=self.folder,
        )
        self._child.wait_for(self._answers)
        with self.connect(admin=True) as connection:
            connection.execute(PLATFORM.read_text())
            self._allow_wal2json(connection)

    def _answers(self) -> bool:
        try:
            with self.connect(admin=True):
                return True
        except psycopg.OperationalError:
            return False

    @staticmethod
    def _allow_wal2json(connection: psycopg.Connection[Any]) -> None:
        """Newer minor versions load only the output plugins that are named; older know no list."""
        known = connection.execute(
            "select 1 from pg_settings where name = 'output_plugin_libraries'"
        ).fetchone()
        if known:
            connection.execute("alter system set output_plugin_libraries = 'wal2json'")
            connection.execute("select pg_reload_conf()")

    def connect(self, *, admin: bool = False) -> psycopg.Connection[Any]:
        """A connection that commits each statement."""
        return psycopg.connect(self.admin_url if admin else self.url, autocommit=True)

    def stop(self) -> None:
        """End the server, whoever is connected, and remove the cluster."""
        if self._child is not None:
            self._child.stop(signal.SIGQUIT)
        shutil.rmtree(self.folder, ignore_errors=True)
