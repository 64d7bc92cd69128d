"""Servers that send the same messages to many WebSockets, ours and its peers: TARGET CLIENTS EACH.

``EACH`` of the 500 streams are what a client of ours subscribes to. Prints its port, then obeys
lines of standard input: ``burst MESSAGES ROUNDS`` publishes so many messages within one pass of the
loop and waits until every socket has taken them; ``lone ...`` publishes them one a pass; ``throw
...`` is a burst that waits for nobody. Each is answered by CPU seconds and messages delivered, as
JSON. ``meet 0 SUBSCRIPTIONS`` waits until there are so many.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import Any

import uvloop
from picows import WSListener, WSMsgType, WSTransport, ws_create_server
from websockets.asyncio.server import ServerConnection, broadcast, serve

import klinecore as kc
from server.api.application import create_api
from server.api.state import ServedMarket, ServerState
from server.clock import SystemClock
from server.feeds.base import FeedStatus
from server.metrics import Registry
from server.settings import Settings
from server.signals.channels import Channels
from server.signals.hub import Hub
from server.streams.port import StreamPort

SYMBOLS = 500
MESSAGE = (
    '{"e":"kline","E":1700000060000,"s":"S%03dUSDT","k":{"t":1700000000000,"T":1700000059999,'
    '"s":"S%03dUSDT","i":"1m","f":-1,"L":-1,"o":"37000.01000000","c":"37010.02000000",'
    '"h":"37020.03000000","l":"36990.04000000","v":"12.34567000","n":345,"x":true,'
    '"q":"456789.01234567","V":"6.17283000","Q":"228394.50617283","B":"0"}}'
)


class Ours:
    """The stream port over the hub."""

    def __init__(self, each: int) -> None:
        self.each = each
        names = [f"S{n:03}USDT" for n in range(SYMBOLS)]
        settings = Settings.load({}, overrides={"stream_port": 0, "ws_messages_per_s": 1000.0})
        clock = SystemClock()
        self.hub = Hub()
        state = ServerState(settings, clock, Registry(), self.hub)
        market = kc.Market(names, ["1m"], capacity=5)
        channels = Channels("spot", market, self.hub, clock)
        state.markets["spot"] = ServedMarket("spot", market, _Feed(), channels, epoch=1)
        api = create_api(state)
        self.port = StreamPort(state, api.door, api.binance)
        self.topics = [channels.topic(f"{name.lower()}@kline_1m") for name in names]
        self.messages = [(MESSAGE % (n, n)).encode() for n in range(SYMBOLS)]

    async def start(self) -> int:
        await self.port.start()
        return self.port.port

    def connected(self) -> int:
        """Clients with all their subscriptions."""
        return sum(len(c.topics) == self.each for c in self.port._clients)

    def subscriptions(self) -> int:
        return sum(len(c.topics) for c in self.port._clients)

    def publish(self, number: int) -> None:
        place = number % SYMBOLS
        self.hub.publish(self.topics[place], self.messages[place])

    def waiting(self) -> int:
        queued = self.port.fanout.lagging
        return queued + sum(c.waiting for c in self.port._clients)


class _Feed:
    room = 0

    def status(self) -> FeedStatus:
        raise NotImplementedError

    def details(self) -> dict[str, bytes]:
        return {}

    def statuses(self) -> dict[str, str]:
        return {}


class Websockets:
    """``websockets.broadcast``."""

    def __init__(self, each: int) -> None:
        self._clients: dict[ServerConnection, None] = {}
        self.messages = [MESSAGE % (n, n) for n in range(SYMBOLS)]

    async def start(self) -> int:
        async def handler(client: ServerConnection) -> None:
            self._clients[client] = None
            await client.wait_closed()

        server = await serve(handler, "127.0.0.1", 0, compression=None, ping_interval=None)
        return int(next(iter(server.sockets)).getsockname()[1])

    def connected(self) -> int:
        return len(self._clients)

    def publish(self, number: int) -> None:
        broadcast(self._clients, self.messages[number % SYMBOLS])

    def waiting(self) -> int:
        return sum(c.transport.get_write_buffer_size() for c in self._clients)


class Picows:
    """picows' own ``send``, client by client."""

    def __init__(self, each: int) -> None:
        self._clients: dict[WSTransport, None] = {}
        self.messages = [(MESSAGE % (n, n)).encode() for n in range(SYMBOLS)]

    async def start(self) -> int:
        clients = self._clients

        class Listener(WSListener):
            def on_ws_connected(self, transport: WSTransport) -> None:
                clients[transport] = None

            def pause_writing(self) -> None:
                pass

            def resume_writing(self) -> None:
                pass

        server = await ws_create_server(lambda request: Listener(), "127.0.0.1", 0)
        return int(server.sockets[0].getsockname()[1])

    def connected(self) -> int:
        return len(self._clients)

    def publish(self, number: int) -> None:
        message = self.messages[number % SYMBOLS]
        for client in self._clients:
            client.send(WSMsgType.TEXT, message)

    def waiting(self) -> int:
        return sum(c.underlying_transport.get_write_buffer_size() for c in self._clients)


TARGETS: dict[str, Any] = {"ours": Ours, "websockets": Websockets, "picows": Picows}


async def main(name: str, clients: int, each: int) -> None:
    target = TARGETS[name](each)
    say(port=await target.start())
    while target.connected() < clients:
        await asyncio.sleep(0.02)
    say(clients=clients)
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        kind, messages, rounds = line.split()
        if kind == "meet":
            while target.subscriptions() != int(rounds):
                await asyncio.sleep(0.02)
            say()
            continue
        times = []
        for _ in range(int(rounds)):
            started, begun = time.monotonic(), time.process_time()
            if kind in ("burst", "throw"):
                for number in range(int(messages)):
                    target.publish(number)
                if kind == "burst":
                    await drained(target)
            else:
                for number in range(int(messages)):
                    target.publish(number)
                    await asyncio.sleep(0)
                    await asyncio.sleep(0)
                await drained(target)
            times.append(time.process_time() - begun)
            await asyncio.sleep(0.05)
        say(cpu_s=times, started=started, delivered=int(messages) * clients * each // SYMBOLS)


async def drained(target: Any) -> None:
    await asyncio.sleep(0)
    while target.waiting():
        await asyncio.sleep(0.001)


def say(**what: Any) -> None:
    print(json.dumps(what), flush=True)


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
