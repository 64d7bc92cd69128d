"""C face of what moves all steps of filters along the rows."""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t

from klinecore.filters.cells cimport Cell, Rows
from klinecore.filters.stages cimport Root, Stage
from klinecore.market cimport Market
from klinecore.merge cimport SeriesMemory

cdef enum Next:
    NONE = 0                # no row to move to
    READY = 1
    WAITS = 2               # there is one, but not what it must be read together with
    BROKEN = 3              # what was computed is not what the rows say: start anew

cdef class Rewinder:
    cdef begin(self)
    cdef bint rewind(self, Py_ssize_t lane) except -1

cdef class Doubts:
    cdef begin(self, Stage stage, Py_ssize_t lane, int64_t open_ms)
    cdef look_back(self, Stage stage)
    cdef look(self, Stage stage, Root root)
    cdef forget(self, set lanes)

cdef class Runner:
    cdef readonly Market market
    cdef readonly Py_ssize_t places
    cdef readonly dict cells            # by key
    cdef readonly dict stages           # by key
    cdef list ordered                   # stages, each after those it needs
    cdef list fired                     # (root, lane, open_time_ms, price, complete, again, parts)
    cdef bint records                   # firings are wanted
    cdef bint across                    # some stage looks across symbols
    cdef uint32_t interval_count
    cdef int64_t[16] barrier_ms         # boundary up to which barriers were told
    cdef int64_t[16] deadline_ms        # boundary up to which nothing is waited for
    cdef list incomplete                # by interval: boundaries whose barrier missed closes
    cdef int32_t* order                 # by lane: place in the market's order; -1 without a symbol
    cdef Py_ssize_t live_count
    cdef int32_t* touched               # lanes that may have rows to move to
    cdef Py_ssize_t touched_count
    cdef uint8_t* broken                # lanes to start anew
    cdef readonly set rerun             # lanes that did
    cdef Rewinder rewinder              # knows earlier states of lanes; or None
    cdef dict rewound                   # lane -> stage -> open time it went back to
    cdef Doubts doubts                  # what cannot be told anew
    cdef dict repeated                  # lane -> stage -> open time of the row taken once more
    cdef readonly uint64_t rerun_count
    cdef uint64_t moves                 # of stages

    cdef number_lanes(self)
    cdef Stage stage_of(self, key)
    cdef Cell add(self, step)
    cdef adopt(self, Cell cell, step)
    cdef drop(self, set keys)
    cdef arrange(self)
    cdef const SeriesMemory* series(self, Stage stage, Py_ssize_t lane) noexcept
    cdef Next next_row(self, Stage stage, Py_ssize_t lane, int64_t* boundary_ms) except *
    cdef Next can_move(self, Stage stage, Py_ssize_t lane, int64_t boundary_ms) except *
    cdef int64_t due(self, Stage stage, Py_ssize_t lane) except -2
    cdef int64_t next_boundary(self, Stage stage, int64_t before_ms) except -2
    cdef bint gather(self, Stage stage, int64_t boundary_ms) except -1
    cdef bint gather_again(self, Stage stage, int64_t boundary_ms) except -1
    cdef void describe(self, Stage stage, Rows* rows) noexcept
    cdef run(self, Stage stage, int64_t boundary_ms)
    cdef void enter_row(self, Stage stage, Py_ssize_t lane)
    cdef fire(self, Stage stage, Root root, int64_t boundary_ms)
    cdef count_unknown(self, Stage stage, Root root, Py_ssize_t lane)
    cdef start_anew(self)
    cdef touch(self, const uint8_t* marked)
    cdef advance(self)
