"""Stand-in for the API gateway: one address before PostgREST, functions, keys and Realtime."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qs, urlsplit

from stack.tokens import Tokens

HEAD_BYTES_MAX = 65_536
Headers = list[tuple[str, str]]


@dataclass(frozen=True)
class Fault:
    """What a request meets instead of an answer, or before it."""

    status: int | None = None  # answered by the gateway itself; None: passed on
    body: bytes = b'{"message":"fault"}'
    headers: Mapping[str, str] = field(default_factory=dict)
    delay_s: float = 0.0
    drop: bool = False  # cut without a word
    drop_answer: bool = False  # passed on and carried out, and the answer is lost


class RefusedError(Exception):
    """The gateway answers by itself."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def value(headers: Headers, name: str) -> str | None:
    return next((said for key, said in headers if key.lower() == name), None)


def without(headers: Headers, *names: str) -> Headers:
    return [(key, said) for key, said in headers if key.lower() not in names]


class Gateway:
    """Routes by path, refuses requests without a key, and makes roles' tokens of ``sb_`` keys."""

    def __init__(self, port: int, tokens: Tokens, upstreams: dict[str, int]) -> None:
        self.port = port
        self._tokens = tokens
        self._upstreams = upstreams  # "rest", "realtime", "functions/<name>" -> port
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.Task[None]] = set()
        #: Called with method and path of each request; what it returns happens to the request.
        self.fault: Callable[[str, str], Fault | None] = lambda _method, _path: None
        self.requests: list[tuple[str, str]] = []

    async def start(self) -> None:
        self._server = await asyncio.start_server(
            self._serve, "127.0.0.1", self.port, limit=HEAD_BYTES_MAX
        )

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
            for task in list(self._open):
                task.cancel()
            await asyncio.gather(*self._open, return_exceptions=True)
            await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._open.add(task)
        try:
            await self._request(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self._open.discard(task)
            writer.close()
            with contextlib.suppress(ConnectionError, asyncio.CancelledError):
                await writer.wait_closed()

    async def _request(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One request a connection: every answer says ``Connection: close``."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        method, target, _ = head[0].split(" ", 2)
        headers = [
            (key, said.strip()) for key, _, said in (line.partition(":") for line in head[1:-2])
        ]
        self.requests.append((method, target))
        fault = self.fault(method, target) or Fault()
        await asyncio.sleep(fault.delay_s)
        if fault.drop:
            return
        try:
            if fault.status is not None:
                await self._body(reader, headers)
                writer.write(answer(fault.status, fault.body, fault.headers))
            else:
                await self._route(method, target, headers, reader, writer, fault.drop_answer)
        except RefusedError as refused:
            body = json.dumps({"message": str(refused)}).encode()
            writer.write(answer(refused.status, body, {}))
        await writer.drain()

    async def _route(
        self,
        method: str,
        target: str,
        headers: Headers,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        drop_answer: bool,
    ) -> None:
        path = urlsplit(target).path
        if path == "/auth/v1/.well-known/jwks.json":
            writer.write(answer(200, json.dumps(self._tokens.jwks()).encode(), {}))
        elif path.startswith("/rest/v1/"):
            headers = self._as_role(target, headers)
            target = target.removeprefix("/rest/v1")
            body = await self._body(reader, headers)
            port = self._upstream("rest")
            await self._pass_on(port, method, target, headers, body, writer, drop_answer)
        elif path.startswith("/functions/v1/"):
            name = path.removeprefix("/functions/v1/").split("/")[0]
            body = await self._body(reader, headers)
            port = self._upstream(f"functions/{name}")
            target = target.removeprefix("/functions/v1")
            # Behind what the client itself says: only the last entry is this gateway's word.
            headers = [*headers, ("X-Forwarded-For", writer.get_extra_info("peername")[0])]
            await self._pass_on(port, method, target, headers, body, writer, drop_answer)
        elif path == "/realtime/v1/websocket":
            self._role(target, headers)
            port = self._upstream("realtime")
            await self._tunnel(port, f"{method} {target} HTTP/1.1", headers, reader, writer)
        else:
            raise RefusedError(404, "no Route matched with those values")

    def _upstream(self, name: str) -> int:
        port = self._upstreams.get(name)
        if port is None:
            raise RefusedError(404, f"nothing stands behind {name}")
        return port

    def _role(self, target: str, headers: Headers) -> str:
        """The role an API key stands for; the key may also stand in the query."""
        query = parse_qs(urlsplit(target).query).get("apikey")
        key = value(headers, "apikey") or (query[0] if query else None)
        if key is None:
            raise RefusedError(401, "No API key found in request")
        role = self._tokens.role_of(key)
        if role is None:
            raise RefusedError(401, "Invalid API key")
        return role

    def _as_role(self, target: str, headers: Headers) -> Headers:
        """With the token of the key's role, unless somebody else's bearer comes along."""
        role = self._role(target, headers)
        bearer = value(headers, "authorization") or ""
        said = bearer.removeprefix("Bearer ").strip()
        if not said or self._tokens.role_of(said) is not None:
            headers = without(headers, "authorization")
            headers.append(("Authorization", f"Bearer {self._tokens.role(role)}"))
        return headers

    @staticmethod
    async def _body(reader: asyncio.StreamReader, headers: Headers) -> bytes:
        if (value(headers, "transfer-encoding") or "").lower() == "chunked":
            parts = []
            while size := int((await reader.readuntil(b"\r\n")).split(b";")[0], 16):
                parts.append(await reader.readexactly(size))
                await reader.readexactly(2)
            await reader.readexactly(2)
            return b"".join(parts)
        return await reader.readexactly(int(value(headers, "content-length") or 0))

    @staticmethod
    async def _pass_on(
        port: int,
        method: str,
        target: str,
        headers: Headers,
        body: bytes,
        writer: asyncio.StreamWriter,
        drop_answer: bool,
    ) -> None:
        """Send it to who answers, and give the answer back as it comes."""
        try:
            upstream, out = await asyncio.open_connection("127.0.0.1", port, limit=HEAD_BYTES_MAX)
        except OSError:
            raise RefusedError(503, "name resolution failed") from None
        try:
            headers = without(
                headers, "connection", "content-length", "transfer-encoding", "expect"
            )
            headers += [("Connection", "close"), ("Content-Length", str(len(body)))]
            lines = [f"{method} {target or '/'} HTTP/1.1"]
            lines += [f"{key}: {said}" for key, said in headers]
            out.write("\r\n".join([*lines, "", ""]).encode("latin-1") + body)
            try:
                head = (await upstream.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            except (ConnectionError, asyncio.IncompleteReadError):
                raise RefusedError(
                    502, "An invalid response was received from the upstream"
                ) from None
            kept = [line for line in head[:-2] if not line.lower().startswith("connection:")]
            if drop_answer:
                while await upstream.read(HEAD_BYTES_MAX):
                    pass
                return
            writer.write("\r\n".join([*kept, "Connection: close", "", ""]).encode("latin-1"))
            while part := await upstream.read(HEAD_BYTES_MAX):
                writer.write(part)
                await writer.drain()
        finally:
            out.close()

    @staticmethod
    async def _tunnel(
        port: int,
        first: str,
        headers: Headers,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        """Bytes both ways until one side ends."""
        try:
            upstream, out = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            raise RefusedError(503, "name resolution failed") from None
        lines = [first, *(f"{key}: {said}" for key, said in headers)]
        out.write("\r\n".join([*lines, "", ""]).encode("latin-1"))

        async def pump(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
            while part := await source.read(HEAD_BYTES_MAX):
                target.write(part)
                await target.drain()

        ways = [asyncio.create_task(pump(reader, out)), asyncio.create_task(pump(upstream, writer))]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            out.close()


def answer(status: int, body: bytes, headers: Mapping[str, str]) -> bytes:
    """An answer of the gateway's own."""
    lines = [
        f"HTTP/1.1 {status} Answer",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        "Connection: close",
        *(f"{name}: {said}" for name, said in headers.items()),
    ]
    return "\r\n".join([*lines, "", ""]).encode() + body
