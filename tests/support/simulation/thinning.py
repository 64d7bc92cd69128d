"""How much thinner the simulation is than the real thing: one table, for its speed.

Nothing that decides about a closed row is thinned: every close is published, every request made.
What only repeats is: forming rows, tickers, and the server's own periodic looks at itself.
"""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Iterator
from typing import Any

import picows.api

from server.exchange.publisher import Speeds

__all__ = ["SETTINGS", "SPEEDS", "in_full", "thinned"]

#: Forming rows once in 3.5 minutes instead of 2 s (105 times fewer), tickers once in 20 minutes
#: instead of 1 s (1,200 times fewer).
SPEEDS = Speeds(kline=210_000, ticker=1_200_000, array=0, book=0)

#: Settings that must fit the thinner streams: silence is normal for most of a minute.
SETTINGS: dict[str, Any] = {
    "stale_after_s": 75.0,
    "ping_timeout_s": 60.0,
    "sweep_interval_s": 30.0,  # 5 s
    "universe_interval_s": 240.0,  # 120 s
    "kline_update_s": SPEEDS.kline / 1000,
    "ticker_update_s": SPEEDS.ticker / 1000,
    "snapshot_interval_s": 1800.0,  # 180 s
}

#: Periodic looks of the server, s: ``module.NAME`` -> what it is in the simulation.
PERIODS: dict[str, float] = {
    "server.app.BEAT_S": 60.0,  # 1 s
    "server.feeds.session._WATCH_S": 10.0,  # 1 s
    "server.exchange.app._KEEP_ALIVE_S": 10.0,  # 1 s
    "server.feeds.base._LOOK_S": 30.0,  # 1 s
    "server.feeds.base._TIME_LOOK_S": 15.0,  # 5 s
    "server.feeds.link.PROBE_AFTER_S": 10.0,  # 3 s
    "server.feeds.closes.LOOK_S": 30.0,  # 1 s; boundaries, deadlines and retries are exact
}

#: The same periods as the server has them, noted when they are first thinned.
_real: dict[str, float] = {}


@contextlib.contextmanager
def thinned() -> Iterator[None]:
    """While in here the periods are the simulation's, and picows uses the loop's connections."""
    before: list[tuple[Any, str, object]] = []
    for place, value in [*PERIODS.items(), ("picows.api._HAS_AIOFASTNET", False)]:
        module_name, _, name = place.rpartition(".")
        module = importlib.import_module(module_name) if module_name != "picows.api" else picows.api
        before.append((module, name, getattr(module, name)))  # a name that is gone is an error
        if place in PERIODS:
            _real.setdefault(place, getattr(module, name))
        setattr(module, name, value)
    try:
        yield
    finally:
        for module, name, value in before:
            setattr(module, name, value)


@contextlib.contextmanager
def in_full() -> Iterator[None]:
    """While in here, which is within ``thinned``, the periods are the server's own again."""
    with contextlib.ExitStack() as stack:
        for place, value in _real.items():
            module_name, _, name = place.rpartition(".")
            module = importlib.import_module(module_name)
            stack.callback(setattr, module, name, getattr(module, name))
            setattr(module, name, value)
        yield
