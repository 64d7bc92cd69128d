"""A market's closed rows as bytes that can be trusted or are refused: for a warm restart.

::

    prefix    magic "KLCSNAPS", version, byte order
    records   HEAD, SERIES (one each, those with rows), FORMATS, END; each is

              mark  kind  payload size  number     24 bytes
              payload                              padded to 8
              CRC-32 of both                       8 bytes

Columns are stored as the arena holds them, so that a restore is a copy. Every byte stands under a
checksum, END counts the records and the bytes and chains their checksums, nothing may follow it.
Forming rows are not kept: the stream brings the next state of a row that may have ended by then.
"""

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport int16_t, int64_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcmp, memcpy, memset

from klinecore.arena cimport (
    BYTE_ORDER_MARK, FORMAT_LIMIT, INTERVAL_SIZE_MAX, SYMBOL_SIZE_MAX, FormatTable, format_index,
)
from klinecore.columns cimport Columns, first_fault
from klinecore.kline cimport COLUMN_COUNT, RESIDUAL_COLUMNS
from klinecore.merge cimport (
    ABSENT_BIT, FORMAT_MASK, SeriesHeader, SeriesMemory, series_close_time,
)
from klinecore.sequence cimport sequence_begin, sequence_end
from klinecore.series cimport Series

import sys
from typing import NamedTuple
from zlib import crc32

from klinecore.errors import SnapshotError

__all__ = [
    "CHUNK_SIZE_MAX", "SnapshotContents", "SnapshotCounts", "encode", "read_contents", "restore",
]

#: Bytes ``encode`` yields at once, at most.
CHUNK_SIZE_MAX = 1 << 18

cdef enum:
    VERSION = 1
    PREFIX_SIZE = 16
    RECORD_MARK = 0x43455253        # "SREC"
    TRAILER_SIZE = 8
    PIECE_SIZE = (1 << 18) - TRAILER_SIZE       # a trailer always has room behind the last
    ROW_SIZE = 8 + 8 * COLUMN_COUNT + 2 * RESIDUAL_COLUMNS + 2
    LABEL_SIZE_MAX = 1024

cdef enum:
    HEAD = 1
    SERIES = 2
    FORMATS = 3
    END = 4


cdef struct RecordHead:
    uint32_t mark
    uint32_t kind
    uint64_t size                   # bytes of the payload
    uint64_t number                 # position among the records, from 0

cdef struct MarketEntry:            # HEAD; the label follows
    int64_t time_ms
    uint32_t capacity
    uint32_t label_size

cdef struct SeriesEntry:            # SERIES; symbol, interval and the columns follow
    uint64_t closed_count
    uint32_t count
    uint32_t symbol_size
    uint32_t interval_size
    uint32_t unused

cdef struct EndEntry:
    uint64_t records                # before this one
    uint64_t size                   # bytes before this record
    uint64_t chain                  # CRC-32 of the trailers before


class SnapshotCounts(NamedTuple):
    """What a restore took, in rows and series, and the moment the snapshot names."""

    series: int
    rows: int
    skipped: int
    time_ms: int


class SnapshotContents(NamedTuple):
    """What a snapshot holds: names in its order, and each series' newest open time, ms."""

    symbols: tuple[str, ...]
    intervals: tuple[str, ...]
    newest: dict[tuple[str, str], int]
    rows: int
    time_ms: int


cdef uint64_t _padded(uint64_t size) noexcept nogil:
    return (size + 7) & ~<uint64_t>7


# --- writing -----------------------------------------------------------------------------------


