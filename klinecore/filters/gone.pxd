"""C face of what is told although rows that it came of are gone."""

from libc.stdint cimport int64_t, uint64_t

from klinecore.filters.runner cimport Doubts, Runner
from klinecore.filters.stages cimport Root, Stage
from klinecore.merge cimport SeriesMemory

cdef class Reach:
    cdef readonly list args             # of the steps it builds on
    cdef Stage stage
    cdef bint compares                  # symbols: it is the same for all lanes
    cdef bint reads                     # another interval
    cdef bint since                     # it looks back till something was true
    cdef bint endless                   # and compares that
    cdef Py_ssize_t back                # rows that it looks back by itself
    cdef int64_t* whole_ms              # by lane, plus FOUND: see ``Gone.whole_from``
    cdef int64_t* true_ms               # likewise: where it was certainly true; NULL if not since

cdef class Gone(Doubts):
    cdef Runner runner
    cdef readonly dict told             # lane -> root -> open_time_ms -> price: what was told
    cdef readonly set undecided         # (root, lane, open_time_ms): taken again, not known
    cdef dict reaches                   # key of step -> Reach
    cdef dict known_reaches             # root, or cell of a `bars_since` -> Reach of its step
    cdef uint64_t* anew                 # lanes that began with their oldest row
    cdef uint64_t* again                # of them, those that move to a row they stood at before

    cdef clear(self)
    cdef look_at_row(self, Stage stage, Root root, Reach reach, Py_ssize_t lane)
    cdef Reach reach_of(self, owner, step)
    cdef int64_t whole_from(self, Reach reach, Py_ssize_t lane) except -2
    cdef int64_t looking_from(self, Reach reach, Py_ssize_t lane) except -2
    cdef int64_t read_from(self, Reach reach, Py_ssize_t lane) except -2
    cdef int64_t compared_from(self, Reach reach) except -2
    cdef bint is_full(self, const SeriesMemory* series) noexcept
