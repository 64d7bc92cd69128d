"""C face of the steps that remember; the one way to any cell."""

from klinecore.filters.cells cimport Cell

cdef Cell make(object step, list args, Py_ssize_t places, int foreign)
cdef relink(Cell output)
