"""C face of the live engine: what it keeps of the filters of a market."""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from klinecore.filters.group cimport Group
from klinecore.filters.stages cimport Root, Stage
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
    cdef Group _within          # filters that look at one symbol at a time
    cdef Group _across          # and those that compare symbols
    cdef tuple _groups          # both
    cdef dict _forming          # interval -> (group, Forming), where some want it; None: look anew
    cdef int _next_id
    cdef Py_ssize_t _places
    cdef uint32_t _interval_count
    cdef tuple _symbols
    cdef list _generations      # by lane; None without a symbol
    cdef Known* _known          # by series
    cdef uint8_t* _marked       # lanes to look at
    cdef uint64_t _lost
    cdef uint64_t _moves        # how often what filters remember may have changed
    cdef uint64_t _refused

    cdef _replan(self)
    cdef _list_forming(self)
    cdef Group _group(self, int filter_id)
    cdef Root _root(self, int filter_id)
    cdef Stage _stage(self, int filter_id)
    cdef list _advance(self, dict first_closed, dict told_changes)
    cdef _disturb(self, Py_ssize_t lane, uint32_t interval, int64_t open_time_ms)
    cdef _look(self, Py_ssize_t lane, bint lost, dict told_changes)
    cdef _follow_symbols(self)
    cdef list _parts(self)
