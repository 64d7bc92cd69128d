"""C face of what is told although rows that it came of are gone."""

from libc.stdint cimport int64_t

from klinecore.filters.runner cimport Doubts, Runner
from klinecore.filters.stages cimport Root, Stage
from klinecore.merge cimport SeriesMemory

cdef class Gone(Doubts):
    cdef Runner runner
    cdef readonly dict told             # lane -> root -> open_time_ms -> price: what was told
    cdef readonly set undecided         # (root, lane, open_time_ms): taken again, not known
    cdef dict whole_ms                  # (key of step, lane or -1) -> open time: see whole_from
    cdef dict true_ms                   # (key of `bars_since`, lane) -> where it was certainly true

    cdef clear(self)
    cdef bint taken_again(self, Stage stage, Py_ssize_t lane, int64_t open_ms) except -1
    cdef look_at_row(self, Stage stage, Root root, Py_ssize_t lane, int64_t open_ms)
    cdef int64_t whole_from(self, step, Py_ssize_t lane) except -2
    cdef int64_t looking_from(self, step, Py_ssize_t lane) except -2
    cdef int64_t read_from(self, step, Py_ssize_t lane) except -2
    cdef int64_t compared_from(self, step) except -2
    cdef bint is_full(self, const SeriesMemory* series) noexcept
