import asyncio
from collections.abc import Callable
from typing import Any

from klinecore.market import Market

class FeedListener:
    """Feeds one socket's messages to ``market``; a picows ``WSListener``."""

    frames: int
    size: int
    pings: int
    dropped: int
    transport: Any | None
    connected: bool

    def __init__(
        self,
        market: Market,
        loop: asyncio.AbstractEventLoop,
        on_change: Callable[[], None],
        on_control: Callable[[int, bytes], None],
        on_closed: Callable[[], None],
    ) -> None: ...
