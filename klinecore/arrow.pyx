"""Columns as other libraries read them in place: Arrow's C data interface, in capsules."""

cimport cython
from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.object cimport PyObject
from cpython.pycapsule cimport PyCapsule_GetPointer, PyCapsule_New
from cpython.ref cimport Py_DECREF, Py_INCREF
from libc.errno cimport ENOMEM
from libc.stdint cimport int64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset

import numpy as np

__all__ = ["TIME"]

cdef extern from "Python.h" nogil:
    bint Py_IsInitialized()

# The C data interface: three structs that never change, https://arrow.apache.org/docs/format.
# Whoever takes one calls its ``release`` once, on any thread; NULL there says that it was called,
# or that the struct has been moved elsewhere.
cdef extern from *:
    """
    #ifndef ARROW_C_DATA_INTERFACE
    #define ARROW_C_DATA_INTERFACE
    #define ARROW_FLAG_DICTIONARY_ORDERED 1
    #define ARROW_FLAG_NULLABLE 2
    #define ARROW_FLAG_MAP_KEYS_SORTED 4
    struct ArrowSchema {
        const char* format;
        const char* name;
        const char* metadata;
        int64_t flags;
        int64_t n_children;
        struct ArrowSchema** children;
        struct ArrowSchema* dictionary;
        void (*release)(struct ArrowSchema*);
        void* private_data;
    };
    struct ArrowArray {
        int64_t length;
        int64_t null_count;
        int64_t offset;
        int64_t n_buffers;
        int64_t n_children;
        const void** buffers;
        struct ArrowArray** children;
        struct ArrowArray* dictionary;
        void (*release)(struct ArrowArray*);
        void* private_data;
    };
    #endif
    #ifndef ARROW_C_STREAM_INTERFACE
    #define ARROW_C_STREAM_INTERFACE
    struct ArrowArrayStream {
        int (*get_schema)(struct ArrowArrayStream*, struct ArrowSchema*);
        int (*get_next)(struct ArrowArrayStream*, struct ArrowArray*);
        const char* (*get_last_error)(struct ArrowArrayStream*);
        void (*release)(struct ArrowArrayStream*);
        void* private_data;
    };
    #endif
    """
    enum:
        ARROW_FLAG_NULLABLE

    struct ArrowSchema:
        const char* format
        const char* name
        int64_t flags
        int64_t n_children
        ArrowSchema** children
        void (*release)(ArrowSchema*) noexcept nogil
        void* private_data

    struct ArrowArray:
        int64_t length
        int64_t null_count
        int64_t n_buffers
        int64_t n_children
        Address* buffers
        ArrowArray** children
        void (*release)(ArrowArray*) noexcept nogil
        void* private_data

    struct ArrowArrayStream:
        int (*get_schema)(ArrowArrayStream*, ArrowSchema*) noexcept nogil
        int (*get_next)(ArrowArrayStream*, ArrowArray*) noexcept nogil
        const char* (*get_last_error)(ArrowArrayStream*) noexcept nogil
        void (*release)(ArrowArrayStream*) noexcept nogil
        void* private_data

# What becomes a timestamp.
TIME = np.dtype("M8[ms]")

cdef enum:
    TEXT_BYTES_MAX = 2147483647     # of a column, whose offsets are int32

# What an exported array keeps; its children's addresses and the children stand behind it.
cdef struct Holding:
    PyObject* owner
    Address[BUFFERS_MAX] buffers

cdef struct StreamState:
    PyObject* columns
    bint given


@cython.final
cdef class Column:
    """One column's memory. Its addresses hold for as long as the object."""

    cdef _add(self, object exporter):
        # NumPy arrays and bytes never move; the reference is what keeps them.
        self._kept.append(exporter)
        cdef Py_buffer view
        PyObject_GetBuffer(exporter, &view, PyBUF_SIMPLE)
        self.buffers[self.buffer_count] = view.buf
        self.buffer_count += 1
        PyBuffer_Release(&view)

    cdef _add_validity(self, object missing):
        self.null_count = np.count_nonzero(missing)
        if self.null_count:
            self._add(np.packbits(~missing, bitorder="little"))
        else:
            self.buffer_count += 1          # none needed: NULL


@cython.final
cdef class Columns:
    """Columns of one length, by name; what exported tables keep."""

    def __cinit__(self, named):
        cdef Column column
        lengths = set()
        self.by_name = {}
        for name, values in named.items():
            column = _column(name, values)
            self.by_name[name] = column
            lengths.add(len(column.values))
        if len(lengths) > 1:
            raise ValueError(f"columns differ in length: {', '.join(map(str, sorted(lengths)))}")
        self.items = tuple(self.by_name.values())
        self.length = lengths.pop() if lengths else 0


