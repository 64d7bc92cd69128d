from collections.abc import Callable
from typing import final

from picows import WSFrame, WSListener, WSTransport

from klinecore.market import Market

__all__ = ["ChangeNotifier", "FeedListener"]

@final
class ChangeNotifier:
    """Calls ``on_change`` once in the next pass of the event loop, however often it is told.

    What can wait is gathered for ``gather_s`` after a call.
    """

    @property
    def scheduled(self) -> bool: ...
    def __init__(self, on_change: Callable[[], None], gather_s: float = 0.0) -> None: ...
    def notify(self) -> None:
        """Something does not wait. Call within a running event loop."""
    def gather(self) -> None:
        """Likewise of something that can wait."""
    def stop(self) -> None:
        """Call nobody any more for what was gathered."""

@final
class FeedListener(WSListener):
    """Feeds one socket's messages to ``market``; nothing an exchange sends makes it raise."""

    #: Called with each text message that is no control, after the market has it; for the moments
    #: in which it must be known what came on which connection.
    tap: Callable[[bytes], None] | None
    @property
    def frames(self) -> int:
        """Text messages, control included."""
    @property
    def controls(self) -> int:
        """Of these, replies and notices."""
    @property
    def size(self) -> int:
        """Bytes of text messages."""
    @property
    def pings(self) -> int: ...
    @property
    def dropped(self) -> int:
        """Messages that are binary, or too long in pieces."""
    @property
    def transport(self) -> WSTransport | None:
        """None before the connection and after its end."""
    def __init__(
        self,
        market: Market,
        changes: ChangeNotifier,
        on_control: Callable[[int, bytes], None],
        on_closed: Callable[[], None],
        message_max: int,
    ) -> None: ...
    def close(self, *, graceful: bool = True) -> None:
        """End the connection, also one that is still to come; messages are no longer taken."""
    def on_ws_connected(self, transport: WSTransport) -> None: ...
    def on_ws_disconnected(self, transport: WSTransport) -> None: ...
    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None: ...
