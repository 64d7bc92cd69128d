"""Every metric there is: of a server that runs with all it can do, and of its Supabase half."""

from __future__ import annotations

import asyncio
import random
import tempfile
from pathlib import Path

from server.access.keys import KeysFile
from server.app import Server
from server.clock import SystemClock
from server.disk import SystemDisk
from server.errors import ServerError
from server.exchange.app import Exchange
from server.exchange.generated import GeneratedMarket
from server.identity import Scope, Tier
from server.metrics import Metric, Registry
from server.settings import Settings
from server.store.base import Store
from server.sync.mirror import Mirror
from server.sync.options import Options
from server.sync.supervisor import Supervisor

__all__ = ["every_metric"]

#: Seconds such a server has to become ready.
_READY_S = 60.0
_LOOK_S = 0.05
#: Nobody is asked there: the process that would ask is not started.
_PROJECT = "http://127.0.0.1:54321"


def every_metric() -> list[Metric]:
    """All metrics, in the order of ``/metrics``. Raises ServerError: it did not become ready."""
    with tempfile.TemporaryDirectory(prefix="klineserver-") as folder:
        return asyncio.run(_of_a_server(folder))


async def _of_a_server(folder: str) -> list[Metric]:
    clock = SystemClock()
    exchanges = {
        name: Exchange(GeneratedMarket(1, ["BTCUSDT"], market=name), clock)
        for name in ("spot", "um")
    }
    values: dict[str, object] = {}
    for name, exchange in exchanges.items():
        await exchange.start()
        values |= {f"{name}_rest": exchange.rest_url, f"{name}_ws": exchange.ws_url}
    keys = KeysFile(str(Path(folder) / "keys.json"))
    keys.add("reader", Tier.FREE, Scope.READ, now_ms=clock.time_ms())
    settings = Settings.load(
        {},
        overrides=values
        | {
            "market": "both",
            "symbols": "BTCUSDT",
            "intervals": ["1m"],
            "capacity": 50,
            "data_dir": folder,
            "stream_port": 0,
            "api_keys_file": keys.path,
            "supabase_url": _PROJECT,
            "connect_interval_s": 0.0,
            "rest_weight_share": 1.0,
            "forward": True,
        },
    )
    server = Server(
        settings,
        clock=clock,
        random=random.Random(1),
        disk=SystemDisk(),
        has_store=True,
        opens_streams=True,
    )
    try:
        await server.start()
        deadline = clock.monotonic() + _READY_S
        while not server.state.readiness().ready:
            if clock.monotonic() > deadline:
                raise ServerError(f"not ready: {', '.join(server.state.readiness().reasons)}")
            await asyncio.sleep(_LOOK_S)
        server.state.metrics.render()  # some are made as they are asked for
        metrics = {metric.name: metric for metric in server.state.metrics}
        for metric in _of_supabase(settings, folder):
            metrics.setdefault(metric.name, metric)
        return list(metrics.values())
    finally:
        await server.stop()
        for exchange in exchanges.values():
            await exchange.stop()


def _of_supabase(settings: Settings, folder: str) -> Registry:
    """What is counted beside those when the server has a project's secret key."""
    clock, metrics = SystemClock(), Registry()
    store = Store(
        settings,
        directory=folder,
        disk=SystemDisk(),
        clock=clock,
        metrics=metrics,
        with_outbox=True,
    )
    Mirror(
        outbox=store.outbox,
        traders=store.traders,
        tiers=store.tiers,
        replace=lambda traders, name: None,
        errors=store.errors,
        clock=clock,
        metrics=metrics,
    )
    options = Options(url=_PROJECT, outbox=store.database.path)

    async def ignore(message: object) -> None:
        return None

    Supervisor(
        options,
        "",
        ignore,
        clock=clock,
        random=random.Random(1),
        metrics=metrics,
    )
    return metrics
