"""Recorded files: the text of each number is what the file says."""

from __future__ import annotations

import gzip
import json
from decimal import Decimal
from pathlib import Path

import pytest

from server.exchange.book import Book
from server.exchange.minutes import aggregate
from server.exchange.recorded import RecordedMarket

MINUTE_MS = 60_000
HEADER = (
    "open_time,open,high,low,close,volume,close_time,quote_volume,count,"
    "taker_buy_volume,taker_buy_quote_volume,ignore\n"
)
T0 = 1_769_904_000_000


def line(minute: int, *, open_: str = "1.50", volume: str = "10.0", unit: int = 1) -> str:
    opened = (T0 + minute * MINUTE_MS) * unit
    closed = (T0 + (minute + 1) * MINUTE_MS) * unit - 1
    return f"{opened},{open_},1.60,1.40,1.55,{volume},{closed},15.000,7,4.0,6.000,0\n"


def texts(market: RecordedMarket, symbol: str, interval: str = "1m") -> list[list[object]]:
    book = Book(market)
    assert market.end_ms is not None
    rows = book.rows(symbol, interval, market.end_ms, limit=100_000)
    return [json.loads(book.rest_row(symbol, interval, row)) for row in rows]


@pytest.fixture(scope="module")
def real_month(data_dir: Path) -> tuple[RecordedMarket, list[str]]:
    """ALGOUSDT of February 2026, with minutes in which nothing was traded; and the file's lines."""
    path = data_dir / "klines/um/1m/2026-02/ALGOUSDT-1m-2026-02.csv.gz"
    return RecordedMarket([path]), gzip.decompress(path.read_bytes()).decode().splitlines()[1:]


def test_every_row_of_a_real_month_is_served_as_its_file_has_it(
    real_month: tuple[RecordedMarket, list[str]],
) -> None:
    market, lines = real_month
    served = texts(market, "ALGOUSDT")
    assert len(served) == len(lines) == 40_320
    for row, expected in zip(served, lines, strict=True):
        assert ",".join(map(str, row)) == expected


@pytest.mark.parametrize("interval", ["5m", "15m", "1h", "1d"])
def test_longer_intervals_of_a_real_month_are_sums_of_its_text(
    real_month: tuple[RecordedMarket, list[str]], interval: str
) -> None:
    market, lines = real_month
    length = {"5m": 5, "15m": 15, "1h": 60, "1d": 1440}[interval]
    rows = [row.split(",") for row in lines]
    served = texts(market, "ALGOUSDT", interval)
    assert len(served) == len(rows) // length
    for at, row in enumerate(served):
        group = rows[at * length : (at + 1) * length]
        assert row[0] == int(group[0][0])
        assert (row[1], row[4]) == (group[0][1], group[-1][4])
        assert Decimal(str(row[2])) == max(Decimal(part[2]) for part in group)
        assert Decimal(str(row[3])) == min(Decimal(part[3]) for part in group)
        for column in (5, 7, 8, 9, 10):
            assert Decimal(str(row[column])) == sum(Decimal(part[column]) for part in group)


def test_numbers_keep_their_own_text(tmp_path: Path) -> None:
    path = tmp_path / "XYUSDT-1m-2026-02-01.csv"
    odd = line(1, open_="1.5", volume="0").replace("15.000", "0").replace("6.000", "0.000")
    path.write_text(HEADER + line(0) + odd + line(2))
    served = texts(RecordedMarket([path]), "XYUSDT")
    assert [row[1] for row in served] == ["1.50", "1.5", "1.50"]
    assert [row[5] for row in served] == ["10.0", "0", "10.0"]
    assert [row[7] for row in served] == ["15.000", "0", "15.000"]
    assert [row[10] for row in served] == ["6.000", "0.000", "6.000"]


