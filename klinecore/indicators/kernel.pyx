"""Runs kernels for Python: over whole arrays, or row by row with a preview of the forming one."""

cimport cython
from cpython.buffer cimport (
    PyBUF_CONTIG, PyBUF_CONTIG_RO, PyBUF_FORMAT, PyBuffer_Release, PyObject_CheckBuffer,
    PyObject_GetBuffer,
)
from cpython.float cimport PyFloat_FromDouble
from cpython.ref cimport Py_INCREF
from cpython.tuple cimport PyTuple_SET_ITEM
from libc.math cimport NAN
from libc.stdint cimport int64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memset

import operator

import numpy as np

cdef extern from "Python.h":
    ctypedef struct PyTypeObject:
        object tp_alloc(type kind, Py_ssize_t size)

__all__ = ["Kernel", "Stream", "Stream1", "Stream2", "Stream3", "Stream4", "Stream5"]

cdef object FLOAT64 = np.dtype(np.float64)
cdef object as_array = np.asarray
cdef object contiguous = np.ascontiguousarray
cdef object empty = np.empty
cdef object index = operator.index
TIME = "open_time_ms"


cdef Kernel make_kernel(str name, size_t state_size, InitFunction init, RunFunction run):
    cdef Kernel kernel = Kernel.__new__(Kernel)
    kernel.name = name
    kernel.state_size = (state_size + 15) & ~<size_t>15
    kernel.init = init
    kernel.run = run
    return kernel


cdef object _column(object given, str kernel, str name):
    """The array to read: float64, one-dimensional, contiguous; copied only if it is scattered."""
    array = as_array(given)
    if name is TIME and array.dtype.kind in "iu":
        array = array.astype(FLOAT64)
    if array.dtype != FLOAT64:
        raise ValueError(
            f"{kernel}: {name} must be a float64 array, not {array.dtype}; "
            "convert it with .astype(float)"
        )
    if array.ndim != 1:
        raise ValueError(
            f"{kernel}: {name} must have one dimension, not {array.ndim} (shape {array.shape})"
        )
    return contiguous(array)


cdef int borrow(object given, Py_buffer* view, str kernel, str name) except -1:
    """Hold the column's memory until the view is released."""
    if PyObject_CheckBuffer(given):
        try:
            PyObject_GetBuffer(given, view, PyBUF_CONTIG_RO | PyBUF_FORMAT)
        except (BufferError, ValueError):
            pass
        else:
            if view.ndim == 1 and view.format[0] == c"d" and view.format[1] == 0:
                return 0
            PyBuffer_Release(view)
    return PyObject_GetBuffer(_column(given, kernel, name), view, PyBUF_CONTIG_RO | PyBUF_FORMAT)


cdef double* address_of(object array) except? NULL:
    """Where a new array lies; whoever made it holds it."""
    cdef Py_buffer view
    PyObject_GetBuffer(array, &view, PyBUF_CONTIG)
    cdef double* data = <double*>view.buf
    PyBuffer_Release(&view)
    return data


cdef int _check_starts(const int64_t[::1] starts, Py_ssize_t rows) except -1:
    cdef Py_ssize_t i
    cdef int64_t before = -1
    for i in range(starts.shape[0]):
        if starts[i] <= before or starts[i] >= rows:
            raise ValueError(f"starts must ascend within {rows} rows; starts[{i}] is {starts[i]}")
        before = starts[i]
    if rows and (starts.shape[0] == 0 or starts[0] != 0):
        raise ValueError("the first stretch must start at row 0")
    return 0


