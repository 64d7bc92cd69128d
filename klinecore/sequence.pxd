"""The order of writes around a sequence number, so that readers elsewhere can tell a torn read.

A writer makes the number odd, writes, and makes it even again. A reader, in another thread or
process, reads the number, the data and the number again: equal and even means untorn. Plain
stores would allow compiler and processor to move data across; these fences do not. On x86 they
cost nothing.
"""

from libc.stdint cimport uint64_t

cdef extern from *:
    """
    #ifndef KLINECORE_SEQUENCE
    #define KLINECORE_SEQUENCE
    #include <stdint.h>
    static inline void klc_sequence_begin(uint64_t *place) {
        __atomic_store_n(place, *place + 1, __ATOMIC_RELAXED);
        __atomic_thread_fence(__ATOMIC_RELEASE);
    }
    static inline void klc_sequence_end(uint64_t *place, uint64_t value) {
        __atomic_store_n(place, value, __ATOMIC_RELEASE);
    }
    static inline uint64_t klc_sequence_read(const uint64_t *place) {
        return __atomic_load_n(place, __ATOMIC_ACQUIRE);
    }
    static inline int klc_sequence_still(const uint64_t *place, uint64_t before) {
        __atomic_thread_fence(__ATOMIC_ACQUIRE);
        return !(before & 1) && __atomic_load_n(place, __ATOMIC_RELAXED) == before;
    }
    #endif
    """
    # Before the first write: the number becomes odd.
    void sequence_begin "klc_sequence_begin"(uint64_t* place) noexcept nogil
    # After the last write: the number becomes ``value``, even and never used before.
    void sequence_end "klc_sequence_end"(uint64_t* place, uint64_t value) noexcept nogil
    # Before the first read of the data.
    uint64_t sequence_read "klc_sequence_read"(const uint64_t* place) noexcept nogil
    # After the last read: 1 if nothing was written since ``sequence_read`` gave ``before``.
    int sequence_still "klc_sequence_still"(const uint64_t* place, uint64_t before) noexcept nogil
