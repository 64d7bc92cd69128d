"""What merely taking the frames costs: picows on uvloop, which counts them: URL SYMBOLS INTERVALS.

As many connections as the server has, with the same streams on each. Each line of standard input
is answered with a line of JSON.
"""

from __future__ import annotations

import asyncio
import json
import sys

import picows
import uvloop

from server.feeds.binance import split_streams, stream_names
from server.feeds.link import pack_subscriptions
from server.settings import Settings

PAUSE_S = 0.3  # between two messages: the exchange takes five a second


class Counting(picows.WSListener):
    frames = 0
    size = 0

    def on_ws_frame(self, transport: picows.WSTransport, frame: picows.WSFrame) -> None:
        if frame.msg_type == picows.WSMsgType.PING:
            transport.send_pong(frame.get_payload_as_bytes())
            return
        self.frames += 1
        self.size += frame.payload_size


async def main(url: str, symbols: list[str], intervals: list[str]) -> None:
    listeners = []
    streams = stream_names(symbols, intervals)
    for names in split_streams(streams, Settings().streams_per_connection_spot):
        transport, listener = await picows.ws_connect(Counting, url, enable_auto_pong=False)
        listeners.append(listener)
        for number, packed in enumerate(pack_subscriptions(names)):
            message = {"method": "SUBSCRIBE", "params": packed, "id": number}
            transport.send(picows.WSMsgType.TEXT, json.dumps(message).encode())
            await asyncio.sleep(PAUSE_S)
    loop = asyncio.get_running_loop()
    while await loop.run_in_executor(None, sys.stdin.readline):
        frames = sum(listener.frames for listener in listeners)
        size = sum(listener.size for listener in listeners)
        print(json.dumps({"frames": frames, "bytes": size}), flush=True)


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main(sys.argv[1], sys.argv[2].split(","), sys.argv[3].split(",")))
