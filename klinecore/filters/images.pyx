"""What live filters remember, as checksummed bytes, and back, so that a restart changes nothing.

An image holds an index (which filters, which symbols), then for each group of filters and symbol an
entry (which rows it was computed from, what was told) and a block, of the same layout for all, as
what differs from the block before; at its end is a digest. It is taken only by the same filters,
and only for symbols whose rows in memory are the same.
"""

cimport cython
from cpython.bytearray cimport PyByteArray_AS_STRING
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cpython.pyport cimport PY_SSIZE_T_MAX
from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

from klinecore.filters.cells cimport Cell, bit, put_bit
from klinecore.filters.packing cimport pack, packed_max, packed_size, unpack
from klinecore.filters.runner cimport Rewinder, Runner
from klinecore.filters.stages cimport Root, Stage
from klinecore.kline cimport COLUMN_COUNT
from klinecore.merge cimport SeriesMemory, series_close_time, series_find

import hashlib
import json
import struct

from klinecore.errors import SnapshotError

__all__ = ["Checkpoints", "Layout"]

cdef bytes MAGIC = b"KLFILTER"
cdef int VERSION = 4
HEAD = struct.Struct("<8sIQ")           # magic, version, size of the index
ENTRY = struct.Struct("<I")             # size of an entry

cdef enum:
    DIGEST_SIZE = 16
    PART_SIZE = 1 << 16     # about; of an image that is made in parts

cdef struct StagePart:
    int64_t fed
    int64_t seen
    int64_t floor
    int64_t hole_ms
    int32_t stretch
    uint32_t blind

cdef struct RootPart:
    int64_t since
    int64_t anchor
    int32_t quiet
    int32_t quiet_before
    uint32_t armed              # and, in the next bit, before the newest row
    uint32_t spare


cdef str stage_name(key):
    reads = sorted([stage_name(read) for read in key.reads])
    return f"{key.interval}{'*' if key.across else ''}({','.join(reads)})"


cdef class Layout:
    """Stages, cells and roots in an order that depends on the filters only."""

    def __cinit__(self, Runner runner):
        cdef Stage stage
        names = hashlib.blake2b(digest_size=16)
        self.stages = []
        self.roots = []
        for stage in sorted(runner.ordered, key=lambda one: stage_name(one.key)):
            cells = sorted([(repr((<Cell>cell).key), cell) for cell in stage.cells])
            roots = sorted([
                (repr((<Root>root).cell.key), root.edge, root.cooldown, root.number, root)
                for root in stage.roots
            ])
            names.update(stage_name(stage.key).encode())
            names.update(repr([name for name, _ in cells]).encode())
            names.update(repr([root[:3] for root in roots]).encode())
            parts = [cell for _, cell in cells], [root[4] for root in roots]
            self.stages.append((stage, *parts))
            self.roots += parts[1]
            self.size += sizeof(StagePart) + len(roots) * sizeof(RootPart)
            for cell in parts[0]:
                self.size += (<Cell>cell).image_size()
        self.size = (self.size + 7) // 8 * 8        # in whole words
        self.digest = names.hexdigest()

    cdef void save(self, Py_ssize_t lane, char* to):
        cdef StagePart part
        cdef RootPart root_part
        cdef Stage stage
        cdef Root root
        cdef Cell cell
        for stage, cells, roots in self.stages:
            part.fed = stage.fed[lane]
            part.seen = stage.seen[lane]
            part.floor = stage.floor[lane]
            part.hole_ms = stage.hole_ms[lane]
            part.stretch = stage.stretch[lane]
            part.blind = bit(stage.blind, lane)
            memcpy(to, &part, sizeof(part))
            to += sizeof(part)
            for cell in cells:
                cell.save(lane, to)
                to += cell.image_size()
            for root in roots:
                root_part.since = root.since.at[lane]
                root_part.anchor = root.anchor.at[lane]
                root_part.quiet = root.quiet[lane] if root.quiet != NULL else 0
                root_part.armed = bit(root.armed, lane)
                root_part.quiet_before = root_part.spare = 0
                if root.armed_before != NULL:
                    root_part.armed |= bit(root.armed_before, lane) << 1
                if root.quiet_before != NULL:
                    root_part.quiet_before = root.quiet_before[lane]
                memcpy(to, &root_part, sizeof(root_part))
                to += sizeof(root_part)

    cdef void load(self, Py_ssize_t lane, const char* image, bint rewind):
        """Go back to an image; ``rewind``: of this very run, whose rows were seen since."""
        cdef StagePart part
        cdef RootPart root_part
        cdef Stage stage
        cdef Root root
        cdef Cell cell
        for stage, cells, roots in self.stages:
            memcpy(&part, image, sizeof(part))
            image += sizeof(part)
            stage.fed[lane] = part.fed
            stage.due_ms[lane] = 0
            if not rewind:
                stage.seen[lane] = part.seen
                stage.floor[lane] = part.floor
            stage.hole_ms[lane] = part.hole_ms
            stage.stretch[lane] = part.stretch
            put_bit(stage.blind, lane, part.blind)
            for cell in cells:
                cell.load(lane, image)
                image += cell.image_size()
            for root in roots:
                memcpy(&root_part, image, sizeof(root_part))
                image += sizeof(root_part)
                if not rewind:
                    root.since.at[lane] = root_part.since
                root.anchor.at[lane] = root_part.anchor
                if root.quiet != NULL:
                    root.quiet[lane] = root_part.quiet
                put_bit(root.armed, lane, root_part.armed & 1)
                if root.armed_before != NULL:
                    put_bit(root.armed_before, lane, root_part.armed & 2)
                if root.quiet_before != NULL:
                    root.quiet_before[lane] = root_part.quiet_before


