"""What a type that gives its rows as a table derives from."""

cdef class Framed:
    pass
