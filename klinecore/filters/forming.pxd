"""C face of the forming row: what filters would say if it closed as it is."""

from klinecore.filters.runner cimport Runner

cdef class Forming:
    cdef readonly list roots
    cdef list stages            # (stage, cells) that the roots need, of their own interval
    cdef double* kept           # what they show of a lane meanwhile
    cdef Py_ssize_t cell_count
    cdef list seen              # of each root that was true, the values of its parts

    cdef list values(self, Runner runner, Py_ssize_t lane)
    cdef list fires(self, Runner runner, Py_ssize_t lane)