def encode(market, *, int64_t time_ms=0, str label=""):
    """Yield a snapshot of ``market`` as bytes of at most ``CHUNK_SIZE_MAX``, to be joined.

    The market may change between two chunks, also its symbols: each series is taken as it was at
    one moment, those of one snapshot at different ones. ``time_ms`` and ``label`` are kept as they
    are given; ``restore`` refuses a snapshot of another label.

    Raises ValueError: a label of more than 1,024 bytes of UTF-8.
    """
    cdef uint64_t number = 0, size = PREFIX_SIZE, pending = PREFIX_SIZE
    cdef uint32_t chain = 0
    cdef FormatTable* formats = NULL
    cdef bytes record, trailer
    cdef Py_ssize_t offset
    parts = [_prefix()]
    keys = [(symbol, interval) for symbol in market.symbols for interval in market.intervals]
    for key in (None, *keys, "formats", "end"):
        if key is None:
            record = _head(time_ms, market.capacity, label.encode())
        elif key == "formats":
            record = _formats(number, formats)
        elif key == "end":
            record = _end(number, size, chain)
        elif key in market:
            record = _series(number, market[key], &formats)
            if record is None:
                continue
        else:
            continue        # removed meanwhile
        trailer = (<uint64_t>crc32(record)).to_bytes(TRAILER_SIZE, sys.byteorder)
        chain = crc32(trailer, chain)
        number += 1
        size += PyBytes_GET_SIZE(record) + TRAILER_SIZE
        for offset in range(0, PyBytes_GET_SIZE(record), PIECE_SIZE):
            piece = record[offset:offset + PIECE_SIZE]
            if pending + len(piece) > PIECE_SIZE and pending:
                yield b"".join(parts)
                parts, pending = [], 0
            parts.append(piece)
            pending += len(piece)
        parts.append(trailer)
        pending += TRAILER_SIZE
    yield b"".join(parts)


cdef bytes _prefix():
    return b"KLCSNAPS" + (<uint32_t>VERSION).to_bytes(4, "little") + _order_mark()


cdef bytes _order_mark():
    cdef uint32_t mark = BYTE_ORDER_MARK
    return PyBytes_FromStringAndSize(<char*>&mark, 4)


cdef bytes _record(uint32_t kind, uint64_t number, uint64_t size):
    """A zeroed record of ``size`` bytes of payload, its head filled in."""
    cdef bytes record = PyBytes_FromStringAndSize(NULL, sizeof(RecordHead) + _padded(size))
    cdef RecordHead* head = <RecordHead*>PyBytes_AS_STRING(record)
    memset(head, 0, PyBytes_GET_SIZE(record))
    head.mark = RECORD_MARK
    head.kind = kind
    head.size = _padded(size)
    head.number = number
    return record


cdef char* _payload(bytes record) noexcept:
    return PyBytes_AS_STRING(record) + sizeof(RecordHead)


cdef bytes _head(int64_t time_ms, uint32_t capacity, bytes label):
    cdef bytes record
    cdef MarketEntry* entry
    if len(label) > LABEL_SIZE_MAX:
        raise ValueError(f"a label has at most {LABEL_SIZE_MAX} bytes, not {len(label)}")
    record = _record(HEAD, 0, sizeof(MarketEntry) + len(label))
    entry = <MarketEntry*>_payload(record)
    entry.time_ms = time_ms
    entry.capacity = capacity
    entry.label_size = len(label)
    memcpy(entry + 1, PyBytes_AS_STRING(label), len(label))
    return record


cdef bytes _series(uint64_t number, Series series, FormatTable** formats):
    """Record of a series; None without closed rows."""
    cdef SeriesMemory* memory = &series.memory
    cdef SeriesHeader* header = memory.header
    cdef bytes symbol = series.symbol.encode()
    cdef bytes interval = series.interval.encode()
    cdef uint64_t n = header.count
    cdef uint32_t start = header.start
    cdef bytes record
    cdef SeriesEntry* entry
    cdef char* p
    cdef int column
    formats[0] = memory.formats
    if not n:
        return None
    record = _record(
        SERIES, number,
        sizeof(SeriesEntry) + _padded(len(symbol)) + _padded(len(interval)) + n * ROW_SIZE
    )
    entry = <SeriesEntry*>_payload(record)
    entry.closed_count = header.closed_count
    entry.count = header.count
    entry.symbol_size = len(symbol)
    entry.interval_size = len(interval)
    p = <char*>(entry + 1)
    memcpy(p, PyBytes_AS_STRING(symbol), len(symbol))
    p += _padded(len(symbol))
    memcpy(p, PyBytes_AS_STRING(interval), len(interval))
    p += _padded(len(interval))
    memcpy(p, memory.open_time_ms + start, 8 * n)
    p += 8 * n
    for column in range(COLUMN_COUNT):
        memcpy(p, memory.values + column * memory.slots + start, 8 * n)
        p += 8 * n
    for column in range(RESIDUAL_COLUMNS):
        memcpy(p, memory.residuals + column * memory.slots + start, 2 * n)
        p += 2 * n
    memcpy(p, memory.tags + start, 2 * n)
    return record