cdef Column _column(str name, values):
    cdef Column column = Column.__new__(Column)
    column.name = name.encode()
    if b"\0" in column.name:
        raise ValueError(f"the name {name!r} contains a NUL")
    column._kept = []
    if isinstance(values, (list, tuple)):
        return _texts(column, tuple(values))
    array = np.ascontiguousarray(values).view()
    array.flags.writeable = False
    if array.ndim != 1:
        raise ValueError(f"column {name!r} has {array.ndim} dimensions, not one")
    if array.dtype == np.float64:
        column.format = b"g"
        column._add_validity(np.isnan(array))
    elif array.dtype == np.int64:
        column.format = b"l"
        column._add_validity(np.zeros(0, bool))
    elif array.dtype == TIME:
        column.format = b"tsm:UTC"
        column._add_validity(np.isnat(array))
    else:
        raise ValueError(
            f"column {name!r}: expected float64, int64, datetime64[ms] or texts, "
            f"received {array.dtype}"
        )
    column.values = array
    column._add(array.view(np.int64))       # datetime64 has no buffer of its own
    return column


cdef Column _texts(Column column, tuple values):
    encoded = [b"" if text is None else text.encode() for text in values]
    joined = b"".join(encoded)
    if len(joined) > TEXT_BYTES_MAX:
        raise ValueError(f"{len(joined)} bytes of text in a column, {TEXT_BYTES_MAX} at most")
    offsets = np.zeros(len(encoded) + 1, np.int32)
    np.cumsum([len(text) for text in encoded], dtype=np.int32, out=offsets[1:])
    column.format = b"u"
    column.values = values
    column._add_validity(np.fromiter((text is None for text in values), bool, len(values)))
    column._add(offsets)
    column._add(joined)
    return column


# -- schemas: no Python object in them ------------------------------------------------------------


cdef void _release_schema(ArrowSchema* schema) noexcept nogil:
    cdef int64_t i
    for i in range(schema.n_children):
        if schema.children[i].release != NULL:
            schema.children[i].release(schema.children[i])
    free(schema.private_data)
    schema.release = NULL


cdef int _open_schema(
    ArrowSchema* out, const char* format, bytes name, int64_t flags, int64_t children
) noexcept:
    """One block for the children's addresses, the children and the name; 0 or ENOMEM."""
    memset(out, 0, sizeof(ArrowSchema))
    cdef size_t size = <size_t>children * (sizeof(ArrowSchema*) + sizeof(ArrowSchema))
    cdef char* block = <char*>calloc(1, size + len(name) + 1)
    if block == NULL:
        return ENOMEM
    memcpy(block + size, <const char*>name, len(name))
    out.format = format
    out.name = block + size
    out.flags = flags
    out.n_children = children
    out.children = <ArrowSchema**>block
    cdef int64_t i
    for i in range(children):
        out.children[i] = <ArrowSchema*>(block + children * sizeof(ArrowSchema*)) + i
    out.private_data = block
    out.release = _release_schema
    return 0


cdef int _export_schema(Columns columns, ArrowSchema* out) noexcept:
    cdef Column column
    cdef Py_ssize_t i
    if _open_schema(out, b"+s", b"", 0, len(columns.items)) != 0:
        return ENOMEM
    for i in range(len(columns.items)):
        column = <Column>columns.items[i]
        if _open_schema(
            out.children[i], column.format, column.name, ARROW_FLAG_NULLABLE, 0
        ) != 0:
            _release_schema(out)
            return ENOMEM
    return 0


# -- arrays: each keeps a reference of its own, so that children may outlive their table ----------


cdef void _let_go(PyObject* owner) noexcept with gil:
    Py_DECREF(<object>owner)


cdef void _release_array(ArrowArray* array) noexcept nogil:
    cdef Holding* holding = <Holding*>array.private_data
    cdef int64_t i
    for i in range(array.n_children):
        if array.children[i].release != NULL:
            array.children[i].release(array.children[i])
    # A thread of another library may come here after Python has ended, which freed all of it.
    if Py_IsInitialized():
        _let_go(holding.owner)
    free(holding)
    array.release = NULL


