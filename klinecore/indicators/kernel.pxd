"""What every indicator is made of in C: a state, its ring memory, and one function that runs it.

A kernel's ``run`` is the only body there is: a batch is ``run`` over the rows, an update is ``run``
over one row, a preview is that without keeping what it did.
"""

cimport cython
from libc.stdint cimport int64_t

cdef enum:
    INPUTS_MAX = 5
    OUTPUTS_MAX = 4
    PARAMETERS_MAX = 6

cdef struct Room:
    double* data                # NULL while a state is only measured
    Py_ssize_t used             # doubles

ctypedef void (*InitFunction)(void* state, const double* parameters, Room* room) noexcept nogil
ctypedef void (*RunFunction)(
    void* state, const double** inputs, double** outputs, Py_ssize_t count, bint commit
) noexcept nogil


cdef inline double* room_take(Room* room, Py_ssize_t size) noexcept nogil:
    """Zeroed ring memory for ``size`` doubles; NULL while the state is only measured."""
    cdef double* taken = room.data + room.used if room.data != NULL else NULL
    room.used += size
    return taken


cdef inline bint usable(double value) noexcept nogil:
    """False for NaN, infinities and what would overflow when squared: such a row is left out."""
    return -1e100 <= value <= 1e100


@cython.final
cdef class Kernel:
    cdef readonly str name
    cdef readonly object entry      # its line of the catalog, once bound
    cdef object result              # type of several outputs; None for one
    cdef tuple checks               # per parameter: name, kind, low, high, choices
    cdef tuple input_names
    cdef size_t state_size          # bytes
    cdef InitFunction init
    cdef RunFunction run
    cdef int inputs
    cdef int outputs

    cdef object no_times(self, object anchor, Py_ssize_t rows)
    cdef object run_over(self, const Py_buffer* views, const double* numbers, object out)
    cdef object given_outputs(self, object out, Py_ssize_t rows)
    cdef int refuse_overlaps(
        self, const double** inputs, double** outputs, Py_ssize_t rows
    ) except -1
    cdef int read_parameters(self, tuple given, double* parameters) except -1
    cdef int run_stretches(
        self, const double** inputs, double** outputs, const int64_t[::1] starts, Py_ssize_t rows,
        const double* numbers,
    ) except -1
    cdef void* make_state(self, const double* parameters, Py_ssize_t* size=*) except NULL


cdef str TIME                   # the one input that may be left out, and may be of integers
cdef int borrow(object given, Py_buffer* view, str kernel, str name) except -1
cdef double* address_of(object array) except? NULL
cdef Kernel make_kernel(str name, size_t state_size, InitFunction init, RunFunction run)


cdef class Stream:
    cdef readonly Kernel kernel
    cdef readonly tuple parameters
    cdef readonly Py_ssize_t lookback
    cdef readonly Py_ssize_t count
    cdef void* state
    cdef double last[OUTPUTS_MAX]

    cdef object step(self, const double* row, bint commit)
    cdef object shown(self, const double* values)


cdef class Stream1(Stream):
    pass


cdef class Stream2(Stream):
    pass


cdef class Stream3(Stream):
    pass


cdef class Stream4(Stream):
    pass


cdef class Stream5(Stream):
    pass
