"""Small kline files as the exchange publishes them."""

from __future__ import annotations

import csv
import gzip
import random
from pathlib import Path

MINUTE_MS = 60_000


def write_recording(directory: Path, symbol: str, minutes: int = 200) -> Path:
    """A file as the exchange publishes it, with the odd zero that USD-M prints as ``0``."""
    draw = random.Random(symbol)
    start = 1_769_904_000_000
    price = 100_000
    path = directory / f"{symbol}-1m-2026-02.csv.gz"
    with gzip.open(path, "wt") as file:
        writer = csv.writer(file, lineterminator="\n")
        file.write(
            "open_time,open,high,low,close,volume,close_time,quote_volume,count,"
            "taker_buy_volume,taker_buy_quote_volume,ignore\n"
        )
        for i in range(minutes):
            opened = price
            price += draw.randint(-50, 50)
            high = max(opened, price) + draw.randint(0, 9)
            low = min(opened, price) - draw.randint(0, 9)
            trades = draw.choice([0, 7, 130])
            volume = draw.randint(1, 10**6) if trades else 0
            buys = draw.randint(0, volume)
            if not trades:
                price, high, low = opened, opened, opened
            writer.writerow([
                start + i * MINUTE_MS, *(f"{x / 10_000:.4f}" for x in (opened, high, low, price)),
                f"{volume / 10:.1f}" if volume else "0", start + i * MINUTE_MS + MINUTE_MS - 1,
                f"{volume * opened / 100_000:.5f}" if volume else "0", trades,
                f"{buys / 10:.1f}" if buys else "0",
                f"{buys * opened / 100_000:.5f}" if buys else "0", "0",
            ])  # fmt: skip
    return path


def unpack(path: Path) -> str:
    return gzip.decompress(path.read_bytes()).decode()
