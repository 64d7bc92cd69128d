"""C face of a series."""

from libc.stdint cimport uint32_t

from klinecore.arena cimport Block
from klinecore.frame cimport Framed
from klinecore.merge cimport SeriesMemory

cdef class Series(Framed):
    cdef SeriesMemory memory
    cdef Block _arena              # or the private copy of a series in one
    cdef readonly str symbol
    cdef readonly str interval
    cdef object _times
    cdef object _block
    cdef tuple _columns

    cdef _map(self)
    cdef _column(self, int index)
    cdef _row(self, uint32_t slot, bint closed)
    cdef list _stretches(self, bint holes, bint absences)

cdef Series new_series(Block arena, SeriesMemory memory, str symbol, str interval)
cdef void series_detach(Series series)
