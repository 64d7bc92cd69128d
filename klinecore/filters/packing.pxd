"""Blocks of one layout, each as the words in which it differs from the one before.

What filters remember of a symbol is for the most part what they remember of its neighbour: when
they began, what waits, what is unknown.
"""

from libc.stdint cimport uint8_t, uint64_t
from libc.string cimport memcpy, memset


cdef inline Py_ssize_t marks_size(Py_ssize_t words) noexcept nogil:
    """Bytes of a packed block's head: a bit per word, set where the word differs."""
    return (words + 7) // 8


cdef inline Py_ssize_t packed_max(Py_ssize_t words) noexcept nogil:
    """Bytes of a packed block of which every word differs."""
    return marks_size(words) + 8 * words


cdef inline Py_ssize_t pack(
    const uint64_t* block, const uint64_t* before, Py_ssize_t words, char* to
) noexcept nogil:
    """Write a block to ``to``, which has room for ``packed_max``; returns the bytes it took."""
    cdef Py_ssize_t i, size = marks_size(words)
    memset(to, 0, size)
    for i in range(words):
        if block[i] != before[i]:
            (<uint8_t*>to)[i >> 3] |= <uint8_t>(1 << (i & 7))
            memcpy(to + size, &block[i], 8)
            size += 8
    return size


cdef inline Py_ssize_t packed_size(
    const char* packed, Py_ssize_t left, Py_ssize_t words
) noexcept nogil:
    """Bytes of the packed block that begins here; -1 if it does not end within ``left``."""
    cdef Py_ssize_t i, size = marks_size(words)
    if left < size:
        return -1
    for i in range(words):
        size += 8 * ((<const uint8_t*>packed)[i >> 3] >> (i & 7) & 1)
    return size if size <= left else -1


cdef inline Py_ssize_t unpack(
    const char* packed, uint64_t* block, Py_ssize_t words
) noexcept nogil:
    """Turn ``block``, which holds the one before, into this one; returns ``packed_size``."""
    cdef Py_ssize_t i, size = marks_size(words)
    for i in range(words):
        if (<const uint8_t*>packed)[i >> 3] >> (i & 7) & 1:
            memcpy(&block[i], packed + size, 8)
            size += 8
    return size