@cython.final
cdef class Kernel:
    """One indicator's compiled formula, bound to its line of the catalog."""

    def __init__(self):
        raise TypeError("kernels are made by the library; see klinecore.indicators.CATALOG")

    def bind(self, entry not None, result=None):
        """Tie the kernel to its catalog entry and, for several outputs, the type they come in."""
        self.entry = entry
        self.result = result
        self.input_names = tuple(entry.inputs)
        self.inputs = len(self.input_names)
        self.outputs = len(entry.outputs)
        self.checks = tuple(
            (p.name, p.kind, p.low, p.high, p.choices) for p in entry.parameters
        )
        if (
            self.inputs > INPUTS_MAX
            or self.outputs > OUTPUTS_MAX
            or len(self.checks) > PARAMETERS_MAX
        ):
            raise ValueError(f"{self.name}: more inputs, outputs or parameters than a kernel has")
        return self

    def batch(self, tuple columns not None, tuple parameters not None, out=None):
        """Run over whole columns, oldest row first; into new arrays, or those in ``out``."""
        cdef double numbers[PARAMETERS_MAX]
        cdef Py_buffer views[INPUTS_MAX]
        cdef int held = 0
        self.read_parameters(parameters, numbers)
        try:
            while held < self.inputs:
                given = columns[held]
                name = self.input_names[held]
                if given is None and name is TIME:
                    given = self.no_times(parameters[0], views[0].shape[0])
                borrow(given, &views[held], self.name, name)
                held += 1
                if views[held - 1].shape[0] != views[0].shape[0]:
                    raise ValueError(
                        f"{self.name}: inputs must be equally long; {self.input_names[0]} has "
                        f"{views[0].shape[0]} rows, {name} has {views[held - 1].shape[0]}"
                    )
            return self.run_over(views, numbers, out)
        finally:
            while held:
                held -= 1
                PyBuffer_Release(&views[held])

    def stretches(self, tuple columns not None, starts not None, tuple parameters not None):
        """Run over the stretches of ragged columns, each from a fresh state; tuple of outputs.

        ``columns`` are one contiguous float64 array of n rows per input; ``starts`` are the first
        rows of the stretches, int64, ascending from 0. New arrays, shape ``(n,)``, one per output.
        Raises ValueError: arrays of other types or lengths, starts that do not ascend from 0 or
        leave the rows, parameters out of bounds.
        """
        cdef double numbers[PARAMETERS_MAX]
        cdef const double* inputs[INPUTS_MAX]
        cdef double* outputs[OUTPUTS_MAX]
        cdef const int64_t[::1] first = starts
        cdef const double[::1] column
        cdef Py_ssize_t rows = -1
        cdef Py_ssize_t i
        self.read_parameters(parameters, numbers)
        if len(columns) != self.inputs:
            raise ValueError(f"{self.name}: takes {self.inputs} columns, not {len(columns)}")
        for i in range(self.inputs):
            column = columns[i]
            if rows not in (-1, column.shape[0]):
                raise ValueError(f"{self.name}: inputs must be equally long")
            rows = column.shape[0]
            inputs[i] = &column[0] if rows else NULL
        _check_starts(first, rows)
        made = tuple([empty(rows) for _ in range(self.outputs)])
        for i in range(self.outputs):
            outputs[i] = address_of(made[i])
        if rows:
            self.run_stretches(inputs, outputs, first, rows, numbers)
        return made

    cdef int run_stretches(
        self, const double** inputs, double** outputs, const int64_t[::1] starts, Py_ssize_t rows,
        const double* numbers,
    ) except -1:
        cdef const double* x[INPUTS_MAX]
        cdef double* y[OUTPUTS_MAX]
        cdef Py_ssize_t size
        cdef char* block = <char*>self.make_state(numbers, &size)
        cdef Py_ssize_t i, end
        cdef int j
        cdef Room room
        with nogil:
            for i in range(starts.shape[0]):
                if i:
                    memset(block, 0, size)
                    room.data = <double*>(block + self.state_size)
                    room.used = 0
                    self.init(block, numbers, &room)
                for j in range(self.inputs):
                    x[j] = inputs[j] + starts[i]
                for j in range(self.outputs):
                    y[j] = outputs[j] + starts[i]
                end = starts[i + 1] if i + 1 < starts.shape[0] else rows
                self.run(block, x, y, end - starts[i], True)
        free(block)
        return 0

    cdef object no_times(self, object anchor, Py_ssize_t rows):
        """What stands for times where none were given."""
        if anchor != "none":
            raise ValueError(f"{self.name}: an anchor needs {TIME}, one per row")
        return np.zeros(rows)

    cdef object run_over(self, const Py_buffer* views, const double* numbers, object out):
        cdef const double* inputs[INPUTS_MAX]
        cdef double* outputs[OUTPUTS_MAX]
        cdef Py_ssize_t rows = views[0].shape[0]
        cdef int i
        for i in range(self.inputs):
            inputs[i] = <const double*>views[i].buf
        if out is None:
            made = [empty(rows) for _ in range(self.outputs)]
        else:
            made = self.given_outputs(out, rows)
        for i in range(self.outputs):
            outputs[i] = address_of(made[i])
        if out is not None:
            self.refuse_overlaps(inputs, outputs, rows)
        cdef void* state = self.make_state(numbers)
        with nogil:
            self.run(state, inputs, outputs, rows, True)
        free(state)
        return made[0] if self.result is None else self.result(*made)

    cdef object given_outputs(self, object out, Py_ssize_t rows):
        """The arrays to write to, which must be as new ones would be."""
        names = self.entry.outputs
        if self.outputs == 1:
            out = (out,)
        elif not isinstance(out, (tuple, list)) or len(out) != self.outputs:
            raise ValueError(f"{self.name}: out must be {self.outputs} arrays: {', '.join(names)}")
        for name, array in zip(names, out, strict=True):
            if not isinstance(array, np.ndarray) or array.dtype != FLOAT64:
                raise ValueError(f"{self.name}: out, {name}, must be a float64 array")
            if array.shape != (rows,):
                raise ValueError(
                    f"{self.name}: out, {name}, must have shape ({rows},), not {array.shape}"
                )
            if not array.flags.carray:
                raise ValueError(f"{self.name}: out, {name}, must be contiguous and writable")
        return out

    cdef int refuse_overlaps(
        self, const double** inputs, double** outputs, Py_ssize_t rows
    ) except -1:
        """A kernel may read a row after it has written another output of it."""
        cdef int i, k
        for i in range(self.outputs):
            for k in range(self.inputs):
                if outputs[i] < inputs[k] + rows and inputs[k] < outputs[i] + rows:
                    raise ValueError(f"{self.name}: out must not be the memory of an input")
            for k in range(i):
                if outputs[i] < outputs[k] + rows and outputs[k] < outputs[i] + rows:
                    raise ValueError(f"{self.name}: out must be different memory for each output")
        return 0

    cdef int read_parameters(self, tuple given, double* parameters) except -1:
        cdef Py_ssize_t i
        for i in range(len(self.checks)):
            name, kind, low, high, choices = self.checks[i]
            value = given[i]
            if kind == "choice":
                if value not in choices:
                    known = ", ".join(map(repr, choices))
                    raise ValueError(f"{self.name}: {name} must be one of {known}, not {value!r}")
                parameters[i] = choices.index(value)
                continue
            try:
                number = index(value) if kind == "period" else float(value)
            except (TypeError, ValueError):
                number = None
            if isinstance(value, (bool, str)) or number is None or not low <= number <= high:
                what = "an integer" if kind == "period" else "a number"
                raise ValueError(
                    f"{self.name}: {name} must be {what} from {low:,} to {high:,}, not {value!r}"
                )
            parameters[i] = number
        return 0

    cdef void* make_state(self, const double* parameters, Py_ssize_t* size=NULL) except NULL:
        """A new state and its rings in one block of ``size`` bytes; free() it."""
        cdef Room room
        room.data = NULL
        room.used = 0
        cdef char* block = <char*>calloc(1, self.state_size)
        if block == NULL:
            raise MemoryError
        self.init(block, parameters, &room)
        if room.used:
            free(block)
            block = <char*>calloc(1, self.state_size + room.used * sizeof(double))
            if block == NULL:
                raise MemoryError
            room.data = <double*>(block + self.state_size)
            room.used = 0
            self.init(block, parameters, &room)
        if size != NULL:
            size[0] = self.state_size + room.used * sizeof(double)
        return block


