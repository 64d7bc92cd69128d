"""A sequence lock's memory order: how one writer lets others see rows whole, in any process.

The writer makes the sequence odd, writes, makes it even. A reader notes an even sequence, copies,
and believes the copy only if the sequence is still the same::

    seen = read_begin(&sequence)            # odd: the writer is inside
    ... copy ...
    if seen & 1 or read_changed(&sequence, seen): try again
"""

from libc.stdint cimport uint64_t

cdef extern from *:
    """
    #include <stdint.h>
    static inline void kc_write_begin(uint64_t* sequence) {
        __atomic_store_n(sequence, *sequence + 1, __ATOMIC_RELAXED);
        __atomic_thread_fence(__ATOMIC_RELEASE);    /* odd before anything is written */
    }
    static inline void kc_write_end(uint64_t* sequence) {
        __atomic_store_n(sequence, *sequence + 1, __ATOMIC_RELEASE);   /* all of it before even */
    }
    static inline uint64_t kc_read_begin(const uint64_t* sequence) {
        return __atomic_load_n(sequence, __ATOMIC_ACQUIRE);
    }
    static inline int kc_read_changed(const uint64_t* sequence, uint64_t seen) {
        __atomic_thread_fence(__ATOMIC_ACQUIRE);    /* the copy before the second look */
        return __atomic_load_n(sequence, __ATOMIC_RELAXED) != seen;
    }
    """
    void write_begin "kc_write_begin"(uint64_t* sequence) noexcept nogil
    void write_end "kc_write_end"(uint64_t* sequence) noexcept nogil
    uint64_t read_begin "kc_read_begin"(const uint64_t* sequence) noexcept nogil
    bint read_changed "kc_read_changed"(const uint64_t* sequence, uint64_t seen) noexcept nogil
