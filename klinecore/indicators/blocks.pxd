"""States of some indicators laid side by side, eight lanes to a block, and the loops over them."""

from libc.stdint cimport int32_t, uint8_t

cdef extern from *:
    """
    #ifndef KC_SWEEP
    #define KC_SWEEP
    #include <stdint.h>
    #define KC_BLOCK 8
    #define KC_ALL 255u     /* a bit per lane of a block */

    typedef struct {
        double *blocks;
        Py_ssize_t size;                    /* doubles of a block */
        Py_ssize_t count;                   /* blocks */
        unsigned tail;                      /* lanes there are in the last one */
        uint8_t *warm, *left;               /* lanes, by block */
        int32_t *beats;                     /* by block: the slot of all lanes; -1: see its row */
        Py_ssize_t slots;                   /* where in a block that row begins; it is out of date
                                               where `beats` says something. -1: there is not one
                                               ring but none or several */
        double *closed[4], *live[4];        /* outputs by lane, room for whole blocks */
        Py_ssize_t period[4], ring[4];      /* of each ring: its length, and its first row */
        double full[3];                     /* what a warm lane has counted */
        double a, b, c;                     /* constants of the formula */
    } KcSweep;

    /* Step the lanes `want` of blocks first to last - 1; x are columns that start at block `first`.
       Returns all bits of `left`. */
    typedef unsigned (*KcLoop)(
        const KcSweep *sweep, const double **x, Py_ssize_t first, Py_ssize_t last, unsigned want);
    #endif
    """
    enum:
        BLOCK "KC_BLOCK"
        ALL "KC_ALL"

    ctypedef struct Sweep "KcSweep":
        double* blocks
        Py_ssize_t size, count
        unsigned tail
        uint8_t* warm
        uint8_t* left
        int32_t* beats
        Py_ssize_t slots
        double** closed
        double** live
        Py_ssize_t* period
        Py_ssize_t* ring
        double* full
        double a, b, c

    ctypedef unsigned (*Loop "KcLoop")(
        const Sweep* sweep, const double** x, Py_ssize_t first, Py_ssize_t last, unsigned want
    ) noexcept nogil

cdef enum:
    FIELDS_MAX = 12
    RINGS_MAX = 4
    COUNTS_MAX = 3

cdef enum FieldKind:
    DOUBLE, SIZE, FLAG

cdef struct Field:
    Py_ssize_t offset       # in the scalar kernel's state
    FieldKind kind

cdef struct Ring:
    Py_ssize_t period       # where the state says how long it is,
    Py_ssize_t start        # where it points to it,
    Py_ssize_t stride       # where it says how far rows are apart
    Py_ssize_t beyond       # rows behind its end

cdef struct Count:
    int field               # the field that stops counting ...
    Py_ssize_t full         # ... at the state's number here,
    Py_ssize_t short        # less so many

cdef struct Shape:
    int loop                # its place in the table of loops
    int fields
    Field[FIELDS_MAX] field
    int counts
    Count[COUNTS_MAX] count  # all of them full: the lane is warm
    int rings
    Ring[RINGS_MAX] ring    # in the order in which the kernel takes memory for them
    int slots               # the field that says where in its only ring a lane is; -1: none
    Py_ssize_t[3] constant  # where a, b and c of the sweep stand


cdef const Shape* shape_of(str name)
cdef Loop loop_of(const Shape* shape, bint commit) noexcept nogil
cdef Py_ssize_t shape_rows(const Shape* shape, const char* state) noexcept nogil
cdef void shape_describe(const Shape* shape, const char* state, Sweep* sweep) noexcept nogil
cdef void write_slots(const Sweep* sweep, Py_ssize_t block) noexcept nogil
cdef void shape_gather(
    const Shape* shape, const double* column, char* state
) noexcept nogil
cdef void shape_scatter(const Shape* shape, const char* state, double* column) noexcept nogil
