"""Another process's live market, read through its arena: whole copies only, whatever it writes."""

cimport cython
import os

from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memcpy

from klinecore.arena cimport (
    SYMBOL_SIZE_MAX, ArenaHeader, Block, FormatTable, SymbolPlace, arena_fault, map_file,
    new_block,
)
from klinecore.frame cimport Framed
from klinecore.merge cimport (
    SeriesHeader, SeriesMemory, series_open, series_size, series_slots,
)
from klinecore.sequence cimport sequence_read, sequence_still
from klinecore.series cimport Series, new_series
from klinecore.ticker cimport TICKER_TEXT_MAX, TICKER_TEXTS, TickerRecord, ticker_fields

from klinecore.errors import ArenaError, TornReadError, UnknownSeriesError
from klinecore.interval import INTERVAL_MS
from klinecore.markup import market_table

__all__ = ["ATTEMPTS_MAX", "AttachedMarket", "AttachedSeries", "attach"]

cdef extern from "sched.h" nogil:
    int sched_yield()

cdef extern from "unistd.h" nogil:
    int usleep(unsigned int microseconds)

cdef enum:
    ATTEMPTS = 200          # reads before giving up; about 10 ms in all if the writer is dead
    SPINS = 32              # of them at once: a write takes far less than a microsecond
    YIELDS = 64             # then after letting others run, and the rest after a pause
    PAUSE_US = 50
    CAPACITY_MAX = 100000

#: Reads of a series, or of the directory, before ``TornReadError``.
ATTEMPTS_MAX = ATTEMPTS


cdef int _copy_whole(
    const uint64_t* sequence, const char* source, char* target, uint64_t size
) noexcept nogil:
    """Copy what a sequence guards; returns how often that failed, ``ATTEMPTS`` for always."""
    cdef int failed
    cdef uint64_t seen
    for failed in range(ATTEMPTS):
        seen = sequence_read(sequence)
        if not seen & 1:
            memcpy(target, source, size)
            if sequence_still(sequence, seen):
                return failed
        if failed >= SPINS + YIELDS:
            usleep(PAUSE_US)
        elif failed >= SPINS:
            sched_yield()
    return ATTEMPTS


def attach(path):
    """Map the live market another process keeps in ``path``, read-only.

    Costs no copy and no memory but what is read. The writer knows nothing of it and is never
    held up. The mapping lasts as long as the market or anything read from it.

    Raises
    ------
    OSError: the file cannot be opened.
    ArenaError: it is no arena this library reads, or is damaged.
    """
    return AttachedMarket(os.fspath(path))


