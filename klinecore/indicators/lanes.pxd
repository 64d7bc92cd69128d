"""The third face of a kernel: one indicator of many series at once, a lane for each."""

cimport cython
from libc.stdint cimport int32_t, int64_t, uint8_t

from klinecore.indicators.blocks cimport Shape, Sweep
from klinecore.indicators.kernel cimport INPUTS_MAX, OUTPUTS_MAX, Kernel, RunFunction

cdef enum:
    LANES_MAX = 1_000_000


cdef const double* column_at(object given, Py_ssize_t lanes) noexcept


@cython.final
cdef class Lanes:
    """Committed states of all lanes, and two outputs of each: of the newest closed and of the
    newest row, closed or forming.
    """

    cdef readonly Kernel kernel
    cdef readonly tuple parameters
    cdef readonly Py_ssize_t lookback
    cdef readonly Py_ssize_t lanes
    cdef readonly Py_ssize_t nbytes         # states, rings and outputs
    cdef double* closed[OUTPUTS_MAX]        # by lane; NaN where the newest closed row had none
    cdef double* live[OUTPUTS_MAX]
    cdef bint behind                        # live lacks what was committed last
    cdef int inputs, outputs
    cdef size_t kernel_size                 # bytes of a state without its rings
    cdef RunFunction run
    cdef char* fresh                        # a state of a lane that was never fed, and its rings
    cdef Py_ssize_t state_bytes             # of both
    cdef Py_ssize_t* pointers               # where in a state pointers stand, and
    cdef Py_ssize_t* targets                # how far into the block each points
    cdef Py_ssize_t pointer_count
    # Lanes one after the other, each as in ``fresh``; or side by side, if there is a loop for it.
    cdef char* states
    cdef const Shape* shape                 # NULL: one after the other
    cdef Sweep sweep
    cdef void* blocks                       # as allocated: the sweep's are aligned
    cdef uint8_t* wanted                    # by block: lanes to step; none between two calls
    cdef double* column                     # of a lane that was never fed
    cdef Py_ssize_t rows                    # of a column
    cdef int64_t tag                        # of indicator, parameters and layout
    cdef object closed_result, live_result  # a view of the outputs, or a named tuple of views
    cdef int32_t* chosen                    # room for a list of lanes
    cdef uint8_t* named                     # by lane: it is in that list

    cdef int make_fresh(self, const double* numbers) except -1
    cdef int make_states(self) except -1
    cdef int make_blocks(self) except -1
    cdef int make_outputs(self) except -1
    cdef int feed(self, tuple columns, object where, bint commit) except -1
    cdef object numbers_of(self, object where)
    cdef Py_ssize_t choose(self, object where) except -1
    cdef void point(self, char* block) noexcept nogil
    cdef double* column_of(self, Py_ssize_t lane) noexcept nogil
    cdef void mark(self, Py_ssize_t lane) noexcept nogil
    cdef void step_one(
        self, const double** inputs, Py_ssize_t lane, bint commit
    ) noexcept nogil
    cdef void step_run(
        self, const double** inputs, Py_ssize_t block, unsigned want, bint commit
    ) noexcept nogil
    cdef void step_many(
        self, const double** inputs, const int32_t* lanes, Py_ssize_t count, bint commit
    ) noexcept nogil
    cdef void step_whole(self, const double** inputs, bint commit) noexcept nogil
    cdef void step_tick(self, const double** inputs, Py_ssize_t lane) noexcept nogil
    cdef void catch_up(self) noexcept nogil
    cdef void step_all(self, const double** inputs, bint commit) noexcept nogil
    cdef void step_left(
        self, const double** inputs, Py_ssize_t first, Py_ssize_t last, bint commit
    ) noexcept nogil
    cdef void clear_outputs(self, Py_ssize_t lane) noexcept nogil

    cdef void step(
        self, const double** inputs, const int32_t* lanes, Py_ssize_t count, bint commit
    ) noexcept nogil
    cdef void reset_lane(self, Py_ssize_t lane) noexcept nogil
    cdef Py_ssize_t lane_size(self) noexcept nogil
    cdef void save_lane(self, Py_ssize_t lane, char* to) noexcept nogil
    cdef bint load_lane(self, Py_ssize_t lane, const char* image) noexcept nogil
