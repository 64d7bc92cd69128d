"""C face of a group: filters that advance together."""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from klinecore.filters.gone cimport Gone
from klinecore.filters.images cimport Checkpoints
from klinecore.filters.runner cimport Runner
from klinecore.filters.stages cimport Root, Stage
from klinecore.filters.telling cimport Teller
from klinecore.market cimport Market

cdef class Group:
    cdef readonly Market market
    cdef readonly dict roots    # filter id -> Root
    cdef readonly dict steps    # key -> step: filters share those they have in common
    cdef Runner runner
    cdef Checkpoints checkpoints
    cdef Gone gone
    cdef Teller teller
    cdef dict counts            # key of a step -> filters that need it
    cdef uint64_t left_out      # checkpoints, of those before

    cdef Stage stage_of(self, Root root)
    cdef settle_barrier(self, step)
    cdef Runner warm(
        self, int number, step, bint edge, Py_ssize_t cooldown, int64_t taken, int64_t bytes_max
    )
    cdef Root adopt(self, Runner warm, step)
    cdef remove(self, Root root)
    cdef replan(self, bint checkpoints)
    cdef uint64_t checkpoints_left_out(self)
    cdef list advance(self, const uint8_t* marked, dict first_closed)
    cdef disturb(self, Py_ssize_t lane, uint32_t interval, int64_t open_time_ms)
    cdef begin(self, Py_ssize_t lane, dict first_closed)
    cdef barrier(self, uint32_t interval, int64_t open_time_ms)
    cdef note_barrier(self, uint32_t interval, int64_t open_time_ms, int64_t boundary_ms)
    cdef forget(self, Py_ssize_t lane)
