"""A live market out of a running server, kept in step by its stream port.

>>> import klinecore as kc
>>> async with kc.client.connect(
...     "ws://127.0.0.1:8081", symbols=["BTCUSDT"], intervals=["1m"]
... ) as live:
...     async for event in live:
...         print(event.kind.name, live.market["BTCUSDT", "1m"].close[-1])
"""

from __future__ import annotations

from klinecore.client.live import Live, connect

__all__ = ["Live", "connect"]