cdef bytes _formats(uint64_t number, const FormatTable* formats):
    """Record of every format the rows before may name; written last, since the table grows."""
    cdef uint64_t count = 0 if formats == NULL else formats.count
    cdef bytes record = _record(FORMATS, number, 8 * count)
    if count:
        memcpy(_payload(record), formats.keys, 8 * count)
    return record


cdef bytes _end(uint64_t number, uint64_t size, uint64_t chain):
    cdef bytes record = _record(END, number, sizeof(EndEntry))
    cdef EndEntry* entry = <EndEntry*>_payload(record)
    entry.records = number
    entry.size = size
    entry.chain = chain
    return record


# --- reading -----------------------------------------------------------------------------------


def restore(market, data, *, str label=None, release=None):
    """Put a snapshot's rows into the series of ``market`` that hold none; nothing is emitted.

    All of it is verified before the first row is stored: a snapshot that is refused changes
    nothing. Of each series the newest rows that fit are taken. Rows of symbols and intervals this
    market has not, of series that hold rows already, beyond the capacity or after the horizon are
    ``skipped``.
    ``data`` is any object with a contiguous buffer. O(rows); about 0.1 s per million.
    ``release(end)`` is called as bytes before ``end`` are needed no longer: file and market need
    not both be in memory.

    Raises SnapshotError: damaged, cut, of another version or, if a ``label`` is given, of another.
    """
    cdef Py_buffer view
    PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
    try:
        if <size_t>view.buf & 7:
            return restore(market, bytes(data), label=label)
        return _restore(
            market, <const char*>view.buf, view.len, memoryview(data).cast("B"), label, release
        )
    finally:
        PyBuffer_Release(&view)


def read_contents(data, *, str label=None):
    """Say what a snapshot holds, verified as ``restore`` does: that would not refuse it.

    ``data`` is any object with a contiguous buffer. O(rows).

    Raises SnapshotError: see ``restore``.
    """
    cdef Py_buffer view
    cdef list records
    cdef Columns columns
    cdef int64_t rows = 0
    PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
    try:
        if <size_t>view.buf & 7:
            return read_contents(bytes(data), label=label)
        records, names = _check(
            <const char*>view.buf, view.len, memoryview(data).cast("B"), label
        )
        newest = {}
        for name, offset in zip(names, records[1:]):
            _read_columns(<const char*>view.buf, offset, &columns)
            if columns.count:
                newest[name] = columns.open_time_ms[columns.count - 1]
                rows += columns.count
        return SnapshotContents(
            tuple(dict.fromkeys([name[0] for name in newest])),
            tuple(dict.fromkeys([name[1] for name in newest])),
            newest,
            rows,
            (<const MarketEntry*>(<const char*>view.buf + <uint64_t>records[0])).time_ms,
        )
    finally:
        PyBuffer_Release(&view)


cdef tuple _check(const char* data, uint64_t size, view, label):
    """Offsets of the payloads, and the names of the series: all of it could have been written."""
    cdef list records = _check_records(data, size, view)
    cdef const RecordHead* formats = _head_at(data, records[len(records) - 2])
    cdef const uint64_t* keys = <const uint64_t*>(formats + 1)
    cdef uint64_t format_count = formats.size // 8
    _check_head(data, records[0], label)
    if format_count > FORMAT_LIMIT:
        raise SnapshotError(f"{format_count} formats, at most {FORMAT_LIMIT} can be")
    names = [
        _check_series(data, offset, keys, format_count) for offset in records[1:len(records) - 2]
    ]
    if len(set(names)) != len(names):
        raise SnapshotError("a series stands in it twice")
    return records, names


