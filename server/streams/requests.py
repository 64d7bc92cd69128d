"""Request and reply on the stream port: Binance's WebSocket API, answered from memory."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Coroutine, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec
from picows import WSCloseCode

from server.access.rates import Allowance
from server.api.binance_answers import PREFIXES, BinanceAnswers, Question, rate_limits
from server.api.binance_klines import Weighed
from server.api.problems import ApiError, BinanceError, exchange_error
from server.api.state import ServerState
from server.identity import Principal
from server.signals import control
from server.streams.connection import Connection
from server.streams.frames import frame_head
from server.streams.paths import StreamPath

if TYPE_CHECKING:
    from server.streams.port import StreamPort

__all__ = ["REQUESTS_WAITING_MAX", "RequestClient", "RequestDesk"]

log = logging.getLogger(__name__)

#: Requests of one connection that may wait until its socket takes replies again.
REQUESTS_WAITING_MAX = 1024

#: Requests of one connection whose answers may have to be fetched at a time.
REQUESTS_LATE_MAX = 4

#: Binance's numbers for what is no request, and for what it is not asked here.
_INVALID_JSON: Final = -1135
_NOT_SUPPORTED: Final = -1020
#: Shown of a name nobody knows.
_NAME_SHOWN_MAX: Final = 40
#: Families of methods that need an account.
_ACCOUNTS: Final = ("session.", "order.", "orderList.", "account.", "userDataStream.", "sor.")
_NO_LIMITS: Final = b"[]"


class _Method(NamedTuple):
    question: Question
    names: frozenset[str]  # of its parameters
    route: str  # whose requests it counts among: those of the path


class RequestDesk:
    """What can be asked, and what became of it; one for all connections."""

    def __init__(self, answers: BinanceAnswers, state: ServerState) -> None:
        self.answers = answers
        self.gate = state.gate
        self.clock = state.clock
        self.methods = {
            market: {
                asked.method: _Method(
                    asked,
                    frozenset(parameter.name for parameter in asked.parameters),
                    f"{PREFIXES[market]}/{asked.path}",
                )
                for asked in questions
            }
            for market, questions in answers.questions.items()
        }
        self.late: dict[asyncio.Task[Weighed], None] = {}  # answers that have to be fetched
        self.waiting = 0  # requests whose clients do not take replies, summed over connections
        metrics = state.metrics
        self.replies = metrics.counter(
            "stream_requests_total", "Requests answered, by method and status.", ["method", "code"]
        )
        metrics.gauge(
            "stream_requests_waiting", "Requests whose clients take no replies meanwhile."
        ).read(lambda: self.waiting)

    def close(self) -> None:
        """Wait for no answer any more."""
        for task in tuple(self.late):
            task.cancel()

    def find(self, market: str, name: str) -> _Method:
        """A method by its name, which may begin with the version. Raises BinanceError."""
        methods = self.methods[market]
        method = methods.get(name) or methods.get(name.removeprefix("v3/"))
        if method is not None:
            return method
        shown = name[:_NAME_SHOWN_MAX]
        if name in control.METHODS:
            text = f"{shown} is of streams, which are at /ws and /stream"
        elif name.startswith(_ACCOUNTS):
            text = f"{shown} needs an account; market data only is here"
        else:
            text = f"Unknown method {shown!r}; there are {', '.join(methods)}"
        raise BinanceError(_NOT_SUPPORTED, f"This operation is not supported: {text}.")


class _Asked(msgspec.Struct):
    """A request as far as it could be read, and what is to be said of it."""

    id: int | str | None = None
    method: str = "none"  # as it is counted
    limited: bool = True  # the reply tells what is left of the limits
    allowance: Allowance | None = None


class RequestClient(Connection):
    """Who asks and waits for replies. They come in the order of the requests, except those for
    which the exchange has to be asked.

    A request pays by the limits of the HTTP path that answers the same; whatever else is sent
    pays as on streams. While the socket is full nothing is answered, and little read.
    """

    __slots__ = ("_desk", "_late", "_limited", "_market", "_waiting")

    def __init__(
        self,
        port: StreamPort,
        desk: RequestDesk,
        path: StreamPath,
        principal: Principal | None,
        address: str,
    ) -> None:
        """Raises ApiError: the exchange has no such market."""
        super().__init__(port, principal, address)
        self._desk = desk
        self._market = path.market or "spot"
        self._limited = path.limited
        self._waiting: deque[str] = deque()
        self._late = 0  # requests whose answers have to be fetched
        if self._market not in PREFIXES:
            raise ApiError(400, "invalid_market", "The markets are these.", allowed=list(PREFIXES))

    # --- the connection ------------------------------------------------------------------------

    def acknowledge(self, request_id: int | str | None) -> None:
        self._reply(_Asked(request_id), 200, b'"result":null')

    def refuse(self, error: control.ControlError) -> None:
        unknown = BinanceError(-2015, str(error), 401)
        self._reply_error(_Asked(error.request_id), unknown)

    def say_goodbye(self, now_ms: int) -> None:
        self._send(b'{"event":{"e":"serverShutdown","E":%d}}' % now_ms)

    def on_full(self) -> None:
        if self._tcp is not None:
            self._tcp.pause_reading()

    def on_room(self) -> None:
        waiting = self._waiting
        while waiting and self.full_since is None and not self.closing:
            self._desk.waiting -= 1
            if not self._answer(waiting.popleft()):
                self.allowance -= 1.0
        if self.full_since is None and self._tcp is not None and not self._tcp.is_closing():
            self._tcp.resume_reading()

    def on_closing(self) -> None:
        self._forget_waiting()
        if self.full_since is not None and self._tcp is not None and not self._tcp.is_closing():
            self._tcp.resume_reading()  # or the answer to the close would not be seen

    def on_end(self) -> None:
        self._forget_waiting()
        super().on_end()

    def _forget_waiting(self) -> None:
        self._desk.waiting -= len(self._waiting)
        self._waiting.clear()

    # --- requests ------------------------------------------------------------------------------

    def on_request(self, text: str) -> None:
        if self.full_since is None:
            if self._answer(text):
                self.allowance += 1.0
        elif len(self._waiting) < REQUESTS_WAITING_MAX:
            self.allowance += 1.0  # until it is known what it is
            self._waiting.append(text)
            self._desk.waiting += 1
        else:
            self.end(
                WSCloseCode.POLICY_VIOLATION,
                f"at most {REQUESTS_WAITING_MAX} requests may wait until replies are taken",
            )

    def _answer(self, text: str) -> bool:
        """Reply to a message; False if nothing else limits how many of its kind may come."""
        desk, principal = self._desk, self.principal
        assert principal is not None
        asked = _Asked(limited=self._limited)
        paid = False
        try:
            name, params = _read(text, asked)
            method = desk.find(self._market, name)
            asked.method = method.question.method
            asked.allowance = desk.gate.take(principal, method.route)
            paid = True
            query = _as_query(params, method, asked)
            answer = method.question.answer(self._market, query, principal)
            if isinstance(answer, Weighed):
                self._succeed(asked, answer)
            else:
                self._answer_late(asked, answer)
        except Exception as error:
            self._fail(asked, error)
        return paid

    def _answer_late(self, asked: _Asked, answer: Coroutine[Any, Any, Weighed]) -> None:
        """Reply when the answer has come; others need not wait. Raises ApiError: too many do."""
        if self._late >= REQUESTS_LATE_MAX:
            answer.close()
            wait = [(b"retry-after", b"1")]
            text = f"at most {REQUESTS_LATE_MAX} requests of a connection may wait for the exchange"
            raise BinanceError(-1003, text, 429, headers=wait)
        self._late += 1
        task = asyncio.create_task(answer)
        self._desk.late[task] = None
        task.add_done_callback(partial(self._reply_late, asked))

    def _reply_late(self, asked: _Asked, task: asyncio.Task[Weighed]) -> None:
        self._late -= 1
        del self._desk.late[task]
        if task.cancelled():
            return
        if error := task.exception():
            self._fail(asked, error)
        else:
            self._succeed(asked, task.result())

    def _succeed(self, asked: _Asked, weighed: Weighed) -> None:
        if self.principal is not None:
            self._desk.answers.take(self.principal.bucket, weighed.weight)
        self._reply(asked, 200, b'"result":', weighed.body)

    def _fail(self, asked: _Asked, error: BaseException) -> None:
        """Reply with an error; one that is ours is none of the client's business."""
        if not isinstance(error, ApiError):
            log.error("a request over a WebSocket failed", exc_info=error)
            error = BinanceError(-1000, "The server failed on this.", 500)
        elif self.principal is not None:
            self._desk.answers.take(self.principal.bucket, 1)
        self._reply_error(asked, error)

    def _reply_error(self, asked: _Asked, error: ApiError) -> None:
        told: dict[str, Any] = msgspec.structs.asdict(exchange_error(error))
        wait = dict(error.headers or ()).get(b"retry-after")
        if error.status == 429 and wait is not None:
            now_ms = self._desk.clock.time_ms()
            told["data"] = {"serverTime": now_ms, "retryAfter": now_ms + int(wait) * 1000}
        self._reply(asked, error.status, b'"error":', msgspec.json.encode(told))

    def _reply(self, asked: _Asked, status: int, *told: bytes) -> None:
        self._desk.replies.inc(asked.method, str(status))
        head = b'{"id":%s,"status":%d,' % (msgspec.json.encode(asked.id), status)
        end = b"}"
        if asked.limited:
            end = b',"rateLimits":%s}' % self._limits_left(asked.allowance)
        self._send(head, *told, end)

    def _limits_left(self, allowance: Allowance | None) -> bytes:
        if allowance is None or self.principal is None:
            return _NO_LIMITS
        used = allowance.limit - allowance.remaining
        return msgspec.json.encode(rate_limits(self.principal, used))

    def _send(self, *parts: bytes) -> None:
        """Send a message of these parts; they are copied once, into their frame."""
        if self._tcp is not None and not self.closing:
            self._tcp.write(b"".join((frame_head(sum(map(len, parts))), *parts)))


