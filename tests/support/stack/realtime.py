"""Stand-in for Realtime: changes of published tables over Phoenix channels, under RLS."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import time
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

import jwt
import psycopg
from psycopg import sql
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from stack.tokens import Tokens

SLOT = "realtime_stand_in"
POLL_S = 0.05
ACTIONS = {"I": "INSERT", "U": "UPDATE", "D": "DELETE"}
OPERATORS = {"eq": "=", "neq": "<>", "lt": "<", "lte": "<=", "gt": ">", "gte": ">="}
Connection = psycopg.AsyncConnection[tuple[Any, ...]]


@dataclass(frozen=True)
class Wanted:
    """One ``postgres_changes`` of a channel."""

    id: int
    event: str
    schema: str
    table: str | None
    filter: str | None

    def concerns(self, change: dict[str, Any]) -> bool:
        return (
            self.schema == change["schema"]
            and self.table in (None, "*", change["table"])
            and self.event in ("*", ACTIONS[change["action"]])
        )


@dataclass
class Channel:
    """What somebody joined, and with whose rights."""

    topic: str
    join_ref: str | None
    claims: dict[str, Any]
    wanted: list[Wanted] = field(default_factory=list)

    @property
    def expired(self) -> bool:
        return bool(self.claims.get("exp", time.time() + 1) <= time.time())


class Subscriber:
    """One socket, in the form of messages it asked for."""

    def __init__(self, socket: ServerConnection, *, arrays: bool) -> None:
        self._socket = socket
        self._arrays = arrays
        self.channels: dict[str, Channel] = {}

    def read(self, text: str | bytes) -> tuple[str | None, str | None, str, str, Any]:
        """Join reference, reference, topic, event and payload of a message."""
        said = json.loads(text)
        if self._arrays:
            join_ref, ref, topic, event, payload = said
            return join_ref, ref, topic, event, payload
        return said.get("join_ref"), said.get("ref"), said["topic"], said["event"], said["payload"]

    async def send(
        self, topic: str, event: str, payload: Any, ref: str | None, join_ref: str | None
    ) -> None:
        said: Any = [join_ref, ref, topic, event, payload]
        if not self._arrays:
            said = {"topic": topic, "event": event, "payload": payload, "ref": ref}
        with contextlib.suppress(ConnectionClosed):
            await self._socket.send(json.dumps(said))

    async def tell(self, channel: Channel, event: str, payload: Any) -> None:
        await self.send(channel.topic, event, payload, None, channel.join_ref)

    async def system(self, channel: Channel, status: str, message: str) -> None:
        name = channel.topic.removeprefix("realtime:")
        said = {"channel": name, "extension": "postgres_changes", "message": message}
        await self.tell(channel, "system", said | {"status": status})


class Realtime:
    """The server: what happens while it is stopped is told to nobody, as on the platform."""

    def __init__(self, port: int, admin_url: str, tokens: Tokens) -> None:
        self._port = port
        self._url = admin_url
        self._tokens = tokens
        self._server: Server | None = None
        self._task: asyncio.Task[None] | None = None
        self._connection: Connection | None = None
        self._subscribers: set[Subscriber] = set()
        self._ids = itertools.count(1)
        #: Changes are read and told to nobody, while sockets stay open: what bulk changes meet.
        self.deaf = False
        self.told = 0

    async def start(self) -> None:
        self._connection = await psycopg.AsyncConnection.connect(self._url, autocommit=True)
        await self._connection.execute(
            "select pg_create_logical_replication_slot(%s, 'wal2json')", (SLOT,)
        )
        self._server = await serve(self._serve, "127.0.0.1", self._port)
        self._task = asyncio.create_task(self._poll())

    async def stop(self) -> None:
        """Cut all sockets; the slot goes too, so that nothing is caught up on."""
        if self._task is None or self._server is None or self._connection is None:
            return
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task
        self._server.close()
        await self._server.wait_closed()
        await self._connection.execute("select pg_drop_replication_slot(%s)", (SLOT,))
        await self._connection.close()
        self._task = self._server = self._connection = None

    # Sockets ------------------------------------------------------------------------------------

    async def _serve(self, socket: ServerConnection) -> None:
        assert socket.request is not None
        query = parse_qs(urlsplit(socket.request.path).query)
        key = query.get("apikey", [""])[0] or socket.request.headers.get("apikey", "")
        role = self._tokens.role_of(key)
        if role is None:
            await socket.close(1008, "invalid API key")
            return
        subscriber = Subscriber(socket, arrays=query.get("vsn", ["1.0.0"])[0].startswith("2"))
        self._subscribers.add(subscriber)
        try:
            async for text in socket:
                await self._message(subscriber, role, *subscriber.read(text))
        except ConnectionClosed:
            pass
        finally:
            self._subscribers.discard(subscriber)

    async def _message(
        self,
        subscriber: Subscriber,
        role: str,
        join_ref: str | None,
        ref: str | None,
        topic: str,
        event: str,
        payload: Any,
    ) -> None:
        async def reply(status: str, response: Any) -> None:
            said = {"status": status, "response": response}
            await subscriber.send(topic, "phx_reply", said, ref, join_ref)

        channel = subscriber.channels.get(topic)
        if event == "heartbeat":
            await reply("ok", {})
        elif event == "phx_join":
            try:
                claims = self._claims(payload.get("access_token"), role)
            except jwt.InvalidTokenError as wrong:
                await reply("error", {"reason": f"InvalidJWTToken: {wrong}"})
                return
            await self._join(subscriber, Channel(topic, join_ref or ref, claims), payload, reply)
        elif event == "phx_leave":
            subscriber.channels.pop(topic, None)
            await reply("ok", {})
            await subscriber.send(topic, "phx_close", {}, ref, join_ref)
        elif event == "access_token" and channel is not None:
            try:
                channel.claims = self._claims(payload.get("access_token"), role)
            except jwt.InvalidTokenError as wrong:
                await self._close(subscriber, channel, f"InvalidJWTToken: {wrong}")

    def _claims(self, token: str | None, role: str) -> dict[str, Any]:
        """Of the user's token; without one, or with an API key for one, of the key's role."""
        key_role = self._tokens.role_of(token) if token else role
        return {"role": key_role} if key_role else self._tokens.claims(str(token))

    async def _join(
        self, subscriber: Subscriber, channel: Channel, payload: Any, reply: Any
    ) -> None:
        asked = (payload.get("config") or {}).get("postgres_changes") or []
        told = []
        for one in asked:
            number = next(self._ids)
            table, condition = one.get("table"), one.get("filter")
            channel.wanted.append(
                Wanted(number, one["event"], one.get("schema", "public"), table, condition)
            )
            told.append(one | {"id": number})
        subscriber.channels[channel.topic] = channel
        await reply("ok", {"postgres_changes": told})
        if asked:
            await subscriber.system(channel, "ok", "Subscribed to PostgreSQL")
        await subscriber.tell(channel, "presence_state", {})

    @staticmethod
    async def _close(subscriber: Subscriber, channel: Channel, why: str) -> None:
        subscriber.channels.pop(channel.topic, None)
        await subscriber.system(channel, "error", why)
        await subscriber.tell(channel, "phx_close", {})

    # Changes ------------------------------------------------------------------------------------

    async def _poll(self) -> None:
        while True:
            await asyncio.sleep(POLL_S)
            for change in await self._changes():
                for subscriber in list(self._subscribers):
                    for channel in list(subscriber.channels.values()):
                        await self._offer(subscriber, channel, change)

    async def _changes(self) -> list[dict[str, Any]]:
        """What was committed to published tables since the last look."""
        assert self._connection is not None
        rows = await (
            await self._connection.execute(
                "select data::jsonb from pg_logical_slot_get_changes(%s, null, null,"
                " 'format-version', '2', 'include-transaction', 'false', 'include-pk', 'true',"
                " 'include-timestamp', 'true')",
                (SLOT,),
            )
        ).fetchall()
        if not rows or self.deaf:
            return []
        published = await (
            await self._connection.execute(
                "select schemaname, tablename from pg_publication_tables"
                " where pubname = 'supabase_realtime'"
            )
        ).fetchall()
        found = [row[0] for row in rows]
        return [c for c in found if (c.get("schema"), c.get("table")) in published]

    async def _offer(
        self, subscriber: Subscriber, channel: Channel, change: dict[str, Any]
    ) -> None:
        """Tell a channel of a change, if it asked for it and may see the row."""
        wanted = [one for one in channel.wanted if one.concerns(change)]
        if not wanted:
            return
        if channel.expired:
            await self._close(subscriber, channel, "Token has expired")
            return
        deleted = change["action"] == "D"
        data: dict[str, Any] = {
            "schema": change["schema"],
            "table": change["table"],
            "type": ACTIONS[change["action"]],
            "commit_timestamp": change["timestamp"],
            "columns": [
                {"name": column["name"], "type": column["type"]}
                for column in change.get("columns") or change["identity"]
            ],
            "errors": None,
        }
        if change["action"] != "I":
            keys = {column["name"] for column in change["pk"]}
            data["old_record"] = {
                column["name"]: column["value"]
                for column in change["identity"]
                if column["name"] in keys
            }
        ids = []
        for one in wanted:
            if not deleted:
                record = await self._visible(channel, change, one.filter)
                if record is None:
                    continue
                data["record"] = record
            ids.append(one.id)
        if ids:
            self.told += 1
            await subscriber.tell(channel, "postgres_changes", {"ids": ids, "data": data})

    async def _visible(
        self, channel: Channel, change: dict[str, Any], condition: str | None
    ) -> dict[str, Any] | None:
        """The row as the channel's owner may read it now, by the policies of the table."""
        assert self._connection is not None
        keys = {column["name"] for column in change["pk"]}
        tests, values = [], []
        for column in change["columns"]:
            if column["name"] in keys:
                tests.append(sql.SQL("{}::text = %s").format(sql.Identifier(column["name"])))
                values.append(str(column["value"]))
        if condition:
            name, _, rest = condition.partition("=")
            operator, _, operand = rest.partition(".")
            tests.append(sql.SQL("{} " + OPERATORS[operator] + " %s").format(sql.Identifier(name)))
            values.append(operand)
        query = sql.SQL("select to_jsonb(t) from {} t where {}").format(
            sql.Identifier(change["schema"], change["table"]), sql.SQL(" and ").join(tests)
        )
        async with self._connection.transaction(force_rollback=True):
            await self._connection.execute(
                "select set_config('request.jwt.claims', %s, true)", (json.dumps(channel.claims),)
            )
            await self._connection.execute(
                "select set_config('role', %s, true)", (channel.claims["role"],)
            )
            try:
                row = await (await self._connection.execute(query, values)).fetchone()
            except psycopg.errors.InsufficientPrivilege:
                return None
        return None if row is None else row[0]
