from typing import final

from typing_extensions import disjoint_base

__all__ = ["Arena", "Block"]

@disjoint_base
class Block:
    """Memory with one owner, exported read-only, so that NumPy views keep it alive."""

    size: int

    def __buffer__(self, flags: int, /) -> memoryview: ...

@final
class Arena(Block):
    """A zeroed block laid out for ``symbols_max`` symbols of every interval; fixed for its life."""

    path: str | None
    heartbeat_ms: int

    def __new__(
        cls,
        *,
        capacity: int,
        slots: int,
        symbols_max: int,
        intervals: tuple[str, ...],
        ticker_stride: int,
        series_stride: int,
        path: str | None = None,
    ) -> Arena: ...
    def verify(self) -> bool:
        """True while the header is whole: magic, version, byte order, size and checksum agree."""
    def set_symbol(self, place: int, name: str | None) -> None:
        """Give a place to a symbol, or with None to nobody; its series are the caller's to clear.

        Raises ValueError: no such place, or a name of 0 or more than 64 bytes of UTF-8.
        """