@cython.final
cdef class AttachedMarket:
    """A market of another process, as ``attach`` gives it; reads like a ``Market``.

    Symbols come and go as they do there. One object belongs to one thread.
    """

    cdef readonly str path
    cdef readonly tuple intervals
    cdef readonly int capacity
    cdef readonly uint64_t retries
    cdef Block _file
    cdef ArenaHeader* _header
    cdef tuple _identity
    cdef Block _directory
    cdef uint64_t _directory_sequence
    cdef dict _places                   # symbol -> place, as of _directory_sequence

    def __cinit__(self, str path):
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            status = os.fstat(descriptor)
            if status.st_size == 0:
                raise ArenaError(path, "no arena")
            self._file = map_file(descriptor, status.st_size)
        finally:
            os.close(descriptor)
        self.path = path
        self._identity = status.st_dev, status.st_ino
        self._header = <ArenaHeader*>self._file.data
        fault = arena_fault(self._file.data, self._file.size)
        if fault is None and (
            not 1 <= self._header.capacity <= CAPACITY_MAX
            or self._header.slots != series_slots(self._header.capacity)
            or self._header.series_stride != series_size(self._header.slots)
            or self._header.ticker_stride != sizeof(TickerRecord)
        ):
            fault = "its series and tickers are laid out in another way"
        if fault is not None:
            raise ArenaError(path, fault)
        self.capacity = self._header.capacity
        self.intervals = tuple(
            self._header.intervals[i][:8].rstrip(b"\0").decode()
            for i in range(<int>self._header.interval_count)
        )
        for name in self.intervals:
            if name not in INTERVAL_MS:
                raise ArenaError(path, f"it has an interval {name!r} that is none")
        self._directory = new_block(self._header.symbols_max * sizeof(SymbolPlace), None)
        self._directory_sequence = ~<uint64_t>0     # nothing is read yet
        self._places = {}

    cdef dict _read_directory(self):
        """Symbols of live places; the same dict as long as nothing has changed."""
        cdef SymbolPlace* place = <SymbolPlace*>self._directory.data
        cdef uint64_t seen = sequence_read(&self._header.directory_sequence)
        cdef int failed
        cdef uint32_t i
        if seen == self._directory_sequence:
            return self._places
        with nogil:
            failed = _copy_whole(
                &self._header.directory_sequence, self._file.data + self._header.directory_offset,
                self._directory.data, self._directory.size
            )
        self.retries += failed
        if failed == ATTEMPTS:
            raise TornReadError(
                "the symbols", ATTEMPTS, writing=self._header.directory_sequence & 1
            )
        self._places = {}
        for i in range(self._header.symbols_max):
            if place[i].live and place[i].size <= SYMBOL_SIZE_MAX:
                self._places[place[i].name[:place[i].size].decode(errors="replace")] = i
        # Of the moment before the copy: if it has moved since, the next look copies again.
        self._directory_sequence = seen
        return self._places

    @property
    def symbols(self):
        """Symbols held now, by place."""
        return tuple(self._read_directory())

    @property
    def heartbeat_ms(self):
        """When the writer last said that it lives, ms UTC; 0 never."""
        return self._header.heartbeat_ms

    @property
    def replaced(self):
        """True when the path leads elsewhere, or nowhere: the writer started anew, or ended."""
        try:
            status = os.stat(self.path)
        except FileNotFoundError:
            return True
        return (status.st_dev, status.st_ino) != self._identity

    def __getitem__(self, key):
        symbol, interval = key
        places = self._read_directory()
        if symbol not in places:
            symbol = symbol.upper()
        if symbol not in places:
            raise UnknownSeriesError("symbol", symbol, tuple(places))
        if interval not in self.intervals:
            raise UnknownSeriesError("interval", interval, self.intervals)
        return _open_series(self, symbol, interval, places[symbol])

    def ticker(self, symbol):
        """Newest ticker in the exchange's letters (``s c v q P h l E`` and what else was sent).

        None before the first. Raises UnknownSeriesError, TornReadError.
        """
        cdef SymbolPlace* entry
        cdef TickerRecord record
        cdef const char* source
        cdef uint32_t place
        cdef int failed
        places = self._read_directory()
        if symbol not in places:
            symbol = symbol.upper()
        if symbol not in places:
            raise UnknownSeriesError("symbol", symbol, tuple(places))
        place = places[symbol]
        entry = <SymbolPlace*>(self._file.data + self._header.directory_offset) + place
        source = self._file.data + self._header.ticker_offset + place * sizeof(TickerRecord)
        with nogil:
            failed = _copy_whole(
                <const uint64_t*>source, source, <char*>&record, sizeof(TickerRecord)
            )
        self.retries += failed
        # After the copy, never before: the place may change hands meanwhile.
        if sequence_read(&entry.generation) != (
            <SymbolPlace*>self._directory.data
        )[place].generation:
            raise UnknownSeriesError("symbol", symbol, self.symbols)
        if failed == ATTEMPTS:
            raise TornReadError(
                f"the ticker of {symbol}", ATTEMPTS,
                writing=sequence_read(<const uint64_t*>source) & 1
            )
        for i in range(TICKER_TEXTS):
            if record.texts[i].size > TICKER_TEXT_MAX:
                raise ArenaError(self.path, f"the ticker of {symbol} is damaged")
        return ticker_fields(&record, symbol)

    def __contains__(self, key):
        try:
            symbol, interval = key
            return interval in self.intervals and (
                symbol in self._read_directory() or symbol.upper() in self._places
            )
        except (TypeError, ValueError, AttributeError):
            return False

    def __iter__(self):
        for symbol in self.symbols:
            for interval in self.intervals:
                if (symbol, interval) in self:      # it may go while others are read
                    yield self[symbol, interval]

    def __len__(self):
        return len(self._read_directory()) * len(self.intervals)

    def __repr__(self):
        return (f"<AttachedMarket {self.path}: {len(self.symbols)} symbols, "
                f"{', '.join(self.intervals)}, {self.capacity} klines each>")

    def _repr_html_(self):
        return market_table(repr(self), self)


cdef bint _making = False


cdef AttachedSeries _open_series(AttachedMarket market, str symbol, str interval, uint32_t place):
    global _making
    cdef AttachedSeries series
    cdef SymbolPlace* entry = <SymbolPlace*>(
        market._file.data + market._header.directory_offset
    ) + place
    cdef uint64_t index = <uint64_t>place * len(market.intervals) + market.intervals.index(interval)
    _making = True
    series = AttachedSeries.__new__(AttachedSeries)
    _making = False
    series.symbol = symbol
    series.interval = interval
    series._market = market
    series._place = entry
    series._generation = (<SymbolPlace*>market._directory.data)[place].generation
    series._block = (
        market._file.data + market._header.series_offset + index * market._header.series_stride
    )
    return series


