"""Every series and ticker of one market, in one block of memory, fed by exchange bytes."""

cimport cython
from libc.stdint cimport int64_t, uint32_t
from libc.stdlib cimport calloc, free
from libc.string cimport memset

from klinecore.arena cimport Arena
from klinecore.barrier cimport new_barriers
from klinecore.encode cimport (
    Scratch, asked_rows, asks_forming, encode_kline_tuples, encode_klines, encode_ticker,
    encode_ticker_frame, encode_tickers,
)
from klinecore.events cimport EventKind, EventQueue, EventRecord
from klinecore.kline cimport NUMBER_COLUMNS, SOURCE_PUSH, VOLUME, KlineRow
from klinecore.names cimport SymbolTable
from klinecore.number cimport NUMBER_OK, NUMBER_UNREPRESENTABLE, Number, number_read
from klinecore.parsers.binance cimport (
    BOOK_TICKER, FRAME_KINDS, KLINE, MINI_TICKER,
    TICKER_ARRAY, Frame, FrameKind, letter_index, next_item, parse_message, slice_integer,
)
from klinecore.parsers.binance cimport TICKER as TICKER_FRAME
from klinecore.parsers.rest cimport next_kline, next_rest_ticker, open_klines, open_tickers
from klinecore.merge cimport (
    APPENDED, BAD_TIME, DUPLICATE, INSERTED, STALE, MergeStatus, SeriesHeader, SeriesMemory,
    series_clear, series_correct, series_last_open, series_merge, series_open,
    series_size, series_slots,
)
from klinecore.merge cimport FORMING as FORMING_ROW
from klinecore.merge cimport REVISED as REVISED_ROW
from klinecore.merge cimport UNREPRESENTABLE as UNREPRESENTABLE_ROW
from klinecore.series cimport new_series, series_detach
from klinecore.states cimport series_confirm_absent
from klinecore.ticker cimport (
    TICKER_STALE, TICKER_STORED, TickerRecord, TickerStatus, ticker_clear, ticker_fields,
    ticker_merge,
)

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from collections import deque
import json
from operator import index as index_of
from typing import NamedTuple

import numpy as np

from klinecore import events as _events
from klinecore import interval as _calendar
from klinecore.errors import UnknownSeriesError
from klinecore.parsers import binance as _binance
from klinecore.interval import INTERVAL_MS, INTERVALS, check_interval
from klinecore.markup import market_table
from klinecore.names import symbol_bytes

__all__ = ["Event", "Market", "RowCounts"]

cdef enum:
    CAPACITY_MAX = 100000
    ROOM_MAX = 10000


# Members by value: the compiled enums become Python objects through a slow call.
cdef tuple FRAME_KIND = tuple(_binance.FrameKind)
cdef tuple EVENT_KIND = tuple(_events.EventKind)


class Event(NamedTuple):
    """One thing that happened since the last ``drain``."""

    kind: object
    symbol: str
    interval: str
    open_time_ms: int


class RowCounts(NamedTuple):
    """What a REST answer did to its series."""

    rows: int
    changed: int
    refused: int
    first_open_ms: int
    last_open_ms: int
    disputed: tuple = ()


def _names(values, what, read):
    if isinstance(values, str):
        raise ValueError(f"expected a list of {what}s, received the text {values!r}")
    names = tuple(map(read, values))
    if not names:
        raise ValueError(f"a market needs at least one {what}")
    if len(set(names)) != len(names):
        twice = sorted({name for name in names if names.count(name) > 1})
        raise ValueError(f"{what} given twice: {', '.join(twice[:5])}")
    return names


