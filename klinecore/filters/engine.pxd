"""C face of the live engine: what it keeps of the filters of a market."""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from klinecore.filters.gone cimport Gone
from klinecore.filters.images cimport Checkpoints
from klinecore.filters.runner cimport Runner
from klinecore.filters.stages cimport Root
from klinecore.filters.telling cimport Teller
from klinecore.market cimport Market

cdef struct Known:
    uint64_t revision           # of a series when it was last looked at
    uint64_t closed_count
    uint64_t inserted
    uint64_t changed            # rows corrected or inserted

cdef class Engine:
    cdef readonly Market market
    cdef readonly int64_t state_bytes_max
    cdef readonly int filters_max
    cdef Runner _runner
    cdef Checkpoints _checkpoints
    cdef dict _roots            # filter id -> Root
    cdef dict _counts           # key of a step -> filters that need it
    cdef dict _steps            # and the step itself: filters share those they have in common
    cdef Gone _gone
    cdef Teller _teller
    cdef dict _forming          # interval -> Forming of the filters that want it; None: look anew
    cdef int _next_id
    cdef tuple _symbols
    cdef list _generations      # by lane; None without a symbol
    cdef Known* _known          # by series
    cdef uint8_t* _marked       # lanes to look at
    cdef uint64_t _lost
    cdef uint64_t _refused, _checkpoints_left_out

    cdef _settle_barrier(self, step)
    cdef Runner _warm(self, step, bint edge, Py_ssize_t cooldown)
    cdef Root _adopt(self, Runner warm, step)
    cdef _replan(self)
    cdef _list_forming(self)
    cdef Root _root(self, int filter_id)
    cdef _advance(self, dict first_closed, dict told_changes)
    cdef _disturb(self, Py_ssize_t lane, uint32_t interval, int64_t open_time_ms)
    cdef _look(self, Py_ssize_t lane, dict told_changes)
    cdef _begin(self, Py_ssize_t lane, dict first_closed)
    cdef _barrier(self, uint32_t interval, int64_t open_time_ms)
    cdef _note_barrier(self, uint32_t interval, int64_t open_time_ms, int64_t boundary_ms)
    cdef _follow_symbols(self)
