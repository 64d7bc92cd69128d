"""What one WebSocket message costs from its bytes to the stored kline."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import klinecore as kc

LOOPS = 10_000
OPEN_MS = 1_633_998_480_000
# A spot message of 2021 as the exchange sent it; trade count and symbol are put in.
FRAME = (
    '{{"stream":"{stream}@kline_1m","data":{{"e":"kline","E":1633998515068,"s":"{symbol}",'
    '"k":{{"t":1633998480000,"T":1633998539999,"s":"{symbol}","i":"1m","f":1089087520,'
    '"L":1089087733,"o":"57432.15000000","c":"57444.99000000","h":"57445.00000000",'
    '"l":"57432.14000000","v":"9.98730000","n":{trades},"x":false,"q":"573588.12345678",'
    '"V":"4.24300000","Q":"243588.12345678","B":"0"}}}}}}'
)


def frame_of(symbol: str, trades: int) -> bytes:
    return FRAME.format(stream=symbol.lower(), symbol=symbol, trades=trades).encode()


def bench_store_one_frame(bench: Any, loop: ModuleType) -> None:
    """A listener's callback: parse and store an update of the forming kline, in a C loop."""
    market = kc.Market(["BTCUSDT", "ETHUSDT"], ["1m", "1h"])
    frame = frame_of("BTCUSDT", 100_000_000)
    changing = bytearray(frame)
    bench(loop.store_updates, market, changing, frame.index(b"100000000"), LOOPS, items=LOOPS)

    stored = market["BTCUSDT", "1m"].forming
    assert stored == kc.parse_frame(changing).kline
    counters = market["BTCUSDT", "1m"].counters
    assert counters["duplicates"] == counters["stale"] == 0  # every single one was stored
    assert market.counters()["frames_kline"] == stored.trades - 100_000_000
    assert bench.peer("byte loop", loop.copy_bytes, frame, LOOPS, items=LOOPS) == frame
    assert bench.peer("memcpy", loop.copy_block, frame, LOOPS, items=LOOPS) == frame


def bench_store_frames_of_many_symbols(bench: Any, loop: ModuleType) -> None:
    """The same over 500 symbols in turn: no message finds what it needs in the nearest cache.

    From the second round on the rows are the ones stored already.
    """
    symbols = [f"COIN{number}USDT" for number in range(500)]
    market = kc.Market(symbols, ["1m"])
    frames = [frame_of(symbol, 100_000_000) for symbol in symbols]
    bench(loop.store_frames, market, frames, items=len(frames))
    assert all(series.forming is not None for series in market)


def bench_apply_from_python(bench: Any) -> None:
    """The same message through ``Market.apply``, called from Python."""
    market = kc.Market(["BTCUSDT", "ETHUSDT"], ["1m", "1h"])
    assert bench(market.apply, frame_of("BTCUSDT", 214)) == kc.FrameKind.KLINE
    assert market["BTCUSDT", "1m"].forming is not None
