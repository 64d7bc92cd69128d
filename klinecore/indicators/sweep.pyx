"""Steps several indicators of the same series by one call: at a close, or at one forming row."""

cimport cython
from cpython.buffer cimport PyBuffer_Release
from cpython.float cimport PyFloat_FromDouble
from cpython.ref cimport Py_INCREF
from cpython.tuple cimport PyTuple_GET_ITEM, PyTuple_New, PyTuple_SET_ITEM
from libc.stdint cimport int32_t, uintptr_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy

from klinecore.indicators.blocks cimport BLOCK
from klinecore.indicators.kernel cimport borrow
from klinecore.indicators.lanes cimport Lanes, column_at

__all__ = ["Sweep"]

cdef enum:
    LONG = 10_000       # lanes from which on other threads may run meanwhile


@cython.final
cdef class Sweep:
    """Several indicators of the same series: ``Sweep(Lanes("rsi", lanes=500), ...)``.

    ``inputs`` names the columns that all calls take: those of the parts, each once, in the order of
    the parts. A part may still be stepped by itself.

    Raises ValueError for parts of different numbers of lanes, a part that is given twice, more than
    64 parts or 16 columns.
    """

    def __init__(self, *parts):
        cdef Lanes part
        cdef Py_ssize_t i, room
        cdef int k
        if self.memory != NULL:
            raise TypeError("a sweep is made once")
        if not 1 <= len(parts) <= PARTS_MAX or not all(isinstance(one, Lanes) for one in parts):
            raise ValueError(f"a sweep is of 1 to {PARTS_MAX} Lanes")
        if len({len(one) for one in parts}) > 1:
            raise ValueError(f"parts have {', '.join(str(len(one)) for one in parts)} lanes")
        if len(set(map(id, parts))) < len(parts):
            raise ValueError("a part is given twice")
        named = [name for one in parts for name in one.kernel.entry.inputs]
        self.inputs = tuple(dict.fromkeys(named))
        if len(self.inputs) > COLUMNS_MAX:
            raise ValueError(f"parts take {len(self.inputs)} columns; {COLUMNS_MAX} are allowed")
        self.parts = parts
        self.lanes = len(parts[0])
        self.count, self.width = len(parts), len(self.inputs)
        self.room = room = (self.lanes + BLOCK - 1) // BLOCK * BLOCK
        self.nbytes = (len(self.inputs) * room + BLOCK) * sizeof(double)
        self.memory = calloc(1, self.nbytes)
        if self.memory == NULL:
            raise MemoryError
        for k in range(len(self.inputs)):
            self.columns[k] = (
                <double*>((<uintptr_t>self.memory + 63) & ~<uintptr_t>63) + k * room
            )
        for i in range(len(parts)):
            part = parts[i]
            self.outputs += part.outputs
            for k in range(part.inputs):
                name = part.kernel.entry.inputs[k]
                self.column[i][k] = self.columns[self.inputs.index(name)]
        self.closed_results = tuple((<Lanes>one).closed_result for one in parts)
        self.live_results = tuple((<Lanes>one).live_result for one in parts)

    def __dealloc__(self):
        free(self.memory)

    def __repr__(self):
        return f"Sweep({', '.join(map(repr, self.parts))})"

    def __len__(self):
        return len(self.parts)

    @property
    def values(self):
        """What each part's ``values`` are."""
        return self.closed_results

    def update(self, column, /, *columns, where=None):
        """Take a closed row of every lane, or of those in ``where``, in every part.

        ``columns`` are float64 arrays, shape ``(lanes,)``, one for each of ``inputs``; ``where`` is
        as of ``Lanes.update``. Returns what the parts' ``update`` would, as a tuple. Raises
        ValueError as they do; nothing has been stepped then.
        """
        self.feed(column, columns, where, True)
        return self.closed_results

    def preview(self, column, /, *columns, where=None):
        """What ``update`` would give; commits nothing. Returns what the parts' ``preview`` would.
        """
        self.feed(column, columns, where, False)
        return self.live_results

    cdef int feed(self, object given, tuple others, object where, bint commit) except -1:
        cdef Py_buffer view
        cdef const double* column
        cdef Lanes part
        cdef Py_ssize_t i, k, count = 0, size = self.lanes * sizeof(double)
        cdef const int32_t* chosen = NULL
        if 1 + len(others) != self.width:
            raise ValueError(f"a row of this sweep is {', '.join(self.inputs)}")
        for i in range(self.width):
            if i:
                given = others[i - 1]
            column = column_at(given, self.lanes)
            if column != NULL:
                memcpy(self.columns[i], column, size)
                continue
            borrow(given, &view, "sweep", self.inputs[i])
            try:
                if view.shape[0] != self.lanes:
                    raise ValueError(
                        f"sweep: {self.inputs[i]} has {view.shape[0]} rows for {self.lanes} lanes"
                    )
                memcpy(self.columns[i], view.buf, size)
            finally:
                PyBuffer_Release(&view)
        for i in range(self.width):
            # Lanes that are not there go with the last one, so that its block needs no masks.
            for k in range(self.lanes, self.room):
                self.columns[i][k] = self.columns[i][self.lanes - 1]
        if where is not None:
            part = <Lanes>PyTuple_GET_ITEM(self.parts, 0)
            count = part.choose(where)
            chosen = part.chosen
        # Every other row begins at the other end: the states stepped last are the nearest still.
        self.backwards = not self.backwards
        for i in range(self.count):
            k = self.count - 1 - i if self.backwards else i
            part = <Lanes>PyTuple_GET_ITEM(self.parts, k)
            if chosen != NULL:
                part.step(self.column[k], chosen, count, commit)
            elif self.lanes < LONG:
                part.step_whole(self.column[k], commit)
            else:
                with nogil:
                    part.step_whole(self.column[k], commit)
        return 0

    def tick(self, Py_ssize_t lane, row, /):
        """A forming row of one lane: all outputs ``update`` would give, in the order of the parts.

        ``row`` is a number, or a sequence of one for each of ``inputs``. Returns a tuple of floats;
        commits nothing. IndexError: there is no such lane.
        """
        cdef Lanes part
        cdef Py_ssize_t i, at = 0
        cdef int k
        if not 0 <= lane < self.lanes:
            raise IndexError(f"lane {lane} of {self.lanes}")
        if type(row) is float and self.width == 1:
            self.columns[0][lane] = <double>row
        else:
            numbers = (row,) if isinstance(row, (int, float)) else tuple(row)
            if len(numbers) != self.width:
                raise ValueError(f"a row of this sweep is {', '.join(self.inputs)}")
            for i in range(self.width):
                self.columns[i][lane] = numbers[i]
        outputs = PyTuple_New(self.outputs)
        for i in range(self.count):
            part = <Lanes>PyTuple_GET_ITEM(self.parts, i)
            part.step_tick(self.column[i], lane)
            for k in range(part.outputs):
                value = PyFloat_FromDouble(part.live[k][lane])
                Py_INCREF(value)
                PyTuple_SET_ITEM(outputs, at, value)
                at += 1
        return outputs