@cython.final
cdef class Market:
    """Every series and ticker of one market, in one block of memory, fed by exchange bytes.

    One thread writes. Reading in the same thread needs no care.

    Parameters
    ----------
    symbols : iterable of str
        Exchange symbols; upper-cased. At most 64 bytes of UTF-8 each.
    intervals : iterable of str
        Names of ``klinecore.INTERVALS``.
    capacity : int, 1..100000
        Closed klines kept per series.
    room : int, 0..10000
        Symbols that can be added later; each takes its memory from the start.
    path : str, optional
        Put the memory in that file (in ``/dev/shm``: shared) instead of private memory.

    Raises
    ------
    ValueError: no or duplicate symbols or intervals, unknown interval, capacity or room out of
    range.

    Attributes
    ----------
    symbols : tuple of str
        In the order they were added.
    horizon_ms : int
        Rows and tickers of a later time are refused (counted: ``future``). 0: none.
    """

    def __cinit__(self, symbols, intervals, capacity=500, *, room=0, path=None):
        cdef uint32_t place_count
        names = _names(symbols, "symbol", lambda symbol: symbol.strip().upper())
        self.intervals = _names(intervals, "interval", check_interval)
        capacity = index_of(capacity)
        if not 1 <= capacity <= CAPACITY_MAX:
            raise ValueError(f"capacity must be 1..{CAPACITY_MAX} klines, not {capacity}")
        room = index_of(room)
        if not 0 <= room <= ROOM_MAX:
            raise ValueError(f"room must be 0..{ROOM_MAX} symbols, not {room}")
        self.capacity = capacity
        place_count = len(names) + room
        self._interval_count = len(self.intervals)
        self._interval_index = {interval: i for i, interval in enumerate(self.intervals)}
        for index in range(16):
            self._interval_of[index] = self._interval_index.get(INTERVALS[index], -1)
        self._scratch = Scratch()
        self._table = SymbolTable(place_count)
        self._map_memory(place_count, path)
        self._events = EventQueue(place_count * self._interval_count, place_count)
        self._barriers = new_barriers(
            self._events, self._memory, self._interval_count, place_count
        )
        self.symbols = ()
        self._series = {}
        self._places = {}
        self._names = [None] * place_count
        self._json_names = [b""] * place_count
        self._free_places = deque(range(place_count))
        for symbol in names:
            self._take_place(symbol, symbol_bytes(symbol))
        self.symbols = names

    def __dealloc__(self):
        free(self._memory)
        free(self._tickers)

    cdef _map_memory(self, uint32_t place_count, path):
        """Reserve the arena and point every series and ticker at its place in it."""
        cdef uint32_t slots = series_slots(self.capacity)
        cdef uint32_t place, index
        self._arena = Arena(
            capacity=self.capacity, slots=slots, symbols_max=place_count,
            intervals=self.intervals, ticker_stride=sizeof(TickerRecord),
            series_stride=series_size(slots), path=path,
        )
        self._memory = <SeriesMemory*>_allocate(
            place_count * self._interval_count, sizeof(SeriesMemory)
        )
        self._tickers = <TickerRecord**>_allocate(place_count, sizeof(TickerRecord*))
        for place in range(place_count):
            self._tickers[place] = <TickerRecord*>self._arena.ticker_at(place)
        for index in range(place_count * self._interval_count):
            series_open(
                &self._memory[index], self._arena.series_at(index), self._arena.formats, slots,
                self.capacity, INTERVAL_MS[self.intervals[index % self._interval_count]]
            )

    # --- symbols -------------------------------------------------------------------------------

    cdef _take_place(self, str symbol, bytes name):
        """Give a symbol the place that has been free for longest."""
        cdef uint32_t place = self._free_places.popleft()
        cdef uint32_t index = place * self._interval_count
        self._places[symbol] = place
        self._names[place] = symbol
        quoted = json.dumps(symbol, ensure_ascii=False)
        self._json_names[place] = quoted[1:len(quoted) - 1].encode()
        for interval in self.intervals:
            self._series[symbol, interval] = new_series(
                self._arena, self._memory[index], symbol, interval
            )
            index += 1
        self._table.set_name(place, name)
        self._arena.set_symbol(place, symbol)
        self._barriers.expect(place)

    def add_symbol(self, symbol):
        """Hold one more symbol, in every interval, from now on; upper-cased.

        O(symbols). Open barriers wait for it too. Raises ValueError: it is held already, has not
        1..64 bytes, or the ``room`` the market was made with is used up.
        """
        cdef uint32_t place
        cdef int i
        symbol = symbol.strip().upper()
        name = symbol_bytes(symbol)
        if symbol in self._places:
            raise ValueError(f"{symbol} is held already")
        if not self._free_places:
            raise ValueError(f"no room for {symbol}: {len(self._names)} symbols is all")
        place = self._free_places[0]
        for i in range(self._interval_count):
            series_clear(
                &self._memory[place * self._interval_count + i], self._sequence_floor,
                self._revision_floor
            )
        self._take_place(symbol, name)
        self.symbols = tuple(self._places)

    def remove_symbol(self, symbol):
        """Hold a symbol no longer: its rows, its ticker and what was to be told of them are gone.

        O(symbols). Its ``Series`` become empty for ever; NumPy views taken of them before show
        whatever the place holds next, so copy what must stay. No barrier waits for it. Raises
        ValueError: it is not held.
        """
        cdef SeriesHeader* header
        cdef uint32_t place, index
        cdef int i
        symbol = symbol.strip().upper()
        if symbol not in self._places:
            raise ValueError(f"{symbol} is not held: there is nothing to remove")
        place = self._places.pop(symbol)
        self.symbols = tuple(self._places)
        self._table.clear_name(place)
        self._arena.set_symbol(place, None)     # first: a reader elsewhere must not see it cleared
        self._barriers.dismiss(place)
        self._events.forget(place, self._interval_count)
        self._notice()
        for i, interval in enumerate(self.intervals):
            series_detach(self._series.pop((symbol, interval)))
            index = place * self._interval_count + i
            header = self._memory[index].header
            # A cache that knows the symbol by these numbers must never find them again.
            self._sequence_floor = max(self._sequence_floor, header.sequence + 4)
            self._revision_floor = max(self._revision_floor, header.revision + 2)
            series_clear(&self._memory[index], 0, 0)
        ticker_clear(self._tickers[place])
        self._names[place] = None
        self._json_names[place] = b""
        self._free_places.append(place)

    # --- writing -------------------------------------------------------------------------------

    cdef void _emit(self, uint32_t kind, uint32_t index, int64_t open_time_ms) noexcept:
        self._events.emit(kind, index, open_time_ms)
        self.has_events = True

    cdef void _notice(self) noexcept:
        """Barriers tell of themselves; whoever drains must learn that there is something."""
        self.has_events = self._events.count > 0

    cdef MergeStatus merge_row(
        self, uint32_t series_index, const KlineRow* row, bint notify, bint correct
    ) noexcept:
        """Merge a row into a series, count what was refused, and remember what to tell."""
        cdef SeriesMemory* memory = &self._memory[series_index]
        cdef MergeStatus status
        cdef KlineRow timeless
        if self.horizon_ms and (
            row.open_time_ms > self.horizon_ms
            or (row.closed and row.close_time_ms > self.horizon_ms)
        ):
            self._future += 1
            return BAD_TIME
        if self.horizon_ms and row.event_time_ms > self.horizon_ms:
            self._event_future += 1     # the series would look fresh until then
            timeless, row = row[0], &timeless
            timeless.event_time_ms = 0
        status = series_correct(memory, row) if correct else series_merge(memory, row)
        if status == BAD_TIME:
            self._bad_time += 1
        elif status == UNREPRESENTABLE_ROW:
            self._unrepresentable += 1
        elif notify:
            if status == APPENDED:
                self._emit(EventKind.CLOSED, series_index, row.open_time_ms)
            elif status == INSERTED:
                self._emit(EventKind.FILLED, series_index, row.open_time_ms)
            elif status == REVISED_ROW:
                self._emit(EventKind.REVISED, series_index, row.open_time_ms)
            elif status == FORMING_ROW:
                self._emit(EventKind.FORMING, series_index, row.open_time_ms)
        if status <= INSERTED:
            self._row_closed(series_index, row.open_time_ms)
        return status

    cdef void _row_closed(self, uint32_t series_index, int64_t open_time_ms) noexcept:
        cdef uint32_t interval = series_index % self._interval_count
        if self._barriers.records[interval].open_time_ms == open_time_ms:
            self._barriers.row_closed(interval, series_index // self._interval_count)
            self._notice()

    cdef void _apply_kline(self, Frame* frame) noexcept:
        cdef int interval = self._interval_of[frame.interval] if frame.interval >= 0 else -1
        cdef int symbol
        if interval < 0:
            self._unknown_interval += 1
            return
        symbol = self._table.find(frame.symbol.data, frame.symbol.size)
        if symbol < 0:
            self._unknown_symbol += 1
            return
        self.merge_row(symbol * self._interval_count + interval, &frame.row, True, False)

    cdef bint _apply_ticker(self, Frame* frame) noexcept:
        """Store one ticker message; False if it is not for us or too long."""
        cdef TickerStatus status
        cdef int64_t event_ms, update_id = 0
        cdef int symbol = self._table.find(frame.symbol.data, frame.symbol.size)
        if symbol < 0:
            self._unknown_symbol += 1
            return False
        if frame.kind == BOOK_TICKER:
            update_id = slice_integer(&frame.fields[letter_index(c'u')])
        event_ms = 0 if update_id else slice_integer(&frame.fields[letter_index(c'E')])
        if self.horizon_ms and event_ms > self.horizon_ms:
            self._future += 1       # the newest time wins: it would shut out all others till then
            return False
        status = ticker_merge(
            self._tickers[symbol], frame.fields, frame.seen, event_ms, update_id,
            frame.kind == MINI_TICKER
        )
        if status == TICKER_STORED:
            self._emit(EventKind.TICKER, symbol, 0)
        elif status == TICKER_STALE:
            self._ticker_stale += 1
        else:
            self._unrepresentable += 1
        return status == TICKER_STORED

    cdef int apply_bytes(self, const char* data, Py_ssize_t size) noexcept:
        """``apply`` for C callers: reads the bytes where they are, keeps nothing of them."""
        cdef Frame frame
        cdef FrameKind kind = parse_message(data, size, &frame)
        self._frames[<int>kind] += 1
        if kind == KLINE:
            self._apply_kline(&frame)
        elif kind == TICKER_FRAME or kind == MINI_TICKER or kind == BOOK_TICKER:
            self._apply_ticker(&frame)
        elif kind == TICKER_ARRAY:
            while next_item(&frame) == 1:
                self._apply_ticker(&frame)
        return kind

    def apply(self, frame) -> FrameKind:
        """Read one WebSocket message and store what it says. Never raises on bad bytes."""
        cdef Py_buffer data
        cdef int kind
        PyObject_GetBuffer(frame, &data, PyBUF_SIMPLE)
        kind = self.apply_bytes(<const char*>data.buf, data.len)
        PyBuffer_Release(&data)
        return FRAME_KIND[kind]

    def apply_klines(
        self, symbol, interval, const unsigned char[::1] body not None, *,
        int64_t closed_before_ms, bint notify=True, int64_t told_from_ms=0, bint correct=False
    ):
        """Merge a REST klines answer. Rows whose close time is before ``closed_before_ms`` are
        closed; a later one is forming. ``notify=False`` emits no events (history), but barriers
        count its rows; ``told_from_ms`` emits those of rows that closed then or later alone.
        ``correct=True`` lets its closed rows replace others of any rank.

        Raises ParseError: no array of kline tuples; rows before the fault are not stored either.
        UnknownSeriesError: this market does not hold the series.
        """
        cdef int index = self._series_of(symbol, interval)
        cdef const char* p = <const char*>&body[0] if body.shape[0] else NULL
        cdef const char* end = p + body.shape[0]
        cdef KlineRow row
        cdef MergeStatus merged
        cdef int64_t first = 0
        cdef int status, news, rows = 0, changed = 0, refused = 0
        cdef list disputed = []
        p = open_klines(p, end)
        while True:
            status = next_kline(&p, end, &row)
            if status == 0:
                break
            rows += 1
            first = first or row.open_time_ms
            if status < 0:
                self._unrepresentable += 1
                refused += 1
                continue
            row.closed = row.close_time_ms < closed_before_ms
            news = told_from_ms == 0 or (row.closed and row.close_time_ms >= told_from_ms)
            merged = self.merge_row(index, &row, notify and news, correct)
            if merged == BAD_TIME or merged == UNREPRESENTABLE_ROW:
                refused += 1
            elif merged < DUPLICATE:
                changed += 1
            elif merged == STALE and row.closed:
                disputed.append(row.open_time_ms)
        return RowCounts(
            rows, changed, refused, first, row.open_time_ms if rows else 0, tuple(disputed)
        )

    def apply_tickers(self, const unsigned char[::1] body not None):
        """Merge a REST ``ticker/24hr`` answer, FULL form, object or array; returns tickers stored.

        Raises ParseError: no such answer; tickers before the fault are not stored either.
        """
        cdef bytes array = bytes(body).strip()
        cdef const char* end
        cdef const char* p
        cdef Frame frame
        cdef int stored = 0
        if array.startswith(b"{"):
            array = b"[" + array + b"]"
        end = PyBytes_AS_STRING(array) + PyBytes_GET_SIZE(array)
        p = open_tickers(PyBytes_AS_STRING(array), end)
        while next_rest_ticker(&p, end, &frame) == 1:
            stored += self._apply_ticker(&frame)
        return stored

    def push(self, symbol, interval, row) -> MergeStatus:
        """Merge one row of text. Raises ValueError: text that is no plain decimal number."""
        cdef int index = self._series_of(symbol, interval)
        cdef KlineRow parsed
        cdef Number number
        cdef const char* after
        cdef bytes text
        cdef int column, status = NUMBER_OK
        memset(&parsed, 0, sizeof(KlineRow))
        texts = (row.open, row.high, row.low, row.close, row.volume, row.quote_volume,
                 row.taker_buy_base, row.taker_buy_quote)
        for column in range(NUMBER_COLUMNS):
            text = texts[column].encode()
            after = number_read(
                PyBytes_AS_STRING(text), PyBytes_AS_STRING(text) + PyBytes_GET_SIZE(text),
                column >= VOLUME, &number, &status
            )
            if after != PyBytes_AS_STRING(text) + PyBytes_GET_SIZE(text):
                raise ValueError(
                    f"expected a plain decimal like '12.340', received {texts[column]!r}"
                )
            if status == NUMBER_UNREPRESENTABLE:
                self._unrepresentable += 1
                return UNREPRESENTABLE_ROW
            parsed.value[column] = number.value
            parsed.residual[column] = number.residual
            parsed.format[column] = number.format
        parsed.open_time_ms = row.open_time_ms
        parsed.close_time_ms = row.close_time_ms
        parsed.trades = index_of(row.trades)
        if parsed.trades < 0:
            raise ValueError(f"expected a count of trades, received {row.trades}")
        parsed.closed = row.closed
        parsed.source = SOURCE_PUSH
        return self.merge_row(index, &parsed, True, False)

    # --- events and counters -------------------------------------------------------------------

    @property
    def size(self):
        """Bytes of the arena."""
        return self._arena.size

    @property
    def heartbeat_ms(self):
        """What processes that attach see of this one's life: set it now and then, ms UTC."""
        return self._arena.heartbeat_ms

    @heartbeat_ms.setter
    def heartbeat_ms(self, int64_t time_ms):
        self._arena.heartbeat_ms = time_ms

    @property
    def pending(self):
        """False when ``drain`` would return nothing."""
        return self.has_events

    @property
    def urgent(self):
        """True when ``drain`` would tell of more than tickers and forming rows."""
        return self._events.urgent

    def drain(self):
        """Take all events since the last call, in order; tickers and forming rows conflated."""
        cdef EventRecord* record
        cdef SeriesMemory* memory
        cdef uint32_t i
        cdef int64_t open_time_ms
        cdef list events = []
        for i in range(self._events.count):
            record = &self._events.records[i]
            if record.kind == EventKind.TICKER:
                events.append(Event(EVENT_KIND[0], self._names[record.index], "", 0))
                continue
            if record.kind >= EventKind.BARRIER:
                events.append(Event(
                    EVENT_KIND[record.kind], "", self.intervals[record.index], record.open_time_ms
                ))
                continue
            open_time_ms = record.open_time_ms
            if record.kind == EventKind.FORMING:
                memory = &self._memory[record.index]
                if not memory.header.has_forming:
                    continue        # it closed meanwhile, and that is told
                open_time_ms = memory.open_time_ms[memory.header.start + memory.header.count]
            events.append(Event(
                EVENT_KIND[record.kind], self._names[record.index // self._interval_count],
                self.intervals[record.index % self._interval_count], open_time_ms
            ))
        self._events.clear()
        self.has_events = False
        return events

    def counters(self):
        """Frames by kind (``frames_kline``, ...) and everything that was refused, by reason."""
        cdef int index
        counts = {}
        for index in range(FRAME_KINDS):
            counts[f"frames_{FRAME_KIND[index].name.lower()}"] = self._frames[index]
        counts.update(
            unknown_symbol=self._unknown_symbol,
            unknown_interval=self._unknown_interval,
            bad_time=self._bad_time,
            future=self._future,
            event_future=self._event_future,
            unrepresentable=self._unrepresentable,
            ticker_stale=self._ticker_stale,
            events_lost=self._events.lost,
        )
        return counts

    # --- completeness --------------------------------------------------------------------------

    def confirm_absent(self, symbol, interval, int64_t first_ms, int64_t last_ms):
        """Note that the exchange has no klines in a stretch that ``holes`` names; tells of it.

        True if exactly this stretch was a hole. A row that comes after all takes its place.
        """
        cdef int index = self._series_of(symbol, interval)
        if not series_confirm_absent(&self._memory[index], first_ms, last_ms):
            return False
        self._emit(EventKind.ABSENT, index, first_ms)
        return True

    def event_times(self):
        """Newest event time merged of each series, 0 before the first; a new int64 array, shape
        ``(symbols, intervals)``, rows in the order of ``symbols``."""
        times = np.empty((len(self._places), self._interval_count), np.int64)
        cdef int64_t[:, ::1] view = times
        cdef Py_ssize_t row, place
        cdef int i
        for row, place in enumerate(self._places.values()):
            for i in range(self._interval_count):
                view[row, i] = self._memory[place * self._interval_count + i].header.last_event_ms
        return times

    def ticker_times(self):
        """Event time of each newest ticker, 0 before the first; a new int64 array, shape
        ``(symbols,)``. A bookTicker does not move it."""
        times = np.empty(len(self._places), np.int64)
        cdef int64_t[::1] view = times
        cdef Py_ssize_t row, place
        for row, place in enumerate(self._places.values()):
            view[row] = self._tickers[place].event_time_ms
        return times

    def last_open_times(self):
        """Open time of each newest closed kline, 0 before the first; a new int64 array, shape
        ``(symbols, intervals)``, rows in the order of ``symbols``."""
        times = np.empty((len(self._places), self._interval_count), np.int64)
        cdef int64_t[:, ::1] view = times
        cdef Py_ssize_t row, place
        cdef int i
        for row, place in enumerate(self._places.values()):
            for i in range(self._interval_count):
                view[row, i] = max(
                    series_last_open(&self._memory[place * self._interval_count + i]), 0
                )
        return times

    def missing_closes(self, interval, int64_t open_time_ms):
        """Expected symbols that hold no closed kline of that time, in the order of ``symbols``."""
        cdef int index = self._interval(interval)
        cdef Py_ssize_t place
        return [
            self._names[place] for place in self._places.values()
            if self._barriers.expected[place]
            and not self._barriers.holds(index, place, open_time_ms)
        ]

    def set_expected(self, symbol, bint expected):
        """Whether barriers wait for a symbol: True at first, False for one that is halted.

        Open barriers follow. One that has ended no longer names the symbol as missing, but waits
        for nobody anew. Raises UnknownSeriesError.
        """
        cdef Py_ssize_t place = self._symbol(symbol)
        if expected:
            self._barriers.expect(place)
        else:
            self._barriers.dismiss(place)
            self._notice()

    def begin_barrier(self, interval, int64_t open_time_ms):
        """Wait for the closes of the klines that opened then; those held already count.

        An older barrier of the interval that is still open ends. False, and nothing happens, if
        the last one was not older. O(symbols). Raises ValueError: a time before 1970.
        """
        if open_time_ms < 0:
            raise ValueError(f"expected an open time in ms since 1970, received {open_time_ms}")
        begun = self._barriers.begin(self._interval(interval), open_time_ms)
        self._notice()
        return begun

    def end_barrier(self, interval):
        """Wait no longer (the deadline): tells of the open barrier of an interval, if any."""
        self._barriers.end(self._interval(interval))
        self._notice()

    def barrier(self, interval):
        """The newest ``Barrier`` of an interval; None before the first. O(symbols)."""
        return self._barriers.view(self._interval(interval), interval, self._places)

    def coherent(self, intervals, int64_t boundary_ms):
        """True if every one of ``intervals`` that closes at this boundary has told its barrier.

        ``boundary_ms`` is the open time of the klines that follow. Raises UnknownSeriesError.
        """
        return all([
            self._barriers.told(self._interval(interval), boundary_ms)
            for interval in intervals
            if _calendar.open_time_ms(interval, boundary_ms) == boundary_ms
        ])

    # --- reading -------------------------------------------------------------------------------

    cdef int _series_of(self, symbol, interval) except -1:
        return <int>self._symbol(symbol) * self._interval_count + self._interval(interval)

    cdef Py_ssize_t _symbol(self, symbol) except -1:
        place = self._places.get(symbol)
        if place is None:
            place = self._places.get(symbol.upper())
        if place is None:
            raise UnknownSeriesError("symbol", symbol, self.symbols)
        return place

    cdef int _interval(self, interval) except -1:
        index = self._interval_index.get(interval)
        if index is None:
            raise UnknownSeriesError("interval", interval, self.intervals)
        return index

    def __getitem__(self, key):
        symbol, interval = key
        series = self._series.get(key)
        if series is None:
            self._series_of(symbol, interval)
            series = self._series[symbol.upper(), interval]
        return series

    def __contains__(self, key):
        try:
            symbol, interval = key
            return (symbol.upper(), interval) in self._series
        except (TypeError, ValueError, AttributeError):
            return False

    def __iter__(self):
        return iter(self._series.values())

    def __len__(self):
        return len(self._series)

    def __repr__(self):
        return (f"<Market of {len(self.symbols)} symbols, {', '.join(self.intervals)}, "
                f"{self.capacity} klines each>")

    def _repr_html_(self):
        return market_table(repr(self), self)

    def klines_json(
        self, symbol, interval, limit, *, bint forming=False, start_ms=None, end_ms=None
    ):
        """``{"symbol","interval","klines":[{t,o,h,l,c,v,T,q,n,V,Q,x}],"count"}``, newest rows,
        ascending. With ``start_ms`` the oldest ``limit`` rows from there."""
        cdef int index = self._series_of(symbol, interval)
        cdef SeriesMemory* series = &self._memory[index]
        first, last = asked_rows(series, limit, start_ms, end_ms)
        return encode_klines(
            self._scratch, series, self._json_names[index // self._interval_count],
            interval.encode(), first, last, forming and asks_forming(series, last, start_ms, end_ms)
        )

    def klines_array_json(
        self, symbol, interval, limit, *, bint forming=False, start_ms=None, end_ms=None
    ):
        """The same rows as Binance's REST array of 12-tuples."""
        cdef SeriesMemory* series = &self._memory[self._series_of(symbol, interval)]
        first, last = asked_rows(series, limit, start_ms, end_ms)
        return encode_kline_tuples(
            self._scratch, series, first, last,
            forming and asks_forming(series, last, start_ms, end_ms)
        )

    def ticker(self, symbol):
        """Newest ticker in the exchange's letters (``s c v q P h l E`` and what else was sent).

        None before the first. Raises UnknownSeriesError.
        """
        cdef Py_ssize_t place = self._symbol(symbol)
        return ticker_fields(self._tickers[place], self._names[place])

    def ticker_json(self, symbol):
        """``{"s","c","v","q","P","h","l","t"}``; None before the first ticker."""
        cdef Py_ssize_t index = self._symbol(symbol)
        return encode_ticker(self._scratch, self._tickers[index], self._json_names[index])

    def ticker_frame(self, symbol, *, bint mini=False):
        """The exchange's ``24hrTicker`` or ``24hrMiniTicker`` frame of the newest ticker.

        None if only bid and ask have come yet. Raises UnknownSeriesError.
        """
        cdef Py_ssize_t index = self._symbol(symbol)
        return encode_ticker_frame(
            self._scratch, self._tickers[index], self._json_names[index], mini
        )

    def tickers_json(self):
        """``{"<SYMBOL>": <ticker>, ...}`` of every symbol that has one."""
        return encode_tickers(
            self._scratch, self._tickers, list(self._places.values()), self._json_names
        )


cdef void* _allocate(size_t count, size_t size) except NULL:
    """Zeroed memory for the life of a market."""
    cdef void* memory = calloc(count if count else 1, size)
    if memory == NULL:
        raise MemoryError(f"no {count * size} bytes for a table of the market")
    return memory
