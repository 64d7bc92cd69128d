"""Live charts in notebooks, of klines and of whatever the library's own engine makes of them.

>>> import klinecore as kc
>>> live = await kc.client.connect("ws://127.0.0.1:8081", symbols=["BTCUSDT"], intervals=["1m"])
>>> kc.chart(live, overlays=["ema(20)", "bb()"], panes=["rsi(14)", "macd()"])
"""

from __future__ import annotations

import importlib.util

if importlib.util.find_spec("anywidget") is None:
    raise ImportError(
        "kc.chart needs anywidget: pip install 'klinecore[notebook]'", name="anywidget"
    )

from klinecore.notebook.widget import Chart, chart

__all__ = ["Chart", "chart"]
