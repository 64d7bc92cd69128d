"""C face of the live engine: what it keeps of the filters of a market."""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from klinecore.filters.forming cimport Forming
from klinecore.filters.gone cimport Gone
from klinecore.filters.images cimport Checkpoints
from klinecore.filters.runner cimport Runner
from klinecore.filters.stages cimport Root
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
    cdef Gone _gone
    cdef dict _told             # lane -> root -> open_time_ms -> price
    cdef dict _forming          # interval -> Forming of the filters that want it; None: look anew
    cdef dict _provisional      # (root, lane) -> open time of the forming row it fired at
    cdef int _next_id
    cdef tuple _symbols
    cdef list _generations      # by lane; None without a symbol
    cdef Known* _known          # by series
    cdef uint8_t* _marked       # lanes to look at
    cdef uint64_t _lost
    cdef uint64_t _fired, _revised, _retracted, _forgotten, _incomplete, _refused
    cdef uint64_t _checkpoints_left_out

    cdef _settle_barrier(self, step)
    cdef Runner _warm(self, step, bint edge, Py_ssize_t cooldown)
    cdef Root _adopt(self, Runner warm, step)
    cdef _replan(self)
    cdef _list_forming(self)
    cdef Root _root(self, int filter_id)
    cdef _look_at_forming(self, Py_ssize_t lane, Forming forming, list out)
    cdef _advance(self, dict first_closed, dict told_changes)
    cdef _disturb(self, Py_ssize_t lane, uint32_t interval, int64_t open_time_ms)
    cdef _look(self, Py_ssize_t lane, dict told_changes)
    cdef _begin(self, Py_ssize_t lane, dict first_closed)
    cdef _barrier(self, uint32_t interval, int64_t open_time_ms)
    cdef _note_barrier(self, uint32_t interval, int64_t open_time_ms, int64_t boundary_ms)
    cdef _follow_symbols(self)
    cdef list _tell(self)
    cdef _take_back(self, list out)
    cdef _firing(
        self, Root root, lane, open_ms, price, bint revision, bint whole, bint retracted,
        tuple values
    )
    cdef _remember(self, lane, root, open_ms, price)
    cdef _revise(self, Py_ssize_t lane, dict again, list roots, int64_t from_ms, list out)
