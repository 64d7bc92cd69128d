"""Levels and turns of a window: init from parameters, and the run over rows."""

from libc.math cimport NAN

from klinecore.indicators.kernel cimport Room, make_kernel, usable

__all__ = ["KERNELS"]


cdef void pivot_high_make(void* state, const double* parameters, Room* room) noexcept nogil:
    pivot_init(
        <PivotState*>state, <Py_ssize_t>parameters[0], <Py_ssize_t>parameters[1], 1.0, room
    )


cdef void pivot_low_make(void* state, const double* parameters, Room* room) noexcept nogil:
    pivot_init(
        <PivotState*>state, <Py_ssize_t>parameters[0], <Py_ssize_t>parameters[1], -1.0, room
    )


cdef void pivot_run(
    void* state, const double** x, double** y, Py_ssize_t count, bint commit
) noexcept nogil:
    cdef PivotState s = (<PivotState*>state)[0]
    cdef const double* value = x[0]
    cdef double* out = y[0]
    cdef Py_ssize_t i
    for i in range(count):
        out[i] = pivot_step(&s, value[i], commit) if usable(value[i]) else NAN
    if commit:
        (<PivotState*>state)[0] = s


cdef void divergence_make(void* state, const double* parameters, Room* room) noexcept nogil:
    divergence_init(
        <DivergenceState*>state,
        <Py_ssize_t>parameters[0],
        <Py_ssize_t>parameters[1],
        parameters[2] != 0,
        room,
    )


cdef void divergence_run(
    void* state, const double** x, double** y, Py_ssize_t count, bint commit
) noexcept nogil:
    cdef DivergenceState s = (<DivergenceState*>state)[0]
    cdef Py_ssize_t i
    for i in range(count):
        if usable(x[0][i]) and usable(x[1][i]):
            y[0][i] = divergence_step(&s, x[0][i], x[1][i], commit)
        else:
            y[0][i] = NAN
    if commit:
        (<DivergenceState*>state)[0] = s


cdef void profile_make(void* state, const double* parameters, Room* room) noexcept nogil:
    cdef ProfileState* s = <ProfileState*>state
    profile_init(s, <Py_ssize_t>parameters[0], <int>parameters[1], parameters[2], room)
    s.share = parameters[3] / 100.0
    s.margin = 1.0 + parameters[4] / 100.0
    s.reach = parameters[5] / 100.0


cdef void profile_run(
    void* state, const double** x, double** y, Py_ssize_t count, bint commit
) noexcept nogil:
    cdef ProfileState s = (<ProfileState*>state)[0]
    cdef Py_ssize_t i
    cdef double above, below, closest, nodes
    for i in range(count):
        above = below = closest = nodes = NAN
        if usable(x[0][i]) and usable(x[1][i]) and usable(x[2][i]) and usable(x[3][i]):
            profile_step(
                &s, x[0][i], x[1][i], x[2][i], x[3][i],
                &above, &below, &closest, &nodes, commit,
            )
        y[0][i] = above
        y[1][i] = below
        y[2][i] = closest
        y[3][i] = nodes
    if commit:
        (<ProfileState*>state)[0] = s


KERNELS = {
    "pivot_high": make_kernel("pivot_high", sizeof(PivotState), pivot_high_make, pivot_run),
    "pivot_low": make_kernel("pivot_low", sizeof(PivotState), pivot_low_make, pivot_run),
    "divergence": make_kernel(
        "divergence", sizeof(DivergenceState), divergence_make, divergence_run
    ),
    "volume_nodes": make_kernel(
        "volume_nodes", sizeof(ProfileState), profile_make, profile_run
    ),
}
