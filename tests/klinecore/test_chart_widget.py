"""kc.chart in the kernel: what it sends, when, and that it ends."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from kernel_comm import KernelComm

import klinecore as kc
from klinecore.notebook import Chart, widget

MINUTE = 60_000
START = 1769904000000
PATIENCE_S = 60


@pytest.fixture(autouse=True)
def _kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("comm.create_comm", KernelComm)


def push(market: kc.Market, minute: int, price: str, *, closed: bool = True) -> None:
    open_ms = START + minute * MINUTE
    close_ms = open_ms + MINUTE - 1
    row = kc.Kline(open_ms, *4 * [price], "1", close_ms, price, 1, "1", price, closed)
    market.push("BTCUSDT", "1m", row)


@pytest.fixture
def market() -> kc.Market:
    market = kc.Market(["BTCUSDT"], ["1m"], capacity=100)
    for minute in range(30):
        push(market, minute, f"{100 + minute % 7}.5")
    return market


def sent(chart: Chart) -> list[dict[str, Any]]:
    """What went to the page since the last time."""
    messages, chart.comm.sent[:] = chart.comm.sent[:], []
    return messages


def hear(chart: Chart, content: Any) -> None:
    """A page says something."""
    data = {"method": "custom", "content": content}
    chart.comm.handle_msg({"content": {"data": data}, "buffers": []})


async def until(there: Callable[[], object]) -> None:
    end = time.monotonic() + PATIENCE_S
    while not there():
        assert time.monotonic() < end, "it did not come"
        await asyncio.sleep(0.005)


def test_importing_the_library_loads_nothing_of_it() -> None:
    program = (
        "import sys, klinecore\n"
        "names = {name.split('.')[0] for name in sys.modules}\n"
        "print(names & {'anywidget', 'ipywidgets', 'traitlets', 'comm'})\n"
        "print('klinecore.notebook' in sys.modules)"
    )
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "set()\nFalse\n"


def test_without_anywidget_the_error_says_what_to_install() -> None:
    program = (
        "import sys\n"
        "sys.modules['anywidget'] = None\n"
        "import klinecore\n"
        "try:\n    klinecore.chart\nexcept ImportError as error:\n    print(error)"
    )
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "kc.chart needs anywidget: pip install 'klinecore[notebook]'\n"


def test_a_chart_opens_with_its_rows(market: kc.Market) -> None:
    chart = kc.chart(market, overlays=["sma(5)"], panes=["rsi()"], firings="close > 104")
    (opened,) = sent(chart)
    assert opened["method"] == "open"
    assert sorted(opened["bytes"]) == ["_marks", "_rows"]
    assert np.frombuffer(chart._rows).reshape(9, 30)[4].tolist() == list(
        market["BTCUSDT", "1m"].close
    )
    about = opened["state"]["_about"]
    assert (about["symbol"], about["interval"], about["interval_s"]) == ("BTCUSDT", "1m", 60)
    assert [line["name"] for line in about["lines"]] == ["sma(5)", "rsi()"]
    assert about["firings"] == ["close > 104"]
    assert about["decimals"] == 1
    assert repr(chart) == "<Chart BTCUSDT 1m: 30 rows, sma(5), rsi()>"
    chart.close()


def test_a_chart_follows_while_a_page_shows_it(market: kc.Market) -> None:
    async def main() -> None:
        chart = kc.chart(market)
        sent(chart)
        push(market, 30, "111.5", closed=False)
        await asyncio.sleep(3 / widget.TICKS_PER_S)
        assert sent(chart) == []
        hear(chart, {"who": "a", "shown": True})
        (whole,) = sent(chart)  # what was missed, first of all
        assert list(whole["bytes"]) == ["_rows"]
        push(market, 30, "112.5", closed=False)
        await until(lambda: chart.comm.sent)
        (tick,) = sent(chart)
        assert tick["content"] == {"kind": "tail"}
        hear(chart, {"who": "a", "shown": False})
        push(market, 30, "113.5", closed=False)
        await asyncio.sleep(3 / widget.TICKS_PER_S)
        assert sent(chart) == []
        chart.close()

    asyncio.run(main())


def test_ticks_are_conflated(market: kc.Market) -> None:
    async def main() -> None:
        chart = kc.chart(market)
        hear(chart, {"who": "a", "shown": True})
        sent(chart)
        loop = asyncio.get_running_loop()
        began = loop.time()
        for tick in range(300):
            push(market, 30, f"{100 + tick}.5", closed=False)
            await asyncio.sleep(0.001)
        took = loop.time() - began
        await until(lambda: chart._drawn[4, -1] == 399.5)
        assert len(sent(chart)) <= widget.TICKS_PER_S * took + 2
        chart.close()

    asyncio.run(main())


def test_every_page_gets_all_rows_when_it_comes(market: kc.Market) -> None:
    async def main() -> None:
        chart = kc.chart(market)
        hear(chart, {"who": "a", "shown": True})
        push(market, 30, "111.5", closed=False)
        await until(lambda: chart._drawn.shape[1] == 31)
        assert len(np.frombuffer(chart._rows)) == 7 * 30  # a tick went alone
        hear(chart, {"who": "b", "shown": True})
        assert np.frombuffer(chart._rows).reshape(7, 31)[4, -1] == 111.5
        hear(chart, {"who": "a", "shown": False})
        assert chart._task is not None
        hear(chart, {"who": "b", "shown": False})
        assert chart._task is None
        chart.close()

    asyncio.run(main())


def test_closing_ends_what_follows(market: kc.Market) -> None:
    async def main() -> None:
        before = asyncio.all_tasks()
        chart = kc.chart(market)
        hear(chart, {"who": "a", "shown": True})
        (task,) = asyncio.all_tasks() - before
        chart.close()
        await until(task.done)
        assert task.cancelled()
        assert chart.comm is None
        chart.close()

    asyncio.run(main())


def test_a_chart_outlives_its_loop(market: kc.Market) -> None:
    async def main() -> Chart:
        chart = kc.chart(market)
        hear(chart, {"who": "a", "shown": True})
        return chart

    asyncio.run(main()).close()


def test_new_firings_are_marked_as_they_close(market: kc.Market) -> None:
    async def main() -> None:
        chart = kc.chart(market, firings={"high": "close > 200"})
        hear(chart, {"who": "a", "shown": True})
        assert chart._marks == b""
        push(market, 30, "300.5", closed=False)
        await until(lambda: chart._drawn.shape[1] == 31)
        assert chart._marks == b""
        push(market, 30, "300.5")
        await until(lambda: chart._marks)
        assert np.frombuffer(chart._marks).tolist() == [START / 1000 + 1800, 0]
        chart.close()

    asyncio.run(main())


def test_rows_of_a_page_stay_bounded(market: kc.Market) -> None:
    async def main() -> None:
        chart = kc.chart(market, limit=20)
        hear(chart, {"who": "a", "shown": True})
        sent(chart)
        grown = most = 0
        for minute in range(30, 60):
            push(market, minute, "100.5")
            chart._tell()
            for message in sent(chart):
                grown = grown + 1 if message["method"] == "custom" else 0
                most = max(most, grown)
        assert 0 < most <= 20
        chart.close()

    asyncio.run(main())


def test_a_symbol_that_is_gone_ends_the_chart(tmp_path: Path) -> None:
    async def main() -> None:
        market = kc.Market(["BTCUSDT", "ETHUSDT"], ["1m"], room=1, path=str(tmp_path / "arena"))
        push(market, 0, "1.5")
        chart = kc.chart(kc.attach(tmp_path / "arena"), "BTCUSDT")
        hear(chart, {"who": "a", "shown": True})
        market.remove_symbol("BTCUSDT")
        await until(lambda: chart._status)
        assert chart._status == "ended: the symbol is held no longer"
        chart.close()

    asyncio.run(main())


@pytest.mark.parametrize(
    "content",
    [None, [], "shown", {}, {"who": 1, "shown": True}, {"who": "a"}, {"who": "a" * 65, "shown": 1}],
)
def test_what_no_page_says_is_passed_over(market: kc.Market, content: Any) -> None:
    chart = kc.chart(market)
    hear(chart, content)
    assert chart._viewers == {}
    chart.close()


def test_pages_that_went_without_a_word_are_forgotten(market: kc.Market) -> None:
    async def main() -> None:
        chart = kc.chart(market)
        for number in range(3 * widget.VIEWERS_MAX):
            hear(chart, {"who": str(number), "shown": True})
        assert len(chart._viewers) == widget.VIEWERS_MAX
        chart.close()

    asyncio.run(main())


def test_where_no_widget_runs_there_is_a_still_picture(market: kc.Market) -> None:
    chart = kc.chart(market, overlays=["sma(5)"])
    data, _ = chart._repr_mimebundle_()
    assert data["application/vnd.jupyter.widget-view+json"]["model_id"] == chart.model_id
    assert data["image/svg+xml"].startswith("<svg")
    assert "BTCUSDT 1m: 30 klines, last 101.5, 100.5 to 106.5" in data["image/svg+xml"]
    assert data["text/plain"] == repr(chart)
    chart.close()


@pytest.mark.parametrize("asked", [{"limit": 0}, {"limit": 20_001}, {"height": 0}])
def test_a_chart_has_bounds(market: kc.Market, asked: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="must be"):
        kc.chart(market, **asked)


def test_the_chart_file_may_be_another(market: kc.Market, tmp_path: Path) -> None:
    (tmp_path / "other.js").write_text("window.LightweightCharts = {};")
    chart = kc.chart(market, library=tmp_path / "other.js")
    assert chart._esm.startswith("window.LightweightCharts = {};\n;\n// @ts-check")
    chart.close()
    with pytest.raises(kc.ChartLibraryError):
        kc.chart(market, library=tmp_path / "none.js")
