from typing import final

__all__ = ["Arena"]

@final
class Arena:
    """A zeroed block laid out for ``symbol_count * interval_count`` series; fixed for its life."""

    size: int
    path: str | None

    def __new__(
        cls,
        *,
        capacity: int,
        slots: int,
        symbol_count: int,
        interval_count: int,
        ticker_stride: int,
        series_stride: int,
        path: str | None = None,
    ) -> Arena: ...
    def __buffer__(self, flags: int, /) -> memoryview: ...
    def verify(self) -> bool:
        """True while the header is whole: magic, version, byte order, size and checksum agree."""