@cython.final
cdef class AttachedSeries(Framed):
    """A series of another process's market: every read is a whole copy as of one moment.

    Reads of an unchanged series share the copy; arrays are read-only and never change. Two reads
    may see two moments: ``read()`` once, where columns must fit each other.

    Every read raises TornReadError: no whole copy was to be had. UnknownSeriesError: the symbol is
    held no longer; another symbol's rows are never shown.
    """

    cdef readonly str symbol
    cdef readonly str interval
    cdef AttachedMarket _market
    cdef SymbolPlace* _place
    cdef uint64_t _generation
    cdef char* _block
    cdef Series _copy                   # the last one read

    def __cinit__(self):
        if not _making:
            raise TypeError("an AttachedSeries belongs to a market: market[symbol, interval]")

    cdef int _check_place(self) except -1:
        """After a copy, never before: the place may change hands meanwhile."""
        if sequence_read(&self._place.generation) != self._generation:
            raise UnknownSeriesError("symbol", self.symbol, self._market.symbols)
        return 0

    cdef Series _read(self):
        cdef ArenaHeader* arena = self._market._header
        cdef SeriesHeader* header
        cdef SeriesMemory memory
        cdef Block block
        cdef int failed
        cdef uint64_t seen = sequence_read(<uint64_t*>self._block)
        if self._copy is not None and seen == self._copy.memory.header.sequence:
            self._check_place()
            return self._copy
        block = new_block(arena.series_stride, self._market._file)
        with nogil:
            failed = _copy_whole(
                <uint64_t*>self._block, self._block, block.data, arena.series_stride
            )
        self._market.retries += failed
        self._check_place()
        if failed == ATTEMPTS:
            raise TornReadError(
                f"{self.symbol} {self.interval}", ATTEMPTS,
                writing=sequence_read(<uint64_t*>self._block) & 1
            )
        header = <SeriesHeader*>block.data
        if (
            header.count > arena.capacity
            or header.has_forming > 1
            or <uint64_t>header.start + header.count + header.has_forming > arena.slots
        ):
            raise ArenaError(self._market.path, f"{self.symbol} {self.interval} is damaged")
        series_open(
            &memory, block.data, <FormatTable*>(self._market._file.data + arena.format_offset),
            arena.slots, arena.capacity, INTERVAL_MS[self.interval]
        )
        self._copy = new_series(block, memory, self.symbol, self.interval)
        return self._copy

    def read(self):
        """All of it as of one moment: a ``Series`` nobody writes to any more.

        O(capacity), about 90 bytes a row; O(1) while nothing has changed.
        """
        return self._read()

    @property
    def capacity(self):
        """Closed klines a reader can see."""
        return self._market.capacity

    @property
    def sequence(self):
        """Moves by two on every write: a read since is worth while. Copies nothing."""
        cdef uint64_t sequence = sequence_read(<uint64_t*>self._block)
        self._check_place()
        return sequence

    @property
    def open_time_ms(self):
        """Opening times, ms UTC; int64, shape ``(n,)``, read-only."""
        return self._read().open_time_ms

    @property
    def open(self):
        """First prices; float64, shape ``(n,)``, read-only."""
        return self._read()._column(0)

    @property
    def high(self):
        """Highest prices; float64, shape ``(n,)``, read-only."""
        return self._read()._column(1)

    @property
    def low(self):
        """Lowest prices; float64, shape ``(n,)``, read-only."""
        return self._read()._column(2)

    @property
    def close(self):
        """Last prices; float64, shape ``(n,)``, read-only."""
        return self._read()._column(3)

    @property
    def volume(self):
        """Base asset volumes; float64, shape ``(n,)``, read-only."""
        return self._read()._column(4)

    @property
    def quote_volume(self):
        """Quote asset volumes; float64, shape ``(n,)``, read-only."""
        return self._read()._column(5)

    @property
    def taker_buy_base(self):
        """Base volumes bought by takers; float64, shape ``(n,)``, read-only."""
        return self._read()._column(6)

    @property
    def taker_buy_quote(self):
        """Quote volumes bought by takers; float64, shape ``(n,)``, read-only."""
        return self._read()._column(7)

    @property
    def trades(self):
        """Trade counts; float64, shape ``(n,)``, whole numbers, read-only."""
        return self._read()._column(8)

    @property
    def forming(self):
        """The kline the exchange may still revise; None without."""
        return self._read().forming

    @property
    def last(self):
        """The newest closed kline; None before the first."""
        return self._read().last

    @property
    def last_close_ms(self):
        """Close time of the newest closed kline; 0 before the first."""
        return self._read().last_close_ms

    @property
    def closed_count(self):
        """Klines ever closed there, also those that left the window since."""
        return self._read().closed_count

    @property
    def revision(self):
        """Moves when any closed row or its state changes."""
        return self._read().revision

    def __len__(self):
        return len(self._read())

    def __repr__(self):
        return f"<AttachedSeries {self.symbol} {self.interval} of {self._market.path}>"

    def columns(self):
        """All nine columns (``klinecore.COLUMNS``); float64, shape ``(9, n)``, read-only."""
        return self._read().columns()

    def snapshot(self):
        """``open_time_ms`` (int64) and the nine columns (float64) of one moment, writable."""
        return self._read().snapshot()

    def frame(self):
        """Closed rows as a ``Frame``; see ``Series.frame``."""
        return self._read().frame()

    def klines(self, limit=None, *, bint forming=False):
        """The newest ``limit`` closed rows (default all), oldest first, as the exchange's text.

        ``forming=True`` appends the forming row. Raises ValueError: ``limit`` below 1.
        """
        return self._read().klines(limit, forming=forming)
