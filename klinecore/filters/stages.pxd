"""C face of stages: which row each lane of a group of steps stands at."""

from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t

from klinecore.filters.cells cimport Cell

cdef int64_t NEVER              # beyond every time

cdef class Times:
    # One time per lane; shared by filters of a stage while they have the same.
    cdef int64_t* at
    cdef Py_ssize_t places
    cdef readonly Py_ssize_t size

    cdef Times copy(self)

cdef class Root:
    cdef readonly int number
    cdef public Cell cell
    cdef readonly object step
    cdef readonly bint edge
    cdef public bint forming            # evaluated at forming rows, too
    cdef readonly Py_ssize_t cooldown
    cdef readonly Py_ssize_t size
    cdef readonly Py_ssize_t rows       # of its interval, before it can be known
    cdef readonly dict others           # likewise, by stage of another interval
    cdef readonly bint endless
    cdef uint64_t* armed                # lanes whose last known value was false
    cdef uint64_t* doubtful             # lanes that began anew, and whose value is not certain yet
    cdef uint64_t* told                 # lanes that began anew after firings that were told
    cdef int32_t* quiet                 # by lane: rows without a firing left; NULL without cooldown
    cdef uint64_t* armed_before         # the newest row: only where symbols are compared
    cdef int32_t* quiet_before
    cdef Times since                    # rows up to this one are history
    cdef Times anchor                   # the first row; -1 before
    cdef uint64_t[7] unknown            # by Reason
    cdef public tuple part_names        # normal forms of parts that firings are told with
    cdef public tuple part_cells

    cdef own(self)
    cdef share(self, dict held)
    cdef tuple part_values(self, Py_ssize_t lane)

    cdef void reset(self, Py_ssize_t lane) noexcept
    cdef void begin_row(self, bint again) noexcept
    cdef uint64_t cool(self, uint64_t mask, uint64_t fires, Py_ssize_t word) noexcept

cdef class Stage:
    cdef readonly object key
    cdef readonly Py_ssize_t places
    cdef readonly Py_ssize_t size
    cdef readonly bint across
    cdef readonly bint endless          # some step says nothing after a hole
    cdef bint repeatable                # no step remembers rows: the newest can be taken again
    cdef public list cells              # arguments before what uses them
    cdef public list roots
    cdef list sinces                    # cells that count rows since something was true
    cdef list below                     # stages of the same interval it builds on
    cdef list reads                     # stages of other intervals it reads
    cdef list readers                   # and those that read it
    cdef uint32_t interval
    cdef int64_t* fed                   # by lane: open time of the newest row; -1 before the first
    cdef int64_t* seen                  # the newest there ever was
    cdef int64_t* floor                 # rows up to this one were there before the lane was
    cdef int64_t* limit                 # the last row to move to
    cdef int64_t* due_ms                # boundary of the row to move to; 0: not looked for
    cdef int64_t* hole_ms               # open time of the row after the newest hole
    cdef int32_t* stretch               # rows since the newest hole
    cdef uint32_t* slots
    cdef int32_t* lanes                 # those that move; ``count``
    cdef Py_ssize_t count
    cdef uint64_t* mask
    cdef uint64_t* fires
    cdef uint64_t* told                 # of those that move, the ones whose row is no history
    cdef uint64_t* fresh                # and, of them, those whose row is a new one
    cdef uint64_t* blind
    cdef uint64_t* missing
    cdef uint64_t* tickerless
    cdef int64_t done_ms                # across: boundary of the newest rows

    cdef list times(self)
    cdef void* take(self, size_t size) except NULL
    cdef void reset(self, Py_ssize_t lane)
    cdef forget(self, Py_ssize_t lane)
