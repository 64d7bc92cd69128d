"""klinecore.arrow and frame: the C data interface byte by byte, as a consumer in C meets it."""

from __future__ import annotations

import ctypes
import gc
import pickle
import threading
import weakref
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import klinecore as kc
from klinecore.frame import Framed


class Schema(ctypes.Structure):
    pass


class Array(ctypes.Structure):
    pass


class Stream(ctypes.Structure):
    pass


Schema._fields_ = [
    ("format", ctypes.c_char_p),
    ("name", ctypes.c_char_p),
    ("metadata", ctypes.c_char_p),
    ("flags", ctypes.c_int64),
    ("n_children", ctypes.c_int64),
    ("children", ctypes.POINTER(ctypes.POINTER(Schema))),
    ("dictionary", ctypes.c_void_p),
    ("release", ctypes.CFUNCTYPE(None, ctypes.POINTER(Schema))),
    ("private_data", ctypes.c_void_p),
]
Array._fields_ = [
    ("length", ctypes.c_int64),
    ("null_count", ctypes.c_int64),
    ("offset", ctypes.c_int64),
    ("n_buffers", ctypes.c_int64),
    ("n_children", ctypes.c_int64),
    ("buffers", ctypes.POINTER(ctypes.c_void_p)),
    ("children", ctypes.POINTER(ctypes.POINTER(Array))),
    ("dictionary", ctypes.c_void_p),
    ("release", ctypes.CFUNCTYPE(None, ctypes.POINTER(Array))),
    ("private_data", ctypes.c_void_p),
]
Stream._fields_ = [
    ("get_schema", ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(Stream), ctypes.POINTER(Schema))),
    ("get_next", ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(Stream), ctypes.POINTER(Array))),
    ("get_last_error", ctypes.CFUNCTYPE(ctypes.c_char_p, ctypes.POINTER(Stream))),
    ("release", ctypes.CFUNCTYPE(None, ctypes.POINTER(Stream))),
    ("private_data", ctypes.c_void_p),
]
_pointer = ctypes.pythonapi.PyCapsule_GetPointer
_pointer.restype = ctypes.c_void_p
_pointer.argtypes = [ctypes.py_object, ctypes.c_char_p]


def inside(capsule: object, kind: type[Any], name: bytes) -> Any:
    return kind.from_address(_pointer(capsule, name))


def moved(source: Any) -> Any:
    """What a consumer does: take the bytes, and mark the struct they came from as empty."""
    taken = type(source)()
    ctypes.memmove(ctypes.byref(taken), ctypes.byref(source), ctypes.sizeof(source))
    source.release = type(source.release)()
    return taken


def taken_array(framed: Framed) -> Any:
    _, capsule = framed.__arrow_c_array__()
    return moved(inside(capsule, Array, b"arrow_array"))


def release(struct: Any) -> None:
    struct.release(ctypes.byref(struct))
    assert not struct.release


def numbers(array: Any, dtype: Any = np.float64) -> Any:
    """A copy of a child's values."""
    size = array.length * np.dtype(dtype).itemsize
    return np.frombuffer(ctypes.string_at(array.buffers[1], size), dtype)


