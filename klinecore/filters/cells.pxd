"""C face of cells: what one step of filters gives for every symbol, and how it moves on."""

cimport cython
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t

from klinecore.merge cimport SeriesMemory
from klinecore.ticker cimport TickerRecord

cdef enum:
    KEPT = 4                # doubles that a cell shows of a lane at most

cdef enum AsOf:
    HELD = 0                # the newest row that can have closed is there, or confirmed absent
    MISSED = 1              # it is missing, and a later one is held
    AWAITED = 2             # it is missing, and may still come
    NOTHING = 3             # there is no row yet that closed by then

cdef struct Rows:
    # One step of a stage: which lanes move to which of their rows.
    const int32_t* lanes
    Py_ssize_t count
    bint dense                  # every lane that has a symbol moves
    bint commit                 # False: ask only, for the forming row
    const uint64_t* mask        # the lanes as bits
    const SeriesMemory* memory  # of the market: [lane * interval_count + interval]
    TickerRecord** tickers
    uint32_t interval_count
    uint32_t interval
    const uint32_t* slots       # by lane: of its row
    const uint64_t* blind       # lanes whose rows before a hole are not known
    uint64_t* missing           # set where a row of another interval was not there
    uint64_t* tickerless        # set where there was no ticker
    const int32_t* order        # by lane: place of the symbol in the market's order
    uint64_t number             # another one for each move of a runner

cdef AsOf as_of(const SeriesMemory* series, int64_t boundary_ms, uint32_t* slot) noexcept nogil

cdef class Cell:
    cdef readonly tuple key
    cdef readonly bint condition
    cdef readonly Py_ssize_t places     # lanes, a multiple of 64
    cdef readonly Py_ssize_t size       # bytes of memory
    cdef readonly bint endless          # says nothing while its lane is blind
    cdef readonly bint remembers        # rows before the one it is at
    cdef public list args
    cdef double* value                  # numbers: NaN is unknown
    cdef uint64_t* truth                # conditions: two planes of bits
    cdef uint64_t* known
    cdef bint borrowed                  # the planes and values are another's
    cdef bint fixed                     # the same on all lanes at all times
    cdef uint64_t* numbers              # numbers that are compared: the lanes where they are known,
    cdef uint64_t numbers_of            # at that move

    cdef const uint64_t* known_numbers(self, Rows* rows)
    cdef void* take(self, size_t count, size_t size) except NULL
    cdef void run(self, Rows* rows)
    cdef double number(self, Py_ssize_t lane) noexcept
    cdef void reset(self, Py_ssize_t lane) noexcept
    cdef void keep(self, Py_ssize_t lane, double* to) noexcept
    cdef void put_back(self, Py_ssize_t lane, const double* kept) noexcept
    cdef Py_ssize_t image_size(self) noexcept
    cdef void save(self, Py_ssize_t lane, char* to) noexcept
    cdef void load(self, Py_ssize_t lane, const char* image) noexcept


cdef inline bint bit(const uint64_t* words, Py_ssize_t lane) noexcept nogil:
    return (words[lane >> 6] >> (lane & 63)) & 1


cdef inline void put_bit(uint64_t* words, Py_ssize_t lane, bint value) noexcept nogil:
    cdef uint64_t one = <uint64_t>1 << (lane & 63)
    if value:
        words[lane >> 6] |= one
    else:
        words[lane >> 6] &= ~one


@cython.final
cdef class Past(Cell):
    cdef int foreign
    cdef const int64_t* fed             # of the stage it reads: open time of each lane's newest row


cdef Cell make_plain(object step, Py_ssize_t places, int foreign)
