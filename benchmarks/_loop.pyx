"""Loops in C around the core and around plain copies: what a listener pays, without Python."""

from libc.string cimport memcpy

from klinecore.market cimport Market

cdef extern from *:
    """
    /* The compiler must believe that the bytes were read: no copy may be left out. */
    #define kc_keep(p) __asm__ volatile("" : : "r"(p) : "memory")
    """
    void keep "kc_keep"(void* p) noexcept nogil

cdef enum:
    COPY_SIZE_MAX = 4096


def store_updates(Market market not None, bytearray frame not None, Py_ssize_t place, int count):
    """Apply one frame ``count`` times; nine digits at ``place`` count up, so each one is newer.

    Writing those digits is part of what is measured.
    """
    cdef char* data = frame
    cdef Py_ssize_t size = len(frame)
    cdef int _round, digit
    for _round in range(count):
        for digit in range(8, -1, -1):
            if data[place + digit] != c'9':
                data[place + digit] += 1
                break
            data[place + digit] = c'0'
        market.apply_bytes(data, size)


def store_frames(Market market not None, list frames not None):
    """Apply every frame of a list once."""
    cdef bytes frame
    for frame in frames:
        market.apply_bytes(frame, len(frame))


def copy_bytes(bytes frame not None, int count):
    """Copy a frame ``count`` times, byte by byte as it is written down."""
    cdef const char* source = frame
    cdef char[COPY_SIZE_MAX] buffer
    cdef volatile char* target = buffer
    cdef Py_ssize_t size = len(frame), j
    cdef int _round
    assert size <= COPY_SIZE_MAX
    for _round in range(count):
        for j in range(size):
            target[j] = source[j]
    return buffer[:size]


def copy_block(bytes frame not None, int count):
    """Copy a frame ``count`` times with memcpy."""
    cdef const char* source = frame
    cdef char[COPY_SIZE_MAX] buffer
    cdef Py_ssize_t size = len(frame)
    cdef int _round
    assert size <= COPY_SIZE_MAX
    for _round in range(count):
        memcpy(buffer, source, size)
        keep(buffer)
    return buffer[:size]
