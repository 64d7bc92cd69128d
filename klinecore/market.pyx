"""Every series and ticker of one market, in one block of memory, fed by exchange bytes."""

cimport cython
from libc.stdint cimport int64_t, uint32_t
from libc.stdlib cimport calloc, free
from libc.string cimport memset

from klinecore.arena cimport Arena
from klinecore.encode cimport (
    Scratch, encode_kline_tuples, encode_klines, encode_ticker, ticker_size, write_ticker,
)
from klinecore.events cimport EventKind, EventQueue, EventRecord
from klinecore.kline cimport NUMBER_COLUMNS, SOURCE_PUSH, VOLUME, KlineRow
from klinecore.names cimport SymbolTable
from klinecore.number cimport NUMBER_OK, NUMBER_UNREPRESENTABLE, Number, number_read, write_bytes
from klinecore.parsers.binance cimport (
    BOOK_TICKER, FRAME_KINDS, KLINE, MINI_TICKER,
    TICKER_ARRAY, Frame, FrameKind, letter_index, next_item, parse_message, slice_integer,
)
from klinecore.parsers.binance cimport TICKER as TICKER_FRAME
from klinecore.parsers.rest cimport next_kline, next_rest_ticker, open_array
from klinecore.merge cimport (
    APPENDED, BAD_TIME, DUPLICATE, INSERTED, MergeStatus, SeriesMemory, series_find,
    series_merge, series_open, series_size, series_slots,
)
from klinecore.merge cimport FORMING as FORMING_ROW
from klinecore.merge cimport REVISED as REVISED_ROW
from klinecore.merge cimport UNREPRESENTABLE as UNREPRESENTABLE_ROW
from klinecore.series cimport new_series
from klinecore.ticker cimport (
    TICKER_STALE, TICKER_STORED, TickerRecord, TickerStatus, integer_place, text_place,
    ticker_has, ticker_merge,
)

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
import json
from operator import index as index_of
from typing import NamedTuple

from klinecore import events as _events
from klinecore.errors import ParseError, UnknownSeriesError
from klinecore.parsers import binance as _binance
from klinecore.interval import INTERVAL_MS, INTERVALS, check_interval

__all__ = ["Event", "Market", "RowCounts"]

