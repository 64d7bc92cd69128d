"""C face of what was told of the filters of a market."""

from libc.stdint cimport int64_t, uint64_t

from klinecore.filters.forming cimport Forming
from klinecore.filters.gone cimport Gone
from klinecore.filters.runner cimport Runner
from klinecore.filters.stages cimport Root

cdef class Teller:
    cdef Runner runner
    cdef Gone gone
    cdef dict told              # lane -> root -> open_time_ms -> price
    cdef dict provisional       # (root, lane) -> open time of the forming row it fired at
    cdef uint64_t fired, revised, retracted, forgotten, incomplete

    cdef forget_filter(self, Root root)
    cdef forget_symbol(self, Py_ssize_t lane)
    cdef tell_forming(self, Forming forming, Py_ssize_t lane, list out)
    cdef list tell(self)
    cdef take_back(self, list out)
    cdef firing(
        self, Root root, lane, open_ms, price, bint revision, bint whole, bint retracted,
        tuple values
    )
    cdef remember(self, lane, root, open_ms, price)
    cdef revise(self, Py_ssize_t lane, dict again, list roots, int64_t from_ms, list out)
    cdef dict counters(self)
