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
from libc.stdlib cimport calloc, free

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

    def batch(self, tuple columns not None, tuple parameters not None):
        """Run over whole columns, oldest row first; new arrays as long as they are."""
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
            return self.run_over(views, numbers)
        finally:
            while held:
                held -= 1
                PyBuffer_Release(&views[held])

    cdef object no_times(self, object anchor, Py_ssize_t rows):
        """What stands for times where none were given."""
        if anchor != "none":
            raise ValueError(f"{self.name}: an anchor needs {TIME}, one per row")
        return np.zeros(rows)

    cdef object run_over(self, const Py_buffer* views, const double* numbers):
        cdef const double* inputs[INPUTS_MAX]
        cdef double* outputs[OUTPUTS_MAX]
        cdef Py_ssize_t rows = views[0].shape[0]
        cdef int i
        for i in range(self.inputs):
            inputs[i] = <const double*>views[i].buf
        made = []
        for i in range(self.outputs):
            array = empty(rows)
            made.append(array)
            outputs[i] = address_of(array)
        cdef void* state = self.make_state(numbers)
        with nogil:
            self.run(state, inputs, outputs, rows, True)
        free(state)
        return made[0] if self.result is None else self.result(*made)

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

    cdef void* make_state(self, const double* parameters) except NULL:
        """A new state and its rings in one block; free() it."""
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
