from collections.abc import Iterable, Iterator
from typing import Literal, final

from klinecore.filters.evaluation import Rooted
from klinecore.filters.reasons import Reason
from klinecore.filters.telling import Firing
from klinecore.filters.tree import Node
from klinecore.market import Event, Market

__all__ = ["Engine"]

@final
class Engine:
    """Filters over one market, evaluated close by close."""

    def __new__(
        cls, market: Market, *, state_bytes_max: int = 256 << 20, filters_max: int = 10_000
    ) -> Engine:
        """Take memory for ``market``'s symbols and its room for more.

        ``state_bytes_max`` bounds what all filters may take together, ``filters_max`` their number.
        Raises ValueError: a limit below 1.
        """
    @property
    def market(self) -> Market: ...
    @property
    def state_bytes_max(self) -> int: ...
    @property
    def filters_max(self) -> int: ...
    def __len__(self) -> int:
        """Filters held."""
    def add(
        self,
        filter: Rooted | Node,
        interval: str,
        *,
        mode: Literal["edge", "level"] = "edge",
        cooldown: int = 0,
        when: Literal["closed", "forming"] = "closed",
        with_parts: bool = False,
    ) -> int:
        """Evaluate a filter at every close of ``interval`` from the next one on; its number.

        ``mode`` "edge" fires where it is true and was false when it was last known, "level"
        wherever it is true. Behind a firing the ``cooldown`` next klines of the symbol do not fire.
        ``when="forming"`` evaluates it at forming klines, too: a firing there is told once a kline
        as provisional, and again at the close if it holds, else as retracted. ``with_parts``
        tells each firing with what every part of the filter was at that row.

        What it needs is computed from the rows in memory at once, so it is as warm as those allow;
        those rows' firings are not told. O(rows in memory) per step.

        Raises ValueError: the root is no condition, a mode there is not, a cooldown outside
        0..100,000, symbols compared while klines form; UnknownSeriesError: an interval the market
        does not hold; FiltersFullError: ``filters_max`` or ``state_bytes_max`` would be exceeded.
        """
    def remove(self, filter_id: int) -> None:
        """Evaluate a filter no longer, and free what only it needed. ValueError: no such filter."""
    def pump(self, events: Iterable[Event]) -> list[Firing]:
        """Evaluate what ``market.drain()`` told of; what is to be told, corrections first.

        Every filter is evaluated at every closed row once, when what it reads is there: rows of
        other intervals that close with it, and for comparisons of symbols the barrier. A row that
        changes behind that, or comes late, is evaluated anew with all that follow, and firings
        that differ are told as revisions. What the last 64 firings of a filter and symbol do not
        reach is not corrected. A symbol's rows from before its first event here are history:
        computed, not told.
        """
    def deadline(self, interval: str, open_time_ms: int) -> list[Firing]:
        """Wait no longer for what rows of ``interval`` that opened up to then are read with.

        Call it after ``pump``. What is missing is unknown; firings are told with ``complete``
        False. Raises UnknownSeriesError.
        """
    def catch_up(self) -> list[Firing]:
        """Evaluate now the rows in memory that no event told of; ``pump`` does it for a symbol at
        its next event. A symbol's rows from before its first event are history all the same."""
    def save(self) -> bytes:
        """What all filters remember of every symbol, and which firings were told; checksummed.

        O(symbols x steps). Counters are not in it.
        """
    def save_parts(self) -> Iterator[bytes]:
        """What ``save`` joins, in parts of some 64 KiB, each made when it is asked for.

        So that an image of many megabytes need not be made, or held, at once. Raises TornReadError
        if filters moved between two parts: begin anew, or ``save``.
        """
    def load(self, image: bytes) -> tuple[str, ...]:
        """Go on from what ``save`` gave, after the same filters were added: to the bit, as if there
        had been no restart.

        Filters may have other numbers. Returns the symbols held that go on from the rows in memory
        instead: those that are not in the image, or whose rows since then are others. Raises
        SnapshotError: damaged, of another version, or of other filters; nothing is taken then.
        """
    def value(self, filter_id: int, symbol: str) -> bool | None:
        """Whether a filter is true at a symbol's newest evaluated close; None while unknown.

        Raises ValueError: no such filter; UnknownSeriesError.
        """
    def parts(self, filter_id: int) -> tuple[str, ...]:
        """Normal forms of the parts that a filter's firings are told with, arguments first.

        () unless it was added ``with_parts``. Raises ValueError: no such filter.
        """
    def part_values(self, filter_id: int, symbol: str) -> tuple[float, ...]:
        """What those are at a symbol's newest evaluated close, as in ``Firing``.

        Raises ValueError: no such filter; UnknownSeriesError.
        """
    @property
    def places(self) -> dict[str, int]:
        """Which bit of ``tally`` stands for which symbol; others stand for none."""
    def tally(self, filter_id: int, open_time_ms: int | None = None) -> tuple[int, int, int]:
        """Symbols whose newest evaluated row is that one (default: any), those of them where the
        filter is true, and those where it is known; each as the bits of a number, see ``places``.

        O(symbols), some 100 ns. Raises ValueError: no such filter.
        """
    def evaluated_ms(self, filter_id: int, symbol: str) -> int | None:
        """Open time of a symbol's newest row a filter was evaluated at; None before the first.

        Raises ValueError: no such filter; UnknownSeriesError.
        """
    def preview(self, filter_id: int, symbol: str) -> bool | None:
        """What a filter would be if the symbol's forming row closed as it is; None while unknown.

        None as well without such a row, if rows before it are missing, or if the filter compares
        symbols. Parts on other intervals are as of their newest close. Raises ValueError: no such
        filter; UnknownSeriesError.
        """
    def anchor(self, filter_id: int, symbol: str) -> int | None:
        """Open time of the first row a filter was fed for a symbol; None before the first.

        Steps it shares with older filters may have been fed earlier ones. Raises ValueError: no
        such filter; UnknownSeriesError.
        """
    def history(self, filter_id: int, symbol: str) -> int | None:
        """Open time of the newest row whose firings are not told, for it was there before; None
        if there was none. Raises ValueError: no such filter; UnknownSeriesError."""
    def unknown(self, filter_id: int | None = None) -> dict[Reason, int]:
        """Evaluations that were neither true nor false, by reason: of one filter, or of all held.

        Raises ValueError: no such filter.
        """
    @property
    def state_bytes(self) -> int:
        """Bytes that all filters and their checkpoints take together."""
    @property
    def step_count(self) -> int:
        """Steps computed, each for all filters that need it."""
    def counters(self) -> dict[str, int]:
        """``fired``, ``revised`` (of those), ``retracted``, ``incomplete`` firings; ``forgotten``:
        too old to be corrected; ``refused`` filters; ``started_anew``: a symbol's filters computed
        again, from a checkpoint or the oldest row in memory; ``compared_anew``: likewise those that
        compare symbols, which takes all symbols; ``checkpoints_left_out``: not made, for
        ``state_bytes_max`` had no room."""
