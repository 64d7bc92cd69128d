"""A simulated exchange that notes when it sends each closing frame: SYMBOLS RATE NOTES."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path

from server.clock import PACE_VARIABLE, SystemClock, pace_text, read_pace
from server.exchange.app import Exchange
from server.exchange.generated import GeneratedMarket
from server.exchange.publisher import Speeds

#: Real seconds between two updates of a stream: as the exchange does, at any rate.
KLINE_S, TICKER_S = 2, 1


async def main(symbols: int, rate: float, notes: Path) -> None:
    real = SystemClock()
    pace = pace_text(real.time_ms(), rate, real)
    names = [f"COIN{number}USDT" for number in range(symbols)]
    speeds = Speeds(
        kline=round(1000 * KLINE_S * rate), ticker=round(1000 * TICKER_S * rate), array=0, book=0
    )
    exchange = Exchange(
        GeneratedMarket(7, names), read_pace(pace, real), speeds=speeds, weight_limit=10_000_000
    )
    publish = exchange.streams.publish
    sent: list[tuple[str, int, int]] = []

    def noted(stream: str, frame: bytes, *, closing: bool = False) -> None:
        if closing and stream.endswith("_1m"):
            if not sent:
                asyncio.get_running_loop().call_later(0.5, flush)
            sent.append((stream, exchange.now_ms // 60_000 * 60_000, time.monotonic_ns()))
        publish(stream, frame, closing=closing)

    def flush() -> None:
        with notes.open("a") as file:
            for stream, boundary_ms, at_ns in sent:
                symbol = stream.partition("@")[0].upper()
                file.write(json.dumps([symbol, boundary_ms - 60_000, at_ns]) + "\n")
        sent.clear()

    exchange.streams.publish = noted  # type: ignore[method-assign]
    await exchange.start("127.0.0.1", 0)
    print(json.dumps([exchange.rest_url, exchange.ws_url, PACE_VARIABLE, pace]), flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), float(sys.argv[2]), Path(sys.argv[3])))
