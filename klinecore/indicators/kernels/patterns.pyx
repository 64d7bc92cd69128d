"""Patterns of a few klines: init from parameters, and the run over rows."""

from libc.math cimport NAN

from klinecore.indicators.kernel cimport (
    InitFunction, Kernel, Room, RunFunction, make_kernel, usable,
)

__all__ = ["KERNELS"]


cdef void nothing_make(void* state, const double* parameters, Room* room) noexcept nogil:
    pass


cdef void gap_make(void* state, const double* parameters, Room* room) noexcept nogil:
    (<PatternState*>state).near = parameters[0] != 0


cdef void star_make(void* state, const double* parameters, Room* room) noexcept nogil:
    (<PatternState*>state).penetration = parameters[0]
    (<PatternState*>state).near = parameters[1] != 0


cdef inline void rule_run(
    void* state, const double** x, double** y, Py_ssize_t count, bint commit,
    PatternRule rule, Py_ssize_t rows_before,
) noexcept nogil:
    cdef PatternState s = (<PatternState*>state)[0]
    cdef Py_ssize_t i
    for i in range(count):
        y[0][i] = NAN
        if usable(x[0][i]) and usable(x[1][i]) and usable(x[2][i]) and usable(x[3][i]):
            pattern_push(&s, x[0][i], x[1][i], x[2][i], x[3][i])
            if s.count > rows_before:
                y[0][i] = rule(&s)
    if commit:
        (<PatternState*>state)[0] = s


cdef void doji_run(
    void* state, const double** x, double** y, Py_ssize_t count, bint commit
) noexcept nogil:
    rule_run(state, x, y, count, commit, doji_of, 10)


cdef void hammer_run(
    void* state, const double** x, double** y, Py_ssize_t count, bint commit
) noexcept nogil:
    rule_run(state, x, y, count, commit, hammer_of, 11)


cdef void hanging_run(
    void* state, const double** x, double** y, Py_ssize_t count, bint commit
) noexcept nogil:
    rule_run(state, x, y, count, commit, hanging_of, 11)


cdef void inverted_run(
    void* state, const double** x, double** y, Py_ssize_t count, bint commit
) noexcept nogil:
    rule_run(state, x, y, count, commit, inverted_of, 11)


cdef void shooting_run(
    void* state, const double** x, double** y, Py_ssize_t count, bint commit
) noexcept nogil:
    rule_run(state, x, y, count, commit, shooting_of, 11)


cdef void harami_run(
    void* state, const double** x, double** y, Py_ssize_t count, bint commit
) noexcept nogil:
    rule_run(state, x, y, count, commit, harami_of, 11)


cdef void morning_run(
    void* state, const double** x, double** y, Py_ssize_t count, bint commit
) noexcept nogil:
    rule_run(state, x, y, count, commit, morning_of, 12)


cdef void evening_run(
    void* state, const double** x, double** y, Py_ssize_t count, bint commit
) noexcept nogil:
    rule_run(state, x, y, count, commit, evening_of, 12)


cdef void piercing_run(
    void* state, const double** x, double** y, Py_ssize_t count, bint commit
) noexcept nogil:
    rule_run(state, x, y, count, commit, piercing_of, 11)


cdef void cloud_run(
    void* state, const double** x, double** y, Py_ssize_t count, bint commit
) noexcept nogil:
    rule_run(state, x, y, count, commit, cloud_of, 11)


cdef void soldiers_run(
    void* state, const double** x, double** y, Py_ssize_t count, bint commit
) noexcept nogil:
    rule_run(state, x, y, count, commit, soldiers_of, 12)


cdef void crows_run(
    void* state, const double** x, double** y, Py_ssize_t count, bint commit
) noexcept nogil:
    rule_run(state, x, y, count, commit, crows_of, 13)


cdef void inside_run(
    void* state, const double** x, double** y, Py_ssize_t count, bint commit
) noexcept nogil:
    cdef InsideState s = (<InsideState*>state)[0]
    cdef Py_ssize_t i
    for i in range(count):
        if usable(x[0][i]) and usable(x[1][i]):
            y[0][i] = inside_step(&s, x[0][i], x[1][i])
        else:
            y[0][i] = NAN
    if commit:
        (<InsideState*>state)[0] = s


cdef void engulfing_run(
    void* state, const double** x, double** y, Py_ssize_t count, bint commit
) noexcept nogil:
    cdef BodyState s = (<BodyState*>state)[0]
    cdef Py_ssize_t i
    for i in range(count):
        if usable(x[0][i]) and usable(x[1][i]):
            y[0][i] = engulfing_step(&s, x[0][i], x[1][i])
        else:
            y[0][i] = NAN
    if commit:
        (<BodyState*>state)[0] = s


cdef Kernel pattern(str name, InitFunction init, RunFunction run):
    return make_kernel(name, sizeof(PatternState), init, run)


KERNELS = {
    "engulfing": make_kernel("engulfing", sizeof(BodyState), nothing_make, engulfing_run),
    "inside_bar": make_kernel("inside_bar", sizeof(InsideState), nothing_make, inside_run),
    "doji": pattern("doji", nothing_make, doji_run),
    "hammer": pattern("hammer", nothing_make, hammer_run),
    "hanging_man": pattern("hanging_man", nothing_make, hanging_run),
    "inverted_hammer": pattern("inverted_hammer", gap_make, inverted_run),
    "shooting_star": pattern("shooting_star", gap_make, shooting_run),
    "harami": pattern("harami", nothing_make, harami_run),
    "morning_star": pattern("morning_star", star_make, morning_run),
    "evening_star": pattern("evening_star", star_make, evening_run),
    "piercing": pattern("piercing", gap_make, piercing_run),
    "dark_cloud_cover": pattern("dark_cloud_cover", star_make, cloud_run),
    "three_white_soldiers": pattern("three_white_soldiers", nothing_make, soldiers_run),
    "three_black_crows": pattern("three_black_crows", gap_make, crows_run),
}
