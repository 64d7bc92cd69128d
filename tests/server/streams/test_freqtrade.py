"""freqtrade with the configuration of docs/clients.md: it downloads data, and runs dry."""

from __future__ import annotations

import ast
import json
import os
import shutil
import signal
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from commands import free_port, serve, simulated_exchange
from recipes import recipes

FREQTRADE = os.environ.get("FREQTRADE") or shutil.which("freqtrade")

pytestmark = [
    pytest.mark.bots,
    pytest.mark.skipif(
        FREQTRADE is None, reason="no freqtrade: install it and set FREQTRADE to its command"
    ),
]

#: Real seconds a command may take; and three candles of a minute each.
PATIENCE_S = 90
CANDLES_S = 210
CANDLES = 3

#: Buys whenever it may, and prints each candle that it is shown first.
STRATEGY = """
from freqtrade.strategy import IStrategy


class Eager(IStrategy):
    timeframe = "1m"
    minimal_roi = {"0": 10}
    stoploss = -0.5

    def populate_indicators(self, dataframe, metadata):
        last = dataframe.iloc[-1]
        row = [last["date"].isoformat(), *(float(last[name]) for name in COLUMNS)]
        print("SHOWN", [metadata["pair"], *row], flush=True)
        return dataframe

    def populate_entry_trend(self, dataframe, metadata):
        dataframe["enter_long"] = 1
        return dataframe

    def populate_exit_trend(self, dataframe, metadata):
        dataframe["exit_long"] = 0
        return dataframe


COLUMNS = ("open", "high", "low", "close", "volume")
"""


class Place(NamedTuple):
    """A folder with the configuration, and the exchange behind the server that it names."""

    folder: Path
    exchange: str

    def truth(self, symbol: str, first_ms: int) -> dict[int, list[float]]:
        """The exchange's own klines from a time on, by open time."""
        query = f"symbol={symbol}&interval=1m&startTime={first_ms}&limit=1000"
        with urllib.request.urlopen(f"{self.exchange}/api/v3/klines?{query}", timeout=30) as answer:
            return {row[0]: [float(text) for text in row[1:6]] for row in json.load(answer)}

    def command(self, *arguments: str) -> list[str]:
        assert FREQTRADE is not None
        return [FREQTRADE, *arguments, "--userdir", "user_data"]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, root: Path) -> Iterator[Place]:
    streams, folder = free_port(), tmp_path_factory.mktemp("freqtrade")
    with simulated_exchange(1) as exchange:
        server, port = serve(
            exchange, tmp_path_factory.mktemp("server"), "1m", KLINE_STREAM_PORT=str(streams)
        )
        try:
            (config,) = recipes(root, "freqtrade", "json")
            config = config.replace("127.0.0.1:8080", f"127.0.0.1:{port}")
            config = config.replace("127.0.0.1:8081", f"127.0.0.1:{streams}")
            (folder / "config.json").write_text(config)
            place = Place(folder, exchange["rest"])
            subprocess.run(
                place.command("create-userdir"), cwd=folder, check=True, timeout=PATIENCE_S
            )
            (folder / "user_data" / "strategies" / "eager.py").write_text(STRATEGY)
            yield place
        finally:
            server.end()


def test_it_downloads_the_exchanges_klines(place: Place) -> None:
    subprocess.run(
        place.command(
            "download-data", "--config", "config.json", "--days", "1", "--timeframes", "1m",
            "--data-format-ohlcv", "json",
        ),
        cwd=place.folder, check=True, timeout=PATIENCE_S,
    )  # fmt: skip
    file = place.folder / "user_data" / "data" / "binance" / "BTC_USDT-1m.json"
    rows: list[list[float]] = json.loads(file.read_text())
    opens = [int(row[0]) for row in rows]
    assert len(rows) >= 1440
    assert opens == list(range(opens[0], opens[-1] + 1, 60_000))
    truth = place.truth("BTCUSDT", opens[0]) | place.truth("BTCUSDT", opens[-900])
    known = [row for row in rows if row[0] in truth]
    assert len(known) >= 1440
    assert [row[1:] for row in known] == [truth[int(row[0])] for row in known]


def test_it_runs_dry_for_several_candles_and_trades(place: Place) -> None:
    log = place.folder / "trade.log"
    with log.open("w") as out:
        bot = subprocess.Popen(
            place.command("trade", "--config", "config.json", "--strategy", "Eager"),
            cwd=place.folder, stdout=out, stderr=subprocess.STDOUT,
        )  # fmt: skip
        try:
            shown: dict[str, dict[str, list[Any]]] = {}
            deadline = time.monotonic() + CANDLES_S
            while len(shown) < 2 or min(map(len, shown.values())) < CANDLES:
                assert bot.poll() is None, log.read_text()
                assert time.monotonic() < deadline, log.read_text()
                time.sleep(0.5)
                for line in log.read_text().splitlines():
                    if line.startswith("SHOWN ") and line.endswith("]"):
                        pair, opened, *numbers = ast.literal_eval(line.removeprefix("SHOWN "))
                        shown.setdefault(pair, {}).setdefault(opened, numbers)
        finally:
            bot.send_signal(signal.SIGINT)
            bot.wait(PATIENCE_S)
    for pair, candles in shown.items():
        first, *_ = sorted(candles)
        truth = place.truth(pair.replace("/", ""), _time_ms(first))
        assert [_time_ms(opened) for opened in candles] == sorted(truth)[: len(candles)]
        assert all(truth[_time_ms(opened)] == row for opened, row in candles.items())
    told = " ".join(log.read_text().split())
    assert told.count("LIMIT_BUY has been fulfilled") == 2
    assert "returned exception" not in told


def _time_ms(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp() * 1000)