cdef class Stream:
    """An indicator that is fed row by row; use the classes named after the indicators."""

    def __init__(self, Kernel kernel not None, tuple parameters not None):
        cdef double numbers[PARAMETERS_MAX]
        cdef int i
        kernel.read_parameters(parameters, numbers)
        cdef void* state = kernel.make_state(numbers)
        free(self.state)
        self.state = state
        self.kernel = kernel
        self.parameters = parameters
        self.lookback = kernel.entry.lookback(*parameters)
        self.count = 0
        for i in range(OUTPUTS_MAX):
            self.last[i] = NAN

    def __class_getitem__(cls, item):
        return cls

    def __dealloc__(self):
        free(self.state)

    def __repr__(self):
        inside = ", ".join(map(repr, self.parameters))
        return f"{type(self).__name__}({inside})"

    @property
    def value(self):
        """Output of the newest row that counted; NaN before the first."""
        return self.shown(self.last)

    @property
    def warm(self):
        """True once ``lookback`` rows and one more have counted: from then on there are values."""
        return self.count > self.lookback

    cdef object step(self, const double* row, bint commit):
        cdef const double* inputs[INPUTS_MAX]
        cdef double* outputs[OUTPUTS_MAX]
        cdef double values[OUTPUTS_MAX]
        cdef bint counts = True
        cdef int i
        if self.state == NULL:
            raise TypeError("__init__ was never called")
        for i in range(self.kernel.inputs):
            inputs[i] = row + i
            counts &= usable(row[i])
        for i in range(self.kernel.outputs):
            outputs[i] = values + i
        self.kernel.run(self.state, inputs, outputs, 1, commit)
        if commit and counts:
            self.count += 1
            for i in range(self.kernel.outputs):
                self.last[i] = values[i]
        return self.shown(values)

    cdef object shown(self, const double* values):
        cdef int i
        if self.kernel.result is None:
            return PyFloat_FromDouble(values[0])
        # namedtuple's own constructor takes three times as long as all the rest of an update.
        cdef object result = _allocate(self.kernel.result, self.kernel.outputs)
        for i in range(self.kernel.outputs):
            number = PyFloat_FromDouble(values[i])
            Py_INCREF(number)
            PyTuple_SET_ITEM(result, i, number)
        return result