@cython.final
cdef class Checkpoints(Rewinder):
    """What a symbol's filters remembered some rows ago, so that a late change of newer rows does
    not move their anchor."""

    def __cinit__(self, Runner runner):
        self.runner = runner
        self.images = {}
        self.tried = {}

    cdef settle(self, int64_t allowed):
        """Look at all steps, once they will be run."""
        if self.layout is None:
            self.layout = Layout(self.runner)
            self.allowed = allowed - <int64_t>self.runner.size

    cdef void forget(self, Py_ssize_t lane):
        """Drop a lane's images."""
        for image in self.images.pop(lane, ()):
            self.size -= len(image)

    cdef void disturb(self, Py_ssize_t lane, uint32_t interval, int64_t open_time_ms):
        """Drop the images that were made of a row that changed, or of rows behind it."""
        cdef list images = self.images.get(lane)
        if images:
            kept = [
                image for image in images if not self.knows(image, lane, interval, open_time_ms)
            ]
            self.size -= self.layout.size * (len(images) - len(kept))
            self.images[lane] = kept

    cdef bint knows(
        self, bytes image, Py_ssize_t lane, uint32_t interval, int64_t open_time_ms
    ) except -1:
        cdef const char* at = PyBytes_AS_STRING(image)
        cdef const SeriesMemory* series = &self.runner.market._memory[
            lane * self.runner.interval_count + interval
        ]
        cdef int64_t boundary_ms = series_close_time(series, open_time_ms) + 1
        cdef StagePart part
        cdef Stage stage, read
        cdef Cell cell
        for stage, cells, roots in self.layout.stages:
            memcpy(&part, at, sizeof(part))
            at += sizeof(part) + len(roots) * sizeof(RootPart)
            for cell in cells:
                at += cell.image_size()
            if stage.interval == interval and part.fed >= open_time_ms:
                return True
            for read in stage.reads:
                if read.interval == interval and part.fed >= 0 and series_close_time(
                    self.runner.series(stage, lane), part.fed
                ) + 1 >= boundary_ms:
                    return True
        return False

    cdef bint rewind(self, Py_ssize_t lane) except -1:
        """Go back to the lane's newest image that was not tried in this call; False without."""
        cdef list images = self.images.get(lane)
        if not images:
            return False
        if lane in self.tried:
            self.size -= len(images.pop())
        if not images:
            return False
        self.tried[lane] = True
        self.layout.load(lane, PyBytes_AS_STRING(<bytes>images[len(images) - 1]), True)
        return True

    cdef begin(self):
        self.tried.clear()

    cdef keep(self, Py_ssize_t lane):
        """Make an image if the newest is half a memory old, and there is room for it."""
        cdef list images = self.images.setdefault(lane, [])
        cdef Py_ssize_t half = max(self.runner.market.capacity // 2, 1)
        cdef Stage stage
        cdef StagePart part
        cdef bytes image
        if not self.layout.stages:
            return
        if images:
            # Not all symbols at the same close.
            half -= lane * 37 % max(half // 4, 1)
            image = images[len(images) - 1]
            stage = self.layout.stages[0][0]
            memcpy(&part, PyBytes_AS_STRING(image), sizeof(part))
            if rows_between(self.runner.series(stage, lane), part.fed, stage.fed[lane]) < half:
                return
        if self.size + self.layout.size > self.allowed:
            self.left_out += 1
            return
        image = PyBytes_FromStringAndSize(NULL, self.layout.size)
        memset(PyBytes_AS_STRING(image), 0, self.layout.size)
        self.layout.save(lane, PyBytes_AS_STRING(image))
        images.append(image)
        self.size += len(image)
        if len(images) > 2:
            self.size -= len(images.pop(0))


cdef Py_ssize_t rows_between(
    const SeriesMemory* series, int64_t first_ms, int64_t last_ms
) noexcept:
    return <Py_ssize_t>series_find(series, last_ms) - <Py_ssize_t>series_find(series, first_ms)


cdef str rows_digest(const SeriesMemory* series, int64_t first_ms, int64_t last_ms):
    """Of the rows from one open time to another; "" if those two are not held."""
    cdef uint32_t first = series_find(series, first_ms)
    cdef uint32_t last = series_find(series, last_ms)
    cdef uint32_t end = series.header.start + series.header.count
    cdef Py_ssize_t count = <Py_ssize_t>last - first + 1
    cdef const double* values
    cdef int column
    if (
        last >= end or series.open_time_ms[first] != first_ms
        or series.open_time_ms[last] != last_ms
    ):
        return ""
    rows = hashlib.blake2b(digest_size=16)
    rows.update((<const char*>(series.open_time_ms + first))[:8 * count])
    for column in range(COLUMN_COUNT):
        values = series.values + <Py_ssize_t>series.slots * column + first
        rows.update((<const char*>values)[:8 * count])
    # What is absent is in a bit of the tags; the rest of a tag says how a number was written.
    rows.update(bytes([series.tags[slot] >> 15 for slot in range(first + 1, last + 1)]))
    return rows.hexdigest()


cdef list fed_rows(Runner runner, Py_ssize_t lane, dict digests):
    """Per interval that is read: its name, the first and last row that count, and their digest."""
    cdef const SeriesMemory* series
    cdef Stage stage
    newest = {}
    for stage in runner.ordered:
        name = stage.key.interval
        newest[name] = max(stage.fed[lane], newest.get(name, -1))
    found = []
    for name, last_ms in sorted(newest.items()):
        if last_ms >= 0:
            series = &runner.market._memory[
                lane * runner.interval_count + <Py_ssize_t>runner.market._interval_index[name]
            ]
            first_ms = series.open_time_ms[series.header.start]
            key = lane, name, last_ms
            if key not in digests:
                digests[key] = rows_digest(series, first_ms, last_ms)
            found.append([name, first_ms, last_ms, digests[key]])
    return found


def image_parts(list parts):
    """All that groups of filters remember of every symbol, in parts to be joined.

    ``parts``: of each group its runner, and what was told. Of no use if filters move meanwhile.
    """
    cdef Runner runner
    cdef Layout layout
    cdef list layouts = [Layout(runner) for runner, _ in parts]
    cdef dict digests = {}
    cdef bytearray part
    runner = parts[0][0]
    places = list(runner.market._places.items())
    index = json.dumps({
        "symbols": [symbol for symbol, _ in places],
        "groups": [
            group_entry(runner, layout)
            for layout, (runner, _) in zip(layouts, parts, strict=True)
        ],
    }).encode()
    part = bytearray(HEAD.pack(MAGIC, VERSION, len(index)) + index)
    digest = hashlib.blake2b(digest_size=DIGEST_SIZE)
    for layout, (runner, told) in zip(layouts, parts, strict=True):
        if not layout.stages:
            continue
        block, before = bytearray(layout.size), bytearray(layout.size)
        for _, place in places:
            entry = symbol_entry(runner, layout, place, told, digests)
            part += ENTRY.pack(len(entry)) + entry
            part += packed_block(layout, place, block, before)
            block, before = before, block
            if len(part) >= PART_SIZE:
                digest.update(part)
                yield bytes(part)
                part.clear()
    digest.update(part)
    yield bytes(part) + digest.digest()


cdef dict group_entry(Runner runner, Layout layout):
    return {
        "filters": layout.digest,
        "size": layout.size,
        "intervals": {
            name: [runner.barrier_ms[i], runner.deadline_ms[i], sorted(runner.incomplete[i])]
            for i, name in enumerate(runner.market.intervals)
        },
        "done": [(<Stage>stage[0]).done_ms for stage in layout.stages],
    }


cdef bytes symbol_entry(Runner runner, Layout layout, Py_ssize_t place, dict told, dict digests):
    """Of a symbol the rows that were read, and what was told."""
    some = told.get(place, {})
    return json.dumps([
        fed_rows(runner, place, digests),
        [[i, sorted(some[root].items())] for i, root in enumerate(layout.roots) if some.get(root)],
    ]).encode()


cdef bytearray packed_block(Layout layout, Py_ssize_t place, bytearray block, bytearray before):
    cdef Py_ssize_t words = layout.size // 8
    cdef bytearray room = bytearray(packed_max(words))
    memset(PyByteArray_AS_STRING(block), 0, layout.size)
    layout.save(place, PyByteArray_AS_STRING(block))
    size = pack(
        <const uint64_t*>PyByteArray_AS_STRING(block),
        <const uint64_t*>PyByteArray_AS_STRING(before), words, PyByteArray_AS_STRING(room)
    )
    return room[:size]


cdef int check_blocks(const char* at, Py_ssize_t left, list layouts, Py_ssize_t symbols) except -1:
    """Before the first is taken. Raises SnapshotError: there are not as many as symbols."""
    cdef Layout layout
    cdef Py_ssize_t size = 0
    for layout in layouts:
        for _ in range(symbols if layout.stages else 0):
            size = entry_size(at, left)
            if size >= 0:
                at += size
                left -= size
                size = packed_size(at, left, layout.size // 8)
            if size < 0:
                raise SnapshotError("an image of filters that lacks symbols, or has too many")
            at += size
            left -= size
    if left:
        raise SnapshotError("an image of filters that lacks symbols, or has too many")
    return 0


cdef Py_ssize_t entry_size(const char* at, Py_ssize_t left) noexcept:
    """Bytes of the entry that begins here, with its own size; -1 if it does not end within."""
    cdef uint32_t size
    if left < <Py_ssize_t>sizeof(size):
        return -1
    memcpy(&size, at, sizeof(size))
    return <Py_ssize_t>sizeof(size) + size if size <= left - <Py_ssize_t>sizeof(size) else -1


cdef tuple read_image(list parts, bytes image):
    """Take an image; the symbols that were not in all groups, because their rows are other ones.

    ``parts`` as of ``image_parts``.
    """
    cdef list layouts = [Layout(runner) for runner, _ in parts]
    cdef Layout layout
    cdef const char* at = PyBytes_AS_STRING(image)
    cdef Py_ssize_t begin, end = len(image) - DIGEST_SIZE
    cdef dict digests = {}
    cdef dict left = {}
    if end < HEAD.size or image[:8] != MAGIC:
        raise SnapshotError("not an image of filters")
    _, version, size = HEAD.unpack_from(image)
    if version != VERSION:
        raise SnapshotError(f"an image of filters of version {version}; this is {VERSION}")
    digest = hashlib.blake2b(memoryview(image)[:end], digest_size=DIGEST_SIZE).digest()
    if image[end:] != digest:
        raise SnapshotError("an image of filters that is damaged or cut short")
    begin = HEAD.size + size
    index = json.loads(image[HEAD.size:begin])
    for layout, group in zip(layouts, index["groups"], strict=True):
        if group["filters"] != layout.digest or group["size"] != layout.size:
            raise SnapshotError("an image of other filters than those held")
    check_blocks(at + begin, end - begin, layouts, len(index["symbols"]))
    at += begin
    for layout, group, (runner, told) in zip(layouts, index["groups"], parts, strict=True):
        symbols = index["symbols"] if layout.stages else ()
        at = take_blocks(runner, layout, group, symbols, at, told, digests, left)
    return tuple(left)


cdef const char* take_blocks(
    Runner runner, Layout layout, dict group, symbols, const char* at, dict told, dict digests,
    dict left
) except NULL:
    """Let one group go on from its part of an image; where the next one's blocks begin."""
    cdef Py_ssize_t lane, size, words = layout.size // 8
    cdef const SeriesMemory* series
    cdef bytearray scratch = bytearray(layout.size)
    cdef uint64_t* block = <uint64_t*>PyByteArray_AS_STRING(scratch)
    for root in layout.roots:
        (<Root>root).own()
    for symbol in symbols:
        size = entry_size(at, PY_SSIZE_T_MAX)
        rows, firings = json.loads(at[ENTRY.size:size])
        at += size
        at += unpack(at, block, words)
        lane = runner.market._places.get(symbol, -1)
        same = lane >= 0
        for name, first_ms, last_ms, expected in rows:
            if not same or name not in runner.market._interval_index:
                same = False
                break
            series = &runner.market._memory[
                lane * runner.interval_count + <Py_ssize_t>runner.market._interval_index[name]
            ]
            key = lane, name, first_ms, last_ms
            if key not in digests:
                digests[key] = rows_digest(series, first_ms, last_ms)
            same = expected and digests[key] == expected
        if same:
            layout.load(lane, <const char*>block, False)
            told[lane] = {layout.roots[i]: dict(some) for i, some in firings}
        elif lane >= 0:
            left[symbol] = None
    for _, _, roots in layout.stages:
        held = {}
        for root in roots:
            (<Root>root).share(held)
    for name, (barrier_ms, deadline_ms, incomplete) in group["intervals"].items():
        i = runner.market._interval_index.get(name)
        if i is not None:
            runner.barrier_ms[<int>i] = max(runner.barrier_ms[<int>i], <int64_t>barrier_ms)
            runner.deadline_ms[<int>i] = max(runner.deadline_ms[<int>i], <int64_t>deadline_ms)
            runner.incomplete[i] |= set(incomplete)
    for stage, done_ms in zip(layout.stages, group["done"], strict=True):
        (<Stage>stage[0]).done_ms = done_ms
    return at
