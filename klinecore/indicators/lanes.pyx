"""Runs one indicator over many series at once: a lane for each, all stepped by one call."""

cimport cython
from cpython.buffer cimport PyBuffer_Release
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.math cimport NAN
from libc.stdint cimport int32_t, int64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy

import hashlib
from importlib import import_module

import numpy as np

from klinecore.indicators.catalog import CATALOG

from klinecore.indicators.kernel cimport (
    INPUTS_MAX, OUTPUTS_MAX, PARAMETERS_MAX, TIME, Kernel, Room, address_of, borrow,
)

__all__ = ["Lanes"]

# Part of every image's tag; to be raised when a state of the same size comes to mean another thing.
LAYOUT = 1


cdef Kernel kernel_of(str name):
    entry = CATALOG.get(name)
    if entry is None:
        raise ValueError(f"there is no indicator {name!r}; see klinecore.CATALOG")
    return import_module(f"klinecore.indicators.kernels.{entry.family}").KERNELS[name]


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
        self.lanes = lanes
        self.lookback = kernel.entry.lookback(*self.parameters)
        self.make_states(numbers)
        self.make_outputs()
        digest = hashlib.blake2b(
            f"{LAYOUT} {name} {self.block}".encode() + (<char*>numbers)[:8 * len(order)],
            digest_size=8,
        ).digest()
        memcpy(&self.tag, PyBytes_AS_STRING(digest), 8)

    def __dealloc__(self):
        free(self.states)
        free(self.fresh)
        free(self.pointers)
        free(self.chosen)

    def __repr__(self):
        inside = ", ".join(map(repr, (self.kernel.name, *self.parameters)))
        return f"Lanes({inside}, lanes={self.lanes})"

    def __len__(self):
        return self.lanes

    cdef int make_states(self, const double* numbers) except -1:
        """Allocate the blocks, and find out which words of a state are pointers to its rings."""
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
        self.block = kernel.state_size + ((room.used + 1) & ~<Py_ssize_t>1) * sizeof(double)
        self.states = <char*>calloc(self.lanes, self.block)
        self.fresh = first = <char*>calloc(1, self.block)
        self.pointers = <Py_ssize_t*>calloc(2 * words, sizeof(Py_ssize_t))
        self.chosen = <int32_t*>malloc(self.lanes * sizeof(int32_t))
        second = <char*>calloc(1, self.block)
        if not (self.states and first and second and self.pointers and self.chosen):
            free(second)
            raise MemoryError
        # The same state made at two places differs in its pointers, by the places' distance.
        for block in range(2):
            room.data = <double*>((second if block else first) + kernel.state_size)
            room.used = 0
            kernel.init(second if block else first, numbers, &room)
        self.targets = self.pointers + words
        for i in range(words):
            if (<int64_t*>first)[i] != (<int64_t*>second)[i]:
                self.pointers[self.pointer_count] = i
                self.targets[self.pointer_count] = (<char**>first)[i] - first
                self.pointer_count += 1
                (<int64_t*>first)[i] = 0
        free(second)
        self.nbytes += (self.lanes + 1) * self.block + self.lanes * sizeof(int32_t)
        for i in range(self.lanes):
            memcpy(self.states + i * self.block, first, self.block)
            self.point(self.states + i * self.block)
        return 0

    cdef int make_outputs(self) except -1:
        cdef Py_ssize_t outputs = self.outputs, i
        values = np.full((2 * outputs, self.lanes), NAN)
        for i in range(outputs):
            self.closed[i] = address_of(values) + i * self.lanes
            self.live[i] = address_of(values) + (outputs + i) * self.lanes
        self.nbytes += values.nbytes
        values.flags.writeable = False
        self.closed_views = tuple(values[:outputs])
        self.live_views = tuple(values[outputs:])
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
        NULL. Inputs are columns by lane. Commit writes ``closed`` and ``live``, else ``live`` only.
        """
        cdef const double* row[INPUTS_MAX]
        cdef double* values[OUTPUTS_MAX]
        cdef Py_ssize_t i, lane
        cdef int k
        if lanes == NULL:
            count = self.lanes
        for i in range(count):
            lane = lanes[i] if lanes != NULL else i
            for k in range(self.inputs):
                row[k] = inputs[k] + lane
            for k in range(self.outputs):
                values[k] = self.live[k] + lane
            self.run(self.states + lane * self.block, row, values, 1, commit)
            if commit:
                for k in range(self.outputs):
                    self.closed[k][lane] = self.live[k][lane]

    cdef void clear_outputs(self, Py_ssize_t lane) noexcept nogil:
        cdef int k
        for k in range(self.outputs):
            self.closed[k][lane] = self.live[k][lane] = NAN

    cdef void reset_lane(self, Py_ssize_t lane) noexcept nogil:
        """Let the lane be as if it was never fed."""
        cdef char* block = self.states + lane * self.block
        memcpy(block, self.fresh, self.block)
        self.point(block)
        self.clear_outputs(lane)

    cdef Py_ssize_t lane_size(self) noexcept nogil:
        """Bytes of a lane's image."""
        return sizeof(int64_t) + self.outputs * sizeof(double) + self.block

    cdef void save_lane(self, Py_ssize_t lane, char* to) noexcept nogil:
        """Write the lane's image: its state and its ``closed`` outputs, without an address."""
        cdef Py_ssize_t i
        cdef int64_t nowhere = 0
        memcpy(to, &self.tag, sizeof(int64_t))
        to += sizeof(int64_t)
        for i in range(self.outputs):
            memcpy(to, self.closed[i] + lane, sizeof(double))
            to += sizeof(double)
        memcpy(to, self.states + lane * self.block, self.block)
        for i in range(self.pointer_count):
            memcpy(to + self.pointers[i] * sizeof(double), &nowhere, sizeof(int64_t))

    cdef bint load_lane(self, Py_ssize_t lane, const char* image) noexcept nogil:
        """Go on from an image; False, and nothing is changed, if it is of other lanes than these:
        of another indicator, other parameters or another layout. ``live`` is ``closed`` then.
        """
        cdef Py_ssize_t i
        cdef char* block = self.states + lane * self.block
        cdef int64_t tag
        memcpy(&tag, image, sizeof(int64_t))
        if tag != self.tag:
            return False
        image += sizeof(int64_t)
        for i in range(self.outputs):
            memcpy(self.closed[i] + lane, image, sizeof(double))
            self.live[i][lane] = self.closed[i][lane]
            image += sizeof(double)
        memcpy(block, image, self.block)
        self.point(block)
        return True

    # -- from Python ------------------------------------------------------------------------------

    @property
    def values(self):
        """Outputs of each lane's newest closed row, as ``update`` gives them."""
        return self.shown(self.closed_views)

    cdef object shown(self, tuple views):
        return views[0] if self.kernel.result is None else self.kernel.result._make(views)

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
        return self.shown(self.closed_views)

    def preview(self, *columns, where=None):
        """The outputs ``update`` would give; commits nothing. Views of other memory than its."""
        self.feed(columns, where, False)
        return self.shown(self.live_views)

    cdef object feed(self, tuple columns, object where, bint commit):
        cdef Kernel kernel = self.kernel
        cdef Py_buffer views[INPUTS_MAX]
        cdef const double* inputs[INPUTS_MAX]
        cdef Py_ssize_t count = self.lanes
        cdef int held = 0
        cdef str name
        if len(columns) != kernel.inputs:
            if len(columns) + 1 != kernel.inputs or kernel.input_names[len(columns)] != TIME:
                raise ValueError(f"{kernel.name}: its inputs are {', '.join(kernel.input_names)}")
            columns += (None,)
        if where is not None:
            count = self.choose(where)
        try:
            for given in columns:
                name = kernel.input_names[held]
                if given is None and name == TIME:
                    given = kernel.no_times(self.parameters[0], self.lanes)
                borrow(given, &views[held], kernel.name, name)
                inputs[held] = <const double*>views[held].buf
                held += 1
                if views[held - 1].shape[0] != self.lanes:
                    raise ValueError(
                        f"{kernel.name}: {name} has {views[held - 1].shape[0]} rows for "
                        f"{self.lanes} lanes"
                    )
            with nogil:
                self.step(inputs, NULL if where is None else self.chosen, count, commit)
        finally:
            while held:
                held -= 1
                PyBuffer_Release(&views[held])

    cdef Py_ssize_t choose(self, object where) except -2:
        """Take down which lanes ``where`` names; how many."""
        cdef Py_ssize_t count, i
        lanes = np.asarray(where)
        if lanes.dtype == bool:
            if lanes.shape != (self.lanes,):
                raise ValueError(f"where has shape {lanes.shape} for {self.lanes} lanes")
            lanes = np.flatnonzero(lanes)
        elif lanes.ndim != 1 or (lanes.size and lanes.dtype.kind not in "iu"):
            raise ValueError("where must be lanes by number, or a bool for each")
        elif lanes.size:
            if lanes.min() < 0 or lanes.max() >= self.lanes:
                raise ValueError(f"where names lanes other than 0 to {self.lanes - 1}")
            if np.bincount(lanes.astype(np.int64), minlength=1).max() > 1:
                raise ValueError("where names a lane twice")
        cdef const int32_t[::1] listed = np.ascontiguousarray(lanes, dtype=np.int32)
        count = listed.shape[0]
        for i in range(count):
            self.chosen[i] = listed[i]
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