cdef inline object _allocate(object result, int outputs):
    cdef PyTypeObject* kind = <PyTypeObject*>result
    return kind.tp_alloc(<type>result, outputs)


cdef class Stream1(Stream):
    """An indicator of one value per row."""

    def update(self, double value, /):
        """Take a closed row; its output. A row with no finite number gives NaN and changes nothing.
        """
        return self.step(&value, True)

    def preview(self, double value, /):
        """The output ``update`` would give; commits nothing."""
        return self.step(&value, False)


cdef class Stream2(Stream):
    """An indicator of two values per row."""

    def update(self, double first, double second, /):
        """Take a closed row; its output. A row with no finite number gives NaN and changes nothing.
        """
        cdef double[2] row = [first, second]
        return self.step(row, True)

    def preview(self, double first, double second, /):
        """The output ``update`` would give; commits nothing."""
        cdef double[2] row = [first, second]
        return self.step(row, False)


cdef class Stream3(Stream):
    """An indicator of three values per row."""

    def update(self, double first, double second, double third, /):
        """Take a closed row; its output. A row with no finite number gives NaN and changes nothing.
        """
        cdef double[3] row = [first, second, third]
        return self.step(row, True)

    def preview(self, double first, double second, double third, /):
        """The output ``update`` would give; commits nothing."""
        cdef double[3] row = [first, second, third]
        return self.step(row, False)


cdef class Stream4(Stream):
    """An indicator of four values per row."""

    def update(self, double first, double second, double third, double fourth, /):
        """Take a closed row; its output. A row with no finite number gives NaN and changes nothing.
        """
        cdef double[4] row = [first, second, third, fourth]
        return self.step(row, True)

    def preview(self, double first, double second, double third, double fourth, /):
        """The output ``update`` would give; commits nothing."""
        cdef double[4] row = [first, second, third, fourth]
        return self.step(row, False)


cdef class Stream5(Stream):
    """An indicator of four values per row and, if it is anchored, the row's open time."""

    def update(
        self, double first, double second, double third, double fourth, double open_time_ms=0.0, /
    ):
        """Take a closed row; its output. A row with no finite number gives NaN and changes nothing.
        """
        cdef double[5] row = [first, second, third, fourth, open_time_ms]
        return self.step(row, True)

    def preview(
        self, double first, double second, double third, double fourth, double open_time_ms=0.0, /
    ):
        """The output ``update`` would give; commits nothing."""
        cdef double[5] row = [first, second, third, fourth, open_time_ms]
        return self.step(row, False)
