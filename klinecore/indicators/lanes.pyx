"""Runs one indicator over many series at once: a lane for each, all stepped by one call."""

cimport cython
from cpython.buffer cimport PyBuffer_Release
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.math cimport NAN
from libc.stdint cimport int32_t, int64_t, uint8_t, uintptr_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy, memset

cimport numpy

import hashlib

import numpy as np

from klinecore.indicators.kernels import kernel_of

from klinecore.indicators.blocks cimport (
    ALL, BLOCK, loop_of, write_slots, shape_describe, shape_gather, shape_of, shape_rows,
    shape_scatter,
)
from klinecore.indicators.kernel cimport (
    INPUTS_MAX, OUTPUTS_MAX, PARAMETERS_MAX, TIME, Kernel, Room, address_of, borrow,
)

__all__ = ["Lanes"]

numpy.import_array()

# Part of every image's tag; to be raised when a state of the same size comes to mean another thing.
LAYOUT = 1

cdef enum:
    STATE_WORDS = 64        # doubles' room for a state that is laid out side by side with others


cdef const double* column_at(object given, Py_ssize_t lanes) noexcept:
    """Where a column lies, if it is as it should be; what else it may be takes longer to see."""
    if (
        numpy.PyArray_CheckExact(given)
        and numpy.PyArray_TYPE(given) == numpy.NPY_DOUBLE
        and numpy.PyArray_ISCARRAY_RO(given)
        and numpy.PyArray_NDIM(given) == 1
        and numpy.PyArray_SIZE(given) == lanes
    ):
        return <const double*>numpy.PyArray_DATA(given)
    return NULL