cdef int _open_array(
    ArrowArray* out, object owner, int64_t length, int64_t buffers, int64_t children
) noexcept:
    """An array that keeps ``owner``, without its buffers' addresses; 0 or ENOMEM."""
    memset(out, 0, sizeof(ArrowArray))
    cdef size_t size = <size_t>children * (sizeof(ArrowArray*) + sizeof(ArrowArray))
    cdef Holding* holding = <Holding*>calloc(1, sizeof(Holding) + size)
    if holding == NULL:
        return ENOMEM
    Py_INCREF(owner)
    holding.owner = <PyObject*>owner
    out.length = length
    out.n_buffers = buffers
    out.buffers = holding.buffers
    out.n_children = children
    out.children = <ArrowArray**>(holding + 1)
    cdef int64_t i
    for i in range(children):
        out.children[i] = <ArrowArray*>(out.children + children) + i
    out.private_data = holding
    out.release = _release_array
    return 0


cdef int _export_array(Columns columns, ArrowArray* out) noexcept:
    cdef Column column
    cdef ArrowArray* child
    cdef Py_ssize_t i
    if _open_array(out, columns, columns.length, 1, len(columns.items)) != 0:
        return ENOMEM
    for i in range(len(columns.items)):
        column = <Column>columns.items[i]
        child = out.children[i]
        if _open_array(child, column, columns.length, column.buffer_count, 0) != 0:
            _release_array(out)
            return ENOMEM
        memcpy(child.buffers, column.buffers, sizeof(column.buffers))
        child.null_count = column.null_count
    return 0


# -- streams: the schema, one batch, the end ------------------------------------------------------


cdef int _stream_schema(ArrowArrayStream* stream, ArrowSchema* out) noexcept with gil:
    return _export_schema(<Columns>(<StreamState*>stream.private_data).columns, out)


cdef int _stream_next(ArrowArrayStream* stream, ArrowArray* out) noexcept with gil:
    cdef StreamState* state = <StreamState*>stream.private_data
    if state.given:
        memset(out, 0, sizeof(ArrowArray))
        return 0
    cdef int failed = _export_array(<Columns>state.columns, out)
    state.given = not failed
    return failed


cdef const char* _stream_error(ArrowArrayStream* stream) noexcept nogil:
    return NULL         # the code, ENOMEM, says it all


cdef void _release_stream(ArrowArrayStream* stream) noexcept nogil:
    cdef StreamState* state = <StreamState*>stream.private_data
    if Py_IsInitialized():
        _let_go(state.columns)
    free(state)
    stream.release = NULL


# -- capsules: release what nobody took -----------------------------------------------------------


cdef void _end_schema(object capsule) noexcept:
    cdef ArrowSchema* schema = <ArrowSchema*>PyCapsule_GetPointer(capsule, "arrow_schema")
    if schema.release != NULL:
        schema.release(schema)
    free(schema)


cdef void _end_array(object capsule) noexcept:
    cdef ArrowArray* array = <ArrowArray*>PyCapsule_GetPointer(capsule, "arrow_array")
    if array.release != NULL:
        array.release(array)
    free(array)


cdef void _end_stream(object capsule) noexcept:
    cdef ArrowArrayStream* stream = <ArrowArrayStream*>PyCapsule_GetPointer(
        capsule, "arrow_array_stream"
    )
    if stream.release != NULL:
        stream.release(stream)
    free(stream)


cdef void* _zeroed(size_t size) except NULL:
    cdef void* memory = calloc(1, size)
    if memory == NULL:
        raise MemoryError
    return memory


cdef object schema_capsule(Columns columns):
    cdef ArrowSchema* schema = <ArrowSchema*>_zeroed(sizeof(ArrowSchema))
    capsule = PyCapsule_New(schema, "arrow_schema", _end_schema)
    if _export_schema(columns, schema) != 0:
        raise MemoryError
    return capsule


cdef object array_capsule(Columns columns):
    cdef ArrowArray* array = <ArrowArray*>_zeroed(sizeof(ArrowArray))
    capsule = PyCapsule_New(array, "arrow_array", _end_array)
    if _export_array(columns, array) != 0:
        raise MemoryError
    return capsule


cdef object stream_capsule(Columns columns):
    cdef ArrowArrayStream* stream = <ArrowArrayStream*>_zeroed(sizeof(ArrowArrayStream))
    capsule = PyCapsule_New(stream, "arrow_array_stream", _end_stream)
    cdef StreamState* state = <StreamState*>_zeroed(sizeof(StreamState))
    Py_INCREF(columns)
    state.columns = <PyObject*>columns
    stream.private_data = state
    stream.get_schema = _stream_schema
    stream.get_next = _stream_next
    stream.get_last_error = _stream_error
    stream.release = _release_stream
    return capsule
