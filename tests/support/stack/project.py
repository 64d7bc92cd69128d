"""The whole of it: a project at one address, as clients of a hosted one see it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, TypeVar
from uuid import uuid4

import psycopg

from stack.children import PATIENCE_S, free_port
from stack.functions import Functions
from stack.gateway import Fault, Gateway
from stack.migrations import push
from stack.network import NetworkWorker
from stack.postgres import Postgres
from stack.realtime import Realtime
from stack.rest import Rest
from stack.tokens import Tokens

T = TypeVar("T")


class User(NamedTuple):
    """Somebody who could have logged in."""

    id: str
    token: str


class Loop:
    """An event loop in a thread of its own, for the stand-ins."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(2 * PATIENCE_S)

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


class Stack:
    """A project with everything that was asked for, from ``with`` to its end.

    ``functions`` is what the edge functions know beside the project's own address and keys; None
    starts none. The schema and its seed are there at once. Without ``clock`` the database's own
    jobs strike only where a test says so: at a minute's boundary they would change rows between
    two lines of whatever runs then.
    """

    def __init__(
        self,
        tmp: Path,
        *,
        rest: bool = True,
        realtime: bool = False,
        functions: Mapping[str, str] | None = None,
        clock: bool = False,
    ) -> None:
        self._tmp = tmp
        self._want_rest = rest
        self._want_realtime = realtime
        self._want_functions = functions
        self._want_clock = clock
        self._end = contextlib.ExitStack()
        self._upstreams: dict[str, int] = {}
        self.tokens = Tokens()
        self.postgres = Postgres()
        self.functions = Functions(tmp)
        self._port = free_port()
        self.url = f"http://127.0.0.1:{self._port}"
        self.pushed_with = ""

    def __enter__(self) -> Stack:
        try:
            self._start()
        except BaseException:
            self._end.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._end.close()

    def _start(self) -> None:
        self._end.callback(self.postgres.stop)
        self.postgres.start()
        self.pushed_with = push(self.db_url)
        if not self._want_clock:
            self.strike("klinecore-%", False)
        self._loop = Loop()
        self._end.callback(self._loop.close)
        self.rest = Rest(self.postgres, self.tokens)
        self._end.callback(self.rest.stop)
        if self._want_rest:
            self._upstreams["rest"] = self.rest.port
            self.rest.start()
        worker = NetworkWorker(self.postgres.admin_url)
        self._loop.run(worker.start())
        self._end.callback(lambda: self._loop.run(worker.stop()))
        self._upstreams["realtime"] = free_port()
        self.realtime = Realtime(self._upstreams["realtime"], self.postgres.admin_url, self.tokens)
        if self._want_realtime:
            self.start_realtime()
        self._end.callback(self.stop_realtime)
        self.gateway = Gateway(self._port, self.tokens, self._upstreams)
        self._loop.run(self.gateway.start())
        self._end.callback(lambda: self._loop.run(self.gateway.stop()))
        self._end.callback(self.functions.stop)
        if self._want_functions is not None:
            self.start_functions(self._want_functions)

    # What clients are told ----------------------------------------------------------------------

    @property
    def publishable_key(self) -> str:
        return self.tokens.publishable_key

    @property
    def secret_key(self) -> str:
        return self.tokens.secret_key

    @property
    def jwt_secret(self) -> str:
        """Of HS256 tokens, for who is set to take them."""
        return self.tokens.jwt_secret

    @property
    def db_url(self) -> str:
        """For the role postgres."""
        return self.postgres.url

    def user(self, email: str | None = None, tier: str | None = None, **claims: Any) -> User:
        """A new user, with a row in auth.users and a token; with a tier, an active one."""
        number = str(uuid4())
        email = email or f"{number}@example.com"
        with self.postgres.connect(admin=True) as connection:
            connection.execute(
                "insert into auth.users (id, email) values (%s, %s)", (number, email)
            )
        if tier is not None:
            self.set_tier(number, tier)
        return User(number, self.token(number, email, **claims))

    def token(self, user_id: str, email: str = "somebody@example.com", **claims: Any) -> str:
        """Another token of a user: ``expires_in``, ``algorithm``, or claims of one's own."""
        return self.tokens.user(self.url, user_id, email, **claims)

    def set_tier(self, user_id: str, tier: str) -> None:
        """As the operator would, with the secret key."""
        with self.as_role("service_role") as connection:
            connection.execute(
                "insert into user_tiers (user_id, tier) values (%s, %s)"
                " on conflict (user_id) do update set tier = excluded.tier, status = 'active'",
                (user_id, tier),
            )

    def secret(self, name: str, secret: str) -> None:
        """Put a secret into the Vault, for jobs."""
        with self.postgres.connect() as connection:
            connection.execute("delete from vault.secrets where name = %s", (name,))
            connection.execute("select vault.create_secret(%s, %s)", (secret, name))

    def strike(self, job: str, active: bool) -> None:
        """Let jobs of the database's clock run when their time comes, or not."""
        with self.postgres.connect() as connection:
            connection.execute(
                "select cron.alter_job(jobid, active := %s) from cron.job where jobname like %s",
                (active, job),
            )

    # The database as somebody sees it -----------------------------------------------------------

    @contextlib.contextmanager
    def as_role(
        self, role: str, user_id: str | None = None, *, keep: bool = True, **claims: Any
    ) -> Iterator[psycopg.Connection[Any]]:
        """One transaction with the rights PostgREST gives a token; undone unless ``keep``."""
        said = {"role": role, **({"sub": user_id} if user_id else {}), **claims}
        with (
            psycopg.connect(self.postgres.authenticator_url) as connection,
            connection.transaction(force_rollback=not keep),
        ):
            connection.execute(
                "select set_config('role', %s, true), set_config('request.jwt.claims', %s, true)",
                (role, json.dumps(said)),
            )
            yield connection

    # Faults -------------------------------------------------------------------------------------

    def kill_rest(self) -> None:
        """PostgREST dies in the middle of whatever it does."""
        self.rest.kill()

    def start_rest(self) -> None:
        self.rest.start()

    def stop_realtime(self) -> None:
        """All sockets are cut, and changes from here on are told to nobody."""
        self._loop.run(self.realtime.stop())

    def start_realtime(self) -> None:
        self._loop.run(self.realtime.start())

    def set_fault(self, fault: Callable[[str, str], Fault | None] | None) -> None:
        """What happens to each request, by method and path; None: nothing any more."""
        self.gateway.fault = fault or (lambda _method, _path: None)

    def start_functions(self, environment: Mapping[str, str]) -> None:
        """Start the edge functions; they know the project beside ``environment``."""
        self.functions.start(
            {
                "SUPABASE_URL": self.url,
                "SUPABASE_PUBLISHABLE_KEY": self.publishable_key,
                "SUPABASE_SECRET_KEY": self.secret_key,
                "SUPABASE_JWKS": json.dumps(self.tokens.jwks()),
                **environment,
            }
        )
        for name, port in self.functions.ports.items():
            self._upstreams[f"functions/{name}"] = port

    def stop_functions(self) -> None:
        self.functions.stop()

    def rows(self, query: str, values: Iterable[Any] = ()) -> list[dict[str, Any]]:
        """What stands in the database, read by its superuser."""
        with self.postgres.connect(admin=True) as connection:
            cursor = connection.execute(query, tuple(values))
            names = [column.name for column in cursor.description or ()]
            return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