cdef _restore(market, const char* data, uint64_t size, view, label, release):
    cdef list records
    records, names = _check(data, size, view, label)
    cdef const uint64_t* keys = <const uint64_t*>(_head_at(data, records[len(records) - 2]) + 1)
    cdef int64_t time_ms = (<const MarketEntry*>(data + <uint64_t>records[0])).time_ms
    cdef Columns columns
    cdef int series_taken = 0, rows = 0, skipped = 0, taken
    for name, offset in zip(names, records[1:]):
        _read_columns(data, offset, &columns)
        taken = 0
        if name in market:
            taken = _fill(market[name], data, offset, keys, market.horizon_ms)
        series_taken += taken > 0
        rows += taken
        skipped += columns.count - taken
        if release is not None:
            release(offset + _head_at(data, offset).size)
    return SnapshotCounts(series_taken, rows, skipped, time_ms)


cdef const RecordHead* _head_at(const char* data, uint64_t offset) noexcept:
    """Head of the record whose payload is at ``offset``."""
    return <const RecordHead*>(data + offset - sizeof(RecordHead))


cdef list _check_records(const char* data, uint64_t size, view):
    """Offsets of the payloads: HEAD, SERIES..., FORMATS, END, each as it was written."""
    cdef bytes prefix = _prefix()
    cdef const RecordHead* head
    cdef const EndEntry* end
    cdef uint64_t offset = PREFIX_SIZE, start
    cdef uint64_t trailer
    cdef uint32_t chain = 0, before = 0
    cdef list records = []
    if size < PREFIX_SIZE or memcmp(data, PyBytes_AS_STRING(prefix), 8):
        raise SnapshotError("not a snapshot")
    if memcmp(data, PyBytes_AS_STRING(prefix), PREFIX_SIZE):
        raise SnapshotError(f"of another version or byte order, or damaged: {bytes(view[:16])!r}")
    while True:
        start = offset
        if size - offset < sizeof(RecordHead) + TRAILER_SIZE:
            raise SnapshotError(f"cut at byte {size}, inside a record")
        head = <const RecordHead*>(data + offset)
        offset += sizeof(RecordHead)
        if (
            head.mark != RECORD_MARK
            or head.number != <uint64_t>len(records)
            or head.size & 7
            or head.size > size - offset - TRAILER_SIZE
            or not _may_follow(before, head.kind)
        ):
            raise SnapshotError(f"damaged or cut: no record where one is due, byte {start}")
        memcpy(&trailer, data + offset + head.size, TRAILER_SIZE)
        if trailer != <uint64_t>crc32(view[start:offset + head.size]):
            raise SnapshotError(f"damaged: the record at byte {start} fails its checksum")
        records.append(offset)
        offset += head.size + TRAILER_SIZE
        before = head.kind
        if before == END:
            break
        chain = crc32(view[offset - TRAILER_SIZE:offset], chain)
    end = <const EndEntry*>(head + 1)
    if (
        head.size != sizeof(EndEntry) or end.records + 1 != <uint64_t>len(records)
        or end.size != start or end.chain != chain or offset != size
    ):
        raise SnapshotError("damaged: its end does not fit what stands before or follows it")
    return records


cdef bint _may_follow(uint32_t before, uint32_t kind) noexcept:
    if kind == HEAD:
        return before == 0
    if kind == SERIES or kind == FORMATS:
        return before == HEAD or before == SERIES
    return kind == END and before == FORMATS


cdef _check_head(const char* data, uint64_t offset, label):
    cdef const MarketEntry* entry = <const MarketEntry*>(data + offset)
    cdef uint64_t size = _head_at(data, offset).size
    if size < sizeof(MarketEntry) or entry.label_size > size - sizeof(MarketEntry):
        raise SnapshotError("its label does not fit")
    found = (<const char*>(entry + 1))[:entry.label_size]
    if label is not None and found != label.encode():
        raise SnapshotError(f"of {found.decode(errors='replace')!r}, expected {label!r}")