@cython.final
cdef class Lanes:
    """One indicator for many series: ``Lanes("rsi", 14, lanes=500)`` is 500 ``Rsi(14)``.

    Parameters are those of the indicator, in their order or by name; ``lanes`` is from 1 to
    1,000,000. Memory is taken once, here: ``nbytes``.

    Raises ValueError for an unknown indicator or a parameter out of bounds.
    """

    def __init__(self, str name not None, *parameters, lanes, **named):
        cdef double numbers[PARAMETERS_MAX]
        if self.kernel is not None:
            raise TypeError("lanes are made once")
        if isinstance(lanes, bool) or not isinstance(lanes, (int, np.integer)):
            raise ValueError(f"lanes must be an integer, not {lanes!r}")
        if not 1 <= lanes <= LANES_MAX:
            raise ValueError(f"lanes must be from 1 to {LANES_MAX:,}, not {lanes:,}")
        cdef Kernel kernel = kernel_of(name)
        order = [parameter.name for parameter in kernel.entry.parameters]
        if len(parameters) > len(order) or not named.keys().isdisjoint(order[:len(parameters)]):
            raise ValueError(f"{name}: its parameters are {order}, each given once")
        self.parameters = kernel.entry.defaults(
            **dict(zip(order, parameters, strict=False)), **named
        )
        kernel.read_parameters(self.parameters, numbers)
        self.kernel = kernel
        self.inputs = kernel.inputs
        self.outputs = kernel.outputs
        self.run = kernel.run
        self.kernel_size = kernel.state_size
        self.shape = shape_of(name)
        self.lanes = lanes
        self.lookback = kernel.entry.lookback(*self.parameters)
        self.make_fresh(numbers)
        self.make_outputs()
        if self.shape == NULL:
            self.make_states()
        else:
            self.make_blocks()
        digest = hashlib.blake2b(
            f"{LAYOUT} {name} {self.lane_size()}".encode() + (<char*>numbers)[:8 * len(order)],
            digest_size=8,
        ).digest()
        memcpy(&self.tag, PyBytes_AS_STRING(digest), 8)

    def __dealloc__(self):
        free(self.states)
        free(self.blocks)
        free(self.column)
        free(self.sweep.warm)
        free(self.sweep.beats)
        free(self.fresh)
        free(self.pointers)
        free(self.chosen)
        free(self.named)

    def __repr__(self):
        inside = ", ".join(map(repr, (self.kernel.name, *self.parameters)))
        return f"Lanes({inside}, lanes={self.lanes})"

    def __len__(self):
        return self.lanes

    cdef int make_fresh(self, const double* numbers) except -1:
        """Make the first state, and find out which of its words are pointers to its rings."""
        cdef Kernel kernel = self.kernel
        cdef Py_ssize_t words = kernel.state_size // sizeof(double), i
        cdef Room room
        cdef char* first
        cdef char* second
        room.data = NULL
        room.used = 0
        first = <char*>calloc(1, kernel.state_size)
        if first == NULL:
            raise MemoryError
        kernel.init(first, numbers, &room)
        free(first)
        self.state_bytes = kernel.state_size + (room.used + 1) // 2 * 2 * sizeof(double)
        self.fresh = first = <char*>calloc(1, self.state_bytes)
        self.pointers = <Py_ssize_t*>calloc(2 * words, sizeof(Py_ssize_t))
        self.chosen = <int32_t*>malloc(self.lanes * sizeof(int32_t))
        self.named = <uint8_t*>calloc(self.lanes, 1)
        second = <char*>calloc(1, self.state_bytes)
        if not (first and second and self.pointers and self.chosen and self.named):
            free(second)
            raise MemoryError
        # The same state made at two places differs in its pointers, by the places' distance.
        for place in range(2):
            room.data = <double*>((second if place else first) + kernel.state_size)
            room.used = 0
            kernel.init(second if place else first, numbers, &room)
        self.targets = self.pointers + words
        for i in range(words):
            if (<int64_t*>first)[i] != (<int64_t*>second)[i]:
                self.pointers[self.pointer_count] = i
                self.targets[self.pointer_count] = (<char**>first)[i] - first
                self.pointer_count += 1
        free(second)
        self.nbytes += self.state_bytes + self.lanes * (sizeof(int32_t) + 1)
        return 0

    cdef int make_states(self) except -1:
        cdef Py_ssize_t i
        self.states = <char*>calloc(self.lanes, self.state_bytes)
        if self.states == NULL:
            raise MemoryError
        for i in range(self.lanes):
            memcpy(self.states + i * self.state_bytes, self.fresh, self.state_bytes)
            self.point(self.states + i * self.state_bytes)
        self.nbytes += self.lanes * self.state_bytes
        return 0

    cdef int make_blocks(self) except -1:
        cdef Sweep* sweep = &self.sweep
        cdef Py_ssize_t i, size
        if self.kernel.state_size > STATE_WORDS * sizeof(double):
            raise SystemError(f"a state of {self.kernel.name} has outgrown its room")
        shape_describe(self.shape, self.fresh, sweep)
        self.rows = shape_rows(self.shape, self.fresh)
        sweep.size = self.rows * BLOCK
        sweep.count = (self.lanes + BLOCK - 1) // BLOCK
        sweep.tail = ALL >> (sweep.count * BLOCK - self.lanes)
        size = sweep.count * sweep.size * sizeof(double)
        self.blocks = calloc(1, size + 64)
        self.column = <double*>calloc(self.rows * BLOCK, sizeof(double))
        sweep.warm = <uint8_t*>calloc(sweep.count, 3)
        sweep.beats = <int32_t*>malloc(sweep.count * sizeof(int32_t))
        if not (self.blocks and self.column and sweep.warm and sweep.beats):
            raise MemoryError
        memset(sweep.beats, -1, sweep.count * sizeof(int32_t))
        sweep.left = sweep.warm + sweep.count
        self.wanted = sweep.left + sweep.count
        sweep.blocks = <double*>((<uintptr_t>self.blocks + 63) & ~<uintptr_t>63)
        # What the ring holds at first stands behind the state.
        shape_scatter(self.shape, self.fresh, self.column)
        for i in range(self.shape.fields, self.rows):
            self.column[i * BLOCK] = (
                <double*>(self.fresh + self.kernel.state_size)
            )[i - self.shape.fields]
        for i in range(sweep.count * BLOCK):
            self.reset_lane(i)
        # Lanes that are not there are never fed, so never left over either.
        sweep.warm[sweep.count - 1] |= ALL & ~sweep.tail
        self.nbytes += size + sweep.size * sizeof(double) + 7 * sweep.count
        return 0

    cdef int make_outputs(self) except -1:
        cdef Py_ssize_t outputs = self.outputs, room = (self.lanes + BLOCK - 1) // BLOCK * BLOCK, i
        # From a multiple of 64 bytes on, so that no vector lies across two lines of the cache.
        memory = np.full(2 * outputs * room + BLOCK - 1, NAN)
        i = BLOCK - 1 - (<uintptr_t>address_of(memory) - 1) // sizeof(double) % BLOCK
        values = memory[i:i + 2 * outputs * room].reshape(2 * outputs, room)
        for i in range(outputs):
            self.closed[i] = address_of(values) + i * room
            self.live[i] = address_of(values) + (outputs + i) * room
            self.sweep.closed[i] = self.closed[i]
            self.sweep.live[i] = self.live[i]
        self.nbytes += memory.nbytes
        values.flags.writeable = False
        views = tuple(values[:, :self.lanes])
        self.closed_result, self.live_result = views[0], views[outputs]
        if self.kernel.result is not None:
            self.closed_result = self.kernel.result(*views[:outputs])
            self.live_result = self.kernel.result(*views[outputs:])
        return 0

    cdef void point(self, char* block) noexcept nogil:
        """Let the block's state point to its own rings."""
        cdef Py_ssize_t i
        for i in range(self.pointer_count):
            (<char**>block)[self.pointers[i]] = block + self.targets[i]

    # -- in C -------------------------------------------------------------------------------------

    cdef void step(
        self, const double** inputs, const int32_t* lanes, Py_ssize_t count, bint commit
    ) noexcept nogil:
        """Take a row of each of ``count`` lanes (each at most once), of all of them if ``lanes`` is
        NULL. Inputs are columns by lane. Commit writes ``closed``, and no later than when the next
        is previewed ``live`` as well; without it ``live`` is written alone.
        """
        cdef Py_ssize_t i = 0, block
        cdef unsigned want
        if lanes == NULL and self.shape != NULL:
            # Half of what a close of all lanes writes is spared: nobody has asked for it yet.
            self.behind = commit
            self.step_all(inputs, commit)
            return
        if self.behind and not commit:
            self.catch_up()
        if lanes == NULL:
            for i in range(self.lanes):
                self.step_one(inputs, i, commit)
        elif self.shape == NULL:
            for i in range(count):
                self.step_one(inputs, lanes[i], commit)
        elif count >= self.sweep.count:
            self.step_many(inputs, lanes, count, commit)
        else:
            while i < count:
                block = lanes[i] // BLOCK
                want = 0
                while i < count and lanes[i] // BLOCK == block:
                    want |= 1u << (lanes[i] % BLOCK)
                    i += 1
                self.step_run(inputs, block, want, commit)

    cdef void catch_up(self) noexcept nogil:
        """Let ``live`` be what was committed."""
        cdef int k
        for k in range(self.outputs):
            memcpy(self.live[k], self.closed[k], self.lanes * sizeof(double))
        self.behind = False

    cdef void step_many(
        self, const double** inputs, const int32_t* lanes, Py_ssize_t count, bint commit
    ) noexcept nogil:
        """Step so many lanes, in any order, that most blocks have some of them."""
        cdef Py_ssize_t i
        for i in range(count):
            self.wanted[lanes[i] // BLOCK] |= 1u << (lanes[i] % BLOCK)
        for i in range(self.sweep.count):
            if self.wanted[i]:
                self.step_run(inputs, i, self.wanted[i], commit)
                self.wanted[i] = 0

    cdef void step_one(self, const double** inputs, Py_ssize_t lane, bint commit) noexcept nogil:
        cdef const double* row[INPUTS_MAX]
        cdef double* values[OUTPUTS_MAX]
        cdef double[STATE_WORDS] scratch
        cdef char* state = <char*>scratch
        cdef int k
        for k in range(self.inputs):
            row[k] = inputs[k] + lane
        for k in range(self.outputs):
            values[k] = self.live[k] + lane
        if self.shape == NULL:
            state = self.states + lane * self.state_bytes
        else:
            memcpy(state, self.fresh, self.kernel_size)
            shape_gather(self.shape, self.column_of(lane), state)
        self.run(state, row, values, 1, commit)
        if not commit:
            return
        for k in range(self.outputs):
            self.closed[k][lane] = self.live[k][lane]
        if self.shape != NULL:
            shape_scatter(self.shape, state, self.column_of(lane))
            self.mark(lane)

    cdef void step_all(self, const double** inputs, bint commit) noexcept nogil:
        cdef Py_ssize_t whole = self.lanes // BLOCK
        if whole and loop_of(self.shape, commit)(&self.sweep, inputs, 0, whole, ALL):
            self.step_left(inputs, 0, whole, commit)
        if whole < self.sweep.count:
            self.step_run(inputs, whole, ALL, commit)

    cdef void step_whole(self, const double** inputs, bint commit) noexcept nogil:
        """Take a row of all lanes from columns that go on up to a whole block, as the last lane."""
        if self.shape == NULL:
            self.step(inputs, NULL, self.lanes, commit)
            return
        self.behind = commit
        if loop_of(self.shape, commit)(&self.sweep, inputs, 0, self.sweep.count, ALL):
            self.step_left(inputs, 0, self.sweep.count, commit)

    cdef void step_tick(self, const double** inputs, Py_ssize_t lane) noexcept nogil:
        """Preview one lane, from columns that go on up to a whole block."""
        cdef const double* x[INPUTS_MAX]
        cdef Py_ssize_t block = lane // BLOCK
        cdef int k
        if self.behind:
            self.catch_up()
        if self.shape == NULL:
            self.step_one(inputs, lane, False)
            return
        for k in range(self.inputs):
            x[k] = inputs[k] + block * BLOCK
        if loop_of(self.shape, False)(&self.sweep, x, block, block + 1, 1u << (lane % BLOCK)):
            self.step_left(inputs, block, block + 1, False)

    cdef void step_run(
        self, const double** inputs, Py_ssize_t block, unsigned want, bint commit
    ) noexcept nogil:
        """Step some lanes of one block, or all: lanes that are not there go with the last one."""
        cdef double[INPUTS_MAX][8] padded
        cdef const double* x[INPUTS_MAX]
        cdef Py_ssize_t first = block * BLOCK, k, i
        for k in range(self.inputs):
            x[k] = inputs[k] + first
            if first + BLOCK > self.lanes:      # the columns end within the block
                for i in range(BLOCK):
                    padded[k][i] = x[k][min(i, self.lanes - 1 - first)]
                x[k] = padded[k]
        if loop_of(self.shape, commit)(&self.sweep, x, block, block + 1, want):
            self.step_left(inputs, block, block + 1, commit)
        if commit and not self.behind:
            for k in range(self.outputs):
                for i in range(BLOCK):
                    if want >> i & 1:
                        self.live[k][first + i] = self.closed[k][first + i]

    cdef void step_left(
        self, const double** inputs, Py_ssize_t first, Py_ssize_t last, bint commit
    ) noexcept nogil:
        """Step the lanes the loop has left alone."""
        cdef Py_ssize_t block
        cdef int i
        for block in range(first, last):
            if self.sweep.left[block]:
                for i in range(BLOCK):
                    if self.sweep.left[block] >> i & 1:
                        self.step_one(inputs, block * BLOCK + i, commit)
                self.sweep.left[block] = 0

    cdef double* column_of(self, Py_ssize_t lane) noexcept nogil:
        """Where a lane's rows begin, its slot among them; they are eight doubles apart."""
        write_slots(&self.sweep, lane // BLOCK)
        return self.sweep.blocks + lane // BLOCK * self.sweep.size + lane % BLOCK

    cdef void mark(self, Py_ssize_t lane) noexcept nogil:
        """Note whether the lane is warm, so that loops may step it."""
        cdef unsigned bit = 1u << (lane % BLOCK)
        cdef uint8_t* warm = self.sweep.warm + lane // BLOCK
        cdef const double* column = self.column_of(lane)
        cdef int i
        for i in range(self.shape.counts):
            if column[self.shape.count[i].field * BLOCK] < self.sweep.full[i]:
                warm[0] &= ~bit
                return
        warm[0] |= bit

    cdef void clear_outputs(self, Py_ssize_t lane) noexcept nogil:
        cdef int k
        for k in range(self.outputs):
            self.closed[k][lane] = self.live[k][lane] = NAN

    cdef void reset_lane(self, Py_ssize_t lane) noexcept nogil:
        """Let the lane be as if it was never fed."""
        cdef char* block
        cdef Py_ssize_t i
        if self.shape == NULL:
            block = self.states + lane * self.state_bytes
            memcpy(block, self.fresh, self.state_bytes)
            self.point(block)
        else:
            for i in range(self.rows):
                self.column_of(lane)[i * BLOCK] = self.column[i * BLOCK]
            self.mark(lane)
        self.clear_outputs(lane)

    cdef Py_ssize_t lane_size(self) noexcept nogil:
        """Bytes of a lane's image."""
        cdef Py_ssize_t inside = self.state_bytes
        if self.shape != NULL:
            inside = self.rows * sizeof(double)
        return sizeof(int64_t) + self.outputs * sizeof(double) + inside

    cdef void save_lane(self, Py_ssize_t lane, char* to) noexcept nogil:
        """Write the lane's image: its state and its ``closed`` outputs, without an address."""
        cdef Py_ssize_t i
        memcpy(to, &self.tag, sizeof(int64_t))
        to += sizeof(int64_t)
        for i in range(self.outputs):
            memcpy(to, self.closed[i] + lane, sizeof(double))
            to += sizeof(double)
        if self.shape != NULL:
            for i in range(self.rows):
                memcpy(to + i * sizeof(double), self.column_of(lane) + i * BLOCK, sizeof(double))
            return
        memcpy(to, self.states + lane * self.state_bytes, self.state_bytes)
        for i in range(self.pointer_count):
            memset(to + self.pointers[i] * sizeof(double), 0, sizeof(double))

    cdef bint load_lane(self, Py_ssize_t lane, const char* image) noexcept nogil:
        """Go on from an image; False, and nothing is changed, if it is of other lanes than these:
        of another indicator, other parameters or another layout. ``live`` is ``closed`` then.
        """
        cdef Py_ssize_t i
        cdef char* block
        cdef int64_t tag
        memcpy(&tag, image, sizeof(int64_t))
        if tag != self.tag:
            return False
        image += sizeof(int64_t)
        for i in range(self.outputs):
            memcpy(self.closed[i] + lane, image, sizeof(double))
            self.live[i][lane] = self.closed[i][lane]
            image += sizeof(double)
        if self.shape != NULL:
            for i in range(self.rows):
                memcpy(self.column_of(lane) + i * BLOCK, image + i * sizeof(double), sizeof(double))
            self.mark(lane)
            return True
        block = self.states + lane * self.state_bytes
        memcpy(block, image, self.state_bytes)
        self.point(block)
        return True

    # -- from Python ------------------------------------------------------------------------------

    @property
    def values(self):
        """Outputs of each lane's newest closed row, as ``update`` gives them."""
        return self.closed_result

    def update(self, *columns, where=None):
        """Take a closed row of every lane, or of those in ``where``.

        Parameters
        ----------
        columns : float64 arrays, shape (lanes,), one per input of the indicator
            A row with no finite number gives NaN and changes nothing else.
        where : bool array, shape (lanes,), or integers: lanes, each at most once; optional

        Returns
        -------
        Read-only float64 view, shape (lanes,), or a named tuple of them: the outputs of each
        lane's newest closed row. They show what later calls write.

        Raises
        ------
        ValueError: columns of another type, shape or number; lanes that are not there, or twice.
        """
        self.feed(columns, where, True)
        return self.closed_result

    def preview(self, *columns, where=None):
        """The outputs ``update`` would give; commits nothing.

        Views of other memory than ``update``'s: a lane's newest row as of the newest preview.
        """
        self.feed(columns, where, False)
        return self.live_result

    cdef int feed(self, tuple columns, object where, bint commit) except -1:
        cdef Kernel kernel = self.kernel
        cdef Py_buffer views[INPUTS_MAX]
        cdef const double* inputs[INPUTS_MAX]
        cdef Py_ssize_t count = self.lanes
        cdef const int32_t* chosen = NULL
        cdef int held = 0, k = 0
        if len(columns) != self.inputs:
            if len(columns) + 1 != self.inputs or kernel.input_names[len(columns)] != TIME:
                raise ValueError(f"{kernel.name}: its inputs are {', '.join(kernel.input_names)}")
            columns += (None,)
        if where is not None:
            count = self.choose(where)
            chosen = self.chosen
        try:
            for given in columns:
                inputs[k] = column_at(given, self.lanes)
                if inputs[k] == NULL:
                    name = kernel.input_names[k]
                    if given is None and name == TIME:
                        given = kernel.no_times(self.parameters[0], self.lanes)
                    borrow(given, &views[held], kernel.name, name)
                    inputs[k] = <const double*>views[held].buf
                    held += 1
                    if views[held - 1].shape[0] != self.lanes:
                        raise ValueError(
                            f"{kernel.name}: {name} has {views[held - 1].shape[0]} rows for "
                            f"{self.lanes} lanes"
                        )
                k += 1
            with nogil:
                self.step(inputs, chosen, count, commit)
        finally:
            while held:
                held -= 1
                PyBuffer_Release(&views[held])
        return 0

    cdef object numbers_of(self, object where):
        """Lanes by number, whichever way they are named."""
        lanes = np.asarray(where)
        if lanes.dtype == bool:
            if lanes.shape != (self.lanes,):
                raise ValueError(f"where has shape {lanes.shape} for {self.lanes} lanes")
            lanes = lanes.nonzero()[0]
        elif lanes.ndim != 1 or (lanes.size and lanes.dtype.kind not in "iu"):
            raise ValueError("where must be lanes by number, or a bool for each")
        return np.ascontiguousarray(lanes, dtype=np.int64)

    cdef Py_ssize_t choose(self, object where) except -1:
        """Take down which lanes ``where`` names; how many."""
        cdef Py_ssize_t count, i, lane
        cdef const int64_t* listed
        cdef bint twice = False, beyond = False
        cdef numpy.ndarray array
        if (
            numpy.PyArray_CheckExact(where)
            and numpy.PyArray_TYPE(where) == numpy.NPY_INT64
            and numpy.PyArray_ISCARRAY_RO(where)
            and numpy.PyArray_NDIM(where) == 1
        ):
            array = where
        else:
            array = self.numbers_of(where)
        count = numpy.PyArray_SIZE(array)
        if count > self.lanes:
            raise ValueError(f"where names {count} lanes of {self.lanes}")
        listed = <const int64_t*>numpy.PyArray_DATA(array)
        for i in range(count):
            lane = listed[i]
            if not 0 <= lane < self.lanes:
                beyond = True
            elif self.named[lane]:
                twice = True
            else:
                self.named[lane] = 1
                self.chosen[i] = <int32_t>lane
        for i in range(count):
            if 0 <= listed[i] < self.lanes:
                self.named[listed[i]] = 0
        if beyond:
            raise ValueError(f"where names lanes other than 0 to {self.lanes - 1}")
        if twice:
            raise ValueError("where names a lane twice")
        return count

    def _lane(self, lane):
        if isinstance(lane, bool) or not 0 <= lane < self.lanes:
            raise IndexError(f"lane {lane!r} of {self.lanes}")
        return lane

    def reset(self, lane, /):
        """Let a lane be as if it was never fed; its outputs are NaN. IndexError: no such lane."""
        self.reset_lane(self._lane(lane))

    def save(self, lane, /):
        """A lane's state and outputs as bytes that ``load`` of lanes of the same indicator and
        parameters takes, in any lane, in any process on a machine of the same byte order.
        """
        cdef Py_ssize_t number = self._lane(lane)
        image = PyBytes_FromStringAndSize(NULL, self.lane_size())
        self.save_lane(number, PyBytes_AS_STRING(image))
        return image

    def load(self, lane, bytes image not None, /):
        """Go on from what ``save`` gave; ValueError if it is of another indicator, or no image.

        The bytes are trusted beyond that: keep them under a checksum where they may be damaged.
        """
        cdef Py_ssize_t number = self._lane(lane)
        if len(image) != self.lane_size() or not self.load_lane(number, PyBytes_AS_STRING(image)):
            raise ValueError(f"not an image of a lane of {self!r}")
