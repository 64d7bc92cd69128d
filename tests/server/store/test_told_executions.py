"""Which executions Supabase is told of: a thousand traders leave more than a million a day."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from shelves import execution, opened, settled, trader

from server.traders.model import RunSource


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"source": RunSource.ENGINE}, False),
        ({"source": RunSource.CRON}, False),
        ({"source": RunSource.REQUEST}, True),  # somebody waits for it
        ({"source": RunSource.ENGINE, "symbols_matched": 1}, True),
        ({"source": RunSource.CRON, "error": "no symbol was evaluated"}, True),
        ({"source": RunSource.ENGINE, "incomplete": True}, True),
    ],
)
def test_executions_that_say_something_are_told(
    tmp_path: Path, fields: dict[str, Any], told: bool
) -> None:
    async def run() -> int:
        async with opened(tmp_path, with_outbox=True) as store:
            mine = trader()
            await store.traders.insert(mine, None)
            store.executions.put([execution(1, whose=mine, **fields)])
            await settled(store)
            return len(await store.outbox.read("executions", 0, 10))

    assert asyncio.run(run()) == int(told)