cdef const char* _read_columns(const char* data, uint64_t offset, Columns* columns) noexcept:
    """Where the columns of the series at ``offset`` are; returns the first byte behind them."""
    cdef const SeriesEntry* entry = <const SeriesEntry*>(data + offset)
    cdef const char* p = <const char*>(entry + 1)
    cdef uint64_t n = entry.count
    p += _padded(entry.symbol_size) + _padded(entry.interval_size)
    columns.count = entry.count
    columns.open_time_ms = <const int64_t*>p
    columns.values = <const double*>(p + 8 * n)
    columns.residuals = <const int16_t*>(columns.values + COLUMN_COUNT * n)
    columns.tags = <const uint16_t*>(columns.residuals + RESIDUAL_COLUMNS * n)
    return <const char*>(columns.tags + n)


cdef tuple _check_series(
    const char* data, uint64_t offset, const uint64_t* keys, uint64_t format_count
):
    """Symbol and interval of a series whose every row could have been merged."""
    cdef const SeriesEntry* entry = <const SeriesEntry*>(data + offset)
    cdef const char* names = <const char*>(entry + 1)
    cdef const RecordHead* head = _head_at(data, offset)
    cdef Columns columns
    cdef int64_t row
    if (
        head.size < sizeof(SeriesEntry)
        or not 0 < entry.symbol_size <= SYMBOL_SIZE_MAX
        or not 0 < entry.interval_size <= INTERVAL_SIZE_MAX
        or head.size != _padded(
            sizeof(SeriesEntry) + _padded(entry.symbol_size) + _padded(entry.interval_size)
            + <uint64_t>entry.count * ROW_SIZE
        )
    ):
        raise SnapshotError("the columns of a series do not fit")
    try:
        symbol = names[:entry.symbol_size].decode()
        interval = names[_padded(entry.symbol_size):][:entry.interval_size].decode()
    except UnicodeDecodeError as error:
        raise SnapshotError(f"a name is no UTF-8: {error}") from None
    _read_columns(data, offset, &columns)
    with nogil:
        row = first_fault(&columns, keys, format_count)
    if row >= 0:
        raise SnapshotError(f"row {row} of {symbol} {interval} is none that can be held")
    return symbol, interval


cdef int _fill(
    Series series, const char* data, uint64_t offset, const uint64_t* keys, int64_t horizon_ms
) except -1:
    """Copy the newest rows that fit into an empty series; returns how many."""
    cdef SeriesMemory* memory = &series.memory
    cdef SeriesHeader* header = memory.header
    cdef const SeriesEntry* entry = <const SeriesEntry*>(data + offset)
    cdef Columns columns
    cdef uint64_t n, first, last, i
    cdef int column, index = 0, known = -1
    _read_columns(data, offset, &columns)
    if header.count or header.has_forming:
        return 0
    last = columns.count
    while horizon_ms and last and (
        series_close_time(memory, columns.open_time_ms[last - 1]) > horizon_ms
    ):
        last -= 1
    n = min(last, <uint64_t>memory.capacity)
    first = last - n
    if not n:
        return 0
    sequence_begin(&header.sequence)
    for i in range(n):      # tags first: the table of formats may be full
        if (columns.tags[first + i] & FORMAT_MASK) != known:
            known = columns.tags[first + i] & FORMAT_MASK
            index = format_index(memory.formats, keys[known])
            if index < 0:
                sequence_end(&header.sequence, header.sequence + 1)
                return 0
        memory.tags[i] = <uint16_t>((columns.tags[first + i] & ~FORMAT_MASK) | index)
    memory.tags[0] &= ~ABSENT_BIT       # no stretch reaches out of the window
    memcpy(memory.open_time_ms, columns.open_time_ms + first, 8 * n)
    for column in range(COLUMN_COUNT):
        memcpy(
            memory.values + column * memory.slots,
            columns.values + column * columns.count + first, 8 * n
        )
    for column in range(RESIDUAL_COLUMNS):
        memcpy(
            memory.residuals + column * memory.slots,
            columns.residuals + column * columns.count + first, 2 * n
        )
    header.start = 0
    header.count = <uint32_t>n
    header.closed_count = max(header.closed_count + n, entry.closed_count)
    header.revision += n
    header.last_format = index
    header.last_format_key = memory.formats.keys[index]
    sequence_end(&header.sequence, header.sequence + 1)
    return <int>n
