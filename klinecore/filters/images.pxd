"""C face of images: what filters remember, as bytes."""

from libc.stdint cimport int64_t, uint32_t, uint64_t

from klinecore.filters.runner cimport Rewinder, Runner

cdef class Layout:
    cdef list stages            # (stage, cells, roots)
    cdef list roots
    cdef Py_ssize_t size        # bytes of a symbol's block
    cdef str digest

    cdef void save(self, Py_ssize_t lane, char* to)
    cdef void load(self, Py_ssize_t lane, const char* image, bint rewind)

cdef class Checkpoints(Rewinder):
    cdef Runner runner
    cdef Layout layout
    cdef dict images            # lane -> images, oldest first
    cdef dict tried             # lane -> images that were gone back to in this call
    cdef int64_t allowed        # bytes of images
    cdef readonly int64_t size  # and how many they have
    cdef readonly uint64_t left_out

    cdef void forget(self, Py_ssize_t lane)
    cdef void disturb(self, Py_ssize_t lane, uint32_t interval, int64_t open_time_ms)
    cdef bint knows(
        self, bytes image, Py_ssize_t lane, uint32_t interval, int64_t open_time_ms
    ) except -1
    cdef settle(self, int64_t allowed)
    cdef keep(self, Py_ssize_t lane)

cdef tuple read_image(list parts, bytes image)
