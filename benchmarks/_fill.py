"""Fills 500 symbols x 4 intervals x 500 rows through the exchange's own bytes; prints sizes.

A process of its own: what it weighs is what a server's data path weighs, with the interpreter,
NumPy and the core, and without the benchmark's own libraries.
"""

from __future__ import annotations

import json
from pathlib import Path

import klinecore as kc
from klinecore.interval import INTERVAL_MS, open_time_ms

SYMBOLS = [f"COIN{number}USDT" for number in range(500)]
INTERVALS = ["1m", "5m", "15m", "1h"]
CAPACITY = 500
NOW_MS = 1_770_000_000_000


def history(interval: str) -> tuple[bytes, int]:
    """A REST answer of CAPACITY closed rows, and the opening time of the row after them."""
    length = INTERVAL_MS[interval]
    first = open_time_ms(interval, NOW_MS) - CAPACITY * length
    rows = [
        [
            open_ms, "57432.15000000", "57445.00000000", "57432.14000000", "57444.99000000",
            f"{number}.98730000", open_ms + length - 1, f"573588112{number:03}.12345678",
            214 + number, "4.24300000", "243588112.12345678", "0",
        ]
        for number, open_ms in enumerate(range(first, first + CAPACITY * length, length))
    ]  # fmt: skip
    return json.dumps(rows, separators=(",", ":")).encode(), first + CAPACITY * length


def kline_frame(symbol: str, interval: str, open_ms: int) -> bytes:
    kline = {
        "t": open_ms, "T": open_ms + INTERVAL_MS[interval] - 1, "s": symbol, "i": interval,
        "f": 1, "L": 2, "o": "57432.15000000", "c": "57444.99000000", "h": "57445.00000000",
        "l": "57432.14000000", "v": "9.98730000", "n": 214, "x": False, "q": "573588.12345678",
        "V": "4.24300000", "Q": "243588.12345678", "B": "0",
    }  # fmt: skip
    message = {"e": "kline", "E": open_ms + 1000, "s": symbol, "k": kline}
    return json.dumps(message, separators=(",", ":")).encode()


def ticker_frame(symbol: str) -> bytes:
    message = {
        "e": "24hrMiniTicker", "E": NOW_MS, "s": symbol, "c": "57444.99000000",
        "o": "57432.15000000", "h": "57445.00000000", "l": "57432.14000000",
        "v": "9.98730000", "q": "573588.12345678",
    }  # fmt: skip
    return json.dumps(message, separators=(",", ":")).encode()


def row_bytes(size: int) -> float:
    """Bytes of all columns per row: what one more row of room adds to every series."""
    # Below 240 the room to slide in does not grow with the capacity; 128 rows of 2000 series fill
    # whole cache lines and whole pages, so that no rounding flatters the difference.
    fewer, more = 100, 228
    sizes = [kc.Market(SYMBOLS, INTERVALS, capacity).size for capacity in (fewer, more)]
    assert sizes[1] < size
    return (sizes[1] - sizes[0]) / (len(SYMBOLS) * len(INTERVALS) * (more - fewer))


def memory_mb() -> dict[str, float]:
    """Resident memory of this process, and its share of what it has in common with others."""
    fields = {}
    for line in Path("/proc/self/smaps_rollup").read_text().splitlines()[1:]:
        name, size, *_ = line.split()
        fields[name.rstrip(":")] = int(size) * 1024 / 1e6  # the kernel counts KiB
    return {"RSS, MB": fields["Rss"], "PSS, MB": fields["Pss"]}


def main() -> None:
    market = kc.Market(SYMBOLS, INTERVALS, CAPACITY)
    for interval in INTERVALS:
        body, forming_ms = history(interval)
        for symbol in SYMBOLS:
            market.apply_klines(symbol, interval, body, closed_before_ms=NOW_MS, notify=False)
            market.apply(kline_frame(symbol, interval, forming_ms))
    for symbol in SYMBOLS:
        market.apply(ticker_frame(symbol))
    rows = sum(len(series) for series in market)
    memory = memory_mb()
    print(
        json.dumps(
            {
                "rows": rows,
                "forming": sum(series.forming is not None for series in market),
                "tickers": sum(market.ticker(symbol) is not None for symbol in SYMBOLS),
                **memory,
                "bytes per row": row_bytes(market.size),
                "bytes per row, with all there is beside it": market.size / rows,
            }
        )
    )


if __name__ == "__main__":
    main()