@pytest.mark.parametrize("header", [HEADER, ""])
@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("unit", [1, 1000])
def test_files_come_with_and_without_header_packed_and_in_microseconds(
    tmp_path: Path, header: str, packed: bool, unit: int
) -> None:
    text = header + line(0, unit=unit) + line(1, unit=unit)
    path = tmp_path / ("ABUSDT-1m-2026-02.csv" + (".gz" if packed else ""))
    path.write_bytes(gzip.compress(text.encode()) if packed else text.encode())
    served = texts(RecordedMarket([path], market="spot"), "ABUSDT")
    assert [row[0] for row in served] == [T0, T0 + MINUTE_MS]
    assert [row[6] for row in served] == [T0 + MINUTE_MS - 1, T0 + 2 * MINUTE_MS - 1]


def test_several_files_of_a_symbol_are_one_series_in_any_order(tmp_path: Path) -> None:
    paths = []
    for day, minutes in (("02", (2, 3)), ("01", (0, 1))):
        path = tmp_path / f"ABUSDT-1m-2026-02-{day}.csv"
        path.write_text(HEADER + "".join(map(line, minutes)))
        paths.append(path)
    served = texts(RecordedMarket(paths), "ABUSDT")
    assert [row[0] for row in served] == [T0 + minute * MINUTE_MS for minute in range(4)]


def test_sums_beyond_int64_stay_exact(tmp_path: Path) -> None:
    path = tmp_path / "SHIBUSDT-1m-2026-02.csv"
    volume = "90000000000.12345678"
    path.write_text("".join(line(minute, volume=volume) for minute in range(5)))
    market = RecordedMarket([path], market="spot")
    ((*_, five),) = [[row[5] for row in texts(market, "SHIBUSDT", "5m")]]
    assert Decimal(five) == 5 * Decimal(volume)
    ticker = Book(market).ticker("SHIBUSDT", T0 + 5 * MINUTE_MS)
    assert ticker is not None
    assert Decimal(ticker["v"]) == 5 * Decimal(volume)


def test_a_missing_minute_stays_missing_and_invents_nothing(tmp_path: Path) -> None:
    path = tmp_path / "ABUSDT-1m-2026-02.csv"
    path.write_text(HEADER + line(0) + line(1) + line(7))
    market = RecordedMarket([path])
    assert [row[0] for row in texts(market, "ABUSDT")] == [
        T0 + minute * MINUTE_MS for minute in (0, 1, 7)
    ]
    fives = texts(market, "ABUSDT", "5m")
    assert [(row[0], row[8]) for row in fives] == [(T0, 14), (T0 + 300_000, 7)]


def test_a_forming_minute_of_a_recording_grows_to_its_close(tmp_path: Path) -> None:
    path = tmp_path / "ABUSDT-1m-2026-02.csv"
    path.write_text(HEADER + line(0) + line(1))
    market = RecordedMarket([path])
    trades = []
    for second in range(0, 60, 5):
        now_ms = T0 + second * 1000
        (row,) = aggregate(market.minutes("ABUSDT", T0, now_ms), "1m", now_ms)
        assert not row.closed
        assert 140 <= row.low <= row.close <= row.high <= 160
        trades.append(row.trades)
    assert trades == sorted(trades)
    assert trades[-1] <= 7


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("ABUSDT.csv", HEADER + line(0), "expected a file named like"),
        ("ABUSDT-5m-2026.csv", HEADER + line(0), "expected a file named like"),
        ("ABUSDT-1m-2026.csv", HEADER + "1,2,3\n", "line 2: expected a kline"),
        ("ABUSDT-1m-2026.csv", line(0) + line(1, open_="nan"), "line 2: 'nan' is no decimal"),
        ("ABUSDT-1m-2026.csv", line(0, open_="-1.5"), "'-1.5' is no decimal"),
        ("ABUSDT-1m-2026.csv", HEADER, "no kline"),
        ("ABUSDT-1m-2026.csv", line(0, volume="9" * 20), "is too long"),
    ],
)
def test_a_file_that_is_no_kline_file_is_refused_with_its_line(
    tmp_path: Path, name: str, text: str, message: str
) -> None:
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        RecordedMarket([path])