cdef enum:
    CAPACITY_MAX = 100000


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
    path : str, optional
        Put the memory in that file (in ``/dev/shm``: shared) instead of private memory.

    Raises
    ------
    ValueError: no or duplicate symbols or intervals, unknown interval, capacity out of range.
    """

    def __cinit__(self, symbols, intervals, capacity=500, *, path=None):
        self.symbols = _names(symbols, "symbol", lambda symbol: symbol.strip().upper())
        self.intervals = _names(intervals, "interval", check_interval)
        capacity = index_of(capacity)
        if not 1 <= capacity <= CAPACITY_MAX:
            raise ValueError(f"capacity must be 1..{CAPACITY_MAX} klines, not {capacity}")
        self.capacity = capacity
        self._interval_count = len(self.intervals)
        self._scratch = Scratch()
        self._map_names()
        self._map_memory(path)
        self._events = EventQueue(len(self.symbols) * self._interval_count, len(self.symbols))

    def __dealloc__(self):
        free(self._memory)
        free(self._tickers)

    def _map_names(self):
        """Fill the tables that lead from a name in a message to an index."""
        cdef int index
        self._interval_index = {interval: i for i, interval in enumerate(self.intervals)}
        self._symbol_index = {symbol: i for i, symbol in enumerate(self.symbols)}
        for index in range(16):
            self._interval_of[index] = self._interval_index.get(INTERVALS[index], -1)
        self._table = SymbolTable(self.symbols)
        quoted = [json.dumps(symbol, ensure_ascii=False) for symbol in self.symbols]
        self._json_names = [text[1:len(text) - 1].encode() for text in quoted]

    def _map_memory(self, path):
        """Reserve the arena and point every series and ticker at its place in it."""
        cdef uint32_t slots = series_slots(self.capacity)
        cdef Py_ssize_t symbol_index, interval_index, index
        self._arena = Arena(
            capacity=self.capacity, slots=slots, symbols_max=len(self.symbols),
            intervals=self.intervals, ticker_stride=sizeof(TickerRecord),
            series_stride=series_size(slots), path=path,
        )
        self._memory = <SeriesMemory*>_allocate(
            len(self.symbols) * self._interval_count, sizeof(SeriesMemory)
        )
        self._tickers = <TickerRecord**>_allocate(len(self.symbols), sizeof(TickerRecord*))
        self._series = {}
        for symbol_index, symbol in enumerate(self.symbols):
            self._arena.set_symbol(symbol_index, symbol)
            self._tickers[symbol_index] = <TickerRecord*>self._arena.ticker_at(symbol_index)
            for interval_index, interval in enumerate(self.intervals):
                index = symbol_index * self._interval_count + interval_index
                series_open(
                    &self._memory[index], self._arena.series_at(index), self._arena.formats, slots,
                    self.capacity, INTERVAL_MS[interval]
                )
                self._series[symbol, interval] = new_series(
                    self._arena, self._memory[index], symbol, interval
                )

    # --- writing -------------------------------------------------------------------------------

    cdef void _emit(self, uint32_t kind, uint32_t index, int64_t open_time_ms) noexcept:
        self._events.emit(kind, index, open_time_ms)
        self.has_events = True

    cdef MergeStatus merge_row(
        self, uint32_t series_index, const KlineRow* row, bint notify
    ) noexcept:
        """Merge a row into a series, count what was refused, and remember what to tell."""
        cdef MergeStatus status = series_merge(&self._memory[series_index], row)
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
        return status

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
        self.merge_row(symbol * self._interval_count + interval, &frame.row, True)

    cdef bint _apply_ticker(self, Frame* frame) noexcept:
        """Store one ticker message; False if it is not for us or too long."""
        cdef TickerStatus status
        cdef int64_t update_id = 0
        cdef int symbol = self._table.find(frame.symbol.data, frame.symbol.size)
        if symbol < 0:
            self._unknown_symbol += 1
            return False
        if frame.kind == BOOK_TICKER:
            update_id = slice_integer(&frame.fields[letter_index(c'u')])
        status = ticker_merge(
            self._tickers[symbol], frame.fields, frame.seen,
            slice_integer(&frame.fields[letter_index(c'E')]) if not update_id else 0,
            update_id, frame.kind == MINI_TICKER
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
        int64_t closed_before_ms, bint notify=True
    ):
        """Merge a REST klines answer. Rows whose close time is before ``closed_before_ms`` are
        closed; a later one is forming. ``notify=False`` emits no events (history).

        Raises ParseError: no array of kline tuples; rows before the fault are not stored either.
        UnknownSeriesError: this market does not hold the series.
        """
        cdef int index = self._series_of(symbol, interval)
        cdef const char* end = NULL
        cdef const char* start = NULL
        cdef const char* p
        cdef KlineRow row
        cdef MergeStatus merged
        cdef int64_t first = 0
        cdef int status, rows = 0, changed = 0, refused = 0
        if body.shape[0]:
            end = <const char*>&body[0] + body.shape[0]
            start = open_array(<const char*>&body[0], end)
        if start == NULL:
            raise ParseError(f"expected a JSON array of klines, received {bytes(body[:60])!r}")
        p = start
        while True:         # check the whole body before the first row is stored
            status = next_kline(&p, end, &row)
            if status == 0:
                break
            if status == -1:
                raise ParseError(f"element {rows} of the klines answer is no kline tuple")
            rows += 1
        p = start
        while True:
            status = next_kline(&p, end, &row)
            if status == 0:
                break
            first = first or row.open_time_ms
            if status < 0:
                self._unrepresentable += 1
                refused += 1
                continue
            row.closed = row.close_time_ms < closed_before_ms
            merged = self.merge_row(index, &row, notify)
            if merged == BAD_TIME or merged == UNREPRESENTABLE_ROW:
                refused += 1
            elif merged < DUPLICATE:
                changed += 1
        return RowCounts(rows, changed, refused, first, row.open_time_ms if rows else 0)

    def apply_tickers(self, const unsigned char[::1] body not None):
        """Merge a REST ``ticker/24hr`` answer, FULL form, object or array; returns tickers stored.

        Raises ParseError: no such answer; tickers before the fault are not stored either.
        """
        cdef bytes array
        cdef const char* start
        cdef const char* end
        cdef const char* p
        cdef Frame frame
        cdef int status, seen = 0, stored = 0
        array = bytes(body).strip()
        if array.startswith(b"{"):
            array = b"[" + array + b"]"
        end = PyBytes_AS_STRING(array) + PyBytes_GET_SIZE(array)
        start = open_array(PyBytes_AS_STRING(array), end)
        if start == NULL:
            raise ParseError(f"expected ticker/24hr as JSON, received {array[:60]!r}")
        p = start
        while True:
            status = next_rest_ticker(&p, end, &frame)
            if status == 0:
                break
            if status < 0:
                raise ParseError(f"element {seen} of the answer is no FULL 24 h ticker")
            seen += 1
        p = start
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
        return self.merge_row(index, &parsed, True)

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
                events.append(Event(EVENT_KIND[0], self.symbols[record.index], "", 0))
                continue
            open_time_ms = record.open_time_ms
            if record.kind == EventKind.FORMING:
                memory = &self._memory[record.index]
                if not memory.header.has_forming:
                    continue        # it closed meanwhile, and that is told
                open_time_ms = memory.open_time_ms[memory.header.start + memory.header.count]
            events.append(Event(
                EVENT_KIND[record.kind], self.symbols[record.index // self._interval_count],
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
            unrepresentable=self._unrepresentable,
            ticker_stale=self._ticker_stale,
            events_lost=self._events.lost,
        )
        return counts

    # --- reading -------------------------------------------------------------------------------

    cdef int _series_of(self, symbol, interval) except -1:
        symbol_index = self._symbol_index.get(symbol)
        if symbol_index is None:
            symbol_index = self._symbol_index.get(symbol.upper())
        if symbol_index is None:
            raise UnknownSeriesError("symbol", symbol, self.symbols)
        interval_index = self._interval_index.get(interval)
        if interval_index is None:
            raise UnknownSeriesError("interval", interval, self.intervals)
        return <int>symbol_index * self._interval_count + <int>interval_index

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

    cdef tuple _slots(self, const SeriesMemory* series, limit, start_ms, end_ms):
        """Slots ``first, last`` of the rows asked for: from ``start_ms`` on the oldest ``limit``
        ones, without it the newest."""
        cdef uint32_t first = series.header.start
        cdef uint32_t last = first + series.header.count
        if limit < 1:
            raise ValueError(f"limit must be at least 1, not {limit}")
        if start_ms is not None:
            first = series_find(series, min(max(start_ms, 0), 1 << 62))
        if end_ms is not None:
            last = max(first, series_find(series, min(max(end_ms + 1, 0), 1 << 62)))
        if last - first > limit:
            if start_ms is None:
                first = last - <uint32_t>limit
            else:
                last = first + <uint32_t>limit
        return first, last

    def klines_json(
        self, symbol, interval, limit, *, bint forming=False, start_ms=None, end_ms=None
    ):
        """``{"symbol","interval","klines":[{t,o,h,l,c,v,T,q,n,V,Q,x}],"count"}``, newest rows,
        ascending. With ``start_ms`` the oldest ``limit`` rows from there."""
        cdef int index = self._series_of(symbol, interval)
        cdef SeriesMemory* series = &self._memory[index]
        first, last = self._slots(series, limit, start_ms, end_ms)
        return encode_klines(
            self._scratch, series, self._json_names[index // self._interval_count],
            interval.encode(), first, last, forming and self._live(series, last, start_ms, end_ms)
        )

    def klines_array_json(
        self, symbol, interval, limit, *, bint forming=False, start_ms=None, end_ms=None
    ):
        """The same rows as Binance's REST array of 12-tuples."""
        cdef SeriesMemory* series = &self._memory[self._series_of(symbol, interval)]
        first, last = self._slots(series, limit, start_ms, end_ms)
        return encode_kline_tuples(
            self._scratch, series, first, last,
            forming and self._live(series, last, start_ms, end_ms)
        )

    def ticker(self, symbol):
        """Newest ticker in the exchange's letters (``s c v q P h l E`` and what else was sent).

        None before the first. Raises UnknownSeriesError.
        """
        cdef TickerRecord* record = self._tickers[self._symbol(symbol)]
        cdef int place
        if not record.seen:
            return None
        fields = {"s": self.symbols[self._symbol(symbol)], "E": record.event_time_ms}
        for letter in "pPwxcQbBaAohlvq":
            if ticker_has(record, <char>ord(letter)):
                place = text_place(<char>ord(letter))
                fields[letter] = record.texts[place].text[:record.texts[place].size].decode("ascii")
        for letter in "OCFLn":
            if ticker_has(record, <char>ord(letter)):
                fields[letter] = record.integers[integer_place(<char>ord(letter))]
        return fields

    def ticker_json(self, symbol):
        """``{"s","c","v","q","P","h","l","t"}``; None before the first ticker."""
        cdef Py_ssize_t index = self._symbol(symbol)
        cdef TickerRecord* record = self._tickers[index]
        if not ticker_has(record, c'c'):
            return None
        return encode_ticker(self._scratch, record, self._json_names[index])

    def tickers_json(self):
        """``{"<SYMBOL>": <ticker>, ...}`` of every symbol that has one."""
        cdef Py_ssize_t index, size = 2
        cdef bytes name
        cdef char* data
        cdef char* end
        cdef char* p
        cdef bint first = True
        for name in self._json_names:
            size += ticker_size(name) + PyBytes_GET_SIZE(name) + 8
        data = self._scratch.reserve(size)
        end = data + size
        p = write_bytes(end, b"}", 1)
        for index in range(len(self.symbols) - 1, -1, -1):
            if not ticker_has(self._tickers[index], c'c'):
                continue
            if not first:
                p = write_bytes(p, b",", 1)
            first = False
            name = self._json_names[index]
            p = write_ticker(p, self._tickers[index], name)
            p = write_bytes(p, b'":', 2)
            p = write_bytes(p, PyBytes_AS_STRING(name), PyBytes_GET_SIZE(name))
            p = write_bytes(p, b'"', 1)
        p = write_bytes(p, b"{", 1)
        return PyBytes_FromStringAndSize(p, end - p)

    cdef Py_ssize_t _symbol(self, symbol) except -1:
        index = self._symbol_index.get(symbol)
        if index is None:
            index = self._symbol_index.get(symbol.upper())
        if index is None:
            raise UnknownSeriesError("symbol", symbol, self.symbols)
        return index

    cdef bint _live(self, const SeriesMemory* series, last, start_ms, end_ms):
        """True if the forming row belongs behind slot ``last``."""
        cdef uint32_t end = series.header.start + series.header.count
        if not series.header.has_forming or last != end:
            return False
        return (
            (start_ms is None or series.open_time_ms[end] >= start_ms)
            and (end_ms is None or series.open_time_ms[end] <= end_ms)
        )


cdef void* _allocate(size_t count, size_t size) except NULL:
    """Zeroed memory for the life of a market."""
    cdef void* memory = calloc(count if count else 1, size)
    if memory == NULL:
        raise MemoryError(f"no {count * size} bytes for a table of the market")
    return memory