def _read(text: str, asked: _Asked) -> tuple[str, dict[str, object]]:
    """The method and the parameters of a request, whose id is noted. Raises BinanceError."""
    try:
        message = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError) as error:
        raise BinanceError(_INVALID_JSON, f"Invalid JSON request: {error}") from None
    if not isinstance(message, dict):
        raise _invalid("request", "an object")
    try:
        asked.id = control.read_id(message.get("id"))
    except control.ControlError:
        raise _invalid("id", "an integer, up to 36 ASCII characters, or null") from None
    method, params = message.get("method"), message.get("params", {})
    if not isinstance(method, str):
        raise _invalid("method", "a string")
    if not isinstance(params, dict):
        raise _invalid("params", "an object")
    return method, params


def _as_query(params: Mapping[str, object], method: _Method, asked: _Asked) -> dict[str, str]:
    """Parameters as they would stand in a URL, so that one reading is enough.

    Raises ApiError: one is not of this method, or of a kind that is in no URL.
    """
    query = {}
    for name, value in params.items():
        if name == "returnRateLimits":
            asked.limited = value is not False
        elif name not in method.names:
            raise ApiError(
                400, "unknown_parameter", f"Unknown parameter {name[:_NAME_SHOWN_MAX]!r}."
            )
        elif isinstance(value, str):
            query[name] = value
        elif isinstance(value, bool):
            query[name] = "true" if value else "false"
        elif isinstance(value, int):
            query[name] = str(value)
        elif isinstance(value, list):
            query[name] = msgspec.json.encode(value).decode()
        else:
            raise BinanceError(-1130, f"Data sent for parameter '{name}' is not valid.")
    return query


def _invalid(what: str, expected: str) -> BinanceError:
    return BinanceError(_INVALID_JSON, f"Invalid '{what}' in JSON request; expected {expected}.")