def valid(array: Any) -> list[bool]:
    """Whether each place has a value."""
    if not array.buffers[0]:
        return [True] * array.length
    bits = ctypes.string_at(array.buffers[0], (array.length + 7) // 8)
    return [bool(bits[i // 8] >> i % 8 & 1) for i in range(array.length)]


def two_columns() -> tuple[kc.Frame, list[weakref.ref[Any]]]:
    """A frame, and a way to see whether its arrays are still there."""
    arrays = [np.arange(5.0), np.arange(5.0) + 10]
    frame = kc.Frame({"a": arrays[0], "b": arrays[1]})
    return frame, [weakref.ref(array) for array in arrays]


def alive(arrays: list[weakref.ref[Any]]) -> list[bool]:
    gc.collect()
    return [array() is not None for array in arrays]


def test_a_schema_is_a_struct_of_named_nullable_columns() -> None:
    frame = kc.Frame(
        {
            "x": np.zeros(1),
            "n": np.zeros(1, np.int64),
            "t": np.zeros(1, "M8[ms]"),
            "größe": ["a"],
        }
    )
    capsule = frame.__arrow_c_schema__()
    schema = inside(capsule, Schema, b"arrow_schema")
    assert (schema.format, schema.flags, schema.n_children) == (b"+s", 0, 4)
    found = [schema.children[i].contents for i in range(4)]
    assert [(one.name.decode(), one.format, one.flags, one.n_children) for one in found] == [
        ("x", b"g", 2, 0),
        ("n", b"l", 2, 0),
        ("t", b"tsm:UTC", 2, 0),
        ("größe", b"u", 2, 0),
    ]


def test_an_array_points_into_the_memory_of_the_frame() -> None:
    frame, _ = two_columns()
    array = taken_array(frame)
    assert (array.length, array.null_count, array.offset) == (5, 0, 0)
    assert (array.n_buffers, array.buffers[0]) == (1, None)
    for i, name in enumerate(frame.names):
        child = array.children[i].contents
        assert (child.length, child.null_count, child.n_buffers) == (5, 0, 2)
        assert child.buffers[0] is None
        assert child.buffers[1] == frame[name].ctypes.data
    release(array)


def test_arrays_go_only_when_the_frame_and_all_that_was_made_of_it_are_gone() -> None:
    frame, arrays = two_columns()
    array = taken_array(frame)
    del frame
    assert alive(arrays) == [True, True]
    release(array)
    assert alive(arrays) == [False, False]


def test_a_child_that_was_moved_out_outlives_its_table_and_the_others() -> None:
    frame, arrays = two_columns()
    array = taken_array(frame)
    child = moved(array.children[1].contents)
    del frame
    release(array)
    assert alive(arrays) == [False, True]
    assert numbers(child).tolist() == [10.0, 11.0, 12.0, 13.0, 14.0]
    release(child)
    assert alive(arrays) == [False, False]


def test_a_schema_s_child_that_was_moved_out_outlives_it() -> None:
    frame, _ = two_columns()
    capsule = frame.__arrow_c_schema__()
    schema = moved(inside(capsule, Schema, b"arrow_schema"))
    child = moved(schema.children[1].contents)
    release(schema)
    assert (child.name, child.format) == (b"b", b"g")
    release(child)


def test_another_thread_may_release() -> None:
    frame, arrays = two_columns()
    array = taken_array(frame)
    del frame
    thread = threading.Thread(target=release, args=(array,))
    thread.start()
    thread.join()
    assert alive(arrays) == [False, False]


@pytest.mark.parametrize(
    "method", ["__arrow_c_schema__", "__arrow_c_array__", "__arrow_c_stream__"]
)
def test_a_capsule_that_nobody_took_releases_what_it_holds(method: str) -> None:
    frame, arrays = two_columns()
    capsule = getattr(frame, method)()
    del frame
    del capsule
    assert alive(arrays) == [False, False]


def test_a_stream_gives_its_schema_any_time_one_batch_and_then_its_end() -> None:
    frame, arrays = two_columns()
    capsule = frame.__arrow_c_stream__()
    stream = moved(inside(capsule, Stream, b"arrow_array_stream"))
    here = ctypes.byref(stream)
    del frame, capsule
    for _ in range(2):
        schema = Schema()
        assert stream.get_schema(here, ctypes.byref(schema)) == 0
        assert schema.n_children == 2
        release(schema)
    batch = Array()
    assert stream.get_next(here, ctypes.byref(batch)) == 0
    assert numbers(batch.children[0].contents).tolist() == [0.0, 1.0, 2.0, 3.0, 4.0]
    for _ in range(2):
        end = Array()
        assert stream.get_next(here, ctypes.byref(end)) == 0
        assert not end.release
    assert stream.get_last_error(here) is None
    release(stream)
    assert alive(arrays) == [True, True]  # the batch outlives its stream
    release(batch)
    assert alive(arrays) == [False, False]


@given(st.lists(st.floats()))
def test_numbers_are_null_where_they_are_nan_and_keep_every_bit(values: list[float]) -> None:
    column = np.array(values, np.float64)
    array = taken_array(kc.Frame({"x": column}))
    child = array.children[0].contents
    assert numbers(child).tobytes() == column.tobytes()
    assert valid(child) == [not np.isnan(value) for value in values]
    assert child.null_count == valid(child).count(False)
    release(array)


@given(st.lists(st.none() | st.integers(-(2**62), 2**62)))
def test_times_are_null_where_there_is_none(values: list[int | None]) -> None:
    missing = np.datetime64("NaT")
    column = np.array([missing if x is None else np.datetime64(x, "ms") for x in values], "M8[ms]")
    array = taken_array(kc.Frame({"t": column}))
    child = array.children[0].contents
    assert numbers(child, "M8[ms]").tobytes() == column.tobytes()
    assert valid(child) == [value is not None for value in values]
    release(array)


@given(st.lists(st.none() | st.text(st.characters(exclude_categories=["Cs"]))))
def test_texts_stand_end_to_end_between_their_offsets(values: list[str | None]) -> None:
    array = taken_array(kc.Frame({"s": values}))
    child = array.children[0].contents
    assert child.n_buffers == 3
    size = 4 * (len(values) + 1)
    offsets = np.frombuffer(ctypes.string_at(child.buffers[1], size), np.int32)
    texts = ctypes.string_at(child.buffers[2], int(offsets[-1]))
    read = [texts[a:b].decode() for a, b in zip(offsets[:-1], offsets[1:], strict=True)]
    assert read == [value or "" for value in values]
    assert valid(child) == [value is not None for value in values]
    release(array)


def test_arrays_that_do_not_lie_in_a_row_are_copied() -> None:
    wide = np.arange(10.0)
    frame = kc.Frame({"even": wide[::2]})
    wide[:] = 0
    assert frame["even"].tolist() == [0.0, 2.0, 4.0, 6.0, 8.0]


def test_a_column_is_read_only_and_texts_are_a_tuple() -> None:
    array = np.zeros(2)
    frame = kc.Frame({"x": array, "s": ["a", None]}, index="s")
    with pytest.raises(ValueError, match="read-only"):
        frame["x"][0] = 1.0
    array[0] = 1.0  # the caller's own stays as it was
    assert frame["s"] == ("a", None)
    assert (frame.names, frame.index, len(frame)) == (("x", "s"), "s", 2)
    assert repr(frame) == "<Frame 2 rows: x, s>"
    assert frame.frame() is frame
    with pytest.raises(KeyError):
        frame["y"]


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"a": np.zeros(1), "b": np.zeros(2)}, "differ in length: 1, 2"),
        ({"a": np.zeros(1, np.float32)}, "received float32"),
        ({"a": np.zeros(1, ">f8")}, "received >f8"),
        ({"a": np.zeros(1, "M8[s]")}, r"received datetime64\[s\]"),
        ({"a": np.zeros((2, 2))}, "2 dimensions"),
        ({"a\0b": np.zeros(1)}, "contains a NUL"),
    ],
)
def test_a_column_there_cannot_be_is_refused(columns: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        kc.Frame(columns)


def test_an_index_is_one_of_the_columns() -> None:
    with pytest.raises(ValueError, match="index 'time' is no column; there are a, b"):
        kc.Frame({"a": np.zeros(1), "b": np.zeros(1)}, index="time")


def test_a_table_may_have_no_columns_and_no_rows() -> None:
    for frame in (kc.Frame({}), kc.Frame({"x": np.zeros(0), "s": []})):
        array = taken_array(frame)
        assert (len(frame), array.length, array.n_children) == (0, 0, len(frame.names))
        release(array)


def test_what_has_no_rows_says_so() -> None:
    with pytest.raises(NotImplementedError, match="Framed has no rows"):
        Framed().frame()


def test_results_are_pickled_as_before_they_had_frames() -> None:
    market = kc.Market(["BTCUSDT"], ["1m"])
    found = kc.evaluate(kc.compile("close > 1"), market, "1m")
    again = pickle.loads(pickle.dumps(found))
    assert (again.symbols, again.reasons.tolist()) == (found.symbols, found.reasons.tolist())
